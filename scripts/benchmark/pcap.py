"""Writes capture files of HTTP traffic by templates: fast enough for ten million messages, in plain Python.

In: what one connection says, and how many of them say it at the same time.  Out: a pcap file, and a note of what
is in it.  Invariant: the note is exact, so that a run over the file can be held against it.

The frames of one step of a connection are laid out once and repeated for many connections; a field that differs
(address, port, sequence number, time) is then written for all of them with one slice assignment per byte.
Checksums are left 0, as in captures taken at the sender before its network card filled them in.
"""

import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, Final

FILE_HEADER: Final = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)  # pcap-savefile(5), microseconds
RECORD: Final = struct.Struct("<IIII")  # seconds, microseconds, bytes present, bytes on the wire
SEGMENT_BYTES: Final = 1460
SERVER_PORT: Final = 8080
SERVER: Final = 0xC0A80001  # 192.168.0.1
FIRST_CLIENT: Final = 0x0A000001  # 10.0.0.1
PORTS_EACH: Final = 50_000  # connections of one client address
FIRST_PORT: Final = 10_000
START_US: Final = 1_700_000_000 * 10**6
ROWS: Final = 4096  # of one block, about
FIN, SYN, ACK = 1, 2, 16

Frame = tuple[bool, int, bytes]  # to the server?, flags, payload


@dataclass(frozen=True)
class Traffic:
    """What a file holds: `waves` times `connections` that run at the same time, each with so many exchanges."""

    request: bytes
    response: bytes
    connections: int = 100
    exchanges: int = 1
    waves: int = 1
    ipv6: bool = False
    vlan: int = 0
    one_way: bool = False  # only what goes to the server was captured
    ends: bool = True  # connections are closed
    whole: bool = True  # the messages are complete

    @property
    def repeated(self) -> int:
        """Return how many requests there are."""
        return self.waves * self.connections * self.exchanges


@dataclass
class Block:
    """The frames of one step, for `turns` turns of every connection of a wave, one connection after the other."""

    traffic: Traffic
    wave: int
    turns: int
    frames: Sequence[Frame]
    buffer: bytearray = field(init=False)
    starts: list[int] = field(init=False)
    row_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        records = [record(self.traffic, frame) for frame in self.frames]
        self.starts = list(accumulate(map(len, records), initial=0))[:-1]
        row = b"".join(records)
        self.row_bytes = len(row)
        self.buffer = bytearray(row * (self.turns * self.traffic.connections))
        self._name_clients()

    def _name_clients(self) -> None:
        count = self.traffic.connections
        numbers = range(self.wave * count, (self.wave + 1) * count)
        addresses = array("I", [FIRST_CLIENT + n // PORTS_EACH for n in numbers]) * self.turns
        ports = array("I", [FIRST_PORT + n % PORTS_EACH for n in numbers]) * self.turns
        ip = network_at(self.traffic)
        source, target = (20, 36) if self.traffic.ipv6 else (12, 16)
        tcp = ip + (40 if self.traffic.ipv6 else 20)
        for start, (to_server, _, _) in zip(self.starts, self.frames, strict=True):
            self.put(start + ip + (source if to_server else target), addresses)
            self.put(start + tcp + (0 if to_server else 2), ports, 2)

    def put(self, at: int, values: array, size: int = 4, little: bool = False) -> None:
        """Write one number per row, `at` so many bytes behind the row's beginning."""
        raw = values.tobytes()
        for i in range(size):
            self.buffer[at + i :: self.row_bytes] = raw[i if little else size - 1 - i :: 4]

    def number(self, up: int, down: int, up_each: int, down_each: int) -> None:
        """Write sequence numbers: how far both directions are in the first turn, and how far a turn brings them."""
        tcp = network_at(self.traffic) + (40 if self.traffic.ipv6 else 20)
        for start, (to_server, flags, payload) in zip(self.starts, self.frames, strict=True):
            own, other, own_each, other_each = (
                (up, down, up_each, down_each) if to_server else (down, up, down_each, up_each)
            )
            self.put(start + tcp + 4, self._turned(own, own_each))
            if flags & ACK:
                self.put(start + tcp + 8, self._turned(other, other_each))
            size = len(payload) + (1 if flags & (SYN | FIN) else 0)
            up, down = (up + size, down) if to_server else (up, down + size)

    def _turned(self, first: int, each: int) -> array:
        count = self.traffic.connections
        if count == 1:
            return array("I", [(first + each * turn) & 0xFFFFFFFF for turn in range(self.turns)])
        values = array("I")
        for turn in range(self.turns):
            values.extend(array("I", [(first + each * turn) & 0xFFFFFFFF]) * count)
        return values

    def stamp(self, now_us: int) -> int:
        """Write the times, a microsecond from frame to frame; return that of the next frame."""
        rows, step = self.turns * self.traffic.connections, len(self.frames)
        for at, start in enumerate(self.starts):
            first = now_us + at
            last = first + (rows - 1) * step
            if first // 10**6 == last // 10**6:
                seconds = array("I", [first // 10**6]) * rows
                micros = array("I", range(first % 10**6, last % 10**6 + 1, step))
            else:
                times = range(first, last + 1, step)
                seconds = array("I", [t // 10**6 for t in times])
                micros = array("I", [t % 10**6 for t in times])
            self.put(start, seconds, little=True)
            self.put(start + 4, micros, little=True)
        return now_us + rows * step

    def set_time(self, seconds: int, micros: int) -> None:
        """Write the same time into all frames."""
        rows = self.turns * self.traffic.connections
        for start in self.starts:
            self.put(start, array("I", [seconds]) * rows, little=True)
            self.put(start + 4, array("I", [micros]) * rows, little=True)


def network_at(traffic: Traffic) -> int:
    """Return where the IP header begins in a record."""
    return RECORD.size + 14 + (4 if traffic.vlan else 0)


def record(traffic: Traffic, frame: Frame) -> bytes:
    """Return one frame with its record header; client, numbers and time are still to be written."""
    to_server, flags, payload = frame
    ports = (0, SERVER_PORT) if to_server else (SERVER_PORT, 0)
    tcp = struct.pack(">HHIIBBHHH", *ports, 0, 0, 5 << 4, flags, 65535, 0, 0) + payload
    if traffic.ipv6:
        server, client = bytes.fromhex("20010db8") + SERVER.to_bytes(12, "big"), bytes.fromhex("20010db8") + bytes(12)
        pair = client + server if to_server else server + client
        packet = struct.pack(">IHBB", 6 << 28, len(tcp), 6, 64) + pair + tcp
    else:
        server, client = SERVER.to_bytes(4, "big"), bytes(4)
        pair = client + server if to_server else server + client
        packet = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + pair + tcp
    tag = struct.pack(">HH", 0x8100, traffic.vlan) if traffic.vlan else b""
    link = bytes.fromhex("020000000001020000000002") + tag + (b"\x86\xdd" if traffic.ipv6 else b"\x08\x00")
    whole = link + packet
    return RECORD.pack(0, 0, len(whole), len(whole)) + whole


def segments(to_server: bool, data: bytes) -> Iterator[Frame]:
    """Cut a message into segments; every second one is acknowledged, as a receiver does."""
    for number, at in enumerate(range(0, len(data), SEGMENT_BYTES)):
        yield to_server, ACK, data[at : at + SEGMENT_BYTES]
        if number % 2 and at + SEGMENT_BYTES < len(data):
            yield not to_server, ACK, b""


def steps(traffic: Traffic) -> tuple[list[Frame], list[Frame], list[Frame]]:
    """Return what opens a connection, one exchange, and what closes it."""
    opening = [(True, SYN, b""), (False, SYN | ACK, b""), (True, ACK, b"")]
    exchange = [*segments(True, traffic.request), *segments(False, traffic.response)]
    closing = [(True, FIN | ACK, b""), (False, FIN | ACK, b""), (True, ACK, b"")] if traffic.ends else []
    if traffic.one_way:
        return tuple([frame for frame in step if frame[0]] for step in (opening, exchange, closing))
    return opening, exchange, closing


def write(file: BinaryIO, traffic: Traffic) -> dict[str, int]:
    """Write the traffic as a pcap file; return the note of what is in it."""
    file.write(FILE_HEADER)
    opening, exchange, closing = steps(traffic)
    up_each, down_each = len(traffic.request), 0 if traffic.one_way else len(traffic.response)
    turns = min(traffic.exchanges, max(1, ROWS // traffic.connections))
    now_us = START_US
    for wave in range(traffic.waves):
        block = Block(traffic, wave, 1, opening)
        block.number(1, 1, 0, 0)
        now_us = block.stamp(now_us)
        file.write(block.buffer)
        block = Block(traffic, wave, turns, exchange)
        for done in range(0, traffic.exchanges, turns):
            if done + turns > traffic.exchanges:
                block = Block(traffic, wave, traffic.exchanges - done, exchange)
            block.number(2 + done * up_each, 2 + done * down_each, up_each, down_each)
            now_us = block.stamp(now_us)
            file.write(block.buffer)
        if closing:
            block = Block(traffic, wave, 1, closing)
            block.number(2 + traffic.exchanges * up_each, 2 + traffic.exchanges * down_each, 0, 0)
            now_us = block.stamp(now_us)
            file.write(block.buffer)
    messages = traffic.repeated * (1 if traffic.one_way or not traffic.response else 2)
    return {
        "port": SERVER_PORT,
        "frames": now_us - START_US,
        "messages": messages,
        "complete": messages if traffic.whole else 0,
        "payload": traffic.repeated * (up_each + down_each),
    }


def read_records(path: Path) -> list[bytes]:
    """Return the records of a small pcap file that `write` wrote."""
    data = path.read_bytes()
    records, at = [], len(FILE_HEADER)
    while at < len(data):
        end = at + RECORD.size + RECORD.unpack_from(data, at)[2]
        records.append(data[at:end])
        at = end
    return records
