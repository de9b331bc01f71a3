"""The network interfaces of this machine, as far as they matter to a capture.

In: /sys/class/net, netlink and ethtool's ioctl.  Out: one `Device` each.  Invariant: needs no right, and what cannot be
found out is None.
"""

import ctypes
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pcapy

from capture.interfaces import text_of
from capture.links import ALIASES, OTHERS, SUPPORTED

SIOCETHTOOL: Final = 0x8946
ETHTOOL_GDRVINFO: Final = 0x03
ETHTOOL_GRINGPARAM: Final = 0x10
ETHTOOL_GFLAGS: Final = 0x25
LRO: Final = 1 << 15  # of its flags
SWITCHES: Final = {"gro": 0x2B, "gso": 0x23, "tso": 0x1E}  # ETHTOOL_GGRO, GGSO, GTSO
ARPHRD_LOOPBACK: Final = 772
KINDS: Final = {"wlan": "wireless", "tun": "tunnel", "bonding": "bond"}
"""What the kernel calls a device type or a driver -> how people know it; other names are kept."""
LINKS: Final = {
    1: "ETHERNET", 512: "PPP", 768: "RAW", 769: "RAW", 772: "ETHERNET", 776: "RAW", 778: "RAW", 801: "IEEE802_11",
    802: "IEEE802_11_PRISM", 803: "IEEE802_11_RADIOTAP", 65534: "RAW",
}  # fmt: skip
"""ARPHRD_ value (linux/if_arp.h) -> the link type that libpcap makes of it."""
PROBE_BYTES: Final = 1 << 16  # the buffer of a capture that reads nothing
NETLINK_ROUTE: Final = 0
RTM_GETADDR: Final = 22
NLMSG_ERROR, NLMSG_DONE = 2, 3
DUMP: Final = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
IFA_ADDRESS, IFA_LOCAL = 1, 2


@dataclass(frozen=True)
class Device:
    """One interface."""

    name: str
    kind: str  # ethernet, loopback, veth, bridge, bond, vlan, wireless, tunnel, or as the kernel calls it
    up: bool
    mtu: int
    addresses: tuple[str, ...] = ()
    speed_mbps: int | None = None
    master: str | None = None  # the bridge or bond that it is a part of: both see its packets
    offloads: dict[str, bool | None] = field(default_factory=dict)  # gro, gso, tso, lro
    rx_ring: tuple[int, int] | None = None  # frames that the card has room for: now, at most
    rx_packets: int = 0
    rx_missed: int = 0  # for which it had no room
    rx_dropped: int = 0  # that nobody but a capture wanted
    link: str | None = None  # what libpcap calls its frames
    over: tuple[str, ...] = ()  # interfaces that its packets pass as well: those of a bond, a bridge, a vlan


def devices(sys: Path = Path("/sys/class/net")) -> list[Device]:
    """Return all interfaces of this network namespace, in the kernel's order."""
    addresses = _addresses()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        return [
            _device(sys / name, addresses.get(index, ()), asking) for index, name in socket.if_nameindex()
        ]  # fmt: skip


def _device(place: Path, addresses: tuple[str, ...], asking: socket.socket) -> Device:
    name = place.name
    speed = _number(place / "speed")
    master = place / "master"
    up = bool((_number(place / "flags", 16) or 0) & 1)
    return Device(
        name, _kind(place, asking), up=up, mtu=_number(place / "mtu") or 0,
        addresses=addresses, speed_mbps=speed if speed is not None and speed > 0 else None,
        master=master.resolve().name if master.is_symlink() else None,
        offloads=_offloads(asking, name), rx_ring=_rx_ring(asking, name),
        rx_packets=_number(place / "statistics/rx_packets") or 0,
        rx_missed=_number(place / "statistics/rx_missed_errors") or 0,
        rx_dropped=_number(place / "statistics/rx_dropped") or 0,
        link=(_link(name) if up else None) or LINKS.get(_number(place / "type") or 0),
        over=tuple(sorted(each.name.removeprefix("lower_") for each in place.glob("lower_*"))),
    )  # fmt: skip


def _kind(place: Path, asking: socket.socket) -> str:
    """Tell what an interface is, from what the kernel shows of it."""
    if _number(place / "type") == ARPHRD_LOOPBACK:
        return "loopback"
    declared = dict(line.partition("=")[::2] for line in text_of(place / "uevent").splitlines()).get("DEVTYPE", "")
    if declared:
        return KINDS.get(declared, declared)
    if (place / "device").exists():
        return "ethernet"
    driver = _driver(asking, place.name)
    return KINDS.get(driver, driver) or "virtual"


def _offloads(asking: socket.socket, name: str) -> dict[str, bool | None]:
    """Ask which offloads are on (linux/ethtool.h)."""
    found: dict[str, bool | None] = {}
    for offload, command in SWITCHES.items():
        answer = _ethtool(asking, name, struct.pack("II", command, 0))
        found[offload] = None if answer is None else bool(struct.unpack_from("I", answer, 4)[0])
    flags = _ethtool(asking, name, struct.pack("II", ETHTOOL_GFLAGS, 0))
    found["lro"] = None if flags is None else bool(struct.unpack_from("I", flags, 4)[0] & LRO)
    return found


def _driver(asking: socket.socket, name: str) -> str:
    """Ask for the driver's name (struct ethtool_drvinfo)."""
    answer = _ethtool(asking, name, struct.pack("I192x", ETHTOOL_GDRVINFO))
    return "" if answer is None else answer[4:36].rstrip(b"\0").decode(errors="replace")


def _rx_ring(asking: socket.socket, name: str) -> tuple[int, int] | None:
    """Ask for the size of the receiving ring; None if there is none that can be set (struct ethtool_ringparam)."""
    answer = _ethtool(asking, name, struct.pack("9I", ETHTOOL_GRINGPARAM, *[0] * 8))
    if answer is None:
        return None
    most, now = struct.unpack_from("I", answer, 4)[0], struct.unpack_from("I", answer, 20)[0]
    return (now, most) if most else None


def _link(name: str) -> str | None:
    """Ask libpcap, which tells only who may capture."""
    try:
        handle = pcapy.create(name)
    except pcapy.PcapError:
        return None
    try:
        handle.set_promisc(False)
        handle.set_buffer_size(PROBE_BYTES)
        if handle.activate() < 0:
            return None
        number = ALIASES.get(handle.datalink(), handle.datalink())
    finally:
        handle.close()
    return SUPPORTED.get(number) or OTHERS.get(number) or str(number)


def _ethtool(asking: socket.socket, name: str, command: bytes) -> bytes | None:
    data = ctypes.create_string_buffer(command, len(command))
    try:
        fcntl.ioctl(asking, SIOCETHTOOL, struct.pack("16sP", name.encode(), ctypes.addressof(data)))
    except OSError:
        return None
    return data.raw


def _addresses() -> dict[int, tuple[str, ...]]:
    """Return the addresses by index of their interface (rtnetlink(7)); none where a service may not ask."""
    found: dict[int, tuple[str, ...]] = {}
    with suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as asking:
        asking.send(struct.pack("=IHHIIBxxxi", 24, RTM_GETADDR, DUMP, 1, 0, socket.AF_UNSPEC, 0))
        for kind, message in _messages(asking):
            if kind in {NLMSG_DONE, NLMSG_ERROR}:
                break
            attributes = dict(_attributes(message[8:]))
            address = attributes.get(IFA_LOCAL) or attributes.get(IFA_ADDRESS)
            if address is not None and len(address) in {4, 16}:
                index, bits = struct.unpack_from("=i", message, 4)[0], message[1]
                found[index] = (*found.get(index, ()), f"{ipaddress.ip_address(address)}/{bits}")
    return found


def _messages(asking: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Yield kind and body of each message (struct nlmsghdr of netlink(7))."""
    while True:
        data = asking.recv(65536)
        while len(data) >= 16:
            size, kind = struct.unpack_from("=IH", data)
            yield kind, data[16:size]
            data = data[(size + 3) & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and value of each attribute (struct rtattr of rtnetlink(7))."""
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        yield kind, data[4:size]
        data = data[max((size + 3) & ~3, 4) :]


def _number(path: Path, base: int = 10) -> int | None:
    text = text_of(path).strip()
    try:
        return int(text, base)
    except ValueError:
        return None
