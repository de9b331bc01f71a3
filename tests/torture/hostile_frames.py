"""What hostile networks put before a tap: one generator of frames for each attack.

In: dice.  Out: frames without end, as (link type, bytes captured, bytes on the wire).  None has an address of the
connections in `honest`.
"""

import itertools
import struct
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Final

import packets
import packets_dot11
import packets_tunnels
from packets import ACK, FIN, PSH, RST, SYN, Tcp

Wire = tuple[int, bytes, int]

SERVER: Final = "198.51.100.80"
ETHERNET: Final = packets.LINK_ETHERNET
OUTWARDS: Final = Tcp(src="10.0.0.0", sport=10_000, dst=SERVER, dport=80, seq=1000, ack=5001, flags=ACK)
GET: Final = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GOLDEN: Final = 0x9E3779B97F4A7C15
WORD: Final = 2**64 - 1


def wire(frame: bytes) -> Wire:
    """Give a whole Ethernet frame."""
    return ETHERNET, frame, len(frame)


def segment(data: bytes = b"", *, seq: int = 1001, flags: int = ACK, back: bool = False) -> bytes:
    """Build a frame that `stranger` makes one of any connection."""
    tcp = Tcp(OUTWARDS.src, OUTWARDS.sport, SERVER, 80, seq, 0 if flags == SYN else 5001, flags, data)
    return packets.ethernet(packets.ip(tcp.back(seq=5001, ack=seq) if back else tcp), pad=False)


def stranger(frame: bytes, number: int, *, back: bool = False) -> Wire:
    """Make a frame one of connection `number`: of 50,000 ports at each address."""
    host, port = divmod(number, 50_000)
    address, port_bytes = struct.pack("!I", 0x0A000000 + host), struct.pack("!H", 10_000 + port)
    if back:
        frame = frame[:30] + address + frame[34:36] + port_bytes + frame[38:]
    else:
        frame = frame[:26] + address + frame[30:34] + port_bytes + frame[36:]
    return ETHERNET, frame, len(frame)


def renumbered(frame: bytes, seq: int) -> bytes:
    """Give a frame of `segment` another sequence number."""
    return frame[:38] + struct.pack("!I", seq % 2**32) + frame[42:]


def each_says(*said: bytes) -> Iterator[Wire]:
    """Give connections without end, each of which is opened and says this, one segment for each."""
    frames, seq = [segment(seq=1000, flags=SYN)], 1001
    for data in said:
        frames.append(segment(data, seq=seq))
        seq += len(data)
    for number in itertools.count():
        for frame in frames:
            yield stranger(frame, number)


def ordinary(_dice: Random) -> Iterator[Wire]:
    """Connections as they should be: what all others are measured by."""
    steps = [
        (segment(seq=1000, flags=SYN), False),
        (renumbered(segment(flags=SYN | ACK, back=True), 5000), True),
        (segment(GET, flags=ACK | PSH), False),
        (segment(OK, seq=1001 + len(GET), back=True), True),
        (renumbered(segment(flags=FIN | ACK), 1001 + len(GET)), False),
        (renumbered(segment(seq=1002 + len(GET), flags=FIN | ACK, back=True), 5001 + len(OK)), True),
    ]
    for number in itertools.count():
        for frame, back in steps:
            yield stranger(frame, number, back=back)


def syns(_dice: Random) -> Iterator[Wire]:
    """A SYN flood: no two from the same end."""
    return each_says()


def cut_heads(_dice: Random) -> Iterator[Wire]:
    """Heads that begin and never end."""
    return each_says(b"GET /cart HTTP/1.1\r\nHost: shop\r\nCookie: a")


def large_lengths(_dice: Random) -> Iterator[Wire]:
    """Bodies of megabytes that are announced, and do not come."""
    return each_says(b"PUT /photo HTTP/1.1\r\nContent-Length: 2000000\r\n\r\nJFIF")


def large_chunks(_dice: Random) -> Iterator[Wire]:
    """The same in chunks."""
    return each_says(b"PUT /photo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1e8480\r\nJFIF")


def single_bytes(_dice: Random) -> Iterator[Wire]:
    """One byte, of which nothing can be said yet."""
    return each_says(b"G")


def streams(firsts: Iterable[bytes], blocks: Iterable[bytes]) -> Iterator[Wire]:
    """Give a few connections that begin so, and go on in turn, each with its block, for ever."""
    parts = list(zip(firsts, blocks, strict=True))
    places = []
    for number, (first, block) in enumerate(parts):
        yield stranger(segment(seq=1000, flags=SYN), number)
        yield stranger(segment(first), number)
        places.append((segment(block), 1001 + len(first), len(block)))
    for round_number in itertools.count():
        for number, (frame, seq, size) in enumerate(places):
            yield stranger(renumbered(frame, seq + round_number * size), number)


def endless_messages(_dice: Random) -> Iterator[Wire]:
    """Heads, folded lines, chunk extensions, trailers, tiny chunks, bodies: none of them ends."""
    chunked = b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    return streams(
        [GET[:-2], GET[:-2] + b"X: y\r\n", b"GET /", chunked + b"1;", chunked + b"0\r\n", chunked,
         b"PUT / HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", b"\r\n"],
        [b"X: y\r\n" * 200, b" folded\r\n" * 150, b"a" * 1400, b"a=b;" * 350, b"T: u\r\n" * 200, b"1\r\nx\r\n" * 230,
         b"z" * 1400, b"\r\n" * 700],
    )  # fmt: skip


def drips(_dice: Random) -> Iterator[Wire]:
    """The same byte by byte, and openings of other protocols."""
    chunked = b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    firsts = [
        GET[:-2] + b"X: ", b"GET /", b"G", chunked + b"1;", chunked + b"0\r\nT: ", chunked, b"PROXY TCP6 ", b"\0",
        b"220 ", b"\x16\x03\x01", b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x11\xff\xff", b"A B C",
        b"HTTP/1.1 200 ", b"\r\n", b"GET / HTTP/1.1\r\n\r\nno start line",
    ]  # fmt: skip
    blocks = [
        b"y", b"/", b"G", b";", b"u", b"0", b"f", b"\0", b"2", b"\x03", b"\0", b" ", b"O", b"\r", b" ",
    ]  # fmt: skip
    return streams(firsts, blocks)


def unanswered(_dice: Random) -> Iterator[Wire]:
    """Requests, pipelined by the hundred on each of many connections, that nobody answers."""
    data = GET * 45
    frame = segment(data)
    for block in itertools.count():
        numbers = range(block * 2000, (block + 1) * 2000)
        for number in numbers:
            yield stranger(segment(seq=1000, flags=SYN), number)
        for at in range(100):
            for number in numbers:
                yield stranger(renumbered(frame, 1001 + at * len(data)), number)


def wrong_answers(_dice: Random) -> Iterator[Wire]:
    """Responses out of step, to connections where thousands of requests wait."""
    asks, answers = GET * 45, b"HTTP/1.1 204 \r\n\r\n" * 85
    ask = segment(asks)
    answer = segment(answers, back=True)
    for number in itertools.count():
        yield stranger(ask, number)
        for at in range(100):
            yield stranger(renumbered(ask, 1001 + (at + 2) * len(asks)), number)
        for at in range(300):
            place = struct.pack("!II", 5001 + 7 + at * (len(answers) + 9), 1001 + 102 * len(asks))
            yield stranger(answer[:38] + place + answer[46:], number, back=True)


def garbage(dice: Random) -> Iterator[Wire]:
    """Random bytes behind valid headers, on a thousand connections, in order."""
    places = [1001] * 1000
    for number in range(1000):
        yield stranger(segment(seq=1000, flags=SYN), number)
    pool = dice.randbytes(1 << 20)
    head = segment(b"")
    while True:
        number, size, at = dice.randrange(1000), dice.randrange(1, 1400), dice.randrange(len(pool) - 1400)
        frame = renumbered(head, places[number]) + pool[at : at + size]
        places[number] += size
        yield stranger(frame[:16] + struct.pack("!H", 40 + size) + frame[18:], number)


def wild_numbers(dice: Random) -> Iterator[Wire]:
    """Segments of any place, size and flags on a thousand connections: windows far ahead, wraps, repetitions."""
    pool = dice.randbytes(1 << 20)
    head = segment(b"")
    near = [0, 1, 7, 1400, 2**16, 2**24, 2**30, 2**30 + 1, 2**31 - 1, 2**31, 2**32 - 1]
    flags = [ACK] * 12 + [SYN, SYN | ACK, FIN | ACK, RST, RST | ACK, 0, 63]
    while True:
        number, size, at = dice.randrange(1000), dice.choice([0, 1, 100, 1400]), dice.randrange(len(pool) - 1400)
        seq = dice.choice([dice.randrange(2**32), (1001 + dice.choice(near) + dice.randrange(9)) % 2**32])
        back = dice.random() < 0.3
        rest = struct.pack("!IIBB", seq, dice.randrange(2**32), 0x50, dice.choice(flags))
        frame = (segment(back=True) if back else head)[:38] + rest + head[48:] + pool[at : at + size]
        yield stranger(frame[:16] + struct.pack("!H", 40 + size) + frame[18:], number, back=back)


def early_bytes(_dice: Random) -> Iterator[Wire]:
    """One byte in two of some streams, so that none is next and each is held alone."""
    frame = segment(b"x")
    for number in range(100):
        yield stranger(segment(seq=1000, flags=SYN), number)
    for at in itertools.count():
        for number in range(100):
            yield stranger(renumbered(frame, 1003 + 2 * ((at * 7919) % 100_003)), number)


def early_strangers(_dice: Random) -> Iterator[Wire]:
    """One early byte on each of many connections."""
    syn, early = segment(seq=1000, flags=SYN), segment(b"x", seq=1009)
    for number in itertools.count():
        yield stranger(syn, number)
        yield stranger(early, number)


def backwards(_dice: Random) -> Iterator[Wire]:
    """Windows sent from their end, each segment over half of the one before."""
    frame = segment(b"y" * 1400)
    for number in itertools.count():
        yield stranger(segment(seq=1000, flags=SYN), number)
        for at in range(4000, 0, -1):
            yield stranger(renumbered(frame, 1001 + 700 * at), number)


def ends(dice: Random) -> Iterator[Wire]:
    """FIN and RST, on connections that are there, that were there and that never were."""
    frames = [segment(seq=1000, flags=SYN), segment(seq=1001, flags=FIN | ACK), segment(seq=1001, flags=RST),
              segment(b"x", seq=1001, flags=FIN | ACK), segment(seq=1001, flags=FIN | SYN | RST)]  # fmt: skip
    for number in itertools.count():
        yield stranger(dice.choice(frames), max(0, number - dice.randrange(100_000)))


def fragment(ident: int, offset: int, data: bytes, *, more: bool, v6: bool) -> bytes:
    """Build a frame with one fragment, its source made of the ident."""
    if v6:
        ends = Tcp(src=f"2001:db8:bad::{ident >> 16:x}", dst="2001:db8:bad::ffff")
        packet = packets.ipv6(ends, extensions=[packets.fragment6(offset, more, ident)], payload=data)
    else:
        ends = Tcp(src=f"10.9.{ident >> 24}.{ident >> 16 & 255}", dst=SERVER)
        packet = packets.ipv4(ends, fragment=offset, more_fragments=more, payload=data, ident=ident & 0xFFFF)
    return packets_tunnels.framed(packet)


def teardrops(dice: Random) -> Iterator[Wire]:
    """Fragments over one another, in one another, behind their end, and over 65,535 bytes."""
    templates = [
        [(0, 36, True), (24, 4, False)],  # the original
        [(0, 1400, True), (8, 1400, True), (16, 1400, True), (1400, 1400, False)],
        [(1400, 8, False), (0, 1400, True), (0, 1416, True), (8, 2000, False)],
        [(65528, 1400, True), (0, 8, True)],
        [(8 * at, 16, True) for at in range(60, 0, -1)],
        [(0, 8, True), (8, 0, True), (8, 0, False), (0, 0, False)],
        [(0, 40, True), (40, 40, True), (0, 40, True), (80, 3, False), (80, 3, False), (72, 24, False)],
    ]
    for ident in itertools.count():
        pieces = dice.choice(templates)
        v6 = dice.random() < 0.5
        for offset, size, more in dice.sample(pieces, len(pieces)):
            yield wire(fragment(ident, offset, b"\x11" * size, more=more, v6=v6))


def lone_fragments(_dice: Random) -> Iterator[Wire]:
    """The last piece of a large datagram, of which nothing else ever comes."""
    frame = fragment(0, 65504, b"12345678", more=True, v6=False)
    for number in itertools.count():
        ends = struct.pack("!IH", 0x0A090000 + number // 60_000, number % 60_000)
        yield wire(frame[:18] + ends[4:] + frame[20:26] + ends[:4] + frame[30:])


def fragments_that_collide(_dice: Random) -> Iterator[Wire]:
    """Datagrams in one bucket of a table whose hash everybody can compute."""
    frame = fragment(1, 8, b"12345678", more=True, v6=True)

    def mixed(state: int) -> int:
        state = state * 0xBF58476D1CE4E5B9 & WORD
        return state ^ state >> 31

    for number in itertools.count():
        high = 0x2001_0DB8_0BAD_0000 + number
        swapped = int.from_bytes(high.to_bytes(8), "little")
        yield wire(frame[:22] + high.to_bytes(8) + (12345 ^ mixed(swapped)).to_bytes(8, "little") + frame[38:])


def flows_that_collide(_dice: Random) -> Iterator[Wire]:
    """Connections in one place of a table whose hash everybody can compute."""
    lower = "2001:db8:bad::1"
    frame = packets.frame(Tcp(src="ffff::1", sport=1024, dst=lower, dport=80, seq=1000, flags=SYN))

    def mixed(state: int, word: int) -> int:
        state = (state ^ word) * 0xBF58476D1CE4E5B9 & WORD
        state = (state ^ state >> 29) * 0x94D049BB133111EB & WORD
        return state ^ state >> 32

    words = struct.unpack("<QQ", frame[38:54])
    for number in itertools.count():
        high = 0xFE80_0000_0000_0000 + number
        state = mixed(80 << 16 | 1024 | 1 << 32, words[0] ^ int.from_bytes(high.to_bytes(8), "little") * GOLDEN & WORD)
        state = mixed(state, words[1])
        yield wire(frame[:22] + high.to_bytes(8) + (state ^ 12345).to_bytes(8, "little") + frame[38:])


def extension_chains(dice: Random) -> Iterator[Wire]:
    """IPv6 extension headers, longer and longer chains, with fragments in fragments among them."""
    kinds = [packets.hop_by_hop(), packets.destination(252), packets.routing(3), packets.authentication(),
             packets.fragment6(0, False, 7), packets.fragment6(0, True, 8), (139, packets.hop_by_hop()[1])]  # fmt: skip
    tcp = Tcp(src="2001:db8:bad::1", dst="2001:db8:bad::2", data=GET)
    made = [
        packets_tunnels.framed(packets.ipv6(tcp, extensions=dice.choices(kinds, k=dice.randrange(1, 30))))
        for _ in range(500)
    ]
    return (wire(frame) for frame in itertools.cycle(made))


def nested(dice: Random) -> Iterator[Wire]:
    """Tags, labels and tunnels, deeper than anything has use for."""
    inner = packets.ip(Tcp(src="10.0.0.1", dst=SERVER, data=GET))
    made = []
    for _ in range(300):
        packet = inner
        for name in dice.choices(sorted(packets_tunnels.TUNNELS), k=dice.randrange(1, 20)):
            packet = packets_tunnels.outer(*packets_tunnels.TUNNELS[name](packet))
        made.append(packets_tunnels.framed(packet))
        tags = dice.choices([packets.VLAN_8021Q, packets.VLAN_8021AD], k=dice.randrange(1, 350))
        made.append(packets.ethernet(inner, vlans=[(tag, 7) for tag in tags]))
        labels = packets_tunnels.mpls(inner, *range(16, 16 + dice.randrange(1, 350)))
        made.append(packets_tunnels.ethernet_of(0x8847, labels))
        made.append(packets_tunnels.ethernet_of(0x88E7, bytes(4) + packets_tunnels.framed(packet)))
    return (wire(frame) for frame in itertools.cycle(made))


def envelopes() -> Iterator[tuple[int, bytes]]:
    """Give a request of each family in everything that we can read, with its link type."""
    for src, dst in (("10.0.0.1", SERVER), ("2001:db8:bad::1", "2001:db8:bad::2")):
        packet = packets.ip(Tcp(src=src, dst=dst, options=b"\1" * 12, data=GET))
        plain = packets_tunnels.framed(packet)
        yield from ((link, around(packet)) for link, around in packets.LINKS.items())
        yield from ((link, around(packet)) for link, around in packets_tunnels.LINKS.values())
        yield from ((ETHERNET, around(packet)) for around in packets_tunnels.AROUND.values())
        for put_around in packets_tunnels.TUNNELS.values():
            yield ETHERNET, packets_tunnels.framed(packets_tunnels.outer(*put_around(packet), v6=":" in src))
        dot11 = packets_dot11.dot11(packets_dot11.snap(packet))
        yield packets_dot11.LINK_DOT11, dot11
        yield packets_dot11.LINK_RADIOTAP, packets_dot11.radiotap(dot11)
        yield packets_dot11.LINK_PRISM, packets_dot11.prism(dot11)
        yield packets_dot11.LINK_AVS, packets_dot11.avs(dot11)
        yield packets_dot11.LINK_PPI, packets_dot11.ppi(dot11)
        yield (
            packets_dot11.LINK_DOT11,
            packets_dot11.dot11(
                packets_dot11.amsdu([packets_dot11.snap(packet)] * 3), kind=packets_dot11.QOS_DATA, qos=0x80
            ),
        )
        if ":" in src:
            chain = [packets.hop_by_hop(), packets.routing(), packets.destination(), packets.fragment6(0, True)]
            yield ETHERNET, packets_tunnels.framed(packets.ipv6(Tcp(src=src, dst=dst, data=GET), extensions=chain))
        yield ETHERNET, packets.ethernet(packet, vlans=[(packets.VLAN_8021AD, 5), (packets.VLAN_8021Q, 9)])
        yield ETHERNET, plain + b"\0" * 9


def enveloped(_dice: Random) -> Iterator[Wire]:
    """Every frame of `envelopes` as it is: what those that are cut or changed are measured by."""
    return ((link, frame, len(frame)) for link, frame in itertools.cycle(list(envelopes())))


def truncations(_dice: Random) -> Iterator[Wire]:
    """Every frame of `envelopes`, cut at each of its bytes."""
    made = list(envelopes())
    return ((link, frame[:at], len(frame)) for link, frame in itertools.cycle(made) for at in range(len(frame)))


def lies(dice: Random) -> Iterator[Wire]:
    """Every frame of `envelopes`, with some of its bytes changed: lengths, offsets, types."""
    made = list(envelopes())
    for link, frame in itertools.cycle(made):
        changed = bytearray(frame[: dice.choice([len(frame), dice.randrange(len(frame) + 1)])])
        for _ in range(dice.randrange(1, 4)):
            if changed:
                at = dice.randrange(len(changed))
                changed[at] = dice.choice([0, 1, 4, 5, 0x0F, 0x45, 0x60, 0x7F, 0x80, 0xF0, 0xFF, dice.randrange(256)])
        yield link, bytes(changed), len(frame)


ATTACKS: Final[dict[str, Callable[[Random], Iterator[Wire]]]] = {
    attack.__name__: attack
    for attack in (
        ordinary, syns, cut_heads, large_lengths, large_chunks, single_bytes, endless_messages, drips, unanswered,
        wrong_answers, garbage, wild_numbers, early_bytes, early_strangers, backwards, ends, teardrops, lone_fragments,
        fragments_that_collide, flows_that_collide, extension_chains, nested, enveloped, truncations, lies,
    )
}  # fmt: skip
