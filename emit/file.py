"""The file output: JSON Lines appended to one path, or to several in turn, by any number of workers at once.

In: records of a message ring.  Out: files, created with mode 0600; nothing is cut off that was there before.
Invariant: a file holds whole lines, and each message once, also where workers were killed (emit/notes.py; a HAR file
may then repeat some).  Several workers append under flock(2), held for a buffer at a time, or for as long as one line
takes whose message is too large to be in the ring as a whole; one file at the path that was asked for is worth that.
A message counts as delivered when the kernel has it: it survives our death, not the machine's.

A disk that is full, or fails, costs what comes until it takes something again; it is tried every REST_S.  Nobody waits
for that: who waits for a disk that nobody looks at waits for ever.
"""

import contextlib
import errno
import fcntl
import logging
import os
import select
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from capture.counters import Counters
from capture.errors import reason
from capture.ring import Consumer
from emit.lineout import BLOCK_BYTES, LineOutput
from emit.notes import Note, Noted
from emit.records import OutputSpec
from emit.rotation import ALWAYS, Names
from emit.tail import Tail
from emit.walk import count_messages

log = logging.getLogger(__name__)

WRITE_BEHIND_BYTES: Final = 8 * 1024 * 1024
"""After so many bytes the kernel is asked to write them to disk and to forget those that are there."""
CACHED_BYTES: Final = 4 * WRITE_BEHIND_BYTES
"""What is looked at for that: what was not on disk the first time is by the second or third."""
MOST_TARGETS: Final = 4
"""Files of one output that are open: around the moment when names change, messages of both come in turn."""
PASSING: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)
"""What is wrong with a disk, and may be put right while we run."""
REST_S: Final = 5.0
BUFFERS_PER_FILE: Final = 8
"""At least, so that files are not much smaller than they may be."""


@dataclass(slots=True, eq=False)
class Target:
    """One file that is open."""

    path: str
    begin_ns: int  # of the time that its name is for
    number: int  # of those of that time
    fd: int
    regular: bool
    tail: Tail | None = None  # of a recording in a regular file
    key: bytes = b""  # of one in what is none
    behind_bytes: int = 0  # written since the page cache was last relieved


class FileOutput(LineOutput):
    """Appends lines to `spec.path`."""

    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    empty_bytes = 0  # in a file that no message has been written to

    def __init__(self, spec: OutputSpec, consumer: Consumer, counters: Counters) -> None:
        super().__init__(spec, consumer, counters)
        assert spec.path is not None
        self.names = Names(spec.path, spec.rotate_every_s)
        self.targets: dict[int, Target] = {}  # by the time of their names, the latest used last
        self.target = Target(spec.path, 0, 0, -1, False)
        self.again_s: float | None = None  # when the disk is tried again, if it takes nothing now
        self.broken = False  # it took nothing, and has not since
        self.noted_line = False  # a line is under way, and the note says where it begins
        self.roomy = True  # as far as we know: a pipe may have no room
        self.page = os.fstat(counters.fd).st_ino
        noted = None if spec.notes is None else spec.notes.mine.get()
        if noted is not None and noted.position >= self.cursor:
            self.take_over(noted)
        if spec.rotate_bytes is not None:
            self.block_bytes = min(BLOCK_BYTES, max(spec.rotate_bytes // BUFFERS_PER_FILE, 1))

    @property
    def regular(self) -> bool:
        """Whether what is written to is a file that can be cut, and locked by whoever shares it."""
        return self.target.regular

    def descriptors(self) -> dict[int, int]:
        return {} if self.roomy or self.fd < 0 else {self.fd: select.POLLOUT}

    def attend(self) -> None:
        self.roomy = True

    def open(self) -> None:
        if self.names.by_time:
            self.lines.set_window(0, 0)  # the first message says which one
            return
        self.turn_to(ALWAYS[0])

    # -- which file

    def follow(self) -> bool:
        begin_ns, end_ns = self.names.window(self.lines.stamp_ns)
        self.unlock()
        self.lines.set_window(begin_ns, end_ns)
        self.turn_to(begin_ns)
        return self.failure is None and self.again_s is None

    def turn_to(self, begin_ns: int) -> None:
        """Write to the file of a time from now on."""
        target = self.targets.pop(begin_ns, None)
        try:
            if target is None:
                self.use(self.opened(begin_ns, self.newest(begin_ns)))
                self.begin()
            else:
                self.use(target)
            if len(self.targets) > MOST_TARGETS:
                self.forget(next(iter(self.targets)))
        except OSError as error:
            self.give_up(error)

    def use(self, target: Target) -> None:
        """Make a file the one that is written to."""
        self.targets[target.begin_ns] = target
        self.target = target
        self.fd = target.fd

    def opened(self, begin_ns: int, number: int) -> Target:
        """Open a file, and make directories whose names depend on the time."""
        path = self.names.path(begin_ns, number)
        if self.names.by_time and os.path.dirname(path):
            make_directories(path)
        fd = os.open(path, self.flags, 0o600)
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        if not regular:  # who reads there slowly makes us wait, and no other output; nobody else has this descriptor
            os.set_blocking(fd, False)
        return Target(path, begin_ns, number, fd, regular)

    def newest(self, begin_ns: int) -> int:
        """Return the number of the last file of a time that is there."""
        if self.spec.rotate_bytes is None:
            return 0
        directory = os.path.dirname(self.names.path(begin_ns)) or "."
        with contextlib.suppress(FileNotFoundError):
            return max([0, *(self.names.number(begin_ns, name) for name in os.listdir(directory))])
        return 0

    def begin(self) -> None:
        """Look at the end of a file that has just been opened, if nobody is writing there."""
        if self.regular and self.lock():
            self.mend()
            self.unlock()

    def full(self) -> bool:
        """Whether what is to be written belongs into a further file."""
        most = self.spec.rotate_bytes
        if most is None or not self.regular:
            return False
        size = os.fstat(self.fd).st_size
        return size > self.empty_bytes and size + self.lines.size > most

    def forget(self, begin_ns: int) -> None:
        """Close a file that is not written to now."""
        os.close(self.targets.pop(begin_ns).fd)

    # -- what

    def mend(self) -> None:
        """Put a line end after what an earlier writer left unfinished when it was killed."""
        size = os.fstat(self.fd).st_size
        if size and os.pread(self.fd, 1, size - 1) != b"\n":
            log.warning("%s ends inside a line, probably of a run that was killed: it stays as it is", self.target.path)
            os.write(self.fd, b"\n")

    def block(self) -> bytes | memoryview:
        """Return the buffer as it is to be written."""
        return self.lines.view()

    def write(self) -> bool:
        if self.written == 0:
            self.note_beginning()
        if not self.put(self.block()):
            return False
        if self.regular and self.target.behind_bytes >= WRITE_BEHIND_BYTES:
            self.write_behind()
        return True

    def put(self, data: bytes | memoryview) -> bool:
        """Write a buffer from `written` on; False if a pipe has no room for the rest."""
        view = memoryview(data)
        while self.written < len(view) and self.roomy:
            try:
                count = os.write(self.fd, view[self.written :])
            except BlockingIOError:
                self.roomy = False
            else:
                self.written += count
                self.target.behind_bytes += count
        return self.written == len(view)

    def write_behind(self) -> None:
        """Have the kernel write early, and keep little: a long recording must not push out what others have cached.

        POSIX_FADV_DONTNEED begins to write what is dirty and drops what is not; without it every page is a fresh one,
        which costs several times the write itself.
        """
        self.target.behind_bytes = 0
        end = os.lseek(self.fd, 0, os.SEEK_CUR)
        begin = max(end - CACHED_BYTES, 0)
        with contextlib.suppress(OSError):  # it is advice
            os.posix_fadvise(self.fd, begin, end - begin, os.POSIX_FADV_DONTNEED)

    def lock(self) -> bool:
        while not self.locked:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError as error:
                log.warning("%s cannot be locked: %s", self.target.path, error.strerror)
            self.locked = True
            if not self.resolve():
                self.unlock()
                return False
            if self.full():
                self.unlock()
                self.advance()
        return True

    def advance(self) -> None:
        """Go on in the next file of the same time; raises OSError."""
        begin_ns, number = self.target.begin_ns, self.target.number
        following = self.opened(begin_ns, number + 1)
        self.forget(begin_ns)
        self.use(following)

    def unlock(self) -> None:
        if self.locked:
            fcntl.flock(self.fd, fcntl.LOCK_UN)
            self.locked = False

    # -- a disk that takes nothing

    def give_up(self, error: OSError) -> None:
        """Write no more: for a while, if this may pass; all that is open is let go, as somebody may want to mend it."""
        why = self.explain(error)
        if error.errno not in PASSING or (self.fd >= 0 and not self.regular):
            self.fail(why)
            return
        if not self.broken:
            log.error(
                "%s: %s; what comes meanwhile is counted as not delivered; it is tried again every %g s",
                self.spec.name, why, REST_S,
            )  # fmt: skip
        self.interrupt(why)
        self.broken = True
        self.again_s = self.now_s + REST_S
        self.kept = self.cursor
        self.locked = self.noted_line = False
        self.let_files_go()
        self.lines = self.writer(self.consumer)

    def take(self, head: int) -> None:
        if self.again_s is not None and not self.opened_again():
            self.tally.undelivered += self.skip(head, head)
            self.kept = self.cursor
            return
        super().take(head)

    def opened_again(self) -> bool:
        """Try the disk again, if it is time to."""
        assert self.again_s is not None
        if self.now_s < self.again_s:
            return False
        self.again_s = None
        self.open()
        return self.failure is None and self.again_s is None

    def wrote(self) -> None:
        super().wrote()
        if self.broken:
            self.broken = False
            undelivered = self.known()["undelivered"]
            log.warning("%s: can be written again; %d messages were not delivered", self.spec.name, undelivered)

    # -- what is noted for a successor

    def note_beginning(self) -> None:
        """Note that what is written from now on is not to stay, until it is noted how far that brings us."""
        if self.regular and self.spec.notes is not None and not self.noted_line:
            self.put_note(self.kept, self.before, True)

    def note(self, position: int) -> None:
        if self.regular and self.spec.notes is not None and self.locked:
            self.noted_line = self.line_bytes > 0
            self.put_note(position, self.known(), self.noted_line)

    def put_note(self, position: int, outcomes: dict[str, int], writing: bool) -> None:
        """Note which length of the file belongs to a position."""
        assert self.spec.notes is not None
        about, target = os.fstat(self.fd), self.target
        place = (target.begin_ns, target.number, about.st_dev, about.st_ino, about.st_size - self.line_bytes)
        self.spec.notes.mine.put(Noted(*place, position, outcomes, writing, self.page))

    def take_over(self, noted: Noted) -> None:
        """Go on behind what a predecessor has written, though it is in the ring still."""
        if noted.page in (0, self.page):
            self.go_on(noted.position, noted.outcomes)
        else:  # it had another configuration, and was killed before it could say what it had not booked
            self.tally.delivered += count_messages(self.consumer, self.cursor, noted.position)[0]
            self.cursor = noted.position
        self.began = self.kept = self.cursor

    def bequeath(self) -> None:
        noted = None if self.spec.notes is None else self.spec.notes.mine.get()
        if self.spec.notes is None or noted is None or (noted.writing and not self.locked):
            return  # a note of somebody who was killed in writing is for whoever has the lock
        booked = {name: self.counters[f"output{self.spec.index}_{name}"] for name in noted.outcomes}
        left = {name: max(amount - booked[name], 0) for name, amount in noted.outcomes.items()}
        if noted.page == self.page:
            self.spec.notes.mine.put(replace(noted, outcomes=left, page=0))

    def resolve(self) -> bool:
        """Cut off what workers were killed in writing, as we hold the lock; False if ours has to wait for another."""
        if not self.regular or self.spec.notes is None:
            return True
        for note in self.spec.notes.others:
            self.cut_off(note, self.fd)
        if self.cut_off(self.spec.notes.mine, self.fd):
            return True
        return self.resolve_elsewhere(self.spec.notes.mine)

    def resolve_elsewhere(self, note: Note) -> bool:
        """Cut off what a predecessor was killed in writing to another file; False if somebody else is writing there."""
        noted = note.get()
        assert noted is not None
        path = self.names.path(noted.begin_ns, noted.number)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            note.resolve()
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self.cut_off(note, fd):  # it is not that file any more
                note.resolve()
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        return True

    def cut_off(self, note: Note, fd: int) -> bool:
        """Cut a file back if a note says so; False if what it says is about another file."""
        noted = note.get()
        if noted is None or not noted.writing:
            return True
        about = os.fstat(fd)
        if (about.st_dev, about.st_ino) != (noted.device, noted.inode):
            return False
        if about.st_size > noted.length:
            os.ftruncate(fd, noted.length)
            log.warning("%s: what a worker was killed in writing is cut off, and written again", self.target.path)
        note.resolve()
        return True

    def cut_back(self, partial_bytes: int) -> None:
        if self.regular:
            os.ftruncate(self.fd, os.fstat(self.fd).st_size - partial_bytes)

    def explain(self, error: OSError) -> str:
        return f"cannot write to {error.filename or self.target.path}: {reason(error)}"

    def close(self) -> None:
        for error in self.let_files_go():  # a network file system may say only now that it could not write
            self.fail(self.explain(error))

    def let_files_go(self) -> list[OSError]:
        """Close what is open, and return what was said to that."""
        errors = []
        for target in self.targets.values():
            try:
                os.close(target.fd)
            except OSError as error:
                errors.append(error)
        self.targets.clear()
        self.fd = -1
        return errors


class PieceOutput(FileOutput):
    """A file of pieces other than lines: what a buffer makes is written as a whole, or taken back."""

    def take(self, head: int) -> None:
        super().take(head)
        self.unlock_unused()

    def unlock_unused(self) -> None:
        """Give the file back that was held for a message which has turned out never to end."""
        if self.lines.size == 0 and not self.lines.mid_line:
            self.unlock()

    def tail_bytes(self, size: int) -> int:  # noqa: ARG002
        return 0

    def take_back(self) -> int:
        if self.written and self.regular:
            with contextlib.suppress(OSError):
                self.cut_back(self.written)
        return 0


def make_directories(path: str) -> None:
    """Make the directories above a file that are not there, each for its owner only: os.makedirs does the last so."""
    for place in reversed(Path(path).parents):
        try:
            os.mkdir(place, 0o700)
        except FileExistsError:
            if not place.is_dir():
                raise
