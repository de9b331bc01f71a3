"""Hypothesis strategies for the packets of a conversation, and for what networks do to them.

In: a `Conversation`.  Out: `Traffic`: frames as a tap would capture them, and the messages, with their ids,
that must come out whatever cuts, orders, repetitions, overlaps and sequence numbers the packets had.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from itertools import pairwise
from random import Random
from typing import Final

import packets
from hypothesis import strategies as st
from packets_files import Frame
from strategies import Conversation, Expected, between, conversations, pick

START_NS: Final = 1_700_000_000_000_000_000
STEP_NS: Final = 7_000
PIECE_BYTES: Final = 60_000
ISNS: Final = st.one_of(between(2**32 - 300, 2**32 - 1), between(0, 2**32 - 1), pick(0, 2**31 - 5))
Identity = Callable[[bytes, int, bytes, int, int, int], int]


@dataclass(frozen=True)
class Ends:
    """The two ends of a connection, and the first sequence number of each."""

    client: str = "192.0.2.1"
    cport: int = 40000
    server: str = "192.0.2.2"
    sport: int = 80
    client_isn: int = 1000
    server_isn: int = 5000


@dataclass(frozen=True)
class Piece:
    """One segment to be: its place in its half's stream (0 is the first byte), the peer's bytes it acks."""

    from_client: bool
    at: int
    ack: int | None
    data: bytes = b""
    flags: int = 0


@dataclass
class Traffic:
    """Frames in capture order, and what must come of them."""

    ends: Ends
    pieces: list[Piece]
    conversation: Conversation
    acks: dict[int, int | None]  # per exchange: what the first byte of its request acknowledged

    def frames(self, link: int = packets.LINK_ETHERNET, start_ns: int = START_NS) -> list[Frame]:
        """Build the frames, a few microseconds apart."""
        return [
            (start_ns + i * STEP_NS, packets.frame(self.segment(piece), link)) for i, piece in enumerate(self.pieces)
        ]

    def segment(self, piece: Piece) -> packets.Tcp:
        """Give the segment of a piece."""
        e = self.ends
        mine, peers = (e.client_isn, e.server_isn) if piece.from_client else (e.server_isn, e.client_isn)
        there = packets.Tcp(
            src=e.client,
            sport=e.cport,
            dst=e.server,
            dport=e.sport,
            seq=(mine + 1 + piece.at) % 2**32,
            ack=0 if piece.ack is None else (peers + 1 + piece.ack) % 2**32,
            flags=piece.flags | (packets.ACK if piece.ack is not None else 0) | (packets.PSH if piece.data else 0),
            data=piece.data,
        )
        if piece.from_client:
            return there
        return replace(there, src=e.server, sport=e.sport, dst=e.client, dport=e.cport)

    def ids(self, identity: Identity) -> dict[int, int]:
        """Compute the id of every exchange."""
        e = self.ends
        seen: Counter[int] = Counter()
        out = {}
        for exchange, ack in self.acks.items():
            number = 0 if ack is None else (e.server_isn + 1 + ack) % 2**32
            out[exchange] = identity(mapped(e.client), e.cport, mapped(e.server), e.sport, number, seen[number])
            seen[number] += 1
        return out

    def expected(self, identity: Identity) -> list[tuple[object, ...]]:
        """Give what must come out, as `summary` puts it."""
        e, ids = self.ends, self.ids(identity)
        there, back = (e.client, e.cport, e.server, e.sport), (e.server, e.sport, e.client, e.cport)
        return [
            (ids[x.exchange], x.kind, *(there if x.kind == "request" else back), *_content(x))
            for x in self.conversation.expected
        ]


def _content(x: Expected) -> tuple[object, ...]:
    target = None if x.target is None else x.target.encode("latin-1").decode("latin-1")
    return x.method, target, x.status, x.head, x.complete, 0, x.payload


def summary(message) -> tuple[object, ...]:  # type: ignore[no-untyped-def]
    """Put all of a message but its times into a tuple that compares and prints well."""
    m = message
    return (
        m.id, m.kind, str(m.src), m.sport, str(m.dst), m.dport,
        m.method, m.target, m.status, m.head, m.complete, m.missing, m.payload,
    )  # fmt: skip


def mapped(address: str) -> bytes:
    """Give an address as 16 bytes, IPv4 mapped into IPv6."""
    plain = ip_address(address)
    return plain.packed if isinstance(plain, IPv6Address) else bytes(10) + b"\xff\xff" + plain.packed


@st.composite
def ends(draw: st.DrawFn, cport: int = 40000) -> Ends:
    """Give two ends in either family, with first sequence numbers anywhere, often just below the wrap."""
    client, server = draw(pick(("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2"), ("127.0.0.1", "127.0.0.1")))
    return Ends(client, cport, server, draw(pick(80, 8080)), draw(ISNS), draw(ISNS))


@st.composite
def cuts(draw: st.DrawFn, size: int) -> list[int]:
    """Give increasing cut positions inside a run of so many bytes, [0, ..., size]."""
    if size < 400 and draw(between(0, 9)) == 9:
        return list(range(size + 1))
    inside = draw(st.sets(st.integers(1, max(1, size - 1)), max_size=6)) if size > 1 else set()
    return sorted({0, size, *inside, *range(PIECE_BYTES, size, PIECE_BYTES)})


@st.composite
def clean(draw: st.DrawFn, talk: Conversation, where: Ends, *, handshake: bool = True) -> Traffic:
    """Give the packets of a conversation on a perfect network."""
    sent = {True: 0, False: 0}
    pieces: list[Piece] = []
    acks: dict[int, int | None] = {}
    turns = list(talk.turns)
    fast_open = handshake and draw(between(0, 9)) == 9 and len(turns[0].data) < PIECE_BYTES
    if handshake:
        early = turns[0].data[: draw(between(1, max(1, len(turns[0].data))))] if fast_open else b""
        pieces.append(Piece(True, -1, None, early, packets.SYN))
        pieces.append(Piece(False, -1, len(early), b"", packets.SYN))
        pieces.append(Piece(True, len(early), 0))
    for turn in turns:
        mine, peers = sent[turn.from_client], sent[not turn.from_client]
        at = draw(cuts(len(turn.data)))
        if fast_open and turn is turns[0]:
            at = [len(early), *(cut for cut in at if cut > len(early))]
        pieces += [Piece(turn.from_client, mine + a, peers, turn.data[a:b]) for a, b in pairwise(at)]
        sent[turn.from_client] += len(turn.data)
        if draw(pick(False, True)):
            pieces.append(Piece(not turn.from_client, sent[not turn.from_client], sent[turn.from_client]))
        acks |= dict.fromkeys(turn.begins, peers)
    if fast_open:
        acks |= _carried_by_syn(talk, len(early))
    return Traffic(where, pieces + _ending(talk, sent, draw(pick(False, True))), talk, acks)


def _carried_by_syn(talk: Conversation, early: int) -> dict[int, None]:
    """Give the exchanges whose request begins in the SYN: it acknowledges nothing."""
    out: dict[int, None] = {}
    at = 0
    stream = talk.side(True)
    for x in talk.expected:
        if x.kind == "request":
            at = stream.index(x.payload, at)
            if at < early:
                out[x.exchange] = None
            at += len(x.payload)
    return out


def _ending(talk: Conversation, sent: dict[bool, int], server_first: bool) -> list[Piece]:
    """Give the packets that end a connection."""
    if talk.ending == "open":
        return []
    if talk.ending == "rst":
        return [Piece(True, sent[True], sent[False], b"", packets.RST)]
    side = not server_first
    return [
        Piece(side, sent[side], sent[not side], b"", packets.FIN),
        Piece(not side, sent[not side], sent[side] + 1, b"", packets.FIN),
        Piece(side, sent[side] + 1, sent[not side] + 1),
    ]


def _is_data(piece: Piece) -> bool:
    return bool(piece.data) and not piece.flags


def runs(pieces: Iterable[Piece]) -> list[Piece]:
    """Join the pieces of each turn again: what one side sent with one acknowledgement."""
    out: list[Piece] = []
    for piece in filter(_is_data, pieces):
        last = out[-1] if out else None
        if last and (last.from_client, last.ack, last.at + len(last.data)) == (
            piece.from_client,
            piece.ack,
            piece.at,
        ):
            out[-1] = replace(last, data=last.data + piece.data)
        else:
            out.append(piece)
    return out


@st.composite
def resent(draw: st.DrawFn, pieces: list[Piece]) -> list[Piece]:
    """Add segments that carry some bytes of a turn once more, or early: other cuts, overlaps."""
    out = list(pieces)
    whole = runs(pieces)
    for _ in range(draw(between(0, 6)) if whole else 0):
        run = draw(st.sampled_from(whole))
        start = draw(between(0, len(run.data) - 1))
        stop = draw(between(start + 1, min(len(run.data), start + PIECE_BYTES)))
        first = next(i for i, p in enumerate(out) if _is_data(p) and (p.from_client, p.at) == (run.from_client, run.at))
        where = draw(between(first, _data_end(out)))
        out.insert(where, replace(run, at=run.at + start, data=run.data[start:stop]))
    return out


def _data_end(pieces: list[Piece]) -> int:
    """Give the place before the first FIN or RST."""
    return next((i for i, p in enumerate(pieces) if p.flags & (packets.FIN | packets.RST)), len(pieces))


@st.composite
def repeated(draw: st.DrawFn, pieces: list[Piece]) -> list[Piece]:
    """Capture some frames twice, the second time at once or later; or all of them."""
    if draw(between(0, 9)) == 9:
        return [piece for piece in pieces for _ in range(2)]
    out = list(pieces)
    for _ in range(draw(between(0, 5))):
        source = draw(between(0, len(out) - 1))
        end = len(out) if out[source].flags else max(_data_end(out), source + 1)
        out.insert(draw(between(source + 1, end)), out[source])
    return out


@st.composite
def probed(draw: st.DrawFn, pieces: list[Piece], in_order: bool) -> list[Piece]:
    """Add keep-alive probes: one byte below the next, rubbish when it surely comes late, or none."""
    out = list(pieces)
    for _ in range(draw(between(0, 3))):
        where = draw(between(min(3, len(out)), _data_end(out)))
        side = draw(pick(False, True))
        sent = [p for p in out[:where] if p.from_client == side and _is_data(p)]
        acked = max((p.at + len(p.data) for p in out[:where] if p.from_client != side), default=0)
        if not sent:
            continue
        last = max(sent, key=lambda p: p.at + len(p.data))
        byte = draw(pick(b"", b"\0" if in_order else last.data[-1:], last.data[-1:]))
        ack = acked if in_order or not byte else last.ack
        out.insert(where, Piece(side, last.at + len(last.data) - 1, ack, byte))
    return out


def shuffled(pieces: list[Piece], seed: int, window: float) -> list[Piece]:
    """Reorder frames after the handshake within a window of so many frames; a reset stays last."""
    head = [p for p in pieces[:3] if p.flags & packets.SYN]
    tail = [p for p in pieces if p.flags & packets.RST]
    rest = [p for p in pieces[len(head) :] if not p.flags & packets.RST]
    random = Random(seed)
    keys = [i + random.uniform(0, window) for i in range(len(rest))]
    return head + [rest[i] for i in sorted(range(len(rest)), key=keys.__getitem__)] + tail


@st.composite
def traffics(
    draw: st.DrawFn, *, cport: int = 40000, disturbed: bool = True, talk: Conversation | None = None
) -> Traffic:
    """Give a conversation in packets, with any of the disturbances that must not show."""
    talk = talk or draw(conversations())
    made = draw(clean(talk, draw(ends(cport))))
    if not disturbed:
        return made
    window = 0 if talk.tunnel else draw(pick(0, 0, 1.5, 4, 20, 10_000))
    if draw(pick(False, True)):
        made.pieces = draw(resent(made.pieces))
    if draw(pick(False, True)):
        made.pieces = draw(probed(made.pieces, in_order=not window))
    if draw(pick(False, True)):
        made.pieces = draw(repeated(made.pieces))
    if window:
        made.pieces = shuffled(made.pieces, draw(between(0, 2**32)), window)
    elif draw(between(0, 9)) == 9:
        made.pieces[:2] = made.pieces[1::-1]
    return made


@st.composite
def interleaved(draw: st.DrawFn, most: int = 3) -> tuple[list[Traffic], list[Frame]]:
    """Give several connections at once, and their frames as one capture."""
    made = [draw(traffics(cport=40000 + i)) for i in range(draw(between(1, most)))]
    keyed: list[tuple[float, Traffic, Piece]] = []
    for one in made:
        begin, pace = draw(between(0, 30)), draw(pick(1.0, 0.3, 2.7))
        keyed += [(begin + i * pace, one, piece) for i, piece in enumerate(one.pieces)]
    keyed.sort(key=lambda item: item[0])
    frames = [(START_NS + i * STEP_NS, packets.frame(one.segment(piece))) for i, (_, one, piece) in enumerate(keyed)]
    return made, frames
