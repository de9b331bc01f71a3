"""What an assembler has to make of a capture, computed from what was said and what was captured.

In: lines, captured frames, messages that came out.  Out: complaints, one a line.  Invariant: no HTTP is parsed here and
nothing is reassembled: where messages are is known from who wrote them, and which frame carried which byte first from a
map of bytes.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address

import packets

from assemble import Message, message_id
from generator.seen import Seen
from generator.spoken import CLIENT, SERVER, Spoken
from generator.tap import Captured, Line

IDLE_NS = 60_000_000_000  # idle_timeout: a connection that was silent for so long has ended
Fields = tuple[object, ...]
Wanted = tuple[Spoken, bytes, int | None, bool]  # what damage left of a message: see `damaged`


def seen_of(number: int, line: Line, frames: Sequence[Captured]) -> dict[bool, Seen]:
    """Give what was captured of both sides of a line."""
    mine = [c for c in frames if c.line == number]
    return {
        side: Seen(len(line.talk.streams[side]), (c for c in mine if c.passing.side is side))
        for side in (CLIENT, SERVER)
    }


def ident(line: Line, number: int, ordinal: int = 0) -> int:
    """Give the id of a request."""
    return message_id(line.client, line.cport, line.server, line.sport, number, ordinal)


def request_ids(line: Line, seen: Seen) -> dict[int, int]:
    """Give the id of each exchange's request by the acknowledgement number on its first byte (DESIGN 5)."""
    ids: dict[int, int] = {}
    newest: int | None = None
    has, ordinal = False, 0
    for m in found(line, CLIENT, seen):
        p = seen.carriers(m.start, m.start + 1)[0].passing
        acks = bool(p.flags & packets.ACK)
        number = line.seq(SERVER, p.ack) if acks else 0
        newer = newest is None or ((number - newest + 2**31) % 2**32 > 2**31 if has else number != newest)
        if newest is None or (acks and newer):
            newest, has, ordinal = number, acks, 0
        else:
            ordinal += 1
        ids[m.exchange] = ident(line, newest, ordinal)
    return ids


def found_as(m: Spoken, seen: Seen) -> Spoken | None:
    """Give what a message is found as by its start line, or None if that has a hole where it cannot have one.

    A request of which just the first letters of its method are missing looks like one with another method
    (docs/assembly.md, After a hole): three letters are enough, and no method begins with a dash.
    """
    if seen.whole(m.start, min(m.start + m.start_len, m.end)):
        return m
    end = m.start + len(m.method or b"")
    kept = seen.map.rfind(0, m.start, end) + 1
    kept += seen.content[kept:end].startswith(b"-")
    if not m.method or kept <= m.start or end - kept < 3 or not seen.whole(kept, m.start + m.start_len):
        return None
    gone = kept - m.start
    return replace(m, start=kept, start_len=m.start_len - gone, head_len=m.head_len - gone, method=m.method[gone:])


def found(line: Line, side: bool, seen: Seen) -> list[Spoken]:
    """Give what the messages of a side are found as."""
    said = (m for m in line.talk.spoken if m.side is side and not m.refused)
    return [there for m in said if (there := found_as(m, seen))]


def key_of(line: Line, side: bool) -> Fields:
    """Give the direction that a message of this side has."""
    ends = (ip_address(line.client), line.cport), (ip_address(line.server), line.sport)
    return (*ends[0], *ends[1]) if side else (*ends[1], *ends[0])


def whole_message(m: Spoken, line: Line, seen: dict[bool, Seen], ids: dict[int, int]) -> Fields | None:
    """Give what must come out for one message when every byte of it was captured; None: nothing."""
    half = seen[m.side]
    if m.refused or (m.cut and m.end < m.start + m.start_len):
        return None
    payload = bytes(half.content[m.start : m.end])
    times = [c.t for c in half.carriers(m.start, m.end)]
    complete = not m.cut
    if m.framing == "close" and m.end >= m.start + m.head_len:
        complete = half.fin and not half.reset
    missing = 0
    if m.cut and m.framing == "length" and m.end >= m.start + m.head_len:
        missing = m.soft_end - m.end
    number = ids.get(m.exchange)
    if m.side is SERVER and number is None:
        number = ident(line, line.seq(SERVER, m.start))
    return (
        number,
        m.method.decode("latin-1") if m.method else None,
        m.target.decode("latin-1") if m.target else None,
        m.status,
        min(m.head_len, len(payload)),
        complete,
        missing,
        min(times),
        max(times),
        payload,
    )


def fields_of(message: Message) -> Fields:
    """Give the same of a message that came out."""
    return (
        message.id,
        message.method,
        message.target,
        message.status,
        message.head,
        message.complete,
        message.missing,
        message.first_ns,
        message.last_ns,
        message.payload,
    )


def by_direction(messages: Iterable[Message]) -> dict[Fields, list[Message]]:
    """Sort messages by who sent them to whom, in the order in which they came out."""
    out: dict[Fields, list[Message]] = defaultdict(list)
    for message in messages:
        out[(message.src, message.sport, message.dst, message.dport)].append(message)
    return out


def brief(fields: Fields) -> str:
    """Show a message in one line."""
    return repr(tuple(f if not isinstance(f, bytes | str) or len(f) < 70 else f[:60] for f in fields))


def seems_reset(frames: Iterable[Captured]) -> bool:
    """Tell whether a segment ends where a RST was seen before: the RST may be true, and the segment captured late."""
    resets = set()
    for c in frames:
        p = c.passing
        if p.flags & packets.RST:
            resets.add((p.side, p.at))
        elif c.data and (p.side, p.at + len(p.data)) in resets:
            return True
    return False


def check_whole(lines: Sequence[Line], frames: Sequence[Captured], messages: Sequence[Message]) -> list[str]:
    """Compare with what must come out of a capture that has every byte: exactly that, in order."""
    expected: dict[Fields, list[Fields]] = defaultdict(list)
    unclear = set()
    for number, line in enumerate(lines):
        seen = seen_of(number, line, frames)
        if line.how.false_reset and seems_reset(c for c in frames if c.line == number):
            unclear |= {key_of(line, CLIENT), key_of(line, SERVER)}
        if not all(seen[m.side].whole(m.start, m.end) for m in line.talk.spoken):
            return []  # while a failure is made smaller: this mode says nothing about such a capture
        ids = request_ids(line, seen[CLIENT])
        for m in line.talk.spoken:
            fields = whole_message(m, line, seen, ids)
            if fields is not None:
                expected[key_of(line, m.side)].append(fields)
    got = {key: [fields_of(m) for m in several] for key, several in by_direction(messages).items()}
    out = []
    for key in {*expected, *got} - unclear:
        want, have = expected.get(key, []), got.get(key, [])
        if want == have:
            continue
        at = next((i for i, (w, h) in enumerate(zip(want, have, strict=False)) if w != h), min(len(want), len(have)))
        out.append(
            f"{key}: {len(have)} messages for {len(want)}; number {at}:\n"
            f"   want {brief(want[at]) if at < len(want) else None}\n"
            f"   have {brief(have[at]) if at < len(have) else None}"
        )
    return out


def damaged(m: Spoken, seen: Seen, ended: bool) -> tuple[bytes, int | None, bool]:
    """Give bytes present, bytes missing (None: not known) and whether all bytes are there, of a message with holes."""
    holes = seen.holes(m.start, m.end)
    head_end = m.start + m.head_len
    if not holes:
        return seen.present(m.start, m.end), 0, m.framing != "close" or ended
    cut = seen.present(m.start, holes[0][0])
    if holes[0][0] < head_end:
        return cut, None, False
    gone = sum(min(b, m.end) - a for a, b in holes)
    if m.framing == "length":
        return seen.present(m.start, m.end), gone, False
    if m.framing == "close":
        return seen.present(m.start, m.end), gone if ended else None, False
    present = bytearray(cut)
    at, missing = holes[0][0], 0
    for start, stop in holes:
        present += seen.present(at, start)
        if not any(a <= start and stop <= b for a, b in m.soft):
            return bytes(present), None, False
        missing += stop - start
        at = stop
    return bytes(present) + seen.present(at, m.end), missing, False


def misleading(line: Line, seen: dict[bool, Seen]) -> bool:
    """Tell whether a connection that both sides opened looks like one that the server opened.

    Each side sends a SYN and then a SYN ACK.  Where both of one side were captured, or the same of both, it is plain
    what happened.  Where the server's SYN, the client's SYN ACK, or both of them are all there is, it is not.
    """
    if line.how.opening != "simultaneous":
        return False
    client, server = seen[CLIENT].syns, seen[SERVER].syns
    return client != server and client <= {packets.ACK} and server <= {0}


def silent(line: Line, seen: dict[bool, Seen], frames: Iterable[Captured]) -> bool:
    """Tell whether the tap saw nothing for IDLE_NS in the middle of an exchange: it takes the connection for over.

    The network may have been silent for two shorter times, with something in between that the tap lost.
    """
    times = sorted(c.t for c in frames)
    pauses = [(a, b) for a, b in itertools.pairwise(times) if b - a > IDLE_NS]
    spans: dict[int, list[int]] = defaultdict(list)
    for m in line.talk.spoken if pauses else ():
        spans[m.exchange] += [c.t for c in seen[m.side].carriers(m.start, m.end)]
    return any(min(span) <= a and b <= max(span) for span in spans.values() if span for a, b in pauses)


def check_loss(lines: Sequence[Line], frames: Sequence[Captured], messages: Sequence[Message]) -> list[str]:
    """Hold what must be true of plain traffic of which parts were not captured."""
    out: list[str] = []
    sent = by_direction(messages)
    wanted: dict[Fields, list[tuple[int, Wanted]]] = defaultdict(list)
    all_seen = [seen_of(number, line, frames) for number, line in enumerate(lines)]
    unclear = set()
    for number, line in enumerate(lines):
        for side, half in all_seen[number].items():
            whole = half.fin and not half.reset
            wanted[key_of(line, side)] += [(number, (m, *damaged(m, half, whole))) for m in found(line, side, half)]
        mine = (c for c in frames if c.line == number)
        if misleading(line, all_seen[number]) or silent(line, all_seen[number], mine):
            unclear |= {key_of(line, CLIENT), key_of(line, SERVER)}
    for key in {*wanted, *sent} - unclear:
        want, have = wanted[key], sent.get(key, [])
        out += compare_side(str(key), [w for _, w in want], have)
        if len(have) == len(want):
            for number in {number for number, _ in want}:
                pairs = [(w[0], h) for (n, w), h in zip(want, have, strict=True) if n == number]
                known = [w for w in pairs if w[0].side is CLIENT or not ambiguous(lines[number], all_seen[number])]
                out += check_ids(lines[number], all_seen[number], known)
    return out


def check_wild(lines: Sequence[Line], frames: Sequence[Captured], messages: Sequence[Message]) -> list[str]:
    """Hold what must be true of any traffic of which parts were not captured: nothing is made up."""
    out = []
    sent = by_direction(messages)
    for number, line in enumerate(lines):
        seen = seen_of(number, line, frames)
        for side in (CLIENT, SERVER):
            captured = seen[side].present(0, len(seen[side].map))
            for message in sent.get(key_of(line, side), []):
                if message.payload not in captured:
                    out.append(f"made up: {brief(fields_of(message))}")
    return out


def compare_side(name: str, want: list[Wanted], have: list[Message]) -> list[str]:
    """Compare one side's messages, in order."""
    out = []
    for at in range(max(len(want), len(have))):
        if at >= len(have) or at >= len(want):
            what = "lost" if at >= len(have) else "invented"
            shown = want[at][0] if at >= len(have) else brief(fields_of(have[at]))
            out.append(f"{name}: {what} number {at}: {shown}")
            break
        (m, payload, missing, complete), message = want[at], have[at]
        if message.payload != payload or message.complete != complete:
            out.append(
                f"{name}: number {at} of {len(want)}/{len(have)}: want {len(payload)} bytes "
                f"{'whole' if complete else 'damaged'} missing {missing}, {m}, have {len(message.payload)} "
                f"{brief(fields_of(message))}"
            )
            break
        if missing is not None and message.missing != missing:
            out.append(f"{name}: number {at}: missing {message.missing} for {missing}: {m}")
    return out


def ambiguous(line: Line, seen: dict[bool, Seen]) -> bool:
    """Tell whether a client that pipelines told a number of its own with a request where another one's response starts.

    A client that waits tells the number at which its request's response starts, so this looks like that one.  Requests
    that the server had not received when it sent the response do not show what the client does.
    """
    told: dict[int, list[Spoken]] = defaultdict(list)
    for r in found(line, CLIENT, seen[CLIENT]) if line.talk.pipelined else ():
        told[seen[CLIENT].carriers(r.start, r.start + 1)[0].passing.ack].append(r)
    for m in found(line, SERVER, seen[SERVER]) if told else ():
        received = seen[SERVER].carriers(m.start, m.start + 1)[0].passing.ack
        asked = [r.exchange for r in told[m.start] if r.start < received]
        if len(asked) == 1 and asked != [m.exchange]:
            return True
    return False


def check_ids(line: Line, seen: dict[bool, Seen], pairs: list[tuple[Spoken, Message]]) -> list[str]:
    """Check the ids of messages that were found."""
    ids = request_ids(line, seen[CLIENT])
    out = []
    for m, message in pairs:
        right = {ids[m.exchange]} if m.side is CLIENT else response_ids(line, seen, m, ids.get(m.exchange))
        if message.id not in right:
            out.append(f"id of exchange {m.exchange} of {line.cport}: {m}")
    return out


def response_ids(line: Line, seen: dict[bool, Seen], m: Spoken, request_id: int | None) -> set[int]:
    """Give the ids that a response may have: its request's, or that of a request which nobody saw, or either.

    It is certain whom it answers where the request told that the exchange's first response would start where it did
    start, and nothing of that response and those that follow up to this one is lost.  Behind a lost one it still is
    where the request is the only one that its server can have received by then.  With pipelining it is not.
    """
    alone = ident(line, line.seq(SERVER, m.start))
    if request_id is None or line.talk.pipelined:
        return {alone, alone if request_id is None else request_id}
    requests = found(line, CLIENT, seen[CLIENT])
    at = next(i for i, r in enumerate(requests) if r.exchange == m.exchange)
    first = next(r for r in line.talk.spoken if r.side is SERVER and r.exchange == m.exchange)
    p = seen[CLIENT].carriers(requests[at].start, requests[at].start + 1)[0].passing
    told = bool(p.flags & packets.ACK) and p.ack == first.start
    only = (
        at > 0
        and seen[CLIENT].whole(requests[at - 1].start, requests[at].end)
        and seen[SERVER].carriers(m.start, m.start + 1)[0].passing.ack <= requests[at].end + 1
    )
    return {request_id} if told and (only or seen[SERVER].whole(first.start, m.start)) else {request_id, alone}
