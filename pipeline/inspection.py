"""`pipeline inspect`: messages, flows and ledger of a capture, through the library: no process is started.

In: a capture file.  Out: text or JSON Lines on the stream given; beside JSON, the ledger is on the terminal.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final, TextIO

import assemble
from assemble.settings import Settings
from capture.errors import MirrorError
from capture.sources import FrameSource, expand
from pipeline import ledger, report
from pipeline.listing import HEADINGS, Flows, json_line, message_line
from pipeline.terminal import Terminal

MOST_FLOWS_SHOWN: Final = 20

log = logging.getLogger("pipeline")


def inspect(path: str, ports: Sequence[int], as_json: bool, out: TextIO, terminal: Terminal) -> None:
    """List every message, then the flows and the ledger."""
    stream, flows = assemble.MessageStream(Settings(ports=tuple(ports))), Flows()

    def show(messages: Sequence[assemble.Message]) -> None:
        for message in messages:
            flows.add(message)
            out.write((json_line(message) if as_json else message_line(message)) + "\n")

    with FrameSource(expand(path)) as source:
        if not as_json:
            out.write(HEADINGS + "\n")
        failed = _feed(source, stream, show)
        tally = ledger.Tally(source.counters.as_dict(), stream.counters)
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


def _feed(
    source: FrameSource, stream: assemble.MessageStream, show: Callable[[Sequence[assemble.Message]], None]
) -> MirrorError | None:
    """Feed every batch; what is wrong with the file is said after everything whole has been shown."""
    failed = None
    try:
        for batch in source.payloads():
            show(stream.feed_batch(batch))
    except MirrorError as error:
        failed = error
    show(stream.finish())
    return failed
