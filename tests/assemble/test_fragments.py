"""Datagrams from their fragments: any order, repetition and overlap; bounded, and every fragment counted once."""

import random
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reference.fragments import Joiner, Piece
from strategies import pick

from assemble.fragments import joined

V4 = (b"\x0a\0\0\1", b"\x0a\0\0\2")
V6 = (b"\xfd" + bytes(14) + b"\1", b"\xfd" + bytes(14) + b"\2")
MS = 1_000_000
TCP = 6
TOP = 65528


def piece(
    offset: int, data: bytes, more: bool = True, *, ident: int = 7, ms: float = 0, cut: int = 0,
    ends: tuple[bytes, bytes] = V4, protocol: int = TCP,
) -> Piece:  # fmt: skip
    """Make one piece."""
    return round(ms * MS), *ends, ident, protocol, offset, more, data, cut


def pieces_of(data: bytes, size: int = 8, **fields) -> list[Piece]:
    """Cut a datagram into pieces of a size."""
    return [piece(at, data[at : at + size], at + size < len(data), **fields) for at in range(0, len(data), size)]


def wholes(pieces: list[Piece], **bounds) -> list[bytes]:
    """Join pieces to the end; every one of them must be counted in one place."""
    out, counts = joined(pieces, **bounds)
    done = [each for each in out if each is not None]
    assert len(pieces) == len(done) + counts["frames_joined"] + counts["refused_ip_fragment"]
    assert counts["fragments_held"] == 0
    return [data for _, data, _ in done]


def counted(pieces: list[Piece], **bounds) -> dict[str, int]:
    """Give what is counted, without what is 0."""
    return {name: n for name, n in joined(pieces, **bounds)[1].items() if n}


DATA = bytes(range(100))


@st.composite
def traffic(draw: st.DrawFn) -> list[Piece]:
    """Give pieces of some datagrams: any cut and order, repeated, overlapping, cut short, idents used again."""
    out: list[Piece] = []
    for _ in range(draw(st.integers(1, 4))):
        ends = draw(pick(V4, V4, V6))
        data = draw(st.binary(min_size=9, max_size=70))
        ident, protocol = draw(pick(1, 2)), draw(pick(TCP, TCP, 47))
        places = sorted({0, *draw(st.lists(st.integers(1, (len(data) - 1) // 8), max_size=6))})
        for at, end in zip(places, [*places[1:], None], strict=True):
            start, stop = at * 8, len(data) if end is None else end * 8
            cut = draw(pick(*[0] * 9, 1, 8, 11))
            kept = max(start, stop - cut)
            more = stop < len(data) or draw(pick(*[False] * 9, True))
            out.append(piece(start, data[start:kept], more, ident=ident, ends=ends, protocol=protocol, cut=stop - kept))
    out += draw(st.lists(st.sampled_from(out), max_size=8))
    for _ in range(draw(pick(0, 0, 1, 3))):
        start = draw(st.integers(0, 9)) * 8
        out.append(piece(start, draw(st.binary(max_size=40)), draw(st.booleans()), ident=1))
    out = draw(st.permutations(out))
    now = 0
    timed = []
    for each in out:
        now += draw(pick(0, 0, 1, 60 * MS, 101 * MS, 31_000 * MS))
        timed.append((now, *each[1:]))
    return timed


@given(pieces=traffic())
@example(pieces=[piece(0, bytes(8)), piece(8, bytes(8)), piece(8, b"x", False), piece(8, b"", False)])
def test_whatever_comes_is_joined_as_the_reference_does_and_counted_once(pieces):
    """A fragment in no place is a frame that nobody can account for."""
    reference = Joiner(30_000 * MS)
    wanted = []
    for each in pieces:
        for key in [k for k, d in reference.held.items() if not d.whole and each[0] - d.since_ns > 30_000 * MS]:
            reference.give_up(key)
        wanted.append(reference.take(each))
    out, counts = joined(pieces, finish=False)
    assert out == wanted
    assert counts["frames_joined"] == reference.counts["joined"]
    assert counts["refused_ip_fragment"] == reference.counts["refused"]
    assert counts["fragments_held"] == sum(d.frames for d in reference.held.values())


@given(size=pick(8, 16, 48, 96), ends=pick(V4, V6), seed=st.integers(0, 10**6), times=pick(1, 2))
def test_any_order_and_repetition_gives_the_datagram_once(size, ends, seed, times):
    """Networks reorder and mirror ports copy both ways."""
    pieces = pieces_of(DATA, size, ends=ends) * times
    random.Random(seed).shuffle(pieces)
    assert wholes(pieces) == [DATA]


def test_a_datagram_of_one_piece_needs_nobody_else():
    """An atomic fragment (RFC 6946) is no part of what is held under its ident."""
    assert wholes([piece(0, DATA[:8]), piece(0, b"all of it", False), piece(8, DATA[8:], False)]) == [
        b"all of it", DATA,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "bad",
    [
        piece(8, b"1234567"),
        piece(4, b"12345678"),
        piece(8, b""),
        piece(8, b"", False),
        piece(TOP, b"12345678"),
        piece(TOP, b"12345678", False),
        piece(2**32 - 8, b"12345678"),
        piece(8, bytes(8), cut=2**64 - 8),
        piece(96, b"123", False),
        piece(104, b"12345678"),
    ],
    ids=["odd length", "odd place", "empty", "empty end", "over the top", "ends over the top", "wraps", "size wraps",
         "ends before the end", "lies behind the end"],
)  # fmt: skip
def test_a_piece_that_cannot_be_is_refused_and_harms_nothing(bad):
    """The ping of death and its kin: a datagram beside it must come out as if nothing had been."""
    pieces = pieces_of(DATA)
    for at in (1, len(pieces) - 1):
        disturbed = [pieces[-1], *pieces[:at], bad, *pieces[at:-1]]
        assert wholes(disturbed) == [DATA]
        assert counted(disturbed)["refused_ip_fragment"] == 1


def test_the_longest_datagram_is_joined():
    """65535 bytes is what the length fields can say."""
    data = random.Random(1).randbytes(65535)
    assert wholes(pieces_of(data, 1480)[::-1]) == [data]
    assert wholes(pieces_of(data, 8)) == [data]


def test_of_an_overlap_the_bytes_first_seen_win():
    """Teardrop: what a forger adds later changes nothing, and a piece inside another is no reason to fall over."""
    first = [piece(0, b"A" * 24), piece(40, b"E" * 10, False)]
    assert wholes([*first, piece(8, b"B" * 8), piece(16, b"C" * 24)]) == [b"A" * 24 + b"C" * 16 + b"E" * 10]
    assert wholes([*first, piece(24, b"C" * 26, False)]) == [b"A" * 24 + b"C" * 16 + b"E" * 10]
    v6 = [piece(0, b"A" * 24, ends=V6), piece(8, b"B" * 24, ends=V6), piece(32, b"E", False, ends=V6)]
    assert wholes(v6) == [b"A" * 24 + b"B" * 8 + b"E"]


def test_two_ends_that_differ_leave_the_first():
    """A receiver could be told to read less, or more, than was sent."""
    assert wholes([piece(8, b"ab", False), piece(8, b"abc", False), piece(0, bytes(8))]) == [bytes(8) + b"ab"]


def test_a_second_capture_of_each_piece_is_no_loss():
    """Two interfaces, a bridge, a mirror port: a packet may come twice, the copy behind the whole datagram."""
    pieces = pieces_of(DATA, 32)
    for order in ([*pieces, *pieces, *pieces], [p for p in pieces for _ in (1, 2)]):
        assert wholes(order) == [DATA]
        assert counted(order) == {"frames_joined": len(order) - 1}


def test_an_ident_that_is_used_again_at_once_begins_another_datagram():
    """16 bits are soon used up, and some senders do not count at all (RFC 4963)."""
    others = [struct.pack("!II", 0x9C400050, seq) + bytes(40) + b"%d" % seq for seq in range(20)]
    pieces = [p for data in others for p in pieces_of(data, 16)]
    assert wholes(pieces) == others
    assert wholes([p for data in others for p in pieces_of(data, 16)[::-1]]) == others
    assert counted([*pieces_of(others[0], 16)[:-1], *pieces_of(others[1], 16)])["refused_ip_fragment"] == 3


def test_pieces_that_only_repeat_at_first_belong_to_the_datagram_that_follows():
    """A retransmission under the same ident shares its first bytes with what went before."""
    one, two = b"same head same tail" * 2 + b"1" * 30, b"same head same tail" * 2 + b"2" * 30
    assert wholes(pieces_of(one) + pieces_of(two)) == [one, two]


def test_an_ident_may_be_used_again_later():
    """The memory of what was whole must not swallow the next datagram, though it says the same."""
    later = [(p[0] + 101 * MS, *p[1:]) for p in pieces_of(DATA)]
    assert wholes(pieces_of(DATA) + later) == [DATA, DATA]


def test_datagrams_of_different_ends_protocols_and_idents_do_not_mix():
    """In IPv6 the fragment header's next header may differ between pieces: that of the first counts (RFC 8200 4.5)."""
    swapped = V4[::-1]
    pieces = [piece(0, b"A" * 8), piece(0, b"B" * 8, ident=8), piece(0, b"C" * 8, protocol=17)]
    pieces += [piece(0, b"D" * 8, ends=swapped)]
    last = [(*p[:5], 8, False, p[7].lower(), 0) for p in pieces]
    assert wholes(pieces + last) == [b"%c" % x * 8 + b"%c" % (x + 32) * 8 for x in b"ABCD"]
    v6 = [piece(8, b"b", False, ends=V6, protocol=59), piece(0, bytes(8), ends=V6, protocol=60)]
    assert joined(v6)[0] == [None, (60, bytes(8) + b"b", 0)]


def test_what_the_capture_has_cut_ends_the_bytes_and_is_told():
    """With a snap length every full-sized piece lacks its end: the rest of the datagram is a hole."""
    assert joined([piece(0, b"12345", cut=3), piece(8, b"abc", False)])[0][1] == (TCP, b"12345", 6)
    assert joined([piece(8, b"abc", False, cut=5), piece(0, b"12345678")])[0][1] == (TCP, b"12345678abc", 5)
    assert joined([piece(8, b"", False, cut=5), piece(0, b"", cut=8)])[0][1] == (TCP, b"", 13)


def test_a_datagram_that_is_never_whole_is_given_up_after_its_time_by_packet_time():
    """What the receiver has given up is sent again; its pieces must not mix with another's of the same ident."""
    pieces = pieces_of(DATA, 32)
    late = piece(96, DATA[96:], False, ms=30_001)
    assert wholes([*pieces[:-1], late]) == []
    assert wholes([*pieces[:-1], (late[0] - 2 * MS, *late[1:])]) == [DATA]
    _, counts = joined([*pieces[:-1], piece(0, bytes(8), ident=9, ms=30_001)], finish=False)
    assert (counts["refused_ip_fragment"], counts["fragments_held"]) == (3, 1)


def test_the_oldest_go_first_when_there_are_too_many():
    """A flood of first fragments costs a bounded table, and what came before the flood's end is still joined."""
    flood = [piece(0, DATA[:8], ident=n) for n in range(5000)]
    ends = [piece(8, b"end", False, ident=n) for n in (4999 - 4095, 4999, 0)]
    assert wholes(flood + ends) == [DATA[:8] + b"end"] * 2


def test_the_bytes_held_are_bounded():
    """A piece at the top of a datagram asks for all of its bytes."""
    flood = [piece(TOP - 8, bytes(8), ident=n) for n in range(50)]
    tops = [piece(0, bytes(TOP - 8), ident=n) for n in range(50)]
    ends = [piece(TOP, b"e", False, ident=n) for n in range(50)]
    assert len(wholes(flood + tops + ends, memory=1 << 20)) == 0
    assert len(wholes([p for each in zip(flood, tops, ends, strict=True) for p in each], memory=1 << 20)) == 50
    assert wholes(pieces_of(DATA), memory=0) == []


def test_what_is_remembered_gives_way_to_what_is_held():
    """Memory for repetitions is a luxury: it must not cost a datagram that can still be whole."""
    many = [p for n in range(30) for p in pieces_of(bytes(30_000), 1480, ident=n)]
    waiting = [piece(0, DATA[:8], ident=99)]
    assert wholes([*waiting, *many, piece(8, b"end", False, ident=99)], memory=100_000)[-1] == DATA[:8] + b"end"


@pytest.mark.timeout(20)
def test_a_fragment_costs_what_its_bytes_cost_wherever_it_belongs():
    """Sorting tiny pieces into a list takes quadratic time, which an attacker pays with one small flood."""
    order = random.Random(3).sample(range(8191), 8191)
    data = random.Random(4).randbytes(65528)
    pieces = [piece(n * 8, data[n * 8 :][:8], n < 8190, ident=i) for i in range(20) for n in order]
    assert wholes(pieces) == [data] * 20


def test_pieces_that_need_much_room_make_it_for_themselves():
    """Eight bytes at the end of a large datagram take 64 KiB: a few of them would displace all that is under way."""
    first, last = pieces_of(DATA, 56)
    flood = [piece(TOP - 64, b"12345678", ident=100 + at) for at in range(1000)]
    assert wholes([first, *flood, last], memory=1 << 20) == [DATA]
