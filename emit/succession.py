"""How one worker takes over from another: a ring has one reader at a time.

In: descriptors that travel to a child.  Out: `Flag`, which asks a worker to leave, and `Ended`, which tells its
successor that it has.  Invariant: both hold for exactly one process, whatever has become of its number.
"""

import os
import select

from capture.descriptor import Descriptor


class Flag(Descriptor):
    """Down until somebody raises it; readable then (eventfd(2))."""

    def __init__(self, fd: int = -1) -> None:
        super().__init__(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) if fd < 0 else fd)

    def fileno(self) -> int:
        """Return a descriptor to poll."""
        return self.fd

    def raise_(self) -> None:
        """Raise it, for good."""
        os.eventfd_write(self.fd, 1)


class Ended(Descriptor):
    """A child's end; made while it is surely there, as its number may be another's later (pidfd_open(2))."""

    def __init__(self, pid: int = 0, fd: int = -1) -> None:
        super().__init__(os.pidfd_open(pid) if fd < 0 else fd)

    def wait(self, timeout_ms: int | None = None) -> bool:
        """Return once the child has ended, or the time is over; whether it has."""
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        return bool(poller.poll(timeout_ms))
