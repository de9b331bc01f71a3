"""Target `parsers`: one input to one parser that Python sees: a frame, a batch of frames, a capture file.

In: a byte that names the parser, then what it reads.  Out: an exception that is not the parser's own, or a frame of
which the reference reads another segment.
"""

from collections.abc import Callable
from typing import Any, Final

import reference

from assemble import MessageStream
from assemble.decode import decode
from capture.errors import MalformedTraffic
from capture.savefile import Cutter

LINKS: Final = (1, 113, 276, 0, 101)
MAPPED: Final = bytes(10) + b"\xff\xff"


def read_frame(link: int, data: bytes) -> None:
    """Decode a frame and compare with the reference."""
    got: dict[str, Any] | None
    try:
        got = decode(data, link)
    except MalformedTraffic:
        got = None
    try:
        wanted = reference.decode(0, 0, link, bytes(data))
    except reference.Refused as refusal:
        # Which version an IP header has, the compiled decoder reads in the header itself.
        assert got is None or refusal.args[0] in ("not ip", "ip"), (
            f"the reference refuses this frame of link type {link}: {got}"
        )
        return
    assert got is not None, f"link type {link}, refused: {wanted}"
    for end in ("src", "dst"):
        assert got[end].rjust(16, MAPPED[11:12])[-4:] == getattr(wanted, end)[-4:]
    assert (got["sport"], got["dport"], got["seq"]) == (wanted.sport, wanted.dport, wanted.seq)
    assert got["ack"] == (wanted.ack if wanted.has_ack else 0)
    assert got["payload"] == wanted.data


def read_batch(data: bytes) -> None:
    """Take a damaged batch: the frames before the damage count."""
    stream = MessageStream()
    try:
        messages = stream.feed_batch(data)
    except ValueError:
        messages = []
    messages += stream.finish()
    assert stream.counters["flows_now"] == stream.counters["bytes_held"] == 0


def read_file(data: bytes) -> None:
    """Cut a capture file that comes in two halves."""
    cutter, started = Cutter(), False
    for part in (data[: len(data) // 2], data[len(data) // 2 :]):
        cutter.feed(part)
        if cutter.known and not started:
            started = True
            cutter.start(None)
        while started and cutter.frames:
            cutter.take()


PARSERS: Final[tuple[Callable[[bytes], None], ...]] = (read_batch, read_file)


def run(data: bytes) -> None:
    """Give all bytes but the first to the parser that the first one names."""
    if len(data) < 2:
        return
    which = data[0] % (len(LINKS) + len(PARSERS))
    if which < len(LINKS):
        read_frame(LINKS[which], data[1:])
    else:
        PARSERS[which - len(LINKS)](bytes(data[1:]))  # a copy: batches lie at multiples of 8
