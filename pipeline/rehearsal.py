"""What a replay would do: `pipeline replay --dry-run`.  Nothing is sent, and no name is looked up.

In: a checked configuration.  Out: lines of text.  Invariant: every message that is read is either one that would be
sent or in one of the places of what is left out; the schedule is the one that the replay itself keeps.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import assemble
from assemble.message import Message, read_message
from assemble.records import REPLAYED, REQUEST, RESPONSE
from capture.errors import ConfigError
from capture.sources import FrameSource, expand
from emit.judge import Judge
from emit.match import Matcher
from emit.merging import Merge
from emit.pace import Pace
from emit.selection import FOREVER, Selection
from emit.verdicts import Verdicts
from emit.where import parse
from pipeline.config import Config
from pipeline.inputs import FileInput, PcapInput
from pipeline.listing import NS_PER_S, shown, when
from pipeline.outputs import HttpOutput
from pipeline.stages import selection, settings
from pipeline.values import read_url, write_address, write_size

KINDS: Final = {"request": REQUEST, "response": RESPONSE, "replayed": REPLAYED}
STEPS: Final = ("sample", "rewrite", "python", "middleware", "mask", "limit")
"""Keys of an output that come after its `where`: what they do is known only by doing it."""
MOST_ROWS: Final = 20
MOST_CONNECTIONS: Final = 1_000_000  # told apart; more are not counted
ENOUGH: Final = 2 * 2**20  # bytes of a message: filters look at no more than that
HOST: Final = re.compile(rb"^host:[ \t]*([^\r\n]*?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
AUTHORITY: Final = re.compile(r"\w+://([^/?#]*)")


@dataclass
class Rehearsal:
    """Adds up what would be sent, from one message after another."""

    output: HttpOutput
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)  # by method and host
    sizes: Counter[tuple[str, str]] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    seconds: Counter[int] = field(default_factory=Counter)  # of the replay: requests in each
    connections: set[tuple[object, ...]] = field(default_factory=set)
    first_ns: int | None = None
    last_ns: int = 0
    end_ns: int = 0  # of the schedule, from its beginning

    def __post_init__(self) -> None:
        output = self.output
        self.pace = Pace.create(*output.pace)
        where = output.where
        self.judge = None if where is None else Judge(Matcher(parse(where)), Verdicts.create())

    def add(self, message: Message) -> None:
        """Take one message."""
        reason = self.reason(message)
        if reason is not None:
            self.left[reason] += 1
            return
        key = (message.method or "", host_of(message))
        self.requests[key] += self.output.multiply
        self.sizes[key] += self.output.multiply * len(message.payload)
        if len(self.connections) < MOST_CONNECTIONS:
            self.connections.add((message.src, message.sport, message.dst, message.dport))
        if self.first_ns is None:
            self.first_ns = message.first_ns
        self.first_ns, self.last_ns = min(self.first_ns, message.first_ns), max(self.last_ns, message.first_ns)
        for _ in range(self.output.multiply):
            due_ns = self.pace.due_ns(message.first_ns, 1) - 1  # the schedule begins at 1: 0 is none yet
            self.end_ns = max(self.end_ns, due_ns)
            self.seconds[due_ns // NS_PER_S] += 1

    def reason(self, message: Message) -> str | None:
        """Say why a message would not be sent, in the order in which that is decided."""
        if self.judge is not None and not self.judge.wants(message):
            return "by where"
        if message.kind != "request":
            return "responses" if message.kind == "response" else "answers of an earlier replay"
        if self.output.methods and message.method not in self.output.methods:
            return "requests by their method"
        return None if message.complete else "requests with bytes missing"

    def lines(self) -> Iterator[str]:
        """Say it all."""
        total, size = self.requests.total(), self.sizes.total()
        yield f"would send  {total:,} requests, {write_size(size)}, to {self.output.address}"
        if total:
            yield f"            {self.duration(total)}"
            span_s = (self.last_ns - (self.first_ns or 0)) / NS_PER_S
            yield f"captured    {when(self.first_ns or 0)} to {when(self.last_ns)} UTC, {span_s:,.1f} s"
            yield f"            on {len(self.connections):,} connections"
        skipped = [name for name in STEPS if name in self.output.model_fields_set]
        if skipped:
            yield f"            at most: {', '.join(skipped)} not applied here"
        left = ", ".join(f"{count:,} {reason}" for reason, count in self.left.most_common())
        yield f"left out    {left or 'nothing'}"
        if total:
            yield from self.table()
        yield "nothing was sent"

    def duration(self, total: int) -> str:
        """Say how long it takes."""
        if not self.pace.timed:
            return "as fast as it answers"
        took_s = self.end_ns / NS_PER_S
        rate = total / took_s if took_s >= 1 else total
        busiest = max(self.seconds.values())
        return f"in {took_s:,.1f} s: {rate:,.1f} requests/s, {busiest:,} in the busiest second"

    def table(self) -> Iterator[str]:
        """Yield what would be sent by method and host, the most first."""
        sent_as = "" if self.output.host == "captured" else f", sent as {self.host()}"
        yield f"\n{'requests':>12}{'bytes':>12}  {'method':<8}  host{sent_as}"
        listed = self.requests.most_common()
        for key, count in listed[:MOST_ROWS]:
            method, host = map(shown, key)
            yield f"{count:>12,}{write_size(self.sizes[key]):>12}  {method:<8}  {host}"
        if len(listed) > MOST_ROWS:
            yield f"{sum(count for _, count in listed[MOST_ROWS:]):>12,} more, in {len(listed) - MOST_ROWS:,} rows"
        yield ""

    def host(self) -> str:
        """Return what Host would say."""
        return read_url(self.output.address).authority if self.output.host == "target" else self.output.host


def host_of(message: Message) -> str:
    """Return the host that a request names, or else the address that it went to."""
    absolute = AUTHORITY.match(message.target or "")
    if absolute:
        return absolute[1]
    found = HOST.search(message.payload, 0, message.head)
    return found[1].decode("latin-1") if found and found[1] else write_address(str(message.dst), message.dport)


def rehearse(config: Config) -> Iterator[str]:
    """Read the input, and say what would be sent to the first output."""
    output = config.output[0]
    if not isinstance(output, HttpOutput):
        raise ConfigError(f"--dry-run: output 0 is of type {output.type}, and replays nothing")
    rehearsal = Rehearsal(output)
    for message in _messages(config):
        rehearsal.add(message)
    yield from rehearsal.lines()
    if isinstance(config.input, FileInput) and config.input.loop == "forever":
        yield "that would be one round of many: loop is forever"


def _messages(config: Config) -> Iterator[Message]:
    source = config.input
    if isinstance(source, PcapInput):
        yield from _assembled(config, source)
    elif isinstance(source, FileInput):
        yield from _recorded(expand(source.path), selection(source))


def _assembled(config: Config, source: PcapInput) -> Iterator[Message]:
    stream = assemble.MessageStream(settings(config, source, None))
    with FrameSource(expand(source.path), bpf=source.filter) as frames:
        for batch in frames.payloads():
            yield from stream.feed_batch(batch)
    yield from stream.finish()


def _recorded(paths: Sequence[str], chosen: Selection) -> Iterator[Message]:
    once = replace(chosen, loop=1) if chosen.loop == FOREVER else chosen
    with contextlib.closing(Merge(paths, once)) as merge:
        for entry in merge.entries():
            yield read_message(entry.record)
