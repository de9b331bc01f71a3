"""Target `reassembly`: an input is a program of segments of up to four connections, in any order, to any limits.

In: two bytes of set-up, then four bytes for each segment and its literal payload (see `Program`).  Out: an exception
when the books do not close, a message holds what was not sent, or how the frames were batched shows.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from talks import audit

from assemble import Message, MessageStream, Settings
from fuzz.sent import was_sent
from fuzz.tokens import TOKENS
from fuzz.wires import CLIENT_PORTS, START_NS, Segment, Tape

SETTINGS: Final = (
    Settings(),
    Settings(max_header=64, max_message=128, memory=1 << 16),
    Settings(memory=6000),
    Settings(gap_timeout_s=0.05, idle_timeout_s=1),
    Settings(responses=False),
    Settings(max_header=200, max_message=100),
    Settings(ports=(CLIENT_PORTS[1],)),
    Settings(memory=2000, gap_timeout_s=0.5, max_message=300),
)
ISNS: Final = (1000, 2**32 - 1, 2**32 - 20, 2**31 - 10, 0, 2**32 - 300, 2**31, 5000)
FIN, SYN, RST, ACK, URG = 1, 2, 4, 16, 32
FLAGS: Final = (ACK, SYN, SYN | ACK, FIN | ACK, RST, RST | ACK, 0, ACK | URG)
STEPS_NS: Final = (1_000_000, 600_000_000, 4_000_000_000, -2_000_000)
LONG_NS: Final = 70_000_000_000
FAR: Final = {125: 70_000, 126: 2**30 + 1, 127: 2**31 - 2, -128: -(2**31), -127: -(2**24) - 1, -126: -70_000}
FIRST_TOKEN: Final = 0xA0  # payload lengths from here on name a token instead
MOST_SEGMENTS: Final = 300

STATUS_LINE: Final = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})")


@dataclass(slots=True)
class Side:
    """How far one direction of one connection has come."""

    isn: int
    said: int = 0  # stream bytes, a FIN counted as one


@dataclass
class Program:
    """Reads an input as segments.

    set-up byte 0   bits 0-2 SETTINGS
    set-up byte 1   bits 0-2 and 3-5 ISNS of client and server, bit 6: one frame a batch, too, and compare

    segment byte 0  bit 0 from the server, bits 1-3 FLAGS, bits 4-5 connection, bits 6-7 STEPS_NS before it
    segment byte 1  signed: its place relative to the next byte due, or FAR; of a SYN: another first sequence number
    segment byte 2  signed: its acknowledgement relative to all that the other side has said
    segment byte 3  bytes of payload, which follow; from FIRST_TOKEN on: a token
    """

    data: bytes
    tape: Tape = field(default_factory=Tape)
    sides: dict[tuple[int, bool], Side] = field(default_factory=dict)
    now_ns: int = START_NS

    def __post_init__(self) -> None:
        """Set up the connections."""
        isn = self.data[1]
        for port in CLIENT_PORTS:
            self.sides[port, True] = Side(ISNS[isn & 7])
            self.sides[port, False] = Side(ISNS[isn >> 3 & 7])

    def read(self) -> Tape:
        """Read all segments."""
        at = 2
        while at + 4 <= len(self.data) and len(self.tape.segments) < MOST_SEGMENTS:
            op, place, ack, size = self.data[at : at + 4]
            at += 4
            if size >= FIRST_TOKEN:
                payload = TOKENS[(size - FIRST_TOKEN) % len(TOKENS)]
            else:
                payload = self.data[at : at + size]
                at += size
            self._put(op, place - 256 * (place > 127), ack - 256 * (ack > 127), payload)
        return self.tape

    def _put(self, op: int, place: int, ack: int, payload: bytes) -> None:
        from_client, port, flags = not op & 1, CLIENT_PORTS[op >> 4 & 3], FLAGS[op >> 1 & 7]
        step_ns = STEPS_NS[op >> 6]
        self.now_ns += LONG_NS if step_ns < 0 and not payload else step_ns
        mine, other = self.sides[port, from_client], self.sides[port, not from_client]
        if flags & SYN:
            if place:
                mine.isn, mine.said = (ISNS[op & 7] + 1000 * place) % 2**32, 0
            at = 0
        else:
            at = mine.said + FAR.get(place, place)
        seq = mine.isn + at if flags & SYN else mine.isn + 1 + at
        if FAR.get(place, place) == place:
            mine.said = max(mine.said, at + len(payload) + (flags & FIN))
        number = (other.isn + 1 + other.said + ack) % 2**32 if flags & ACK else 0
        self.tape.segments.append(Segment(self.now_ns, port, from_client, seq % 2**32, number, flags, payload))


def run(data: bytes) -> None:
    """Assemble one program and check what comes out."""
    data = bytes(data)
    if len(data) < 6:
        return
    tape = Program(data).read()
    settings = SETTINGS[data[0] & 7]
    messages = assembled(tape, settings)
    for message in messages:
        check(message, tape, settings)
    if data[1] & 64:
        alone = MessageStream(settings)
        singly = [m for segment in tape.segments for m in alone.feed([(segment.ts_ns, segment.frame())])]
        assert singly + alone.finish() == messages, "batching shows"


def assembled(tape: Tape, settings: Settings) -> list[Message]:
    """Assemble in one batch, with the books audited."""
    stream = MessageStream(settings)
    messages = stream.feed_batch(tape.batch())
    assert stream.counters["bytes_held"] <= settings.memory
    messages += stream.finish()
    audit(stream.counters, tape.frames(), messages)
    return messages


def check(message: Message, tape: Tape, settings: Settings) -> None:
    """Hold a message's fields against each other and against what its sender sent."""
    m = message
    assert 0 < len(m.payload) <= settings.max_message
    assert 0 < m.head <= len(m.payload)
    if m.complete:
        assert m.payload[: m.head].endswith((b"\n\r\n", b"\n\n"))
    if m.kind == "request":
        assert m.method
        assert m.target
        method, target = m.method.encode("latin-1"), m.target.encode("latin-1")
        assert m.payload.startswith(method)
        assert m.payload[len(method) :].lstrip(b" \t\v\f\r").startswith(target)
    else:
        line = STATUS_LINE.match(m.payload)
        assert line
        assert int(line[1]) == m.status
    sender = [s for s in tape.segments if (s.sport, s.dport) == (m.sport, m.dport)]
    assert {m.first_ns, m.last_ns} <= {s.ts_ns for s in sender}
    assert m.first_ns <= m.last_ns
    assert was_sent(m.payload, m.missing, [(s.seq + bool(s.flags & SYN), s.data) for s in sender]), "never sent"
