"""Target `framing`: two byte streams of one connection, cut anywhere, against the uncut ones and the reference.

In: five bytes of set-up, then what is said; bytes 1 and 2 in it give the word to the client and to the server.
Out: an exception when cuts, or the order in which the frames of one turn were captured, show, or when the reference
in Python finds other messages.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from engines import by_reference
from reference.framer import REQUEST_START, STATUS_START
from talks import audit

from assemble import Message, MessageStream
from fuzz.wires import CLIENT_PORTS, SERVER_PORT, START_NS, Segment, Tape

ISNS: Final = (1000, 2**32 - 1, 2**32 - 20, 2**31 - 10)
FIN, SYN, ACK = 1, 2, 16
MOST_BYTES: Final = 3000  # less than any limit of reference and compiled framer
STEP_NS: Final = 1_000_000
TUNNEL: Final = re.compile(rb"CONNECT|Upgrade| 101", re.IGNORECASE)  # where one begins depends on what is seen first

ASKS: Final = re.compile(rb"[A-Z]{3} [^\n]* HTTP/1")
# A coding of two words, or of none:
UNDECIDED: Final = re.compile(
    rb"(?i:chunked|identity)(?:[ \t]|\r(?!\n)|\n[ \t])+[^ \t\r\n,;]|(?i:encoding[ \t]*:)(?:[^;\n]*,)?\s*;"
)


@dataclass(slots=True)
class Connection:
    """Builds the segments of one connection; all segments of a turn have one time and one acknowledgement."""

    isn: dict[bool, int]
    tape: Tape
    said: dict[bool, int]
    now_ns: int = START_NS

    def put(self, side: bool, data: bytes, flags: int = ACK, at: int | None = None) -> None:
        """Capture one segment."""
        at = self.said[side] if at is None else at
        ack = (self.isn[not side] + 1 + self.said[not side]) % 2**32 if flags & ACK else 0
        seq = (self.isn[side] + 1 + at) % 2**32
        self.tape.segments.append(Segment(self.now_ns, CLIENT_PORTS[0], side, seq, ack, flags, data))

    def open(self) -> None:
        """Capture the handshake."""
        self.put(True, b"", SYN, -1)
        self.put(False, b"", SYN | ACK, -1)
        self.put(True, b"")

    def say(self, side: bool, pieces: Iterable[tuple[int, bytes]], size: int) -> None:
        """Capture a turn of so many bytes, in these pieces."""
        self.now_ns += STEP_NS
        for at, piece in pieces:
            self.put(side, piece, at=self.said[side] + at)
        self.said[side] += size

    def close(self, first: bool) -> None:
        """Capture both FINs."""
        for side in (first, not first):
            self.now_ns += STEP_NS
            self.put(side, b"", FIN | ACK)
            self.said[side] += 1


def turns(text: bytes) -> list[tuple[bool, bytes]]:
    """Split what is said into turns; the client begins."""
    out, side = [], True
    for word in text.replace(b"\x02", b"\x01\x02").split(b"\x01"):
        side = not word.startswith(b"\x02")
        if said := word.lstrip(b"\x02"):
            out.append((side, said))
    return out


def cut(data: bytes, random: Random, most: int) -> list[tuple[int, bytes]]:
    """Cut a turn into pieces of 1 to `most` bytes."""
    out, at = [], 0
    while at < len(data):
        size = random.randint(1, most)
        out.append((at, data[at : at + size]))
        at += size
    return out


def said(data: bytes, cutter: Callable[[bytes], list[tuple[int, bytes]]]) -> Tape:
    """Build the connection that an input describes, each turn cut by `cutter`.

    byte 0   bit 0 with handshake, bits 1-2 how it ends: open, by the server, by the client; bits 3-4, 5-6 ISNS
    byte 1   the longest piece; bytes 2 and 3: seed of the cuts
    byte 4   bit 0 pieces of a turn in any order, bit 1 they overlap, bit 2 pieces of several turns in any order
    """
    how = data[0]
    connection = Connection({True: ISNS[how >> 3 & 3], False: ISNS[how >> 5 & 3]}, Tape(), {True: 0, False: 0})
    if how & 1:
        connection.open()
    for side, words in turns(data[5 : 5 + MOST_BYTES]):
        connection.say(side, cutter(words), len(words))
    if how & 6:
        connection.close(first=bool(how & 4))
    return connection.tape


def disturbed(data: bytes, random: Random) -> Tape:
    """Build it cut, and disturbed within each turn if it says so: what came first is known by the handshake."""

    def pieces(words: bytes) -> list[tuple[int, bytes]]:
        out = cut(words, random, data[1] or 1)
        if data[4] & 2:
            out = [(max(0, at - back), words[max(0, at - back) : at + len(piece)])
                   for at, piece in out for back in (random.randint(0, 9),)]  # fmt: skip
        if data[4] & 1 and data[0] & 1:
            random.shuffle(out)
        return out

    return said(data, pieces)


def reordered(tape: Tape, random: Random) -> Tape:
    """Capture all frames but the handshake's up to some frames later."""
    keys = {id(segment): at + (random.uniform(0, 6) if at > 2 else 0) for at, segment in enumerate(tape.segments)}
    moved = sorted(tape.segments, key=lambda segment: keys[id(segment)])
    return Tape([replace(segment, ts_ns=START_NS + at * STEP_NS) for at, segment in enumerate(moved)])


def assembled(tape: Tape) -> tuple[list[Message], dict[str, int]]:
    """Assemble, with the books audited, in an order that does not depend on which half was ready first."""
    stream = MessageStream()
    messages = stream.feed_batch(tape.batch()) + stream.finish()
    counters = stream.counters
    audit(counters, tape.frames(), messages)
    return sorted(messages, key=repr), counters


def run(data: bytes) -> None:
    """Assemble uncut, cut and by the reference; all three give the same."""
    data = bytes(data)
    if len(data) < 6:
        return
    whole = said(data, lambda words: [(0, words)])
    random = Random(int.from_bytes(data[2:4], "big"))
    uncut, counters = assembled(whole)
    in_step = counters["bytes_in_messages"] == counters["bytes_payload"]
    unfair = is_unfair(uncut, whole)
    if counters["skipped_bad_length"] and not data[0] & 1:
        unfair = unfair or speaks_turned(whole)
    pieces = disturbed(data, random)
    got, _ = assembled(pieces)
    if not in_step and TUNNEL.search(data):
        return
    if not in_step:  # of bytes that may yet begin a message, only the first one's time and acknowledgement are kept
        got, uncut = requests_alone(got), requests_alone(uncut)
    assert got == uncut, f"cuts show: {different(got, uncut)}"
    if data[4] & 4 and data[0] & 1 and in_step and not TUNNEL.search(data):
        got, wanted = timeless(assembled(reordered(pieces, random))[0]), timeless(uncut)
        assert got == wanted, f"the order shows: {different(got, wanted)}"
    if unfair or UNDECIDED.search(data) or (not data[0] & 1 and server_asks(whole)):
        return
    wanted = by_reference(whole.frames())
    if turned(wanted):
        return
    if not in_step:  # which request an answer among rubbish belongs to is anybody's guess
        uncut, wanted = requests_alone(uncut), requests_alone(wanted)
    got, wanted = sorted(uncut, key=repr), sorted(wanted, key=repr)
    assert got == wanted, f"the reference differs: {different(got, wanted)}"


def is_unfair(messages: list[Message], tape: Tape) -> bool:
    """Tell of what the two read differently.

    A head that was not ended when the answer came, perhaps as a hole cuts it later: is it answered?
    Requests from the server's port: which side is the client?
    A chunk-size line that is wrong, but not ended yet: where does the message end?
    """
    if turned([m for m in messages if m.kind == "request"]):
        return True
    broken = [m for m in messages if not m.complete and not m.missing]
    if any(m.head == len(m.payload) or b"chunked" in m.payload.lower() for m in broken):
        return True
    heads = [(m, m.payload[: m.head]) for m in messages if m.kind == "request"]
    pieced = [m for m, head in heads if not any(head in segment.data for segment in tape.segments)]
    answers = [m.first_ns for m in messages if m.kind == "response"]
    if any(m.first_ns <= ts_ns <= m.last_ns for m in pieced for ts_ns in answers):
        return True
    cut = [m for m, head in heads if m.missing and len(head) == len(m.payload)]
    return any(answered_early(m, ts_ns, tape) for m in cut for ts_ns in answers)


def answered_early(request: Message, ts_ns: int, tape: Tape) -> bool:
    """Tell whether an answer of this time acknowledges no more of a head than there is before the hole that cuts it."""
    mine = [s for s in tape.segments if s.port == request.sport]
    ends = [s.seq + len(s.data) for s in mine if s.from_client and request.first_ns <= s.ts_ns <= request.last_ns]
    acks = [s.ack for s in mine if not s.from_client and s.ts_ns == ts_ns and s.data]
    return any((end - ack) % 2**32 < MOST_BYTES for end in ends for ack in acks)


def server_asks(tape: Tape) -> bool:
    """Tell whether a server says a request line: without a handshake, and among rubbish, it may be the client."""
    return any(not segment.from_client and ASKS.search(segment.data) for segment in tape.segments)


def turned(messages: list[Message]) -> bool:
    """Tell whether a server's port asks, or a client's answers: both sides say what only one of them can."""
    return any((m.kind == "request") == (m.sport == SERVER_PORT) for m in messages)


def speaks_turned(tape: Tape) -> bool:
    """Tell whether a server's port sends a request line, or a client's a status line, as part of anything.

    The first head of a connection joined late tells its sides, even one that is refused and in no message.
    """
    words = {side: b"".join(s.data for s in tape.segments if s.from_client == side) for side in (True, False)}
    return bool(STATUS_START.search(words[True]) or REQUEST_START.search(words[False]))


def requests_alone(messages: list[Message]) -> list[Message]:
    """Leave out what depends on an acknowledgement number: ids, and responses, as they are framed by their request."""
    return timeless([m for m in messages if m.kind == "request"], ids=False)


def timeless(messages: list[Message], *, ids: bool = True) -> list[Message]:
    """Leave out the times, which tell the order of the frames, and perhaps the ids."""
    return sorted((m.replace(first_ns=0, last_ns=0, id=m.id if ids else 0) for m in messages), key=repr)


def different(got: list[Message], wanted: list[Message]) -> str:
    """Show what only one of two lists has."""
    return (
        f"\nonly compiled {[m for m in got if m not in wanted]}\nonly reference {[m for m in wanted if m not in got]}"
    )
