"""The file output in the recording format: blocks appended to one path, by any number of workers at once.

In: records of a message ring.  Out: a recording (docs/recording.md).  Invariant: a block is written as a whole or taken
back, and a message counts as delivered with the block that it ends in.  Whoever takes the lock first cuts off what a
killed worker left broken.
"""

import os
from typing import Final

from capture.counters import Counters
from capture.ring import Consumer
from emit.blocks import BLOCK_BYTES, FILE_HEADER, file_header, seal
from emit.file import PieceOutput
from emit.packing import Packer
from emit.recording import said_cut
from emit.records import OutputSpec
from emit.tail import Tail

LINGER_S: Final = 0.01
"""How long a block waits for more messages; they stay in the ring meanwhile."""
LINGER_RING_BYTES: Final = 1024 * 1024
"""In a ring that is smaller there is no time for that."""


class BlockOutput(PieceOutput):
    """Appends blocks to `spec.path`."""

    empty_bytes = FILE_HEADER.size

    def __init__(self, spec: OutputSpec, consumer: Consumer, counters: Counters) -> None:
        super().__init__(spec, consumer, counters)
        self.sealed: bytes | None = None  # the buffer as a block
        self.due_s: float | None = None  # when a block is written though it is small

    def writer(self, consumer: Consumer) -> Packer:
        self.packer = Packer(consumer, 2 * BLOCK_BYTES, self.sieve)
        return self.packer

    # -- when

    def take(self, head: int) -> None:
        if self.lingers(head):
            self.unlock_unused()
            return
        self.due_s = None
        super().take(head)

    def lingers(self, head: int) -> bool:
        """Whether the next block is to wait for more messages."""
        waiting = head - self.cursor
        if self.final or self.lines.size or self.lines.mid_line or self.capacity < LINGER_RING_BYTES:
            return False
        if waiting == 0 or waiting >= min(BLOCK_BYTES, self.capacity // 4):
            return False
        if self.due_s is None:
            self.due_s = self.now_s + LINGER_S
        return self.now_s < self.due_s

    @property
    def hungry(self) -> bool:
        return super().hungry and self.due_s is None

    def deadline(self) -> float | None:
        return super().deadline() if self.due_s is None else self.due_s

    # -- what

    def block(self) -> bytes | memoryview:
        if self.sealed is None:
            begin = b""
            target = self.target
            if target.tail is None and not target.key:  # a pipe or a device: it begins with us
                target.key = os.urandom(8)
                begin = file_header(target.key)
            key = target.key if target.tail is None else target.tail.key
            self.sealed = begin + seal(self.lines.view(), self.packer.about, self.spec.compression, key)
        return self.sealed

    def mend(self) -> None:
        """Find the end of the file, and leave nothing broken there."""
        if self.target.tail is None:
            self.target.tail = Tail(self.fd)
        said_cut(self.target.path, self.target.tail.mend())

    def write(self) -> bool:
        if self.regular and self.written == 0:
            self.mend()
        if not super().write():
            return False
        if self.target.tail is not None:
            self.target.tail.end += self.written
        return True

    def wrote(self) -> None:
        super().wrote()
        self.sealed = None

    def take_back(self) -> int:
        self.sealed = None
        return super().take_back()
