"""The filter that the kernel applies, from what a run wants to see (pcap-filter(7)).

In: ports, hosts, tunnels, and what must be left out.  Out: one expression.  Invariant: what the assembler would use
passes, whatever tag, label, fragment header or wanted tunnel is around it; what the filter cannot say in good time (too
many ports, too many addresses) passes too.  Of the traffic of the run's own outputs, what the filter sees does not.
"""

import ipaddress
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import pcapy

from capture.errors import ConfigError

Direction = Literal["both", "inbound", "outbound"]
LOOP_DATALINK: Final = 1  # DLT_EN10MB: the link type that every part of a filter is possible for
SNAP_BYTES: Final = 262_144
MOST_ADDRESSES: Final = 48  # of a kind in a filter: each is compared up to twelve times
MOST_RANGES: Final = 32  # of ports: the kernel takes 4096 instructions, and libpcap takes its time over many
LATER_FRAGMENT: Final = "ip[6:2] & 0x1fff != 0"
EXTENSIONS: Final = "(ip6[6] == 0 or ip6[6] == 43 or ip6[6] == 44 or ip6[6] == 51 or ip6[6] == 60)"
"""Hop-by-hop, routing, fragment, authentication, destination: what is behind them a filter does not see."""
LABELLED: Final = " or ".join(
    f"ether proto {each:#x}"
    for each in (
        0x8847, 0x8848, 0x8864,  # MPLS, PPPoE
        0x9200, 0x9300,  # VLAN tags that libpcap does not know
        0x88E7, 0x893F, 0x8926,  # I-, E- and VN-Tag
        0x892F, 0xF1C1, 0x8909, 0x8903, 0x22F3, 0x894F, 0x8870,  # HSR, R-Tag, MetaData, FabricPath, TRILL, NSH, LLC
    )
)  # fmt: skip
"""What stands before a packet and hides it from a filter: let through as it is."""
ETHERNET_ONLY: Final = (
    "(ether[12:2] <= 1500 and (ether[14:2] = 0xaaaa or ether[14:2] = 0x0606)) or "
    "(ether proto 0x88e5 and ether[14] & 0x0c = 0)"
)
"""Likewise: IP in IEEE 802.2, and MACsec that does not encrypt; by offsets, so only where no tag is before it."""
TUNNELS: Final = {
    "vxlan": "udp port 4789 or udp port 4790 or udp port 8472",
    "geneve": "udp port 6081",
    "gre": "ip proto 47 or ip6 proto 47",
    "erspan": "ip proto 47 or ip6 proto 47",
    "ipip": " or ".join(f"ip proto {each} or ip6 proto {each}" for each in (4, 41, 94, 137)),
    "gtpu": "udp port 2152",
}


@dataclass(frozen=True)
class Wanted:
    """What a run wants to see.

    ports        TCP ports of the servers; none: all
    hosts        addresses and networks, one of which is at one end; none: all
    ours         what `direction` is seen from: addresses and networks
    responses    False: what goes to the servers is enough
    decapsulate  tunnels to let through, names of TUNNELS; ports and hosts are about what is inside, so do not apply
    exclude      (address, TCP port) of the run's own outputs
    filter       the user's own expression, which must hold too
    """

    ports: tuple[int, ...] = ()
    hosts: tuple[str, ...] = ()
    direction: Direction = "both"
    ours: tuple[str, ...] = ()
    responses: bool = True
    decapsulate: tuple[str, ...] = ()
    exclude: tuple[tuple[str, int], ...] = ()
    filter: str | None = None


def expression(wanted: Wanted, datalink: int = LOOP_DATALINK) -> str:
    """Return the filter for a link type (a DLT_ value); what libpcap cannot express for it is left out.

    Raises ConfigError, with libpcap's words, if the user's own filter is at fault.
    """
    if wanted.filter is not None:
        check(wanted.filter, datalink)
    plain = _plain(wanted)
    seen = f"({plain}) or {LABELLED}"
    tagged = f"(vlan and ({seen} or (vlan and ({seen} or vlan))))"
    candidates = (
        f"{seen} or {ETHERNET_ONLY} or {tagged}" if datalink == LOOP_DATALINK else f"{seen} or {tagged}",
        seen,
        plain,
    )
    texts = [f"({wanted.filter}) and ({each})" if wanted.filter is not None else each for each in candidates]
    return next((text for text in texts if _possible(text, datalink)), texts[-1])


def check(text: str, datalink: int = LOOP_DATALINK) -> None:
    """Raise ConfigError if libpcap does not take a filter."""
    try:
        pcapy.compile(datalink, SNAP_BYTES, text, 1, 0)
    except pcapy.PcapError as error:
        raise ConfigError(f"filter {text!r} cannot be used: {error}") from error


def addresses(host: str, port: int) -> tuple[tuple[str, int], ...]:
    """Return the addresses that a host name stands for, each with the port; none if it is not known."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # the latter if it cannot be a name
        return ()
    return tuple(sorted({(str(sockaddr[0]).partition("%")[0], port) for *_, sockaddr in found}))


def _possible(text: str, datalink: int) -> bool:
    try:
        check(text, datalink)
    except ConfigError:
        return False
    return True


def _plain(wanted: Wanted) -> str:
    """Return the filter of frames without a tag."""
    wholes = _any(_tcp(wanted))
    parts = f"({LATER_FRAGMENT} and ip proto 6) or (ip6 and {EXTENSIONS})"
    near = _either_host(wanted.hosts)
    kept = [f"({wholes} or {parts})"]
    if near:
        kept.append(near)
    kept += [
        f"not (src host {address} and tcp src port {port}) and not (dst host {address} and tcp dst port {port})"
        for address, port in wanted.exclude[:MOST_ADDRESSES]
    ]
    text = " and ".join(kept)
    if not wanted.decapsulate:
        return text
    tunnels = _any(dict.fromkeys(TUNNELS[each] for each in wanted.decapsulate))
    later = f"({LATER_FRAGMENT} and not ip proto 6) or (ip6 and {EXTENSIONS})"
    return f"({text}) or {tunnels} or {later}"


def _tcp(wanted: Wanted) -> Iterator[str]:
    """Yield the ways in which a whole TCP segment is wanted."""
    if not wanted.ports:
        yield "tcp"
        return
    if wanted.direction == "both" or not 0 < len(wanted.ours) <= MOST_ADDRESSES:
        yield from _ports("" if wanted.responses else "dst ", wanted.ports)
        return
    ways = (("dst", "src"), ("src", "dst"))  # where the server is, and where the client: requests, then responses
    for side, other in ways if wanted.responses else ways[:1]:
        ports = _any(_ports(f"{side} ", wanted.ports))
        server, client = _hosts(wanted.ours, side), _hosts(wanted.ours, other)
        near, far = (server, client) if wanted.direction == "inbound" else (client, server)
        yield f"(({ports}) and ({near} or not ({far})))"  # in brackets: to libpcap `and` binds no closer than `or`


def _ports(side: str, ports: Sequence[int]) -> Iterator[str]:
    """Yield the tests of a port; neighbours are one range, and of too many ranges the nearest are joined."""
    ordered = sorted(set(ports))
    gaps = [(after - port, after) for port, after in pairwise(ordered) if after - port > 1]
    begins = [ordered[0], *sorted(after for _, after in sorted(gaps)[-MOST_RANGES + 1 :])]
    for first, following in pairwise([*begins, None]):
        last = max(port for port in ordered if following is None or port < following)
        yield f"tcp {side}port {first}" if first == last else f"tcp {side}portrange {first}-{last}"


def _hosts(hosts: Iterable[str], side: str) -> str:
    return _any(f"{side} net {ipaddress.ip_network(each)}" for each in hosts)


def _either_host(hosts: Sequence[str]) -> str:
    text = _any(f"net {ipaddress.ip_network(each)}" for each in hosts)
    return f"({text})" if text and len(hosts) <= MOST_ADDRESSES else ""


def _any(terms: Iterable[str]) -> str:
    return " or ".join(terms)
