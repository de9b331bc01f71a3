"""What can be set about assembly, with its defaults: one place for the configuration, the process and the library."""

from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

TUNNELS: Final = ("vxlan", "geneve", "gre", "erspan", "ipip", "gtpu")
"""What `decapsulate` can name; the order is that of the TUNNEL_ bits in assemble/tunnels.pxd."""

DIRECTIONS: Final = ("both", "inbound", "outbound")
"""What `direction` can be."""

REALMS: Final = ("vlan", "tunnel")
"""What `separate` can name."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How frames become messages; times are packet time.

    ports           TCP ports that are watched; none: every port
    responses       whether responses are wanted
    gap_timeout_s   how long missing bytes are waited for
    idle_timeout_s  how long a flow without packets is kept
    max_message     most bytes of one message; what is beyond is counted and the message incomplete
    max_header      most bytes of a start line and header block
    memory          most bytes held for reassembly and unfinished messages, all flows together
    decapsulate     tunnels that are unwrapped, of TUNNELS
    separate        what keeps flows with the same addresses apart, of REALMS
    hosts           addresses and networks, one of which is at one end of a connection; none: all
    direction       which connections are wanted, by who opened them: one of DIRECTIONS
    ours            what `direction` is seen from, addresses and networks: "inbound" leaves out the connections that
                    these opened to others, "outbound" those that others opened to these
    exclude         (address, TCP port) of ends whose connections are left out
    sample          share of the connections that is taken, in percent
    checksums       whether packets with a wrong IPv4 or TCP checksum are refused, as their receiver does
    """

    ports: tuple[int, ...] = ()
    responses: bool = True
    gap_timeout_s: float = 2.0
    idle_timeout_s: float = 60.0
    max_message: int = 64 << 20
    max_header: int = 1 << 20
    memory: int = 512 << 20
    decapsulate: tuple[str, ...] = TUNNELS
    separate: tuple[str, ...] = ()
    checksums: bool = False
    hosts: tuple[str, ...] = ()
    direction: str = "both"
    ours: tuple[str, ...] = ()
    exclude: tuple[tuple[str, int], ...] = ()
    sample: float = 100.0

    def __post_init__(self) -> None:
        """Refuse what nothing answers to: a tunnel that is misspelt would be a tunnel that is not unwrapped."""
        for key, given, known in (("decapsulate", self.decapsulate, TUNNELS), ("separate", self.separate, REALMS)):
            unknown = [name for name in given if name not in known]
            if unknown:
                raise ValueError(f"{key}: {unknown[0]!r} is none of {', '.join(known)}")
        if self.direction not in DIRECTIONS:
            raise ValueError(f"direction: {self.direction!r} is none of {', '.join(DIRECTIONS)}")
        if not 0 < self.sample <= 100:
            raise ValueError(f"sample: {self.sample!r} is not above 0 and at most 100")
        ends = [address for address, _port in self.exclude]
        for key, networks in (("hosts", self.hosts), ("ours", self.ours), ("exclude", ends)):
            for network in networks:
                try:
                    ip_network(network)
                except ValueError as error:
                    raise ValueError(f"{key}: {network!r} is neither an address nor a network") from error
