"""The errors that this project raises on purpose, sorted by whose move is next (STYLE 4); how others are told."""

import errno
from typing import Final

REMEDIES: Final = {
    errno.EMFILE: "allow this process more open files (ulimit -n, LimitNOFILE)",
    errno.ENFILE: "allow this machine more open files (fs.file-max)",
    errno.EAGAIN: "allow this user more processes, threads or memory (ulimit -u, ulimit -v, TasksMax)",
    errno.ENOMEM: "allow more memory (ulimit -v, MemoryMax), or make the rings smaller",
    errno.EFBIG: "allow larger files, shared memory counts as one (ulimit -f, LimitFSIZE)",
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room, or allow this user more",
    errno.EROFS: "write somewhere else",
    errno.EIO: "look at the disk (dmesg)",
}
"""What to do about what a machine refuses that is not well, or too small."""


class MirrorError(Exception):
    """Raised on purpose by this project; anything else that escapes is our bug.

    The command line prints the message as one line and exits with `exit_code`, without a traceback.
    """

    exit_code = 1


class ConfigError(MirrorError):
    """The operator's move: the message names the key, the value, and what to write instead."""

    exit_code = 2


class SourceError(MirrorError):
    """An input cannot be read: missing, not a capture, cut short, an unknown link type."""


class ChangedError(SourceError):
    """Nobody can go on where a process was killed, as its input is no longer what it has read."""

    def __init__(self) -> None:
        super().__init__("the input files have changed since they were read: nobody can go on where a process died")


class DeliveryError(MirrorError):
    """An output cannot take what it was given; the message says how much was not delivered."""


class MalformedTraffic(MirrorError):
    """The observed peers' fault: it is counted, and costs its own flow or connection only."""

    def __init__(self, why: str, at: int) -> None:
        super().__init__(f"{why} at byte {at}")
        self.why = why
        self.at = at


def reason(error: OSError) -> str:
    """Say why something failed, as a part of a line, and what to do about it where that is known."""
    why = (error.strerror or str(error)).lower()
    remedy = REMEDIES.get(error.errno or 0)
    return why if remedy is None else f"{why}: {remedy}"


def refused(error: OSError) -> str | None:
    """Say in one line what this machine refused, and what to do about it; None where that may be our own fault."""
    if error.errno == errno.ENOENT and error.filename is None:  # as nothing else says it but getcwd(3)
        return f"the current directory is gone: {error.strerror}: start from another"
    remedy = REMEDIES.get(error.errno or 0)
    if remedy is None:
        return None
    what = f"{error.filename}: " if error.filename is not None else ""
    return f"{what}{error.strerror}: {remedy}"
