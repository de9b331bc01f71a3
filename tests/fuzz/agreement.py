"""Target `agreement`: programs of segments, calm enough for the reference to be right, against the compiled core.

In: a program of the reassembly target; it gets a handshake, and of what it says only places, sides, connections and
payload count.  Out: an exception when the two give other messages: holes, overlaps, other orders, any conversation.
"""

import re
from typing import Final

from engines import by_reference
from talks import audit

from assemble import MessageStream
from fuzz.framing import different, is_unfair, timeless, turned
from fuzz.reassembly import FAR, Program
from fuzz.wires import Tape

OPEN: Final = ((0x02, 0x05), (0x12, 0x15), (0x22, 0x25), (0x32, 0x35))  # SYN, SYN of the server; by connection
CLOSE: Final = ((0x06, 0x07), (0x16, 0x17), (0x26, 0x27), (0x36, 0x37))  # both FINs
SIDE_AND_CONNECTION: Final = 0x31  # bits of a segment's first byte
SWITCH: Final = re.compile(rb"HTTP/1\.[0-9] 101|CONNECT")
"""A 101 that nobody asked for, upon which the reference drops all requests; and tunnels, which begin where the answer
to the one request is seen: the reference knows of it only when it has sorted out all others."""


class Calm(Program):
    """Reads an input as segments that a working network carries: all acknowledged, at most some bytes out of place."""

    def read(self) -> Tape:
        """Read all segments, between handshake and, if set-up byte 0 is odd, the end."""
        self._control(OPEN)
        super().read()
        if self.data[0] & 1:
            self._control(CLOSE)
        return self.tape

    def begins_blank(self) -> bool:
        """Tell of a stream that begins with an empty line: with a hole behind it, all of it is taken for no HTTP."""
        for segment in self.tape.segments:
            first = (self.sides[segment.port, segment.from_client].isn + 1 - segment.seq) % 2**32
            if segment.data[first : first + 1] in (b"\r", b"\n"):
                return True
        return False

    def _control(self, segments: tuple[tuple[int, int], ...]) -> None:
        for both in segments:
            for op in both:
                super()._put(op, 0, 0, b"")

    def _put(self, op: int, place: int, ack: int, payload: bytes) -> None:
        del ack  # what the other side has said is always acknowledged
        super()._put(op & SIDE_AND_CONNECTION, 0 if place in FAR else place, 0, payload)


def run(data: bytes) -> None:
    """Assemble one program both ways."""
    data = bytes(data)
    if len(data) < 6:
        return
    program = Calm(data)
    tape = program.read()
    if any(SWITCH.search(segment.data) for segment in tape.segments) or program.begins_blank():
        return
    frames = tape.frames()
    stream = MessageStream()
    got = stream.feed_batch(tape.batch()) + stream.finish()
    counters = stream.counters
    audit(counters, frames, got)
    wanted = by_reference(frames)
    if turned(got + wanted) or is_unfair(got, tape):  # turned: or the SYN lies
        return
    if counters["bytes_in_messages"] + counters["bytes_duplicate"] != counters["bytes_payload"]:
        got, wanted = timeless(got, ids=False), timeless(wanted, ids=False)
    got, wanted = sorted(got, key=repr), sorted(wanted, key=repr)
    assert got == wanted, f"the reference differs: {different(got, wanted)}"
