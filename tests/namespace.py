"""Network namespaces for tests: networks of their own, which vanish with the test.

In: what to run.  Out: its result.  Invariant: nothing is sent on a network of this machine, and when a test has ended,
however it did, its namespaces, interfaces and processes are gone.
"""

import ctypes
import fcntl
import itertools
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

CLONE_NEWNET: Final = 0x40000000
SIOCSIFFLAGS: Final = 0x8914
IFF_UP: Final = 1
DEVICE: Final = "veth0"  # of either end of a pair
NAMES: Final = (f"ringtap-{os.getpid()}-{number}" for number in itertools.count())

T = TypeVar("T")
_libc: Final = ctypes.CDLL(None, use_errno=True)


def in_thread(run: Callable[[], T]) -> T:
    """Run a function in a thread of its own, and wait for it; what it raises is raised here."""
    result: list[T] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            result.append(run())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return result[0]


def isolated(run: Callable[[], T]) -> T:
    """Run a function in a new namespace that has a loopback and nothing else; it goes with the thread."""

    def work() -> T:
        _check(_libc.unshare(CLONE_NEWNET))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            fcntl.ioctl(asking, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
        return run()

    return in_thread(work)


def _check(code: int) -> None:
    if code < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _possible() -> bool:
    try:
        isolated(lambda: None)
    except OSError:
        return False
    return shutil.which("ip") is not None


POSSIBLE: Final = _possible()
needs_root: Final = pytest.mark.skipif(
    not POSSIBLE, reason="network namespaces need CAP_SYS_ADMIN, CAP_NET_ADMIN and the command ip"
)


@dataclass(frozen=True)
class Namespace:
    """A named namespace with the address and the device of its end of a pair."""

    name: str
    address: str
    device: str = DEVICE

    def call(self, run: Callable[[], T]) -> T:
        """Run a function in it, in a thread; sockets that it opens stay there."""

        def work() -> T:
            fd = os.open(Path("/run/netns") / self.name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _check(_libc.setns(fd, CLONE_NEWNET))
            finally:
                os.close(fd)
            return run()

        return in_thread(work)

    def run(self, command: Sequence[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run a command in it to its end; fails if the command does."""
        return _run("ip", "netns", "exec", self.name, *command, **options)

    def popen(self, command: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
        """Start a command in it; whoever does not end by itself is killed with the namespace."""
        return subprocess.Popen(["ip", "netns", "exec", self.name, *command], **options)

    def pids(self) -> list[int]:
        """Return the processes that are in it now."""
        return [int(each) for each in _run("ip", "netns", "pids", self.name).stdout.split()]


@contextmanager
def pair(*addresses: str) -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces joined by a cable; an address is as "10.9.0.1/24", and each end has one."""
    first, second = (Namespace(next(NAMES), each.partition("/")[0]) for each in addresses)
    try:
        for each in (first, second):
            _run("ip", "netns", "add", each.name)
        ends = ("netns", first.name, "type", "veth", "peer", "name", second.device, "netns", second.name)
        _run("ip", "link", "add", first.device, *ends)
        for each, address in zip((first, second), addresses, strict=True):
            _run("ip", "-n", each.name, "address", "add", address, "dev", each.device, "nodad")
            for device in ("lo", each.device):
                _run("ip", "-n", each.name, "link", "set", device, "up")
        yield first, second
    finally:
        for each in (first, second):
            _remove(each)


def _remove(namespace: Namespace) -> None:
    with suppress(subprocess.CalledProcessError):  # it may not have come into being
        for pid in namespace.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _run("ip", "netns", "delete", namespace.name)


def _run(*command: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, **{"check": True, "capture_output": True, "text": True, "timeout": 60} | options)
