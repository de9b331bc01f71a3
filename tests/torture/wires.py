"""A bad network between a sender and a receiver: a proxy whose connections are cut, held up, mixed up and garbled.

In: where the receiver listens, a seed, kinds of fault.  Out: an address for the sender, and how often each struck.
Invariant: no connection lasts, bytes are changed only where that was asked for, and nothing is left when it is closed.
"""

import contextlib
import random
import select
import socket
import struct
import threading
from collections import Counter
from typing import Final

AT_ONCE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: a close is a reset
PATIENCE_S: Final = 5.0
HELD_S: Final = 0.7
"""For how long a stalled connection forwards nothing: longer than the sender waits for bytes to be taken."""
PIECE_BYTES: Final = 16 * 1024
REACHES: Final = (100, 20_000, 60_000)
"""Before how many bytes a fault strikes: within a frame\'s head, or some chunks.  One that is cut within a chunk, again
and again, makes it look like one that the receiver does not take."""
LONG_REACH: Final = 20_000_000
"""Every so-manieth connection lasts: a message of many parts has to get through at last."""
EVERY: Final = 4

FAULTS: Final = (
    "delay", "cut", "cut_answers", "reset", "stall", "stall_answers", "refuse", "late", "twice", "garble_answers",
)  # fmt: skip
SECURED: Final = (*FAULTS, "garble")
"""Under TLS also bits of what goes to the receiver are changed; without it nobody could find out."""


class Proxy:
    """Listens on a port of its own until it is closed; a thread for each connection."""

    def __init__(self, far: str, seed: int, kinds: tuple[str, ...]) -> None:
        host, _, port = far.rpartition(":")
        self.far = (host, int(port))
        self.dice = random.Random(seed)
        self.kinds = kinds
        self.connections = 0
        self.struck: Counter[str] = Counter()
        self.answered = threading.Condition()
        self.answers = 0  # pieces that the receiver has sent back, over any connection
        self.ended = threading.Event()
        self.listener = self._bind()
        self.listener.listen()
        self.address = "{}:{}".format(*self.listener.getsockname())
        self.threads: list[threading.Thread] = []
        self.accepting = threading.Thread(target=self._accept)
        self.accepting.start()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_error: object) -> None:
        self.ended.set()
        with self.answered:
            self.answered.notify_all()
        self.accepting.join()
        for each in self.threads:
            each.join()
        self.listener.close()

    def _bind(self) -> socket.socket:
        """Bind to a free port, in a way that it stays ours while nobody listens."""
        with socket.socket() as finder:
            finder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            finder.bind(("127.0.0.1", 0))
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(finder.getsockname())
        return listener

    def _accept(self) -> None:
        while not self.ended.is_set():
            if not select.select([self.listener], [], [], 0.05)[0]:
                continue
            near, _address = self.listener.accept()
            kind = self.dice.choice(self.kinds)
            self.connections += 1
            at = self.dice.randrange(1, LONG_REACH if self.connections % EVERY == 0 else self.dice.choice(REACHES))
            self.threads = [each for each in self.threads if each.is_alive()]
            if kind == "refuse":
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                near.close()
                self.listener.shutdown(socket.SHUT_RDWR)  # the port is still bound: connections are refused
                self.struck[kind] += 1
                self.ended.wait(self.dice.random() * 0.3)
                self.listener.listen()
                continue
            connection = Connection(self, near, kind, at, self.dice.getrandbits(32))
            self.threads.append(threading.Thread(target=connection.run))
            self.threads[-1].start()

    def note_answer(self) -> None:
        """Note that the receiver has said something."""
        with self.answered:
            self.answers += 1
            self.answered.notify_all()

    def wait_for_newer(self) -> None:
        """Wait until the receiver has answered on another connection."""
        with self.answered:
            so_far = self.answers
            self.answered.wait_for(lambda: self.answers > so_far or self.ended.is_set(), PATIENCE_S)


class Connection:
    """One connection through the proxy, and what happens to it."""

    def __init__(self, proxy: Proxy, near: socket.socket, kind: str, at: int, seed: int) -> None:
        self.proxy = proxy
        self.near = near
        self.far = socket.create_connection(proxy.far, PATIENCE_S)
        self.near.settimeout(PATIENCE_S)
        self.kind = kind
        self.side = self.far if kind.endswith("_answers") else self.near  # whose bytes it is about
        self.left = at  # of those bytes, until it strikes
        self.lives = 2 * at + PIECE_BYTES  # bytes of both sides, until it is cut in any case
        self.dice = random.Random(seed)
        self.kept = bytearray()

    def run(self) -> None:
        """Carry bytes until either side ends, or the fault ends it."""
        with self.near, self.far, contextlib.suppress(OSError):  # a peer that resets is no news
            if self.kind == "late":
                self.hold_back()
                return
            while not self.proxy.ended.is_set():
                for source in select.select([self.near, self.far], [], [], 0.05)[0]:
                    if not self.carry(source):
                        return

    def carry(self, source: socket.socket) -> bool:
        """Carry one piece; False at the end."""
        struck = source is not self.side or not self.left
        data = source.recv(PIECE_BYTES if struck else min(PIECE_BYTES, self.left))
        self.lives -= len(data)
        if not data or self.lives < 0:
            return False
        if self.kind == "delay":
            self.proxy.ended.wait(self.dice.random() * 0.02)
        if self.kind == "twice" and not struck:
            self.kept += data
        if self.kind.startswith("garble") and source is self.side and struck:
            data = self.garbled(data)
        (self.far if source is self.near else self.near).sendall(data)
        if source is self.far:
            self.proxy.note_answer()
        if struck:
            return True
        self.left -= len(data)
        return bool(self.left) or self.strike()

    def garbled(self, data: bytes) -> bytes:
        """Return the bytes with one bit changed; not in every piece, so that TLS sees good ones after it, too.

        Without TLS it is a bit that no acknowledgement has set: another may make it that of another chunk in flight.
        """
        if self.dice.random() < 0.5:
            return data
        self.proxy.struck[self.kind] += 1
        bit = self.dice.randrange(8 * len(data))
        if "garble" not in self.proxy.kinds:
            bit |= 7
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    def strike(self) -> bool:
        """Do what was to happen after so many bytes; False if that is the end."""
        if self.kind.startswith("garble"):
            return True  # from here on
        self.proxy.struck[self.kind] += 1
        if self.kind.startswith("stall"):
            self.proxy.ended.wait(HELD_S)
            return True
        if self.kind == "reset":
            for each in (self.near, self.far):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        if self.kind == "twice":
            self.near.close()
            self.far.close()
            self.proxy.wait_for_newer()
            self.deliver(bytes(self.kept))
        return False

    def hold_back(self) -> None:
        """Take bytes, end the sender's side, and hand them on when a newer connection has been answered."""
        while self.left and select.select([self.near], [], [], HELD_S)[0]:
            data = self.near.recv(min(PIECE_BYTES, self.left))
            if not data:
                break
            self.kept += data
            self.left -= len(data)
        self.near.close()
        self.far.close()
        self.proxy.struck[self.kind] += 1
        self.proxy.wait_for_newer()
        self.deliver(bytes(self.kept))

    def deliver(self, data: bytes) -> None:
        """Send bytes on a connection of their own, and read what comes back to its end."""
        with socket.create_connection(self.proxy.far, PATIENCE_S) as far:
            far.sendall(data)
            far.shutdown(socket.SHUT_WR)
            while far.recv(PIECE_BYTES):
                pass
