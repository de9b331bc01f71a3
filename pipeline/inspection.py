"""`pipeline inspect`: messages, flows and ledger of a capture or a file of messages: no process is started.

In: capture files, or recordings, JSON Lines, .gor, HAR.  Out: text or JSON Lines on the stream given; beside JSON, the
ledger is on the terminal.
"""

import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Final, TextIO

import assemble
from assemble.message import read_message
from assemble.settings import Settings
from capture.errors import MirrorError
from capture.sources import FrameSource, expand
from emit.formats import by_content, is_capture, look
from emit.merging import Merge
from pipeline import ledger, report
from pipeline.listing import HEADINGS, Flows, json_line, message_line
from pipeline.terminal import Terminal

MOST_FLOWS_SHOWN: Final = 20

Show = Callable[[Sequence[assemble.Message]], None]

log = logging.getLogger("pipeline")


def inspect(path: str, ports: Sequence[int], as_json: bool, out: TextIO, terminal: Terminal) -> None:
    """List every message, then the flows and the ledger."""
    flows = Flows()

    def show(messages: Sequence[assemble.Message]) -> None:
        for message in messages:
            flows.add(message)
            out.write((json_line(message) if as_json else message_line(message)) + "\n")

    def begin() -> None:
        if not as_json:
            out.write(HEADINGS + "\n")

    paths = expand(path)
    tally, failed = (_messages if hold_messages(paths) else _captures)(paths, ports, begin, show)
    built = ledger.build(tally)
    if as_json:
        out.flush()
        terminal.line(report.plain(built))
    else:
        out.write("\n" + "\n".join(flows.lines(MOST_FLOWS_SHOWN)) + "\n\n" + report.plain(built) + "\n")
    if failed is not None:
        raise failed
    if not built.closed:
        raise MirrorError("the ledger does not close: something is in no counted place; this is a bug")


def _captures(
    paths: Sequence[str], ports: Sequence[int], begin: Callable[[], None], show: Show
) -> tuple[ledger.Tally, MirrorError | None]:
    stream = assemble.MessageStream(Settings(ports=tuple(ports)))
    with FrameSource(paths) as source:
        begin()
        failed = _feed(source, stream, show)
        return ledger.Tally(source.counters.as_dict(), stream.counters), failed


def _messages(
    paths: Sequence[str], ports: Sequence[int], begin: Callable[[], None], show: Show
) -> tuple[ledger.Tally, None]:
    messages = 0
    with contextlib.closing(Merge(paths)) as merge:
        begin()
        for entry in merge.entries():
            messages += 1
            message = read_message(entry.record)
            if not ports or message.sport in ports or message.dport in ports:
                show([message])
        counts = merge.counts | {"messages": messages}
    return ledger.Tally(reader=counts), None


def hold_messages(paths: Sequence[str]) -> bool | None:
    """Tell whether files hold messages, not frames; None if there is none that can be looked at twice."""
    begins = [begin for begin in map(look, paths) if begin]
    return all(by_content(begin) is not None and not is_capture(begin) for begin in begins) if begins else None


def _feed(source: FrameSource, stream: assemble.MessageStream, show: Show) -> MirrorError | None:
    """Feed every batch; what is wrong with the file is said after everything whole has been shown."""
    failed = None
    try:
        for batch in source.payloads():
            show(stream.feed_batch(batch))
    except MirrorError as error:
        failed = error
    show(stream.finish())
    return failed
