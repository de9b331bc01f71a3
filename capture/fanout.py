"""Numbers for this run's fanout groups, by which the kernel splits the flows among lanes (packet(7), PACKET_FANOUT).

In: nothing.  Out: the first of a range of numbers that no other run of ours has in this network namespace.
Invariant: a number is free again when the process that reserved it has ended, however it ended.
"""

import errno
import socket
from typing import Final

from capture.errors import SourceError
from capture.interfaces import FANOUT_INDEXES

RUNS: Final = 16
"""Group numbers have 16 bits: one tells the orders of a run apart (capture/live.py), 11 its interfaces, 4 the runs."""


class FanoutGroups:
    """One range, reserved by the name of an abstract socket (unix(7)): a network namespace has its own, like groups."""

    def __init__(self) -> None:
        self._name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        for at in range(RUNS):
            try:
                self._name.bind(f"\0ringtap-fanout-{at}".encode())
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            self.first = at * FANOUT_INDEXES
            return
        self._name.close()
        raise SourceError(f"lanes: {RUNS} runs with several lanes are there already: write lanes = 1, or stop one")

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Give the numbers back."""
        self._name.close()
