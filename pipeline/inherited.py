"""What this process was started with, put right where a careless parent would do harm: signals, standard streams.

In: the process as it is.  Out: the same with descriptors 0 to 2 open and no signal held back, or MemoryError.
Invariant: what is right is left alone; a SIGHUP that is ignored stays so (nohup(1)).
"""

import io
import mmap
import os
import signal
import sys
from typing import Final

NULL: Final = "/dev/null"
ROOM_BYTES: Final = 48 << 20
"""Of its own memory, which a command that does something needs: modules take most of it."""


def put_right() -> None:
    """Call it before anything is opened, and before any thread or child is started."""
    check_room()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # blocked ones would be so in children too: nothing would end them
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored: the kernel tells nobody how a child ended
    for fd in (0, 1, 2):
        _fill(fd)
    encoding = None if sys.stderr is None else sys.stderr.encoding
    # Unbuffered: what a full disk does not take would be tried again with every flush, by whoever starts a process too.
    sys.stderr = io.TextIOWrapper(
        io.FileIO(2, "w", closefd=False), encoding=encoding, errors="backslashreplace", write_through=True
    )


def check_room() -> None:
    """Raise MemoryError where this process could not get far: what ends in the middle of an import says anything."""
    try:
        mmap.mmap(-1, ROOM_BYTES, mmap.MAP_PRIVATE).close()
    except OSError as error:
        raise MemoryError from error


def _fill(fd: int) -> None:
    """Keep others from getting the number of a standard stream: what is meant for that would go into theirs.

    Standard output that is not there cannot be written to, so that whoever wants to hears of it.
    """
    try:
        os.fstat(fd)
    except OSError:
        opened = os.open(NULL, os.O_WRONLY if fd == 2 else os.O_RDONLY)  # the lowest number that is free: this one
        os.set_inheritable(opened, True)
