"""The service manager's protocol (sd_notify(3)): datagrams of lines to the socket that the environment names.

In: what a run has come to.  Out: datagrams; none where nobody asked for them.  Invariant: a manager that does not
listen is never an error.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable
from typing import Self

Clock = Callable[[], float]


class Notifier:
    """One service's voice."""

    def __init__(self, address: str | None, watchdog_s: float | None = None, clock: Clock = time.monotonic) -> None:
        """Speak to `address`, a path or with "@" an abstract name; `watchdog_s` is how long it may be silent."""
        self._address = None if address is None else address.replace("@", "\0", 1) if address[:1] == "@" else address
        self._watchdog_s = watchdog_s
        self._clock = clock
        self._beat_s = -float("inf")
        self._socket = (
            None if address is None else socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        )

    @classmethod
    def from_environment(cls) -> Self:
        """Take what the manager gave, out of the environment: it is not for our children."""
        address = os.environ.pop("NOTIFY_SOCKET", None)
        period, who = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
        ours = who in {"", str(os.getpid())}
        watchdog_s = int(period) / 1e6 if period.isascii() and period.isdigit() and ours else None
        return cls(address or None, watchdog_s or None)

    def ready(self) -> None:
        """The service is up, or its reload is done."""
        self._say("READY=1")

    def status(self, text: str) -> None:
        """Give one line for whoever asks how it is."""
        self._say(f"STATUS={text}")

    def reloading(self) -> None:
        """A reload has begun."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end has begun."""
        self._say("STOPPING=1")

    def watchdog(self) -> None:
        """Give a sign of life, if half of the time for it is over; may be called at any rate."""
        now_s = self._clock()
        if self._watchdog_s is not None and now_s - self._beat_s >= self._watchdog_s / 2:
            self._beat_s = now_s
            self._say("WATCHDOG=1")

    def close(self) -> None:
        """Say nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _say(self, text: str) -> None:
        if self._socket is not None and self._address is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(text.encode(), self._address)
