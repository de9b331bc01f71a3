"""The file output as an HTTP archive (HAR 1.2): a request waits for its response, and both become one entry.

In: records of a message ring.  Out: files that are JSON as a whole, whenever nobody is writing.  Invariant: an entry is
a line; new ones are written over the last line, which closes the document, and close it again.  A request that is not
written yet stays in the ring.
"""

import contextlib
import errno
import itertools
import json
import logging
import os
import select
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from assemble.records import REQUEST, RESPONSE
from capture.counters import Counters
from capture.ring import Consumer
from emit.entries import Half, entry_line
from emit.records import OutputSpec
from emit.tail import last_before
from emit.wholeout import WholeOutput

HEAD: Final = b'{"log":{"version":"1.2","creator":{"name":"ringtap","version":"1"},"entries":[\n'
TAIL: Final = b"\n]}}\n"
BETWEEN: Final = b"\n,"
BEGINNINGS: Final = (b'{"startedDateTime"', b',{"startedDateTime"')
HOLD_S: Final = 30.0
"""How long a request waits for its response; then it is written without, and the response gets an entry of its own."""
HOLD_SHARE: Final = 4
"""Requests wait no longer than until this share of the ring lies behind them, either."""
END_MS: Final = 1000
"""How long the end of it waits for room in a pipe that is full."""
BUFFERS: Final = 8
"""That much of the ring is at least so many buffers; a request's place is known by its buffer."""

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Asked:
    """A request without its response."""

    half: Half
    start: int  # ring position from which it would be read again
    since_s: float


class HarOutput(WholeOutput):
    """Appends entries to `spec.path`."""

    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC  # not O_APPEND: pwrite(2) would not look at its position
    empty_bytes = len(HEAD) + len(TAIL)

    def __init__(self, spec: OutputSpec, consumer: Consumer, counters: Counters) -> None:
        super().__init__(spec, consumer, counters)
        self.block_bytes = min(self.block_bytes, self.capacity // HOLD_SHARE // BUFFERS)
        self.asked: dict[int, Asked] = {}  # by id, in the order in which they came
        self.lone: list[Asked] = []  # being written without their responses
        self.data = b""  # entries as they go into the file, with what closes it
        self.position = 0  # in the file, where they go
        self.piped: set[int] = set()  # descriptors of what is no file, and has been begun

    # -- when

    @property
    def safe(self) -> int:
        if self.failure:
            return super().safe
        oldest = [*self.lone[:1], *itertools.islice(self.asked.values(), 1)]
        return min([super().safe, *(asked.start for asked in oldest)])

    @property
    def tried(self) -> int:
        return super().safe  # what waits for its response has been read

    def done(self, head: int) -> bool:
        return super().done(head) and self.text is None

    def deadline(self) -> float | None:
        due_s = [super().deadline(), next(iter(self.asked.values())).since_s + HOLD_S if self.asked else None]
        return min((each for each in due_s if each is not None), default=None)

    def let_go(self) -> None:
        super().let_go()
        for asked in (*self.asked.values(), *self.lone):
            asked.start = self.cursor

    def take(self, head: int) -> None:
        if not self.wrote_lone():
            return
        super().take(head)
        if self.lines.size == 0 and self.failure is None:
            self.lone = list(self.overdue(head))
            if self.lone:
                self.text = BETWEEN.join(entry_line(asked.half, None) for asked in self.lone)
                self.held, self.unheld = len(self.lone), 0
            self.wrote_lone()

    def wrote_lone(self) -> bool:
        """Write the requests that wait no longer; False if that itself has to wait, or failed."""
        return not self.lone or self.flush()

    def wrote(self) -> None:
        self.lone = []
        super().wrote()

    def overdue(self, head: int) -> Iterator[Asked]:
        """Take the requests that wait no longer, and yield them."""
        while self.asked:
            name, asked = next(iter(self.asked.items()))
            behind = self.cursor - asked.start > self.capacity // HOLD_SHARE
            if not (behind or asked.since_s + HOLD_S <= self.now_s or (self.final and self.cursor == head)):
                return
            del self.asked[name]
            yield asked

    # -- what

    def compose(self, records: Iterator[bytes]) -> bytes:
        lines = []
        for record in records:
            half = Half(record)
            why = half.told()
            if why is not None:
                self.alter(why)
            if half.kind == REQUEST:
                before = self.asked.pop(half.name, None)
                if before is not None:  # the same id twice: a repetition
                    lines.append(self.entry(before.half, None))
                self.asked[half.name] = Asked(half, self.began, self.now_s)
            elif half.kind == RESPONSE and not half.interim:
                asked = self.asked.pop(half.name, None)
                lines.append(self.entry(None if asked is None else asked.half, half))
            else:
                lines.append(self.entry(None, half))
        return BETWEEN.join(lines)

    def entry(self, asked: Half | None, answered: Half | None) -> bytes:
        """Return an entry, and count what is in it."""
        self.held += (asked is not None) + (answered is not None)
        return entry_line(asked, answered)

    def undo(self, error: OSError) -> None:
        super().undo(error)
        self.lone = []

    def waiting(self) -> int:
        count = len(self.asked)
        self.asked.clear()
        return count

    # -- where

    def write(self) -> bool:
        text = self.block()
        if not text:
            return True
        if not self.regular:
            return self.write_on(text)
        if self.written == 0:
            self.mend()
            self.position = os.fstat(self.fd).st_size - len(TAIL)
            self.data = (b"" if self.position == len(HEAD) else BETWEEN) + text + TAIL
        while self.written < len(self.data):
            self.written += os.pwrite(self.fd, self.data[self.written :], self.position + self.written)
        return True

    def write_on(self, text: bytes) -> bool:
        """Write into a pipe, of which the end is written when it is closed."""
        if self.written == 0:
            self.data = (BETWEEN if self.fd in self.piped else HEAD) + text
        done = self.put(self.data)
        if self.written:
            self.piped.add(self.fd)
        return done

    def mend(self) -> None:
        size = os.fstat(self.fd).st_size
        begin = os.pread(self.fd, len(HEAD), 0)
        if not HEAD.startswith(begin):
            raise OSError(errno.EINVAL, "it is not a HAR file of this program and stays as it is; write another name")
        if os.pread(self.fd, len(TAIL), max(size - len(TAIL), 0)) == TAIL:
            return
        end = self.last_end(size) if begin == HEAD else 0
        if size:
            log.warning("%s did not end as it should, as a writer was killed: what is broken is cut", self.target.path)
        self.end_at(end, TAIL if end else HEAD + TAIL)

    def end_at(self, position: int, text: bytes) -> None:
        """End the file with a text, which a disk that is full takes where it had something before."""
        os.pwrite(self.fd, text, position)
        os.ftruncate(self.fd, position + len(text))

    def last_end(self, end: int) -> int:
        """Return where the last whole entry ends, or the head, if there is none."""
        while end > len(HEAD):
            begin = last_before(self.fd, b"\n", end) + 1
            line = os.pread(self.fd, end - begin, begin)
            if line.startswith(BEGINNINGS) and whole_json(line.removeprefix(b",")):
                return end
            end = begin - 1
        return len(HEAD)

    def take_back(self) -> int:
        if self.written and self.regular:
            with contextlib.suppress(OSError):
                self.end_at(self.position, TAIL)
        return 0

    def close(self) -> None:
        for fd in self.piped:
            poller = select.poll()
            poller.register(fd, select.POLLOUT)
            poller.poll(END_MS)
            try:
                os.write(fd, TAIL)
            except OSError as error:
                self.fail(self.explain(error))
        super().close()


def whole_json(text: bytes) -> bool:
    """Tell whether text is one value of JSON."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
