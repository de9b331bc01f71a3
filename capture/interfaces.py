"""Network interfaces: which ones there are, and one of them as a source of frames through pcapy-ng.

In: names and patterns.  Out: taps, which are read without waiting.  Invariant: what cannot be opened is one line that
says why, and what to do.
"""

import contextlib
import ctypes
import fcntl
import fnmatch
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pcapy

from capture.errors import ConfigError, SourceError
from capture.filters import LOOP_DATALINK, Wanted, expression
from capture.links import linktype

ANY: Final = "any"
COOKED_DATALINK: Final = 113  # DLT_LINUX_SLL
SIOCGIFFLAGS: Final = 0x8913
IFF_UP: Final = 0x1
IFF_LOOPBACK: Final = 0x8
SO_ATTACH_FILTER: Final = 26
SO_GET_FILTER: Final = 26  # of getsockopt(2)
MOST_INSTRUCTIONS: Final = 4096
RETURN_NOTHING: Final = struct.pack("HBBI", 6, 0, 0, 0)  # one struct sock_filter: BPF_RET | BPF_K, 0 bytes
DISCARDED: Final = 4096  # frames at a time
SYS: Final = Path("/sys/class/net")
_libc: Final = ctypes.CDLL(None, use_errno=True)
SOL_PACKET: Final = 263
PACKET_FANOUT: Final = 18
PACKET_IGNORE_OUTGOING: Final = 23
FANOUT_BY_FLOW: Final = 0x8000  # PACKET_FANOUT_HASH, after joining IPv4 fragments (packet(7))
FANOUT_NEW: Final = 0x2000  # PACKET_FANOUT_FLAG_UNIQUEID: with a number that nobody has
RIGHT: Final = (
    "the right to capture is missing: run it with sudo, or give it CAP_NET_RAW "
    "(docs/live.md says how); `pipeline doctor` shows what there is"
)
WHY: Final = {
    -5: "there is no such interface; `pipeline interfaces` lists those that there are",
    -8: RIGHT,
    -9: "is down; `ip link set dev NAME up` brings it up",
    -11: "the right to make it promiscuous is missing: write promiscuous = false",
}
"""pcap_activate(3PCAP) -> what to say.  A PCAP_ERROR_ value, of which pcapy-ng gives the number alone."""


@dataclass(frozen=True)
class Manner:
    """How an interface is read: sizes in bytes, times in milliseconds."""

    snap_bytes: int = 262_144
    buffer_bytes: int = 64 << 20
    timeout_ms: int = 10
    promiscuous: bool = True


def present() -> dict[str, int]:
    """Return the interfaces that there are now, with their indexes."""
    return {name: index for index, name in socket.if_nameindex()}


def own_addresses(proc: Path = Path("/proc")) -> tuple[str, ...]:
    """Return the addresses of this machine, of its loopback too (proc(5), net/fib_trie and if_inet6)."""
    found = set()
    last = ""
    for line in text_of(proc / "net/fib_trie").splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            last = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"]:
            found.add(last)
    for line in text_of(proc / "net/if_inet6").splitlines():
        found.add(str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))))
    return tuple(sorted(found))


def text_of(path: Path) -> str:
    """Return what a file of /proc or /sys says; nothing if it is not there, or not told now."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


class Missed:
    """What interfaces themselves had no room for, since they were first looked at, as far as they tell.

    Not libpcap's count, which has rx_dropped in it: what the kernel dropped *after* a tap had seen it, as nobody else
    wanted it (a VLAN that is not set up here, a mirror port).
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def look(self, names: Iterable[str]) -> int:
        """Return how much more it is than the last time; "any" is all of them."""
        names = set(names)
        watched = present().keys() if ANY in names else names
        now = {name: int(count) for name in watched if (count := text_of(SYS / name / "statistics/rx_missed_errors"))}
        more = sum(max(0, count - self._last.get(name, count)) for name, count in now.items())
        self._last = now
        return more


def chosen(patterns: Sequence[str], names: Iterable[str]) -> list[str]:
    """Return which of the names, and whether "any", the patterns mean, in the order of the names."""
    if ANY in patterns:
        return [ANY]
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


def up(name: str) -> bool:
    """Return whether an interface is up (netdevice(7)); "any" always is."""
    return name == ANY or bool(_flags(name) & IFF_UP)


def _flags(name: str) -> int:
    """Return the flags of an interface, 0 if it is not there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            answer = fcntl.ioctl(asking, SIOCGIFFLAGS, struct.pack("16sH14x", name.encode(), 0))
        except OSError:
            return 0
    return int(struct.unpack_from("H", answer, 16)[0])


def missing(patterns: Sequence[str], names: Iterable[str]) -> list[str]:
    """Return the patterns that mean none of the names."""
    listed = list(names)
    return [each for each in patterns if each != ANY and not fnmatch.filter(listed, each)]


def check_names(patterns: Sequence[str]) -> list[str]:
    """Return the patterns that match nothing yet; SourceError for a plain name that nothing has."""
    absent = missing(patterns, present())
    for each in absent:
        if not any(mark in each for mark in "*?["):
            raise SourceError(f"{each}: there is no such interface; `pipeline interfaces` lists those there are")
    return absent


def datalink(patterns: Sequence[str]) -> int:
    """Return the link type that a filter for these has to suit: "any" is cooked, most others are Ethernet."""
    return COOKED_DATALINK if ANY in patterns else LOOP_DATALINK


class Tap:
    """One open interface.  Reading never waits; `fileno` is readable when there is something."""

    def __init__(self, name: str, index: int, manner: Manner, wanted: Wanted) -> None:
        self.name = name
        self.index = index
        self._handle = pcapy.create(name)
        try:
            self._open(manner, wanted)
        except BaseException:
            self._handle.close()
            raise

    def _open(self, manner: Manner, wanted: Wanted) -> None:
        handle = self._handle
        handle.set_snaplen(manner.snap_bytes)
        handle.set_buffer_size(manner.buffer_bytes)
        handle.set_timeout(manner.timeout_ms)
        handle.set_promisc(manner.promiscuous and self.name != ANY)
        code = handle.activate()
        if code < 0:
            raise SourceError(f"{self.name}: {WHY.get(code, 'cannot be opened: is there memory for input.buffer?')}")
        self._ignore_outgoing()
        self.link = linktype(handle.datalink(), self.name)
        try:
            self.filter = expression(wanted, handle.datalink())
        except ConfigError as error:
            raise ConfigError(f"{self.name}: {error}") from error
        try:
            handle.setfilter(self.filter)
        except pcapy.PcapError as error:
            raise ConfigError(f"{self.name}: filter {self.filter!r} cannot be used: {error}") from error
        handle.setnonblock(1)
        self._forget()

    def _ignore_outgoing(self) -> None:
        """Have the kernel not copy what libpcap throws away: a loopback shows every frame going out and coming in."""
        if _flags(self.name) & IFF_LOOPBACK:
            with self._socket() as ours, contextlib.suppress(OSError):  # before Linux 4.20 there is no such option
                ours.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)

    def join(self, group: int | None) -> int:
        """Share the interface's frames with the taps of a group, or of a new one; returns its number.

        It is hushed until it listens.  Raises SourceError.
        """
        self.hush()
        wish = FANOUT_BY_FLOW << 16 | (FANOUT_NEW << 16 if group is None else group)
        try:
            with self._socket() as ours:
                ours.setsockopt(SOL_PACKET, PACKET_FANOUT, struct.pack("I", wish))
                return ours.getsockopt(SOL_PACKET, PACKET_FANOUT) & 0xFFFF
        except OSError as error:
            advice = "this kernel cannot share its frames among lanes: write lanes = 1"
            raise SourceError(f"{self.name}: {error.strerror}; {advice}") from error

    def hush(self) -> None:
        """Have the kernel pass nothing more on; what it has is still read (socket(7), SO_ATTACH_FILTER).

        libpcap's own filter would apply to what is in its buffer, too.
        """
        self._attach(RETURN_NOTHING)

    def program(self) -> bytes:
        """Return the filter as the kernel has it: struct sock_filter, 8 bytes each (socket(7), SO_GET_FILTER).

        Empty if the kernel did not take it, so that libpcap applies it itself.
        """
        buffer, count = ctypes.create_string_buffer(MOST_INSTRUCTIONS * 8), ctypes.c_uint32(MOST_INSTRUCTIONS)
        if _libc.getsockopt(self.fileno(), socket.SOL_SOCKET, SO_GET_FILTER, buffer, ctypes.byref(count)):
            return b""
        return buffer.raw[: count.value * 8]

    def change(self, other: "Tap") -> None:
        """Take over another tap's filter, between one frame and the next; SourceError if that is not in the kernel.

        What is captured already stays as it is.  libpcap's own way would let nothing through meanwhile.
        """
        program = other.program()
        if not program or not self.program():
            raise SourceError(f"{self.name}: the filter is too long for the kernel to change it: restart the run")
        self._attach(program)
        self.filter = other.filter

    def _attach(self, program: bytes) -> None:
        held = ctypes.create_string_buffer(program, len(program))
        with self._socket() as ours:
            wish = struct.pack("HP", len(program) // 8, ctypes.addressof(held))
            ours.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, wish)

    def listen(self) -> None:
        """Begin anew after a hush; what came before it was hushed is nobody's."""
        while self.read(DISCARDED)[1]:
            pass
        self._handle.setfilter(self.filter)
        self._forget()

    def _forget(self) -> None:
        """Have what was dropped until now not count: before its filter is set, a tap is given everything there is."""
        self._dropped_before = int(self._handle.stats()[1])

    def _socket(self) -> socket.socket:
        """Return the same socket once more, to set what libpcap does not."""
        return socket.socket(fileno=os.dup(self.fileno()))

    def fileno(self) -> int:
        """Return a descriptor to poll."""
        number: int = self._handle.getfd()
        return number

    def read(self, most: int) -> tuple[bytes, bytes]:
        """Return frames and their meta as pcapy-ng's next_batch does, empty if there are none now.

        Raises SourceError when the interface is gone or down.
        """
        try:
            data, meta = self._handle.next_batch(most)
        except pcapy.PcapError as error:
            raise SourceError(f"{self.name}: {error}") from error
        return data, meta

    def drops(self) -> int:
        """Return how many frames the kernel had no room for so far; SourceError once the interface is gone."""
        try:
            _received, kernel, _wrong = self._handle.stats()
        except pcapy.PcapError as error:
            raise SourceError(f"{self.name}: {error}") from error
        return int(kernel) - self._dropped_before

    def close(self) -> None:
        """Give it back."""
        self._handle.close()
