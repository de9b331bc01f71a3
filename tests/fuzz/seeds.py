"""Writes the first corpus of each target, from the builders and conversations of the other tests.

In: a folder.  Out: in it, one folder of small files for each target.
"""

import struct
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import packets
import packets_dot11
from packets_files import pcap, pcapng

from fuzz.decode import LINKS
from fuzz.parsers import RARE_LINKS
from fuzz.reassembly import FIRST_TOKEN
from fuzz.seeds_emit import (
    changes_seeds,
    configuration_seeds,
    expressions_seeds,
    files_seeds,
    handshake_seeds,
    receiving_seeds,
)
from fuzz.tokens import TOKENS
from fuzz.wires import batch

EXCHANGE = (
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde"
    b"\x02HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"
    b"\x01HEAD /h HTTP/1.1\r\n\r\n\x02HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    b"\x01CONNECT a:1 HTTP/1.1\r\n\r\n\x02HTTP/1.1 200 OK\r\n\r\n\x01tunnel\x02tunnel"
)


def tunnelled(packet: bytes, frame: bytes) -> list[bytes]:
    """Put a packet or a frame into every kind of tunnel."""
    outer = packets.Tcp()

    def protocol(number: int, payload: bytes) -> bytes:
        return packets.ipv4(outer, payload=payload, protocol=number)

    def udp(port: int, payload: bytes) -> bytes:
        return protocol(packets.IP_UDP, struct.pack("!HHHH", 40000, port, 8 + len(payload), 0) + payload)

    out = [
        udp(4789, struct.pack("!II", 0x08000000, 7 << 8) + frame),
        udp(6081, struct.pack("!BBHIHBBI", 2, 0, 0x6558, 7 << 8, 0x0102, 0, 1, 0) + frame),
        udp(2152, struct.pack("!BBHI", 0x30, 0xFF, len(packet), 9) + packet),
        udp(2152, struct.pack("!BBHIHBB4s", 0x34, 0xFF, len(packet) + 8, 9, 0, 0, 0x85, b"\1\0\0\0") + packet),
        protocol(47, struct.pack("!HH", 0, 0x0800) + packet),
        protocol(47, struct.pack("!HHHHII", 0xB000, 0x6558, 0, 0, 5, 6) + frame),
        protocol(47, struct.pack("!HHI", 0x1000, 0x88BE, 1) + struct.pack("!HHI", 0x1005, 0x1007, 0) + frame),
        protocol(47, struct.pack("!HHI", 0x1000, 0x22EB, 1) + struct.pack("!HHIHH", 0x2005, 7, 0, 0, 0) + frame),
        protocol(4, packet),
    ]
    return [*out, protocol(4, out[0]), protocol(47, struct.pack("!HH", 0, 0x0800) + out[2])]


def decode_seeds() -> list[bytes]:
    """Frames of every link type, IPv4 and IPv6, with what can stand before TCP."""
    plain = packets.Tcp(data=b"GET / HTTP/1.1\r\n\r\n")
    six = packets.Tcp(src="2001:db8::1", dst="2001:db8::2", data=b"GET / HTTP/1.1\r\n\r\n")
    chain = [
        packets.hop_by_hop(),
        packets.routing(),
        packets.destination(),
        packets.fragment6(),
        packets.authentication(),
    ]
    inner = [
        packets.ip(plain),
        packets.ip(six),
        packets.ipv6(six, extensions=chain),
        packets.ipv4(plain, options=b"\1" * 8),
    ]
    tags = [(packets.VLAN_8021AD, 5), (packets.VLAN_8021Q, 6)]
    frames = [(1, packets.ethernet(packet, vlans=tags)) for packet in inner]
    frames.append((1, packets.ethernet(struct.pack("!II", 100 << 12, 200 << 12 | 0x100) + inner[0], ethertype=0x8847)))
    pppoe = struct.pack("!BBHHH", 0x11, 0, 1, len(inner[0]) + 2, 0x21)
    frames.append((1, packets.ethernet(pppoe + inner[0], ethertype=0x8864)))
    frames += [(link, wrap(packet)) for link, wrap in packets.LINKS.items() for packet in inner]
    body = packets.tcp_header(plain)
    pieces = [
        packets.ethernet(packets.ipv4(plain, payload=body[:24], more_fragments=True, ident=7)),
        packets.ethernet(packets.ipv4(plain, payload=body[24:], fragment=24, ident=7)),
    ]
    tunnels = [packets.ethernet(packet) for packet in tunnelled(inner[0], frames[0][1])]
    air = packets_dot11.dot11(packets_dot11.snap(inner[0]), kind=packets_dot11.QOS_DATA)
    several = packets_dot11.amsdu([packets_dot11.snap(packet) for packet in inner])
    frames += [
        (105, air),
        (105, packets_dot11.dot11(several, kind=packets_dot11.QOS_DATA, qos=0x80)),
        (127, packets_dot11.radiotap(air, extended=True)),
        (119, packets_dot11.prism(air)),
        (163, packets_dot11.avs(air)),
        (192, packets_dot11.ppi(air)),
    ]
    index = {link: at for at, link in enumerate(LINKS)}
    singles = [bytes([0, index[link], 0xFF]) + frame for link, frame in frames]
    singles += [bytes([0, 0, 0xFF]) + frame for frame in tunnels]
    both = bytes([0]) + b"".join(bytes([0, len(frame)]) + frame for frame in pieces)
    return [*singles, both]


def reassembly_seeds() -> list[bytes]:
    """Random programs of the tokens: a handshake, then both sides in turn, some segments out of place."""
    random, out = Random(1), []
    for _ in range(300):
        program = [random.randrange(8), random.randrange(128)]
        program += [2, 0, 0, 0, 5, 0, 0, 0] if random.random() < 0.8 else []
        for _ in range(random.randint(1, 14)):
            token = random.randrange(len(TOKENS))
            place = random.choice([0, 0, 0, 0, 1, 5, 0xFB, 0xF0, 7])
            flags = random.choice([0, 0, 0, 0, 0, 0, 3, 4]) << 1
            op = (TOKENS[token].startswith(b"HTTP/1.")) | flags | random.choice([0, 0, 0, 64, 128, 16])
            program += [op, place, 0, FIRST_TOKEN + token]
        program += [6, 0, 0, 0, 7, 0, 0, 0] if random.random() < 0.5 else []
        out.append(bytes(program))
    return out


def framing_seeds() -> list[bytes]:
    """One conversation with all kinds of bodies, and each token alone and behind a start line."""
    heads = [bytes([how, 7, 1, 2, how & 7]) for how in (1, 3, 5, 0, 9, 7)]
    out = [head + EXCHANGE for head in heads]
    for token in TOKENS[:70]:
        out.append(heads[1] + b"GET / HTTP/1.1\r\n" + token + b"\r\n\x02HTTP/1.1 200 OK\r\n" + token + b"\r\nabcde")
        out.append(heads[1] + token + b"\x02" + token)
    return [each[:5] + each[5:].replace(b"\x01\x02", b"\x02") for each in out]


def parsers_seeds() -> list[bytes]:
    """Frames for the decoder, capture files for the cutter."""
    frames = [(1_000_000_000 * i, packets.frame(packets.Tcp(seq=i, data=b"x" * i))) for i in range(3)]
    known = {1: 0, 113: 1, 276: 2, 0: 3, 101: 4}
    named = [(LINKS[seed[1]], seed[3:]) for seed in decode_seeds() if seed[2] == 0xFF]
    single = [bytes([known[link]]) + frame for link, frame in named if link in known]
    single += [bytes([7, RARE_LINKS.index(link)]) + frame for link, frame in named if link in RARE_LINKS]
    pieces = [bytes([1, 0, 0, at, at < 4, 8, 0, at & 1]) for at in (0, 1, 2, 3, 4, 2, 0)]
    single += [bytes([8]) + b"".join(pieces) + bytes(9), bytes([8]) + b"".join(pieces[::-1]) + bytes(9)]
    single += [bytes([9, 0]) + token for token in TOKENS]
    files = [bytes([6]) + write(frames, order=order) for write in (pcap, pcapng) for order in "<>"]
    return [*single, *files, bytes([5]) + batch(frames)]


SEEDS: Final[dict[str, Callable[[], list[bytes]]]] = {
    "decode": decode_seeds,
    "reassembly": reassembly_seeds,
    "agreement": reassembly_seeds,
    "framing": framing_seeds,
    "parsers": parsers_seeds,
    "receiving": receiving_seeds,
    "files": files_seeds,
    "configuration": configuration_seeds,
    "expressions": expressions_seeds,
    "changes": changes_seeds,
    "handshake": handshake_seeds,
}
"""By target."""


def main(folder: Path) -> None:
    """Write all seeds."""
    for name, seeds in SEEDS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds()):
            (folder / name / f"seed-{number:03d}").write_bytes(seed)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
