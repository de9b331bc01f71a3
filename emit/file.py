"""The file output: JSON Lines appended to one path, by any number of workers at once.

In: records of a message ring.  Out: a file, created with mode 0600, never truncated.  Invariant: the file holds
whole lines.  Several workers append under flock(2), held for a buffer at a time, or for as long as one line takes
whose message is too large to be in the ring as a whole; one file at the path that was asked for is worth that. A
message counts as delivered when the kernel has it: it survives our death, not the machine's.
"""

import contextlib
import fcntl
import logging
import os
import stat
from typing import Final

from emit.lineout import LineOutput

log = logging.getLogger(__name__)

WRITE_BEHIND_BYTES: Final = 8 * 1024 * 1024
"""After so many bytes the kernel is asked to write them to disk and to forget those that are there."""
CACHED_BYTES: Final = 4 * WRITE_BEHIND_BYTES
"""What is looked at for that: what was not on disk the first time is by the second or third."""


class FileOutput(LineOutput):
    """Appends lines to `spec.path`."""

    regular = False
    behind_bytes = 0  # written since the page cache was last relieved

    def open(self) -> None:
        assert self.spec.path is not None
        try:
            self.fd = os.open(self.spec.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self.fail(self.explain(error))
            return
        self.regular = stat.S_ISREG(os.fstat(self.fd).st_mode)
        if self.regular and self.lock():
            self.mend()
            self.unlock()

    def mend(self) -> None:
        """Put a line end after what an earlier writer left unfinished when it was killed."""
        size = os.fstat(self.fd).st_size
        if size and os.pread(self.fd, 1, size - 1) != b"\n":
            log.warning("%s ends inside a line, probably of a run that was killed: it stays as it is", self.spec.path)
            try:
                os.write(self.fd, b"\n")
            except OSError as error:
                self.fail(self.explain(error))

    def block(self) -> bytes | memoryview:
        """Return the buffer as it is to be written."""
        return self.lines.view()

    def write(self) -> bool:
        view = memoryview(self.block())
        while self.written < len(view):
            count = os.write(self.fd, view[self.written :])
            self.written += count
            self.behind_bytes += count
        if self.regular and self.behind_bytes >= WRITE_BEHIND_BYTES:
            self.write_behind()
        return True

    def write_behind(self) -> None:
        """Have the kernel write early, and keep little: a long recording must not push out what others have cached.

        POSIX_FADV_DONTNEED begins to write what is dirty and drops what is not; without it every page is a fresh one,
        which costs several times the write itself.
        """
        self.behind_bytes = 0
        end = os.lseek(self.fd, 0, os.SEEK_CUR)
        begin = max(end - CACHED_BYTES, 0)
        with contextlib.suppress(OSError):  # it is advice
            os.posix_fadvise(self.fd, begin, end - begin, os.POSIX_FADV_DONTNEED)

    def lock(self) -> bool:
        if not self.locked:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError as error:
                log.warning("%s cannot be locked: %s", self.spec.path, error.strerror)
            self.locked = True
        return True

    def unlock(self) -> None:
        if self.locked:
            fcntl.flock(self.fd, fcntl.LOCK_UN)
            self.locked = False

    def cut_back(self, partial_bytes: int) -> None:
        if self.regular:
            os.ftruncate(self.fd, os.fstat(self.fd).st_size - partial_bytes)

    def close(self) -> None:
        if self.fd >= 0:
            try:
                os.close(self.fd)
            except OSError as error:  # a network file system may say only now that it could not write
                self.fail(self.explain(error))
            self.fd = -1
