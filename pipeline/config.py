"""The configuration as a typed, frozen model: one field is one TOML key, its description is its help.

In: the maps that TOML gives.  Out: a `Config`, or pydantic's errors, which `pipeline.problems` words.
Invariant: a `Config` that exists has passed every check that needs no file, no socket and no privilege.
"""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr

from assemble.settings import TUNNELS
from emit.records import WHOLE_SAMPLE
from emit.rotation import Names
from emit.sampling import parse_by
from pipeline.rules import Mask, Rewrite, Where, check_rules
from pipeline.table import CombinationError, SomeText, Table, as_tuple
from pipeline.values import (
    read_address,
    read_command,
    read_duration_s,
    read_function,
    read_moment,
    read_percent,
    read_size_bytes,
    read_url,
)

SMALLEST_MESSAGE_RING: Final = 64 * 2**10  # longer messages pass in parts, cut to fit
LARGEST_RING: Final = 2**32
MOST_LANES: Final = 64
SLOWEST: Final = 0.1
FASTEST: Final = 1000
MOST_ROUNDS: Final = 1_000_000
LONGEST_SNAP: Final = 262_144
LARGEST_FRAME: Final = LONGEST_SNAP + 64  # and the frame's entry in the ring


_TOKEN: Final = re.compile(r"[A-Za-z0-9_.-]+")


def _check_address(value: str) -> str:
    read_address(value)
    return value


def _check_target(value: str) -> str:
    if read_address(value)[1] == 0:
        raise ValueError("port 0 cannot be connected to; write the receiver's port")
    return value


def _check_url(value: str) -> str:
    read_url(value)
    return value


def _check_host(value: str) -> str:
    if not value or not value.isprintable() or " " in value:
        raise ValueError('write "target", "captured", or the value of the header')
    return value


def _check_token(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError("write letters, digits and - _ . only")
    return value


def _check_method(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError('write a method, like "GET"; they are compared with upper and lower case')
    return value


def _check_network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise ValueError('write an address or a network, like "10.0.0.7" or "2001:db8::/32"') from None


def _check_interface(value: str) -> str:
    if not value.isprintable() or any(each in "/ \t" for each in value):
        raise ValueError('write the name of an interface or a pattern, like "eth0", "veth*" or "any"')
    return value


def _check_names(value: str) -> str:
    Names(value)
    return value


def _check_by(value: str) -> str:
    parse_by(value)
    return value


def _check_lanes(value: object) -> object:
    whole = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_LANES
    if not whole and value != "auto":
        raise ValueError(f'write a whole number from 1 to {MOST_LANES}, or "auto"')
    return value


def _check_speed(value: object) -> object:
    factor = isinstance(value, int | float) and not isinstance(value, bool) and SLOWEST <= value <= FASTEST
    if not factor and value != "max":
        raise ValueError(f'write "max", or a factor from {SLOWEST} to {FASTEST}')
    return value


def _check_loop(value: object) -> object:
    whole = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_ROUNDS
    if not whole and value != "forever":
        raise ValueError(f'write a whole number from 1 to {MOST_ROUNDS}, or "forever"')
    return value


Seconds = Annotated[float, BeforeValidator(read_duration_s)]
SomeSeconds = Annotated[Seconds, Field(gt=0)]
Size = Annotated[int, BeforeValidator(read_size_bytes)]
Percent = Annotated[float, BeforeValidator(read_percent), Field(gt=0, le=100)]
Function = Annotated[str, AfterValidator(read_function)]
Command = Annotated[tuple[str, ...], BeforeValidator(read_command), Field(strict=False)]
Port = Annotated[int, Field(ge=1, le=65535)]
Tunnel = Literal["vxlan", "geneve", "gre", "erspan", "ipip", "gtpu"]
Realm = Literal["vlan", "tunnel"]
Method = Annotated[str, AfterValidator(_check_method)]
Moment = Annotated[tuple[int, bool], BeforeValidator(read_moment), Field(strict=False)]  # ns; after the first message?
Loop = Annotated[int | Literal["forever"], BeforeValidator(_check_loop)]
Network = Annotated[str, AfterValidator(_check_network)]
Interface = Annotated[SomeText, AfterValidator(_check_interface)]
Speed = Annotated[float | Literal["max"], BeforeValidator(_check_speed)]
Lanes = Annotated[int | Literal["auto"], BeforeValidator(_check_lanes)]


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
    listen: Annotated[str, AfterValidator(_check_address)] = Field(
        default="127.0.0.1:24224", description="address to listen on; port 0 takes any free port"
    )
    max_connections: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=64, description="connections served at the same time; more are refused"
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


class Assemble(Table):
    """How frames become messages."""

    responses: bool = Field(default=True, description="false: requests only")
    gap_timeout: SomeSeconds = Field(
        default=2.0, description="missing bytes are given up after this long, in the packets' own time"
    )
    idle_timeout: SomeSeconds = Field(default=60.0, description="a silent connection is closed after this long")
    max_header: Annotated[Size, Field(ge=1024, le=2**30)] = Field(
        default=2**20, description="longest start line and headers of a message"
    )
    max_message: Annotated[Size, Field(ge=1024)] = Field(default=64 * 2**20, description="longest message kept whole")
    memory: Annotated[Size, Field(ge=2**20)] = Field(
        default=512 * 2**20, description="most bytes held for messages that are not whole yet"
    )
    separate: Annotated[tuple[Realm, ...], BeforeValidator(as_tuple), Field(strict=False)] = Field(
        default=(), description='what keeps connections with the same addresses apart: "vlan", "tunnel" or both'
    )
    checksums: bool = Field(
        default=False, description="true: packets with a wrong checksum are refused; not for captures at the sender"
    )


class Workers(Table):
    """The processes that serialise and send."""

    count: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="number of worker processes, of each lane if there are several"
    )


class Ring(Table):
    """Shared memory between the processes."""

    frames: Annotated[Size, Field(ge=2**20, le=LARGEST_RING)] = Field(
        default=32 * 2**20, description="between capture and each assembler"
    )
    messages: Annotated[Size, Field(ge=SMALLEST_MESSAGE_RING, le=LARGEST_RING)] = Field(
        default=16 * 2**20, description="between assembler and each worker"
    )
    batch_frames: Annotated[int, Field(ge=1, le=65536)] = Field(
        default=2048, description="most frames handed over at once"
    )
    batch_bytes: Annotated[Size, Field(ge=1024)] = Field(
        default=256 * 1024, description="a batch is handed over once it has this many bytes"
    )


class AnyOutput(Table):
    """What every output has."""

    policy: Literal["block", "drop"] | None = Field(
        default=None,
        description="when it cannot keep up: block (waits) or drop (counts); drop if the input is live, not for files",
        examples=["block"],
    )
    where: Where | None = Field(
        default=None,
        description="which messages it wants, as docs/filters.md says; all, if it is not given",
        examples=["method == 'GET' and path ~ '^/api/'"],
    )
    sample: Percent = Field(
        default=WHOLE_SAMPLE, description='percent of what it wants, or "10%", "1/20"; responses follow their requests'
    )
    sample_from: Annotated[float, BeforeValidator(read_percent), Field(ge=0, lt=100)] = Field(
        default=0.0, description="percent at which it begins: what one output takes, another can leave"
    )
    sample_by: Annotated[str, AfterValidator(_check_by)] = Field(
        default="exchange", description="same value, same verdict: exchange, flow, client, header('…'), param or cookie"
    )
    rewrite: Annotated[tuple[Rewrite, ...], BeforeValidator(as_tuple), Field(strict=False)] = Field(
        default=(), description="rules that change messages, as docs/transforms.md says, each under [[output.rewrite]]"
    )
    python: Function | None = Field(
        default=None,
        description="a Python function that each message goes through, as docs/hooks.md says",
        examples=["hooks:mask"],
    )
    middleware: Command | None = Field(
        default=None,
        description="a program that each message goes through, as with GoReplay; or a list of its parts",
        examples=["./middleware.py --verbose"],
    )
    mask: Annotated[tuple[Mask, ...], BeforeValidator(as_tuple), Field(strict=False)] = Field(
        default=(), description="rules that hide values, after all that rewrite, each under [[output.mask]]"
    )
    limit: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        default=None, description="most exchanges a second, all workers together", examples=[500]
    )
    over_limit: Literal["drop", "wait"] | None = Field(
        default=None,
        description="more than that: drop (counts) or wait; wait if the policy is block",
        examples=["drop"],
    )


class TcpOutput(AnyOutput):
    """Another pipeline's tcp input, or any Fluent Forward collector."""

    type: Literal["tcp"] = Field(description="send over TCP, with acknowledgements")
    address: Annotated[str, AfterValidator(_check_target)] = Field(
        description="host and port of the receiver", examples=["127.0.0.1:24224"]
    )
    tag: SomeText = Field(default="ringtap", description="tags are this, a dot, and request, response or replayed")
    compression: Literal["none", "gzip"] = Field(default="none", description="none or gzip")
    retry: Seconds = Field(default=15.0, description="give up after this long without any sign of the receiver")
    connect_timeout: SomeSeconds = Field(default=5.0, description="for one attempt to connect")
    write_timeout: SomeSeconds = Field(default=5.0, description="for the receiver to take more bytes")
    ack_timeout: SomeSeconds = Field(default=30.0, description="for an acknowledgement; then everything is sent again")
    window_chunks: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=16, description="chunks sent ahead of their acknowledgement"
    )
    chunk_bytes: Annotated[Size, Field(ge=1024, le=4 * 2**20)] = Field(
        default=512 * 1024, description="a chunk is sent once it has this many bytes"
    )
    chunk_records: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=1000, description="a chunk is sent once it has this many messages"
    )
    flush: SomeSeconds = Field(
        default=0.05, description="a chunk is sent at the latest after this long; after 2 ms if no other is on its way"
    )


class FileOutput(AnyOutput):
    """A file of JSON Lines, or a recording, which can be read again."""

    type: Literal["file"] = Field(description="write a file")
    path: Annotated[SomeText, AfterValidator(_check_names)] = Field(
        description="the file; it is appended to if it exists; may have strftime directives, like %Y-%m-%d/%H%M",
        examples=["messages.jsonl"],
    )
    format: Literal["jsonl", "recording", "gor", "har"] = Field(
        default="jsonl",
        description="jsonl: one JSON object per line; recording: binary; gor: GoReplay's; har: HTTP archive 1.2",
    )
    compression: Literal["none", "gzip", "zstd"] = Field(
        default="none", description="of a recording's blocks: none, gzip or zstd"
    )
    rotate_size: Annotated[Size, Field(ge=1024)] | None = Field(
        default=None, description="a file that would be longer is followed by another, with a number", examples=["1GiB"]
    )
    rotate_every: SomeSeconds | None = Field(
        default=None,
        description="how long one name is for, in messages' time; as often as its directives change, if not given",
        examples=["10m"],
    )


class StdoutOutput(AnyOutput):
    """JSON Lines on standard output."""

    type: Literal["stdout"] = Field(description="write to standard output")
    format: Literal["jsonl"] = Field(default="jsonl", description="jsonl: one JSON object per line")


class HttpOutput(AnyOutput):
    """A server that is sent every request as it was captured: replay."""

    type: Literal["http"] = Field(description="send the requests to a server, and take its answers")
    address: Annotated[str, AfterValidator(_check_url)] = Field(
        description="http:// or https://, host, port, and a path that is put before every target",
        examples=["http://127.0.0.1:8080"],
    )
    mode: Literal["session", "pool"] = Field(
        default="session",
        description="session: a connection for each captured one; pool: shared ones, each captured one still in order",
    )
    connections: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=256, description="most connections to the target at the same time, of each worker"
    )
    host: Annotated[str, AfterValidator(_check_host)] = Field(
        default="target", description="Host header: target (host and port of the address), captured, or a name"
    )
    methods: Annotated[tuple[Method, ...], BeforeValidator(as_tuple), Field(strict=False)] = Field(
        default=(), description="only requests with these methods are sent, others count as filtered; empty: all"
    )
    speed: Speed = Field(
        default="max",
        description="max: as fast as the target answers; or the captured timing, so many times as fast",
    )
    rate: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        default=None, description="requests per second, instead of a speed; of all workers together", examples=[500]
    )
    ramp: Seconds = Field(default=0.0, description="speed or rate rise from 0 to their value over this time")
    multiply: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="each request is sent so many times, each captured connection becomes so many"
    )
    copy_header: Annotated[str, AfterValidator(_check_token)] | None = Field(
        default=None, description="copies have this header, with their number from 2 on", examples=["X-Copy"]
    )
    copy_parameter: Annotated[str, AfterValidator(_check_token)] | None = Field(
        default=None, description="copies have this query parameter, with their number from 2 on", examples=["copy"]
    )
    connect_timeout: SomeSeconds = Field(default=5.0, description="for one attempt to connect, TLS included")
    timeout: SomeSeconds = Field(default=30.0, description="how long the target may be silent before its answer ends")
    longest: SomeSeconds = Field(default=300.0, description="from sending a request to the last byte of its answer")
    idle_timeout: SomeSeconds = Field(default=60.0, description="a connection without requests is closed after this")
    retry: Seconds = Field(
        default=15.0, description="without any connection for so long, requests are given up until there is one again"
    )
    retries: Annotated[int, Field(ge=0, le=100)] = Field(
        default=0, description="how often a failed request is sent again, if its method is idempotent (RFC 9110 9.2.2)"
    )
    queue: Annotated[Size, Field(ge=2**16)] = Field(
        default=64 * 2**20, description="most bytes of requests taken and not answered, of each worker"
    )
    redirects: Annotated[int, Field(ge=0, le=20)] = Field(
        default=0, description="most redirects to the same target that are followed; 0: they are answers like others"
    )
    cookies: Literal["captured", "target"] = Field(
        default="captured",
        description="target: cookies that it sets take the place of captured ones, for each captured connection",
    )
    answers: bool = Field(default=False, description="true: all other outputs get the answers, as replayed messages")
    max_answer: Annotated[Size, Field(ge=1024, lt=2**32)] = Field(
        default=64 * 2**20, description="longest answer kept whole for that; of longer ones the rest is missing"
    )
    verify: bool = Field(default=True, description="false: any certificate of the target will do")
    ca: SomeText | None = Field(
        default=None, description="certificates to trust, PEM, instead of the system's", examples=["ca.pem"]
    )
    server_name: SomeText | None = Field(
        default=None, description="name in SNI and in the certificate; the address's host", examples=["shop.example"]
    )
    certificate: SomeText | None = Field(
        default=None, description="our own certificate, if the target asks for one, PEM", examples=["client.pem"]
    )
    key: SomeText | None = Field(
        default=None, description="its key, if it is not in the same file", examples=["client.key"]
    )


class NullOutput(AnyOutput):
    """Counts messages and forgets them."""

    type: Literal["null"] = Field(description="count and forget")


Input = Annotated[PcapInput | LiveInput | TcpInput | FileInput, Field(discriminator="type")]
Output = Annotated[TcpOutput | HttpOutput | FileOutput | StdoutOutput | NullOutput, Field(discriminator="type")]
INPUTS: Final[tuple[type[Table], ...]] = (PcapInput, LiveInput, TcpInput, FileInput)
OUTPUTS: Final[tuple[type[Table], ...]] = (TcpOutput, HttpOutput, FileOutput, StdoutOutput, NullOutput)


class Config(Table):
    """The whole configuration of one run."""

    input: Input
    assemble: Assemble = Assemble()
    workers: Workers = Workers()
    ring: Ring = Ring()
    output: Annotated[tuple[Output, ...], BeforeValidator(as_tuple), Field(strict=False)] = ()
    _directory: Path = PrivateAttr(default=Path())

    @property
    def directory(self) -> Path:
        """Where the file is, beside which functions are looked for."""
        return self._directory

    def beside(self, directory: Path) -> "Config":
        """Say where the file is."""
        self._directory = directory
        return self

    def policy(self, output: Output) -> Literal["block", "drop"]:
        """Return what an output of this run does when it cannot keep up."""
        if output.policy is not None:
            return output.policy
        return "drop" if self.input.type == "live" and output.type != "file" else "block"

    def over_limit(self, output: Output) -> Literal["drop", "wait"]:
        """Return what becomes of messages that are too many for an output's limit."""
        if output.over_limit is not None:
            return output.over_limit
        return "wait" if self.policy(output) == "block" else "drop"


def replays(output: Output) -> bool:
    """Whether an output sends requests and gets answers."""
    return isinstance(output, HttpOutput)


def wants_answers(config: Config) -> bool:
    """Whether the answers that an output gets are messages for the others."""
    return any(isinstance(output, HttpOutput) and output.answers for output in config.output)


def check_combinations(config: Config) -> None:
    """Raise `CombinationError` for what is wrong between keys, each of which is right by itself."""
    if not config.output:
        raise CombinationError("output", [], 'nothing would come out: add [[output]] with type = "file", "tcp", …')
    if isinstance(config.input, TcpInput | FileInput):
        _check_no_frames(config, config.input)
    else:
        _check_frame_ring(config)
    _check_writers(config)
    _check_formats(config)
    _check_replay(config)
    _check_answers(config)
    for at, output in enumerate(config.output):
        check_rules(f"output.{at}", output.rewrite, output.mask)
    _check_sifting(config)


def _check_replay(config: Config) -> None:
    for at, output in enumerate(config.output):
        if not isinstance(output, HttpOutput):
            continue
        if output.rate is not None and "speed" in output.model_fields_set:
            raise CombinationError(f"output.{at}.rate", output.rate, "speed is given too: write one of them")
        if output.ramp and output.rate is None and output.speed == "max":
            raise CombinationError(f"output.{at}.ramp", output.ramp, "it needs a speed that is a number, or a rate")
        if output.key is not None and output.certificate is None:
            raise CombinationError(f"output.{at}.key", output.key, "it needs a certificate")
        if not read_url(output.address).tls:
            _check_no_tls(at, output)
        for name in ("copy_header", "copy_parameter"):
            if name in output.model_fields_set and output.multiply == 1:
                raise CombinationError(f"output.{at}.{name}", getattr(output, name), "it needs multiply")


def _check_no_tls(at: int, output: HttpOutput) -> None:
    for name in ("verify", "ca", "server_name", "certificate", "key"):
        if name in output.model_fields_set:
            advice = "the address has no TLS: write https://, or leave this key out"
            raise CombinationError(f"output.{at}.{name}", getattr(output, name), advice)


def _check_answers(config: Config) -> None:
    """Answers that are asked for go somewhere."""
    if wants_answers(config) and all(replays(output) for output in config.output):
        at = next(at for at, output in enumerate(config.output) if getattr(output, "answers", False))
        advice = "no other output is there to take them: add one, or leave this out"
        raise CombinationError(f"output.{at}.answers", True, advice)


def _check_sifting(config: Config) -> None:
    """No key says how, where another that says what is missing."""
    for at, output in enumerate(config.output):
        for how, what in (("sample_by", "sample"), ("sample_from", "sample"), ("over_limit", "limit")):
            if how in output.model_fields_set and what not in output.model_fields_set:
                advice = f"it says how, not how many: add {what}, or leave it out"
                raise CombinationError(f"output.{at}.{how}", getattr(output, how), advice)
        if round(output.sample_from + output.sample, 9) > WHOLE_SAMPLE:
            advice = f"with a sample of {output.sample:g}% it ends beyond 100%: write less"
            raise CombinationError(f"output.{at}.sample_from", output.sample_from, advice)


def _check_formats(config: Config) -> None:
    for at, output in enumerate(config.output):
        if not isinstance(output, FileOutput):
            continue
        if output.format != "recording" and output.compression != "none":
            advice = 'only recordings are compressed: leave this key out, or write format = "recording"'
            raise CombinationError(f"output.{at}.compression", output.compression, advice)
        if output.rotate_every is not None:
            _check_rotation(at, output.path, output.rotate_every)


def _check_rotation(at: int, path: str, every_s: float) -> None:
    """A name is for one stretch of time only."""
    finest_s = Names(path).finest_s
    if not finest_s:
        advice = 'the path would always be the same: write one like "%Y-%m-%dT%H%M.rec"'
        raise CombinationError(f"output.{at}.rotate_every", every_s, advice)
    if every_s % finest_s:
        advice = f"the path does not tell them apart: write a multiple of {finest_s} s, or a path with finer directives"
        raise CombinationError(f"output.{at}.rotate_every", every_s, advice)


def _check_no_frames(config: Config, source: TcpInput | FileInput) -> None:
    if "assemble" in config.model_fields_set:
        advice = f'a "{source.type}" input brings whole messages: leave this table out'
        raise CombinationError("assemble", None, advice)
    if isinstance(source, TcpInput):
        _check_addresses(config, source)


def _check_addresses(config: Config, source: TcpInput) -> None:
    for at, output in enumerate(config.output):
        if isinstance(output, TcpOutput) and read_address(output.address) == read_address(source.listen):
            advice = "this is the address that the input listens on: write the address of another receiver"
            raise CombinationError(f"output.{at}.address", output.address, advice)


def _check_frame_ring(config: Config) -> None:
    ring = config.ring
    needed = 2 * (ring.batch_bytes + 24 * ring.batch_frames + LARGEST_FRAME)
    if ring.frames < needed:
        advice = f"two batches do not fit: write at least {needed}, or smaller batch_frames or batch_bytes"
        raise CombinationError("ring.frames", ring.frames, advice)


def _check_writers(config: Config) -> None:
    """No file has two writers, or a reader and a writer, in one run."""
    taken: dict[Path | str, str] = {}
    if isinstance(config.input, PcapInput | FileInput):
        taken |= {Path(path).resolve(): "input.path" for path in config.input.path if path != "-"}
    for at, output in enumerate(config.output):
        where: Path | str = "standard output"
        if isinstance(output, FileOutput):
            where = Path(output.path).resolve()
        elif not isinstance(output, StdoutOutput):
            continue
        key = f"output.{at}.path" if isinstance(output, FileOutput) else f"output.{at}.type"
        value = output.path if isinstance(output, FileOutput) else output.type
        if where in taken:
            raise CombinationError(key, value, f"{taken[where]} is the same: write another file")
        taken[where] = key
