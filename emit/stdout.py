"""The stdout output: JSON Lines to the standard output that the process was started with.

In: records of a message ring.  Out: lines.  Invariant: a reader that is slow makes this output wait, and no other:
a pipe or terminal is written only when poll(2) has room, in pieces that cannot block.  The descriptor's flags stay
as they are, because others share it.  Workers take turns under a record lock (fcntl(2)), which unlike flock(2)
tells processes apart that inherited the same descriptor.
"""

import errno
import fcntl
import os
import select
import stat
from typing import Final

from capture.errors import reason
from emit.lineout import LineOutput

STDOUT: Final = 1
PIECE_BYTES: Final = select.PIPE_BUF  # a pipe that polls writable takes that much at once (pipe(7))
MOST_PIECES: Final = 256  # in one turn


class StdoutOutput(LineOutput):
    """Writes lines to descriptor 1."""

    ready = True  # as far as we know, it can be written

    def open(self) -> None:
        self.fd = STDOUT
        try:
            self.patient = stat.S_ISREG(os.fstat(self.fd).st_mode)  # a regular file is always ready
        except OSError as error:
            self.patient = True
            self.fail(self.explain(error))

    def descriptors(self) -> dict[int, int]:
        if self.failure is None and self.lines.size and not self.ready:
            return {self.fd: select.POLLOUT}
        return {}

    def attend(self) -> None:
        self.ready = True

    def write(self) -> bool:
        view = self.lines.view()
        if self.patient:
            while self.written < len(view):
                self.written += os.write(self.fd, view[self.written :])
            return True
        poller = select.poll()
        poller.register(self.fd, select.POLLOUT)
        for _piece in range(MOST_PIECES):
            if self.written == len(view):
                return True
            self.ready = bool(poller.poll(0))
            if not self.ready:
                return False
            self.written += os.write(self.fd, view[self.written : self.written + PIECE_BYTES])
        return self.written == len(view)

    def lock(self) -> bool:
        if not self.locked:
            try:
                fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    return False
            self.locked = True  # what cannot be locked, we have for ourselves as well as can be
        return True

    def unlock(self) -> None:
        if self.locked:
            try:
                fcntl.lockf(self.fd, fcntl.LOCK_UN)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOLCK, errno.EBADF):
                    raise
            self.locked = False

    def explain(self, error: OSError) -> str:
        if error.errno == errno.EPIPE:
            return "standard output was closed by its reader"
        return f"cannot write to standard output: {reason(error)}"
