"""Honest connections for a tap that is under attack: what they say is known, and all of it has to come out.

In: nothing.  Out: frames in order of time, and what is said in them.  They begin, go on and end all the time, and once
something was said and heard they pause for longer than a flood takes to fill the memory.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

import packets
from packets_files import Frame
from packets_tunnels import UDP, framed, outer, vxlan
from talks import CLIENT, SERVER, Talk

PORT: Final = 5999
SPAN_S: Final = 20.0
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfine!"


@dataclass
class Honest:
    """One run's connections."""

    frames: list[Frame] = field(default_factory=list)
    said: dict[tuple[int, bool], list[bytes]] = field(default_factory=lambda: defaultdict(list))

    def open(self, begin_s: float, *, v6: bool = False) -> Talk:
        """Open one more connection."""
        number = len({port for port, _ in self.said})
        ends = ("2001:db8:600d::1", "2001:db8:600d::2") if v6 else (f"203.0.113.{number % 200 + 1}", "203.0.113.250")
        talk = Talk(20_000 + number, *ends, PORT, 77_777 * number, 2**32 - 5000 + number)
        talk.wait(begin_s)
        return talk.open()

    def say(self, talk: Talk, side: bool, data: bytes, pause_s: float = 0.0) -> None:
        """Say one message, with a pause before each of its segments, and have it acknowledged."""
        self.said[talk.cport, side].append(data)
        for at in range(0, len(data), 1400):
            talk.wait(pause_s).put(side, data[at : at + 1400])
        talk.wait(0.04).put(not side)

    def end(self, talk: Talk, around: Callable[[Frame], list[Frame]] = lambda frame: [frame]) -> None:
        """Close a connection, and take its frames, each in what is put around it."""
        self.frames += [each for frame in talk.wait(0.01).close().frames for each in around(frame)]


def get(path: str) -> bytes:
    """Make a request."""
    return f"GET /{path} HTTP/1.1\r\nHost: honest\r\n\r\n".encode()


def put(size: int) -> bytes:
    """Make a request with a body."""
    return b"PUT /body HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size + bytes(at * 7 % 251 for at in range(size))


def chunked(size: int) -> bytes:
    """Make a response in chunks."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"3e8\r\n%b\r\n" % (b"c" * 1000) * size + b"0\r\n\r\n"


def in_fragments(frame: Frame) -> list[Frame]:
    """Cut the packet of a frame in three, where it is long enough."""
    ts_ns, data = frame
    if len(data) < 200:
        return [frame]
    head, body = data[:34], data[34:]
    out = []
    for number, at in enumerate((0, 64, 128)):
        piece = body[at : at + 64] if at < 128 else body[at:]
        fields = (20 + len(piece)).to_bytes(2) + (ts_ns // 1_000_000 % 65536).to_bytes(2)
        offset = (at // 8 | (0x2000 if at < 128 else 0)).to_bytes(2)
        out.append((ts_ns + number * 50_000, head[:16] + fields + offset + head[22:] + piece))
    return out


def in_a_tunnel(frame: Frame) -> list[Frame]:
    """Put the packet of a frame into VXLAN."""
    return [(frame[0], framed(outer(UDP, vxlan(frame[1][14:]))))]


def tagged(frame: Frame) -> list[Frame]:
    """Put VLAN tags into a frame."""
    return [(frame[0], packets.ethernet(frame[1][14:], vlans=[(packets.VLAN_8021AD, 5), (packets.VLAN_8021Q, 9)]))]


def connections() -> Honest:
    """Make all of them."""
    honest = Honest()
    short_ones(honest)
    long_ones(honest)
    honest.frames.sort(key=lambda frame: frame[0])
    return honest


def short_ones(honest: Honest) -> None:
    """Make those that are kept alive, and new ones all the time."""
    arounds = [in_fragments, in_a_tunnel, tagged, lambda frame: [frame]]
    for number in range(12):  # kept alive, with pauses
        talk = honest.open(number * 0.3, v6=number % 3 == 2)
        for at in range(8):
            honest.say(talk, CLIENT, get(f"{number}/{at}?{'x' * 200}"))
            honest.say(talk, SERVER, OK, 0.001)
            talk.wait(1.5)
        honest.end(talk, tagged if number % 3 == 2 else arounds[number % 4])
    for number in range(100):  # new ones, all the time
        talk = honest.open(number * SPAN_S / 101)
        honest.say(talk, CLIENT, get(f"new/{number}?{'y' * 200}"))
        honest.say(talk, SERVER, OK)
        honest.end(talk, arounds[number % 4])


def long_ones(honest: Honest) -> None:
    """Make those that are slow, or that the network has not been kind to."""
    dice = Random(7)
    for number in range(4):  # long messages, in segments that come one by one
        talk = honest.open(number)
        honest.say(talk, CLIENT, get("form"))
        honest.say(talk, SERVER, OK)
        honest.say(talk, CLIENT, put(60_000), 0.05)
        honest.say(talk, SERVER, chunked(50), 0.05)
        honest.end(talk, tagged if number % 2 else in_fragments)
    for number in range(4):  # pipelined, and answered after a long while
        talk = honest.open(1 + number)
        for at in range(5):
            honest.say(talk, CLIENT, get(f"pipelined/{number}/{at}"))
        talk.wait(6.0)
        for _ in range(5):
            honest.say(talk, SERVER, OK)
        honest.end(talk)
    for number in range(4):  # reordered, and repeated
        talk = honest.open(2 + number)
        honest.say(talk, CLIENT, get("first"))
        honest.say(talk, SERVER, OK)
        begin = len(talk.frames)
        honest.say(talk, CLIENT, put(20_000), 0.001)
        times = [ts_ns for ts_ns, _ in talk.frames[begin:]]
        mixed = talk.frames[begin:] + talk.frames[begin : begin + 3]
        dice.shuffle(mixed)
        talk.frames[begin:] = [(ts_ns, data) for ts_ns, (_, data) in zip([*times, *times[-1:] * 3], mixed, strict=True)]
        honest.say(talk, SERVER, OK)
        honest.end(talk)
