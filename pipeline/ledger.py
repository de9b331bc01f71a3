"""The ledger: from the counters of all processes to equations that must close (DESIGN 6).

In: plain maps of counters, one per process.  Out: equations with their totals, what was lost, a map for JSON.
Pure functions: no process, no file, no clock.  Counters that begin with `refused_`, `skipped_` or `segments_`
are taken as groups, so that a new reason in a stage needs no change here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from emit.records import OUTCOMES

Counts = Mapping[str, int]

NOT_A_CLASS: Final = ("segments_data", "segments_control")
LOSSES: Final = {
    "frames_dropped_kernel": "frames dropped by the kernel",
    "frames_dropped_interface": "frames dropped by the interface",
    "frames_dropped_ring": "frames dropped at the ring",
    "files_cut": "files that end in the middle of a frame",
    "bytes_cut_by_snap_length": "bytes cut by the snap length",
    "refused_link_header": "frames whose link header cannot be read",
    "refused_ip_header": "frames whose IP header cannot be read",
    "refused_ip_fragment": "IP fragments refused",
    "refused_tcp_header": "frames whose TCP header cannot be read",
    "holes": "holes in a stream",
    "bytes_missing": "bytes missing in holes",
    "messages_incomplete": "messages incomplete",
    "skipped_no_start": "bytes skipped before a message start",
    "skipped_cut_start": "bytes of start lines never finished",
    "skipped_bad_length": "bytes of heads with an invalid length",
    "skipped_out_of_window": "bytes skipped out of any window",
    "skipped_over_limit": "bytes skipped over max_message",
    "skipped_long_header": "bytes skipped over max_header",
    "skipped_evicted": "bytes that there was no memory for",
    "frames_lost": "frames that a killed process was dealing with",
    "frames_aborted": "frames aborted",
    "blind_ms": "milliseconds in which nobody captured, as a process was started again",
    "skipped_lost": "bytes that a killed process held",
    "recordings_cut": "files of messages that are cut",
    "recording_bytes_lost": "bytes of files of messages that cannot be read",
    "records_refused": "records refused",
    "gaps": "gaps between chunks received",
    "connections_failed": "connections that ended in an error",
}
"""Counters of the sources and the assembler that mean: something that was there did not come out whole."""
OUTPUT_LOSSES: Final = ("dropped", "undelivered", "poisoned", "garbled", "aborted")
"""Of the outcomes at an output, and what came to it broken; what it filtered, sampled or limited was not wanted."""
UNREAD: Final = {"undecoded": "that rules could not change", "withheld": "left out by masks"}
"""What became of bodies that could not be decoded, where a rule is about bodies."""


@dataclass(frozen=True)
class Delivery:
    """What workers that were succeeded by others counted, and what their outputs are called."""

    workers: Sequence[Counts]
    outputs: Sequence[str]
    answers: Sequence[Counts] = ()  # of workers for answers to a replay

    def worker(self, name: str) -> int:
        """Sum one counter over these workers."""
        return sum(counts.get(name, 0) for counts in self.workers)

    def output(self, at: int, name: str) -> int:
        """Sum one counter of an output over these workers, and over those for answers."""
        return sum(counts.get(f"output{at}_{name}", 0) for counts in (*self.workers, *self.answers))

    def answered(self, at: int | None = None) -> int:
        """Return how many answers were taken, or came to one output: not every output is one for answers."""
        pages = [counts for counts in self.answers if at is None or f"output{at}_delivered" in counts]
        return sum(counts.get("messages_taken", 0) for counts in pages)


@dataclass(frozen=True)
class Tally:
    """The counters of one run, by kind of process, summed over lanes; None where a run has no such process."""

    capture: Counts | None = None
    assemble: Counts | None = None
    receiver: Counts | None = None
    workers: Sequence[Counts] = ()
    outputs: Sequence[str] = ()  # what each output is called
    parts: Mapping[str, Counts] = field(default_factory=dict)  # of `capture` and `assemble`, where there are several
    succeeded: Sequence[Delivery] = ()  # earlier workers, oldest first
    reader: Counts | None = None
    answers: Sequence[Counts] = ()  # of workers for answers to a replay

    @property
    def source(self) -> tuple[str, Counts | None]:
        """Return how messages came to be in this run, and whose counter says how many."""
        if self.assemble is not None:
            return "assembled", self.assemble
        return ("read", self.reader) if self.reader is not None else ("received", self.receiver)

    def worker(self, name: str) -> int:
        """Sum one counter over all workers, of now and earlier."""
        return sum(each.worker(name) for each, _heading in self.deliveries())

    def answer(self, name: str) -> int:
        """Sum one counter over all workers for answers."""
        return sum(counts.get(name, 0) for each, _heading in self.deliveries() for counts in each.answers)

    def output(self, at: int, name: str) -> int:
        """Sum one counter of an output over all of them."""
        return sum(each.output(at, name) for each, _heading in self.deliveries())

    def deliveries(self) -> list[tuple[Delivery, str]]:
        """Return the workers of each configuration that this run has had, and what to add to their outputs' names."""
        earlier = [(each, f", before reload {at}") for at, each in enumerate(self.succeeded, start=1)]
        return [*earlier, (Delivery(self.workers, self.outputs, self.answers), "")]


@dataclass(frozen=True)
class Equation:
    """One row: `left` of them went in, and each must be in one of the places on the right."""

    name: str
    left: int
    right: dict[str, int] = field(default_factory=dict)

    @property
    def in_flight(self) -> int:
        """What is in no counted place: 0 at the end of a run, negative if something was counted twice."""
        return self.left - sum(self.right.values())

    @property
    def closes(self) -> bool:
        """Whether everything is in exactly one counted place."""
        return self.in_flight == 0


@dataclass(frozen=True)
class Ledger:
    """The equations of one run, and what was lost on the way."""

    equations: tuple[Equation, ...]
    losses: dict[str, int]
    tally: Tally

    @property
    def closed(self) -> bool:
        """Whether every equation closes."""
        return all(equation.closes for equation in self.equations)

    def as_json(self) -> dict[str, Any]:
        """Return the ledger as plain maps and lists."""
        tally = self.tally
        single = {
            "capture": tally.capture,
            "assemble": tally.assemble,
            "receiver": tally.receiver,
            "reader": tally.reader,
        }
        counters: dict[str, Any] = {name: dict(counts) for name, counts in single.items() if counts is not None}
        counters["workers"] = [dict(counts) for each, _when in tally.deliveries() for counts in each.workers]
        if answers := [dict(counts) for each, _when in tally.deliveries() for counts in each.answers]:
            counters["answers"] = answers
        if tally.parts:
            counters["parts"] = {name: dict(counts) for name, counts in tally.parts.items()}
        equations = [
            {
                "name": each.name,
                "left": each.left,
                "right": each.right,
                "in_flight": each.in_flight,
                "closes": each.closes,
            }
            for each in self.equations
        ]
        return {"closed": self.closed, "loss": self.losses, "equations": equations, "counters": counters}


def total(pages: Iterable[Counts]) -> Counts | None:
    """Sum the counters of processes that do the same work; None if there is none."""
    summed: dict[str, int] | None = None
    for page in pages:
        before = summed or {}
        summed = {name: before.get(name, 0) + count for name, count in page.items()}
    return summed


def build(tally: Tally) -> Ledger:
    """Form the equations and the losses of one run."""
    equations: list[Equation] = []
    if tally.capture is not None and tally.assemble is not None:
        equations += [*_wire(tally.capture), frames(tally.capture, tally.assemble), *_assembly(tally.assemble)]
    if tally.receiver is not None:
        equations.append(_records("received", tally.receiver))
    if tally.reader is not None:
        equations.append(_records("read", tally.reader))
    if tally.outputs:
        equations += _messages(tally)
    return Ledger(tuple(equations), _losses(tally), tally)


def _group(counts: Counts, prefix: str, without: Sequence[str] = ()) -> dict[str, int]:
    """Return every counter that begins with `prefix`, under its name in words."""
    named = {name: count for name, count in counts.items() if name.startswith(prefix) and name not in without}
    return {_words(name): count for name, count in named.items()}


def _words(name: str) -> str:
    head, _, rest = name.partition("_")
    rest = rest.replace("_", " ")
    return rest if head == "segments" else f"{head}: {rest}"


def _wire(capture: Counts) -> list[Equation]:
    """Return what a live source saw go by; the kernel counts what it dropped, and we what we were given."""
    if not capture.get("interfaces_opened", 0):
        return []
    places = {
        "captured": capture["frames_captured"],
        "dropped by the kernel": capture["frames_dropped_kernel"],
        "dropped by the interface": capture["frames_dropped_interface"],
    }
    return [Equation("frames on the wire", sum(places.values()), places)]


def frames(capture: Counts, assemble: Counts) -> Equation:
    """Return what became of the frames that a capture has read."""
    dropped = {
        "dropped at the ring": capture.get("frames_dropped_ring", 0),
        "lost with a capture process": capture.get("frames_lost", 0),
        "aborted": capture.get("frames_aborted", 0),
    }
    taken = {
        "decoded": assemble.get("frames_decoded", 0),
        "joined into datagrams": assemble.get("frames_joined", 0),
        "held: fragments": assemble.get("fragments_held", 0),
        "lost with an assembler": assemble.get("frames_lost", 0),
    }
    packets = capture["frames_captured"] + assemble.get("packets_aggregated", 0)
    return Equation("frames captured", packets, dropped | taken | _group(assemble, "refused_"))


def _assembly(counts: Counts) -> list[Equation]:
    messages = {name: counts.get(f"messages_{name}", 0) for name in ("complete", "incomplete")}
    payload = {
        "in messages": counts.get("bytes_in_messages", 0),
        "duplicate": counts.get("bytes_duplicate", 0),
    }
    return [
        Equation("segments with data", counts["segments_data"], _group(counts, "segments_", NOT_A_CLASS)),
        Equation("bytes of TCP payload", counts["bytes_payload"], payload | _group(counts, "skipped_")),
        Equation("messages", counts["messages"], messages),
    ]


def _records(verb: str, counts: Counts) -> Equation:
    right = {
        "messages": counts["messages"],
        "further parts of messages": counts["records_joined"],
        "refused": counts.get("records_refused", 0),
    }
    return Equation(f"records {verb}", counts["records"], right)


def _messages(tally: Tally) -> list[Equation]:
    verb, source = tally.source
    arrived = source["messages"] if source is not None else 0
    taken = tally.worker("messages_taken")
    aborted = tally.worker("aborted")
    equations = [Equation(f"messages {verb}", arrived, {"taken by workers": taken, "aborted": aborted})]
    if any(each.answers for each, _when in tally.deliveries()):
        equations.append(answers(tally))
    for each, when in tally.deliveries():
        for at, label in enumerate(each.outputs):
            right = {place: each.output(at, place) for place in OUTCOMES}
            drained = each.output(at, "drained")  # put on disk first, and delivered from there
            right["delivered"] += drained
            refused = each.output(at, "spool_refused")
            right["undelivered"] += refused
            right["spooled"] -= drained + refused
            right["aborted"] = each.output(at, "aborted")
            for place in ("responses", "spooled", "poisoned", "aborted"):  # rare: most outputs have no such place
                if not right[place]:
                    del right[place]
            arrived = each.worker("messages_taken") + each.answered(at) + each.output(at, "added")
            equations.append(Equation(f"output {at}: {label}{when}", arrived, right))
    return equations


def answers(tally: Tally) -> Equation:
    """Return what became of the answers to a replay, on their way to the other outputs."""
    dropped = tally.worker("answers_dropped")
    taken = sum(each.answered() for each, _when in tally.deliveries())
    right = {"taken by answer workers": taken, "dropped": dropped, "aborted": tally.answer("aborted")}
    return Equation("answers replayed", tally.worker("answers") + dropped, right)


def _losses(tally: Tally) -> dict[str, int]:
    losses: dict[str, int] = {}
    for counts in (tally.capture, tally.assemble, tally.receiver, tally.reader):
        for name, words in LOSSES.items():
            if counts is not None and counts.get(name, 0):
                losses[words] = losses.get(words, 0) + counts[name]
    if tally.worker("answers_dropped"):
        losses["answers dropped, as the answer ring was full"] = tally.worker("answers_dropped")
    for what, aborted in (("messages", tally.worker("aborted")), ("answers", tally.answer("aborted"))):
        if aborted:
            losses[f"{what} aborted"] = aborted
    for each, when in tally.deliveries():
        for at, label in enumerate(each.outputs):
            for place in OUTPUT_LOSSES:
                count = each.output(at, place)
                if place == "undelivered":
                    count += each.output(at, "spool_refused")
                if count:
                    losses[f"messages {place} at output {at}: {label}{when}"] = count
            if lost := each.output(at, "spool_lost"):
                losses[f"messages of an earlier run lost on disk at output {at}: {label}{when}"] = lost
            for name, words in UNREAD.items():
                count = each.worker(f"output{at}_{name}")
                if count:
                    losses[f"bodies {words} at output {at}: {label}{when}"] = count
    return losses
