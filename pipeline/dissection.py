"""`pipeline inspect FILE --frame N`: one frame, header by header, and what the pipeline did with it.

In: a capture file and a frame's number.  Out: text.  The headers are told by impacket's decoders, so by other
code than ours; what the pipeline did is what its counters and messages say before and after that frame.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple, TextIO

import assemble
from assemble.decode import Decoder
from assemble.records import REFUSALS
from assemble.settings import Settings
from capture.errors import ConfigError, MalformedTraffic
from capture.records import BATCH_HEADER, FRAME_ENTRY
from capture.sources import FrameSource, expand
from pipeline.listing import message_line, when

LINK_NULL: Final = 0
LINK_ETHERNET: Final = 1
LINK_RAW: Final = (101, 228, 229)
LINK_DOT11: Final = 105
LINK_LOOP: Final = 108
LINK_SLL: Final = 113
LINK_RADIOTAP: Final = 127
LINK_SLL2: Final = 276
ENDS: Final = (("src", "sport"), ("dst", "dport"))
SLL2_BYTES: Final = 20
FAMILY_BYTES: Final = 4
LEVELS: Final = ("flows_now", "bytes_held", "bytes_held_peak")  # counters that go up and down


class Frame(NamedTuple):
    """One frame of a capture, with its number from 1."""

    number: int
    ts_ns: int
    wirelen: int
    link: int
    data: bytes


def explain_frame(path: str, ports: Sequence[int], number: int, out: TextIO) -> None:
    """Write the frame's headers, and what became of it."""
    stream = assemble.MessageStream(Settings(ports=tuple(ports)))
    seen = 0
    with FrameSource(expand(path)) as source:
        for batch in source.payloads():
            seen += BATCH_HEADER.unpack_from(batch)[0]
            if seen < number:
                stream.feed_batch(batch)
                continue
            for frame in frames(batch):
                if frame.number == number:
                    _explain(frame, stream, out)
                    return
                stream.feed([(frame.ts_ns, frame.data)], frame.link)
    raise ConfigError(f"--frame {number}: {path} has {seen:,} frames; write a number from 1 to {seen}")


def frames(batch: bytes) -> Iterator[Frame]:
    """Take a batch apart (capture/records.py)."""
    count, _, first = BATCH_HEADER.unpack_from(batch)
    start = BATCH_HEADER.size + count * FRAME_ENTRY.size
    for at in range(count):
        ts_ns, offset, caplen, wirelen, link, _ = FRAME_ENTRY.unpack_from(
            batch, BATCH_HEADER.size + at * FRAME_ENTRY.size
        )
        data = batch[start + offset : start + offset + caplen]
        yield Frame(first + at, ts_ns, wirelen, link, data)


def _explain(frame: Frame, stream: assemble.MessageStream, out: TextIO) -> None:
    size = f"{len(frame.data)} bytes"
    if frame.wirelen not in (0, len(frame.data)):
        size += f" of {frame.wirelen} on the wire"
    out.write(f"frame {frame.number}, {when(frame.ts_ns)} UTC, {size}, link type {frame.link}\n\n")
    out.write(headers(frame.data, frame.link) + "\n\nwhat the pipeline did with it:\n")
    for line in segment(frame):
        out.write(f"    {line}\n")
    before = stream.counters
    messages = stream.feed([(frame.ts_ns, frame.data)], frame.link)
    for line in changes(before, stream.counters):
        out.write(f"    {line}\n")
    for message in messages:
        out.write(f"    completed {message.kind} {message_line(message)}\n")


def segment(frame: Frame) -> Iterator[str]:
    """Say which TCP segment our own decoder finds in a frame, below whatever tunnels impacket stops at."""
    try:
        found = Decoder(Settings()).read(frame.data, frame.link, frame.ts_ns)
    except MalformedTraffic:
        return  # the counters say why
    source, target = (f"{ip_address(found[host])} port {found[port]}" for host, port in ENDS)
    yield f"read as {source} to {target}, sequence number {found['seq']}, {len(found['payload'])} bytes of data"


def headers(data: bytes, link: int) -> str:
    """Tell a frame's headers in impacket's words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # impacket's own business
        from impacket import ImpactDecoder

    logging.getLogger("impacket").setLevel(logging.ERROR)  # its guesses are in its answer
    if link == LINK_ETHERNET:
        decoder = ImpactDecoder.EthDecoder()
    elif link == LINK_SLL:
        decoder = ImpactDecoder.LinuxSLLDecoder()
    elif link == LINK_DOT11:
        decoder = ImpactDecoder.Dot11Decoder()
    elif link == LINK_RADIOTAP:
        decoder = ImpactDecoder.RadioTapDecoder()
    elif link in (LINK_NULL, LINK_LOOP, LINK_SLL2, *LINK_RAW):
        data = data[{LINK_SLL2: SLL2_BYTES}.get(link, 0 if link in LINK_RAW else FAMILY_BYTES) :]
        decoder = ImpactDecoder.IP6Decoder() if data[:1] >= b"\x60" else ImpactDecoder.IPDecoder()
    else:
        return f"impacket has no decoder for link type {link}"
    try:
        return str(decoder.decode(data)).rstrip()
    except Exception as error:  # whatever a broken frame does to a foreign decoder is the answer here
        return f"impacket cannot read it: {type(error).__name__}: {error}"


def changes(before: dict[str, int], after: dict[str, int]) -> Iterator[str]:
    """Say in words what one frame changed in the assembler's counters."""
    for name, count in after.items():
        added = count - before.get(name, 0)
        if not added or name in LEVELS:
            continue
        if name in REFUSALS:
            yield f"refused: {REFUSALS[name]}"
        elif name in ("frames_decoded", "segments_data", "segments_control"):
            yield {"frames_decoded": "decoded", "segments_data": "a segment with data"}.get(
                name, "a segment without data"
            )
        elif name.startswith("segments_"):
            yield f"taken as {name.removeprefix('segments_').replace('_', ' ')}"
        else:
            yield f"{name.replace('_', ' ')}: {added:+,}"
    held = after.get("bytes_held", 0) - before.get("bytes_held", 0)
    if held:
        yield f"bytes held for messages not whole yet: {held:+,}"
