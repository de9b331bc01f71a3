"""A Forward receiver that counts and acknowledges and looks at nothing else: the sender alone is measured.

In: PackedForward frames, [tag, bin, {chunk, size}], back to back (docs of Fluent Forward v1).  Out: {"ack": chunk},
and how many messages there were.  With --keep it also notes when each message had arrived: the receiver of the
latency measurement.

python -m scripts.benchmark.sink RESULT [--keep]    listens on a free port of 127.0.0.1, until SIGTERM
"""

import json
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgpack

BUFFER_BYTES: Final = 1 << 20
HEAD_BYTES: Final = 1 + 2 + 255 + 5  # array, tag of up to 255 bytes, bin32
TAIL_BYTES: Final = 128  # a map with a chunk id and a size


class Frames:
    """Finds the frames in a stream: `feed` it, it returns the (chunk, size) of those that have ended.

    Only heads and tails are kept from one call to the next; entries are stepped over, or kept if asked for.
    """

    def __init__(self, keep: bool = False) -> None:
        self.left = 0  # bytes of the entries that are still to come
        self.in_tail = False
        self.rest = b""  # of a head or tail that has not ended
        self.kept: bytearray | None = bytearray() if keep else None
        self.entries: list[bytes] = []  # of the frames that have ended, if they are kept

    def feed(self, data: memoryview) -> list[tuple[bytes, int]]:
        """Take bytes; ValueError if they are not PackedForward."""
        ended: list[tuple[bytes, int]] = []
        at = 0
        if self.rest and not self.left:
            data = memoryview(self.rest + bytes(data))
            self.rest = b""
        while at < len(data) or self.left:
            if self.left:
                step = min(self.left, len(data) - at)
                if self.kept is not None:
                    self.kept += data[at : at + step]
                self.left -= step
                at += step
                if self.left:
                    break
                continue
            most = TAIL_BYTES if self.in_tail else HEAD_BYTES
            part = bytes(data[at : at + most])
            used = self._tail(part, ended) if self.in_tail else self._head(part)
            if not used:
                if len(part) == most:
                    raise ValueError("not PackedForward")
                self.rest = part
                break
            at += used
            self.in_tail = not self.in_tail
        return ended

    def _head(self, part: bytes) -> int:
        """Read array, tag and length; return how many bytes they have, 0 if they are not all there."""
        if len(part) < 2:
            return 0
        if part[0] != 0x93 or not (0xA0 <= part[1] <= 0xBF or part[1] == 0xD9):
            raise ValueError("not PackedForward")
        if part[1] == 0xD9 and len(part) < 3:
            return 0
        tag = 3 + part[2] if part[1] == 0xD9 else 2 + (part[1] & 31)
        width = {0xC4: 1, 0xC5: 2, 0xC6: 4}
        if len(part) <= tag:
            return 0
        if part[tag] not in width:
            raise ValueError("not PackedForward: no bin")
        used = tag + 1 + width[part[tag]]
        if len(part) < used:
            return 0
        self.left = int.from_bytes(part[tag + 1 : used], "big")
        return used

    def _tail(self, part: bytes, ended: list[tuple[bytes, int]]) -> int:
        """Read the options; return how many bytes they have, 0 if they are not all there."""
        unpacker = msgpack.Unpacker(raw=True)
        unpacker.feed(part)
        try:
            options: dict[bytes, Any] = unpacker.unpack()
        except msgpack.OutOfData:
            return 0
        ended.append((options[b"chunk"], options[b"size"]))
        if self.kept is not None:
            self.entries.append(bytes(self.kept))
            self.kept.clear()
        return int(unpacker.tell())


def latencies_us(arrived_ns: int, entries: bytes) -> list[tuple[int, int]]:
    """Return (event time in ns, latency in µs) of each message of a chunk."""
    unpacker = msgpack.Unpacker(raw=True, ext_hook=lambda _, data: data, max_buffer_size=len(entries) + 1)
    unpacker.feed(entries)
    found = []
    for moment, _ in unpacker:
        event_ns = int.from_bytes(moment[:4], "big") * 10**9 + int.from_bytes(moment[4:], "big")
        found.append((event_ns, (arrived_ns - event_ns) // 1000))
    return found


def serve(server: socket.socket, keep: bool) -> tuple[int, list[tuple[int, bytes]]]:
    """Serve one connection after the other until SIGTERM; return messages, and what was kept."""
    buffer = bytearray(BUFFER_BYTES)
    view = memoryview(buffer)
    messages, kept = 0, []
    try:
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            frames = Frames(keep)
            while count := connection.recv_into(buffer):
                now_ns = time.time_ns() if keep else 0
                for chunk, size in frames.feed(view[:count]):
                    connection.sendall(b"\x81\xa3ack" + msgpack.packb(chunk.decode()))
                    if not messages:
                        print("first", file=sys.stderr, flush=True)
                    messages += size
                if keep:
                    kept += [(now_ns, entries) for entries in frames.entries]
                    frames.entries.clear()
            connection.close()
    except Ended:
        return messages, kept


class Ended(Exception):
    """SIGTERM came."""


def _end(_number: int, _frame: object) -> None:
    raise Ended


def main() -> None:
    """Listen, serve, and write what was counted as one line of JSON."""
    result = Path(sys.argv[1])
    keep = "--keep" in sys.argv
    signal.signal(signal.SIGTERM, _end)
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(f"listening on 127.0.0.1:{server.getsockname()[1]}", file=sys.stderr, flush=True)
        messages, kept = serve(server, keep)
    times = [pair for arrived_ns, entries in kept for pair in latencies_us(arrived_ns, entries)]
    result.write_text(json.dumps({"messages": messages, "times": times}))


if __name__ == "__main__":
    main()
