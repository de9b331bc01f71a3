"""The tables that a run reads from: `[input]`, by its type; one field is one TOML key, its description is its help.

In: the maps that TOML gives.  Out: models.
"""

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from assemble.settings import TUNNELS
from emit.records import WHOLE_SAMPLE
from pipeline.keys import (
    Address,
    Interface,
    Lanes,
    Loop,
    Moment,
    Network,
    Percent,
    Port,
    Seconds,
    Size,
    SomeSeconds,
    Tunnel,
)
from pipeline.table import SomeText, Table, as_tuple

LONGEST_SNAP: Final = 262_144


class PcapInput(Table):
    """Capture files, pcap or pcapng, plain or compressed with gzip or zstd."""

    type: Literal["pcap"] = Field(description="read capture files")
    path: Annotated[tuple[SomeText, ...], BeforeValidator(as_tuple), Field(min_length=1, strict=False)] = Field(
        description='a path, a glob, a list of them, or "-" for standard input', examples=["capture.pcap"]
    )
    ports: Annotated[tuple[Port, ...], BeforeValidator(as_tuple), Field(strict=False)] = Field(
        default=(), description="TCP ports of the servers; an empty list means every TCP port"
    )
    filter: SomeText | None = Field(
        default=None, description="a capture filter, as tcpdump takes it", examples=["host 10.0.0.7"]
    )
    decapsulate: Annotated[tuple[Tunnel, ...], BeforeValidator(as_tuple), Field(strict=False)] = Field(
        default=TUNNELS, description="tunnels that are looked into; `ports` is about what is inside, `filter` is not"
    )
    lanes: Lanes = Field(
        default=1, description='how many assemblers share the connections, each with its own workers; or "auto"'
    )


class LiveInput(Table):
    """Traffic of this machine's network interfaces, as it goes by."""

    type: Literal["live"] = Field(description="watch network interfaces")
    interfaces: Annotated[tuple[Interface, ...], BeforeValidator(as_tuple), Field(min_length=1, strict=False)] = Field(
        default=("any",), description='names or patterns, like "eth0" or "veth*"; they may come and go; or "any"'
    )
    ports: Annotated[tuple[Port, ...], BeforeValidator(as_tuple), Field(strict=False)] = Field(
        default=(), description="TCP ports of the servers; an empty list means every TCP port"
    )
    hosts: Annotated[tuple[Network, ...], BeforeValidator(as_tuple), Field(strict=False)] = Field(
        default=(), description="addresses or networks, one of which is at one end; an empty list means all"
    )
    direction: Literal["both", "inbound", "outbound"] = Field(
        default="both", description="by who opened the connection, seen from `hosts`, or else from this machine"
    )
    filter: SomeText | None = Field(
        default=None, description="a capture filter, as tcpdump takes it", examples=["not host 10.0.0.7"]
    )
    sample: Percent = Field(
        default=WHOLE_SAMPLE, description="percent of the connections that are taken, both directions of each"
    )
    decapsulate: Annotated[tuple[Tunnel, ...], BeforeValidator(as_tuple), Field(strict=False)] = Field(
        default=(), description="tunnels that are looked into; `ports` and `hosts` are about what is inside"
    )
    lanes: Lanes = Field(
        default=1, description='how many captures share the connections, each with its own processes; or "auto"'
    )
    pin: bool = Field(default=False, description="true: each process keeps to one core")
    snap_length: Annotated[Size, Field(ge=128, le=LONGEST_SNAP)] = Field(
        default=LONGEST_SNAP, description="most bytes of a frame; the default takes offloaded (GRO, TSO) ones whole"
    )
    buffer: Annotated[Size, Field(ge=2**16, lt=2**31)] = Field(
        default=64 * 2**20,
        description="in the kernel, for each lane; its interfaces share it, with 2 MiB for each at least",
    )
    timeout: Annotated[Seconds, Field(ge=0.001, le=1)] = Field(
        default=0.01, description="the kernel hands frames over at the latest after this long"
    )
    promiscuous: bool = Field(default=True, description="false: only frames that are meant for this machine")
    user: SomeText | None = Field(
        default=None, description="if started as root: the user that all of its processes run as", examples=["nobody"]
    )


class TcpInput(Table):
    """Messages that another pipeline, or any Fluent Forward client, sends here over TCP."""

    type: Literal["tcp"] = Field(description="receive messages over TCP")
    listen: Address = Field(default="127.0.0.1:24224", description="address to listen on; port 0 takes any free port")
    max_connections: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=64,
        description="connections served at the same time; one more takes the place of one idle for 10 s, or is refused",
    )
    max_connections_per_address: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=32, description="of those, from one address (of IPv6, one /64); more are refused"
    )
    certificate: SomeText | None = Field(
        default=None, description="our certificate, PEM: TLS is spoken, and only that", examples=["server.pem"]
    )
    key: SomeText | None = Field(
        default=None, description="its key, if it is not in the same file", examples=["server.key"]
    )
    client_ca: SomeText | None = Field(
        default=None, description="senders show a certificate of this authority, PEM", examples=["ca.pem"]
    )
    shared_key_file: SomeText | None = Field(
        default=None, description="the file with the key that senders have to have", examples=["shared.key"]
    )
    shared_key_env: SomeText | None = Field(
        default=None, description="or the environment variable that holds it", examples=["RINGTAP_SHARED_KEY"]
    )
    users_file: SomeText | None = Field(
        default=None, description="senders are also one of these users: a file of lines name:password",
        examples=["users"],
    )  # fmt: skip
    open_to_all: bool = Field(
        default=False, description="true: anybody who reaches a public address may send, without certificate or key"
    )


class FileInput(Table):
    """Files of messages: recordings, JSON Lines, GoReplay's .gor, HAR; plain or compressed with gzip or zstd."""

    type: Literal["file"] = Field(description="read files of messages")
    path: Annotated[tuple[SomeText, ...], BeforeValidator(as_tuple), Field(min_length=1, strict=False)] = Field(
        description='a path, a glob, a list of them, or "-" for standard input; several are merged by time',
        examples=["messages.rec"],
    )
    format: Literal["auto", "recording", "jsonl", "gor", "har"] = Field(
        default="auto", description="auto: by what each file begins with"
    )
    start: Moment | None = Field(
        default=None,
        description='messages from then on: a time with a zone, seconds since 1970, or "+10m" after the first message',
        examples=["2026-01-31T12:00:00Z"],
    )
    end: Moment | None = Field(
        default=None, description="messages before then; written like `start`", examples=["+10m"]
    )
    loop: Loop = Field(default=1, description='how often all is read, times going on from round to round; or "forever"')
    longest_gap: SomeSeconds | None = Field(
        default=None,
        description="longer times without a message are shortened to that, and what follows moves",
        examples=["10s"],
    )
    max_message: Annotated[Size, Field(ge=2**20, lt=2**32)] = Field(
        default=128 * 2**20, description="longest message taken; longer ones are refused, and counted"
    )


Input = Annotated[PcapInput | LiveInput | TcpInput | FileInput, Field(discriminator="type")]
INPUTS: Final[tuple[type[Table], ...]] = (PcapInput, LiveInput, TcpInput, FileInput)
