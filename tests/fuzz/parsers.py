"""Target `parsers`: one input to one parser that Python sees: a frame, a batch of frames, a capture file.

In: a byte that names the parser, then what it reads.  Out: an exception that is not the parser's own, or a frame of
which the reference reads another segment.
"""

from collections.abc import Callable
from typing import Any, Final

import reference
from reference.fragments import Joiner, Piece

from assemble import MessageStream
from assemble.decode import decode
from assemble.fragments import joined
from assemble.protocols import protocol_of
from assemble.proxy import proxy_header_of
from assemble.rare import RARE, strip
from capture.errors import MalformedTraffic
from capture.records import BATCH_HEADER, FRAME_ENTRY
from capture.savefile import Cutter

RARE_LINKS: Final = sorted(RARE)
TIMEOUT_NS: Final = 30_000_000_000
LINKS: Final = (1, 113, 276, 0, 101)
MAPPED: Final = bytes(10) + b"\xff\xff"


def read_frame(link: int, data: bytes) -> None:
    """Decode a frame and compare with the reference."""
    got: dict[str, Any] | None
    try:
        got = decode(data, link)
    except MalformedTraffic:
        got = None
    wanted, refusal = None, ""
    try:
        wanted = reference.decode(0, 0, link, bytes(data))
    except reference.Refused as problem:
        refusal = problem.args[0]
    if wanted is None:  # which version an IP header has, the compiled decoder reads in the header itself
        assert got is None or refusal in ("not ip", "ip"), (
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
    """Take a damaged batch: the frames before the damage count; packet times are before the year 2116."""
    data = bytearray(data)
    for at in range(BATCH_HEADER.size + 7, len(data), FRAME_ENTRY.size):
        data[at] &= 0x3F
    stream = MessageStream()
    try:
        messages = stream.feed_batch(bytes(data))
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


def read_rare(data: bytes) -> None:
    """Strip the headers of a rare link type."""
    for frame in strip(RARE_LINKS[data[0] % len(RARE_LINKS)], data[1:]) or []:
        assert len(frame) >= 14


def read_fragments(data: bytes) -> None:
    """Join fragments: 8 bytes say where one belongs, its data is what comes next in the input."""
    pieces: list[Piece] = []
    now_ns = 0
    for at in range(0, min(len(data) - 8, 800), 8):
        step, ident, protocol, place, more, size, cut, six = data[at : at + 8]
        now_ns += step * step * 1_000_000
        ends = (b"\1" * 16, b"\2" * 16) if six & 1 else (b"\1" * 4, b"\2" * 4)
        offset = 8 * (place if place < 250 else 8192 - 256 + place)
        pieces.append((now_ns, *ends, ident & 3, protocol & 1, offset, bool(more & 1), data[at : at + size], cut & 15))
    for memory in (3000, 1 << 24):
        out, counts = joined(pieces, memory)
        done = sum(each is not None for each in out)
        assert len(pieces) == done + counts["frames_joined"] + counts["refused_ip_fragment"]
        assert counts["fragments_held"] == counts["bytes_held"] == 0
    joiner = Joiner(TIMEOUT_NS)
    assert out == [joiner.take(piece) for piece in pieces]


def read_beginning(data: bytes) -> None:
    """Name the protocol that bytes begin; more bytes do not take back a name."""
    kind, data = data[0] % 3, data[1:]
    names = [protocol_of(data[:size], kind) for size in range(len(data) + 1)]
    told = [name for name in names if name]
    assert not told or names[-len(told) :] == told
    assert len(set(told)) <= 1, told
    sizes = [proxy_header_of(data[:size]) for size in range(len(data) + 1)]
    assert len({size for size in sizes if size is not None}) <= 1


PARSERS: Final[tuple[Callable[[bytes], None], ...]] = (read_batch, read_file, read_rare, read_fragments, read_beginning)


def run(data: bytes) -> None:
    """Give all bytes but the first to the parser that the first one names."""
    if len(data) < 2:
        return
    which = data[0] % (len(LINKS) + len(PARSERS))
    if which < len(LINKS):
        read_frame(LINKS[which], data[1:])
    else:
        PARSERS[which - len(LINKS)](bytes(data[1:]))  # a copy: batches lie at multiples of 8
