"""What the outputs of JSON Lines share: fill a buffer, write it whole lines at a time, undo a write that failed.

In: records of a message ring.  Out: writes of up to BLOCK_BYTES and one line.  Invariant: lines of several workers
that write to one place never interleave: whoever writes holds the lock from the start of a line to the end of one.
"""

import abc
import contextlib
from typing import Final

from capture.counters import Counters
from capture.errors import reason
from capture.ring import Consumer
from emit.lines import LineWriter
from emit.output import Output
from emit.records import OutputSpec

BLOCK_BYTES: Final = 1024 * 1024
"""Text collected before it is written; also about what one turn writes before other outputs have theirs."""
TURN_BLOCKS: Final = 4
LOCK_RETRY_S: Final = 0.002


class LineOutput(Output):
    """An output of lines to a descriptor; subclasses open it, and say how to write and what a failed write leaves."""

    def __init__(self, spec: OutputSpec, consumer: Consumer, counters: Counters) -> None:
        super().__init__(spec, consumer, counters)
        self.lines = self.writer(consumer)
        self.fd = -1
        self.block_bytes = BLOCK_BYTES
        self.written = 0  # bytes of the buffer
        self.line_bytes = 0  # written of the line under way, in earlier blocks
        self.locked = False
        self.began = self.cursor  # ring position of the buffer's beginning
        self.kept = self.cursor  # ring position of what is not written yet
        self.before: dict[str, int] = {}  # outcomes of all before that, where they are noted
        self.retry_at_s: float | None = None
        self.more = False
        self.stuck = False

    def writer(self, consumer: Consumer) -> LineWriter:
        """Make what fills the buffer."""
        return LineWriter(consumer, 2 * BLOCK_BYTES, self.sieve)

    @property
    def safe(self) -> int:
        return self.cursor if self.failure else self.kept

    @property
    def busy(self) -> bool:
        return self.more

    @property
    def hungry(self) -> bool:
        return not self.stuck or self.spec.policy == "drop"

    @property
    def holding(self) -> bool:
        return self.locked and self.lines.size == 0

    def deadline(self) -> float | None:
        return self.retry_at_s

    def done(self, head: int) -> bool:
        return super().done(head) and self.lines.size == 0

    def let_go(self) -> None:
        self.kept = self.cursor

    def take(self, head: int) -> None:
        self.more = False
        for _turn in range(TURN_BLOCKS):
            if self.lines.size == 0:
                self.began = self.cursor
                if self.spec.notes is not None:
                    self.before = self.known()
                self.cursor = self.lines.fill(self.cursor, head, self.block_bytes, self.final)
                self.stray(self.lines.take_strays())
                if self.lines.outside and self.follow():
                    continue
            if self.lines.size == 0:
                self.kept = self.lines.safe(self.cursor)
                return
            if not self.flush():
                return
        self.more = self.cursor < head

    def follow(self) -> bool:
        """Turn to where the next message belongs, if that is somewhere else; False if that cannot be."""
        return False

    def flush(self) -> bool:
        """Write what is in the buffer; False if that has to wait, or failed."""
        try:
            self.stuck = not self.lock()
            if self.stuck:
                self.retry_at_s = self.now_s + LOCK_RETRY_S
                return False
            self.retry_at_s = None
            self.stuck = not self.write()
        except OSError as error:
            self.undo(error)
            return False
        if self.stuck:
            return False
        self.wrote()
        return True

    def wrote(self) -> None:
        """Account for a buffer that is written to its end."""
        self.tally.delivered += self.lines.messages
        self.count("delivered_bytes", self.lines.payload_bytes)
        self.count("chunks")
        self.kept = self.lines.safe(self.cursor)
        self.line_bytes = self.tail_bytes(self.lines.size) if self.lines.mid_line else 0
        self.note(self.kept)
        if not self.lines.mid_line:
            self.unlock()
        self.lines.clear()
        self.written = 0

    def note(self, position: int) -> None:
        """Note that what is written is all that is before a ring position, where it can be cut back to that."""

    def tail_bytes(self, size: int) -> int:
        """Return the length of the unfinished line at the end of the first `size` bytes of the buffer and before."""
        text = bytes(self.lines.view()[:size])
        newline = text.rfind(b"\n")
        return size - newline - 1 if newline >= 0 else self.line_bytes + size

    def undo(self, error: OSError) -> None:
        """Take back what is not whole, account for what is, and write no more."""
        whole = min(self.take_back(), self.lines.messages)
        self.tally.delivered += whole
        self.tally.undelivered += self.lines.messages - whole
        self.line_bytes = self.written = 0
        self.note(self.cursor)
        self.lines.clear()
        self.unlock()
        self.more = self.stuck = False
        self.retry_at_s = None
        self.give_up(error)

    def give_up(self, error: OSError) -> None:
        """Stop writing: for good, where nothing says that it can be otherwise."""
        self.fail(self.explain(error))

    def take_back(self) -> int:
        """Cut a partial last line back, and return how many of the buffer's lines are written."""
        partial_bytes = self.tail_bytes(self.written)
        if partial_bytes:
            with contextlib.suppress(OSError):
                self.cut_back(partial_bytes)
        return bytes(self.lines.view()[: self.written]).count(b"\n")

    def explain(self, error: OSError) -> str:
        """Say in plain words why a write failed."""
        return f"cannot write to {self.spec.path or self.spec.type}: {reason(error)}"

    @abc.abstractmethod
    def write(self) -> bool:
        """Write the buffer from `written` on; False if the rest has to wait; OSError if it failed."""

    @abc.abstractmethod
    def lock(self) -> bool:
        """Take the lock if it is free, or already ours."""

    @abc.abstractmethod
    def unlock(self) -> None:
        """Give the lock back, if it is ours."""

    def cut_back(self, partial_bytes: int) -> None:  # what a pipe has taken cannot be taken back
        """Remove the last `partial_bytes` bytes written."""
