"""A program that runs beside a worker, with pipes to its standard input, output and error.

In: bytes for it.  Out: bytes from it, lines for the log.  Invariant: nothing here waits, but for the end of what was
killed; however its worker ends, the program ends, too, and leaves no zombie.
"""

import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Sequence
from typing import Final

from capture.limits import unbound

READ_BYTES: Final = 256 * 1024
"""Most that is read in one go."""
SAID_CHARACTERS: Final = 300
"""Most of a line on standard error that is logged."""
SAID_LINES: Final = 20
"""So many lines are logged in SAID_S, the others counted."""
SAID_S: Final = 10.0
KILLED_S: Final = 1.0
"""How long a program that is told to end has to do so."""
PR_SET_PDEATHSIG: Final = 1

log = logging.getLogger(__name__)
_prctl = ctypes.CDLL(None).prctl


class Program:
    """One process, in a group of its own with what it starts; raises OSError if it cannot be started."""

    def __init__(self, command: Sequence[str], name: str) -> None:
        self.name = name
        try:
            self.child = subprocess.Popen(  # noqa: S603  # what the operator has configured
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                bufsize=0, process_group=0, preexec_fn=_settle_in,
            )  # fmt: skip
        except subprocess.SubprocessError as error:
            raise OSError(f"not even begun: {error}") from error
        assert self.child.stdin
        assert self.child.stdout
        assert self.child.stderr
        self.pipes = [self.child.stdin, self.child.stdout, self.child.stderr]
        self.input, self.output, self.errors = (pipe.fileno() for pipe in self.pipes)
        for fd in (self.input, self.output, self.errors):
            os.set_blocking(fd, False)
        self.waiting = bytearray()  # to be written
        self.said = _Said(name)
        self.ended = False  # its standard output is

    # -- what goes in

    def send(self, data: bytes) -> None:
        """Have bytes written when there is room."""
        self.waiting += data

    def write(self) -> bool:
        """Write what there is room for; False if none was."""
        if self.input < 0 or not self.waiting:
            return False
        try:
            written = os.write(self.input, memoryview(self.waiting)[: 1 << 20])
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise
            self.close_input()  # it reads no more; whether it goes on writing is its affair
            return False
        del self.waiting[:written]
        return written > 0

    def close_input(self) -> None:
        """Let it see the end of its standard input."""
        if self.input >= 0:
            self.pipes[0].close()
            self.input = -1
        self.waiting.clear()

    def unread(self) -> int:
        """Return how many of the bytes that were written it has not read yet (FIONREAD, pipe(7))."""
        if self.input < 0:
            return 0
        count = bytearray(4)
        fcntl.ioctl(self.input, termios.FIONREAD, count)
        return int.from_bytes(count, sys.byteorder)

    # -- what comes out

    def read(self) -> bytes:
        """Return what it has written; nothing if that is nothing now, or the end, which `ended` tells."""
        if self.ended:
            return b""
        try:
            data = os.read(self.output, READ_BYTES)
        except BlockingIOError:
            return b""
        self.ended = not data
        return data

    def listen(self, now_s: float) -> None:
        """Log what it says on standard error."""
        while self.errors >= 0:
            try:
                data = os.read(self.errors, READ_BYTES)
            except BlockingIOError:
                break
            self.said.take(data, now_s)
            if not data:
                self.pipes[2].close()
                self.errors = -1
            elif len(data) == READ_BYTES:
                break

    def descriptors(self) -> dict[int, int]:
        """Return what is worth waiting for."""
        wanted = {} if self.ended else {self.output: select.POLLIN}
        if self.errors >= 0:
            wanted[self.errors] = select.POLLIN
        if self.input >= 0 and self.waiting:
            wanted[self.input] = select.POLLOUT
        return wanted

    # -- its end

    def terminate(self) -> None:
        """Ask it, and all that it has started, to end."""
        self.signal(signal.SIGTERM)

    def signal(self, number: int) -> None:
        """Send a signal to its group, whose number is no other's until the program has been waited for."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, number)

    def gone(self, wait_s: float) -> bool:
        """Tell whether it has ended, within a time; it is not waited for, in the sense of wait(2)."""
        watched = os.pidfd_open(self.child.pid)
        try:
            poller = select.poll()
            poller.register(watched, select.POLLIN)
            return bool(poller.poll(wait_s * 1000))
        finally:
            os.close(watched)

    def close(self, now_s: float) -> int:
        """End it if it still runs, with all that it has started, and return its status; of a signal, less than 0."""
        self.close_input()
        if not self.gone(KILLED_S if self.ended else 0.0):
            self.terminate()
            self.gone(KILLED_S)
        self.signal(signal.SIGKILL)
        status = self.child.wait()
        self.listen(now_s)
        self.said.end()
        for pipe in self.pipes:
            pipe.close()
        self.ended, self.input, self.errors = True, -1, -1
        return status


class _Said:
    """Lines for the log, not too many, none too long."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.start = b""
        self.since_s = 0.0
        self.lines = 0

    def take(self, data: bytes, now_s: float) -> None:
        if now_s - self.since_s >= SAID_S:
            self.end()
            self.since_s = now_s
        *lines, rest = (self.start + data).split(b"\n")
        self.start = rest[: 4 * SAID_CHARACTERS]
        if not data and rest:
            lines.append(rest)
            self.start = b""
        for line in lines:
            self.lines += 1
            if self.lines <= SAID_LINES:
                log.info("%s says: %s", self.name, _plain(line))

    def end(self) -> None:
        if self.lines > SAID_LINES:
            log.info("%s says: … and %d more lines", self.name, self.lines - SAID_LINES)
        self.lines = 0


def _plain(line: bytes) -> str:
    """Return a line without what terminals would obey."""
    text = line[: 4 * SAID_CHARACTERS].decode("utf-8", "replace").rstrip()
    text = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text.replace("\t", " "))
    return text if len(text) <= SAID_CHARACTERS else text[: SAID_CHARACTERS - 1] + "…"


def ending(status: int) -> str:
    """Say in words how a program has ended."""
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def _settle_in() -> None:
    """Run in the new process: what holds for a worker alone does not there, and it ends with its worker."""
    unbound()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
