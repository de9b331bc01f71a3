"""The tables that a run writes to: `[[output]]`, by its type; one field is one TOML key, its description is its help.

In: the maps that TOML gives.  Out: models.
"""

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from emit.records import WHOLE_SAMPLE
from pipeline.keys import (
    Command,
    FileNames,
    Function,
    Host,
    Method,
    Percent,
    Receiver,
    SampledBy,
    Seconds,
    Size,
    SomeSeconds,
    Speed,
    Token,
    Url,
)
from pipeline.rules import Mask, Rewrite, Where
from pipeline.table import SomeText, Table, as_tuple
from pipeline.values import read_address, read_percent, read_url


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
    sample_by: SampledBy = Field(
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

    @property
    def end(self) -> tuple[str, int] | None:
        """Host and port that it connects to, if it does."""
        return None


class Spool(Table):
    """Where an output puts what the far side does not take."""

    path: SomeText = Field(description="a directory of its own")
    size: Annotated[Size, Field(ge=2**20)] = Field(default=2**30, description="most bytes, of all workers together")


class TlsOutput(AnyOutput):
    """An output that may have TLS."""

    verify: bool = Field(default=True, description="false: any certificate of the other side will do")
    ca: SomeText | None = Field(
        default=None, description="certificates to trust, PEM, instead of the system's", examples=["ca.pem"]
    )
    server_name: SomeText | None = Field(
        default=None, description="name in SNI and in the certificate; the address's host", examples=["shop.example"]
    )
    certificate: SomeText | None = Field(
        default=None, description="our own certificate, if the other side asks for one, PEM", examples=["client.pem"]
    )
    key: SomeText | None = Field(
        default=None, description="its key, if it is not in the same file", examples=["client.key"]
    )


class TcpOutput(TlsOutput):
    """Another pipeline's tcp input, or any Fluent Forward collector."""

    type: Literal["tcp"] = Field(description="send over TCP, with acknowledgements")
    address: Receiver = Field(description="host and port of the receiver", examples=["127.0.0.1:24224"])
    tag: SomeText = Field(default="ringtap", description="tags are this, a dot, and request, response or replayed")
    compression: Literal["none", "gzip"] = Field(default="none", description="none or gzip")
    payload: Literal["binary", "base64", "text"] = Field(
        default="binary", description="bytes; for collectors that print JSON a str, in base64 or as text (UTF-8)"
    )
    tls: bool = Field(default=False, description="true: with TLS, and only so")
    shared_key_file: SomeText | None = Field(
        default=None, description="the file with the key that the receiver wants", examples=["shared.key"]
    )
    shared_key_env: SomeText | None = Field(
        default=None, description="or the environment variable that holds it", examples=["RINGTAP_SHARED_KEY"]
    )
    user: SomeText | None = Field(default=None, description="who we are, if the receiver asks", examples=["edge-1"])
    password_file: SomeText | None = Field(
        default=None, description="the file with the password of that user", examples=["password"]
    )
    password_env: SomeText | None = Field(
        default=None, description="or the environment variable that holds it", examples=["RINGTAP_PASSWORD"]
    )
    retry: Seconds = Field(
        default=15.0,
        description="without any sign of the receiver for so long, messages are given up until it is there again",
    )
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

    spool: Spool | None = Field(
        default=None,
        description="a disk for what the receiver does not take, as docs/spool.md says: a path, and a size (1GiB)",
        examples=[{"path": "spool", "size": "10GiB"}],
    )

    @property
    def end(self) -> tuple[str, int]:
        return read_address(self.address)


class FileOutput(AnyOutput):
    """A file of JSON Lines, or a recording, which can be read again."""

    type: Literal["file"] = Field(description="write a file")
    path: FileNames = Field(
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


class HttpOutput(TlsOutput):
    """A server that is sent every request as it was captured: replay."""

    type: Literal["http"] = Field(description="send the requests to a server, and take its answers")
    address: Url = Field(
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
    host: Host = Field(
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
    copy_header: Token | None = Field(
        default=None, description="copies have this header, with their number from 2 on", examples=["X-Copy"]
    )
    copy_parameter: Token | None = Field(
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

    @property
    def end(self) -> tuple[str, int]:
        url = read_url(self.address)
        return url.host, url.port

    @property
    def pace(self) -> tuple[float, float, float]:
        """Speed, rate and the seconds of a ramp, as a `Pace` is made of them; 0: none."""
        speed = 0.0 if self.speed == "max" or self.rate is not None else float(self.speed)
        return speed, self.rate or 0.0, self.ramp


class NullOutput(AnyOutput):
    """Counts messages and forgets them."""

    type: Literal["null"] = Field(description="count and forget")


Output = Annotated[TcpOutput | HttpOutput | FileOutput | StdoutOutput | NullOutput, Field(discriminator="type")]
OUTPUTS: Final[tuple[type[Table], ...]] = (TcpOutput, HttpOutput, FileOutput, StdoutOutput, NullOutput)


def replays(output: Output) -> bool:
    """Whether an output sends requests and gets answers."""
    return isinstance(output, HttpOutput)
