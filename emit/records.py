"""What the processes of this package are started with, and what they count.

In: nothing.  Out: frozen specifications of plain values, and the names of the counters.
Invariant of the counters, per output: messages_taken + added = the sum of its OUTCOMES; after an abort, and `aborted`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from capture.child import EventQueue
from capture.counters import Counters
from capture.marks import MARK_COUNTERS
from capture.ring import Ring
from capture.streams import StandardInput
from emit.care import Care
from emit.kept import Kept
from emit.notes import Notes
from emit.pace import Pace
from emit.selection import Selection
from emit.spool import SpoolSpec
from emit.succession import Ended, Flag
from emit.summary import Summary
from emit.taken import Taken
from emit.transform import TransformSpec
from emit.verdicts import Verdicts

REQUEST_TAG: Final = "request"
RESPONSE_TAG: Final = "response"
REPLAYED_TAG: Final = "replayed"
"""What follows the prefix and a dot in the tag of a chunk."""

OUTPUT_COUNTERS: Final = (
    "delivered",  # messages that the far side has: acknowledged, or written
    "delivered_bytes",  # bytes of their payloads
    "filtered",  # messages that its `where` does not want
    "sampled",  # messages that its `sample` leaves out
    "limited",  # messages that are too many for its `limit`
    "removed",  # messages that a step took away
    "added",  # messages that a step made beside those that it was given
    "dropped",  # messages passed over because the output could not keep up (policy "drop")
    "undelivered",  # messages given up: the far side failed for good, or the message's beginning is lost
    "spooled",  # messages put on disk, as the far side did not take them
    "drained",  # of those, delivered later on
    "from_spool",  # messages delivered that an earlier run, or earlier workers, had left on disk
    "spool_refused",  # of those put on disk, given up: the receiver never takes these, or they cannot be read back
    "spool_lost",  # messages that an earlier run, or earlier workers, had left on disk, and that cannot be read back
    "dead_letters",  # messages given up like that, from disk or not
    "spool_failed",  # times that the disk would not take a chunk, or give it back
    "responses",  # original responses at an output that sends requests only
    "given_up",  # times that the far side, or the disk, was given up, for a while or for good
    "poisoned",  # messages left out, as workers died of them
    "aborted",  # messages that were under way, and in the ring no more, when the run was aborted
    "chunks",  # chunks acknowledged, or blocks written
    "resent",  # chunks sent again on a new connection
    "reconnects",  # connections opened after the first
    "failed_unreachable",  # requests to a target that there was no connection to
    "failed_timeout",  # whose answer did not come, or did not end, in time
    "failed_reset",  # whose connection was closed or reset before the answer was whole
    "failed_garbage",  # that something answered which is not HTTP/1
    "failed_incomplete",  # that were not captured whole, and are not sent
    "failed_left",  # that were under way when the worker was told to leave, or waited for their time when the run ended
    "copies_failed",  # second and further copies of a request that were not answered
    "retried",  # requests sent once more
    "connections",  # opened to the target
    "undecoded",  # bodies, or whole messages, that a rewriting rule could not look into and left as they were
    "withheld",  # bodies, or whole messages, that a mask could not look into and left out
    "failed_step",  # of those undelivered: a function or a middleware has failed on them
    "restarts",  # of its middleware
    "garbled",  # lines of its middleware that are no messages
    "untold",  # answers that its middleware had no room for, or came after its end
    "altered",  # messages delivered of which the file's format does not hold everything
)

OUTCOMES: Final = (
    "delivered", "filtered", "sampled", "limited", "removed", "dropped", "undelivered", "spooled", "responses",
    "poisoned",
)  # fmt: skip
"""Of which every message has one at each output."""

WHOLE_SAMPLE: Final = 100.0

MOST_SESSIONS: Final = 4096
"""Senders that a receiver remembers for dropping repetitions."""

MOST_JOINED: Final = 128 * 1024 * 1024
"""Bytes of one message that comes in parts."""

RECEIVER_COUNTERS: Final = (
    "connections",  # accepted
    "connections_failed",  # ended by us: malformed, over a limit, reset
    "handshakes_failed",  # of those: without TLS, a certificate or a key that is right, or not in time
    "connections_refused",  # closed at once: too many, of one address or in all, or that had not shown who they are
    "connections_evicted",  # closed as there was no place for another, and this one had brought nothing for long
    "chunks",  # read whole, repetitions included
    "chunks_repeated",  # dropped, as an earlier copy was taken
    "records",  # read from chunks that were not repetitions; a message in several parts has several
    "records_refused",  # not a message of ours, or a part whose message never became whole
    "records_joined",  # second and further parts of messages that became whole
    "messages",  # written into the rings; one that came in several parts counts once
    "message_bytes",  # their payloads
    "bytes_in",  # as read from the sockets
    "gaps",  # chunks that a sender numbered and that have not come, a level
)

READER_COUNTERS: Final = (
    "bytes_total",  # of all files, as long as they were when they were opened, as often as they are read; 0: unknown
    "bytes_read",
    "recordings_cut",  # files that end in something that is not whole
    "recording_bytes_lost",  # of files, in nothing that can be read
    "records",  # read; a message in several parts has several
    "records_refused",  # not a message of ours, longer than allowed, or a part whose message never became whole
    "records_joined",  # second and further parts of messages that became whole
    "messages",  # written into the rings
    "message_bytes",  # their payloads
)

WORKER_COUNTERS: Final = (
    "messages_taken",  # released from the ring, whatever became of them
    "bytes_taken",  # their payloads
    "position",  # of the ring, up to which all of this is booked: for a successor, if the worker dies
    "next_bytes",  # what these three are about to be, which a successor finishes once the last of them is noted
    "next_messages",
    "next_position",
    "given",  # position up to which outputs were given messages, of all workers on this ring
    "trying_from",  # by a careful worker (emit/care.py): the messages that it has given its outputs
    "trying_to",  # where they end; 0: none
    "answers",  # of a replay's target, written into the answer ring
    "answers_dropped",  # that it had no room for
    "aborted",  # messages, or answers, that lay in its ring when the run was aborted
)


def worker_counters(outputs: int | Iterable[int]) -> tuple[str, ...]:
    """Return the names of a worker's counters, in the order of its page; outputs by number, or how many there are."""
    numbers = range(outputs) if isinstance(outputs, int) else outputs
    return WORKER_COUNTERS + tuple(f"output{at}_{name}" for at in numbers for name in OUTPUT_COUNTERS)


@dataclass(frozen=True, slots=True)
class TlsSpec:
    """How a target, or a receiver, with TLS is spoken to; paths name PEM files."""

    server_name: str
    verify: bool = True
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class ServerTlsSpec:
    """How senders are spoken to with TLS; paths name PEM files."""

    certificate: str
    key: str | None = None
    client_ca: str | None = None  # senders have to show a certificate of that authority


@dataclass(frozen=True, slots=True)
class Login:
    """What a sender proves itself with."""

    key: bytes = field(repr=False)
    user: bytes = b""
    password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Access:
    """Whom a receiver lets in: who has the key and, if there are users, is one of them."""

    key: bytes = field(repr=False)
    users: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)  # names and passwords


@dataclass(frozen=True, slots=True)
class HttpSpec:
    """A target as the replaying output needs to know it."""

    host: str
    port: int
    base: str = ""  # path put before every target
    authority: str | None = None  # put in place of the captured Host; None: it stays
    pooled: bool = False  # connections are shared by captured connections
    connections: int = 256
    pace: Pace = field(default_factory=Pace.create, repr=False, compare=False)
    multiply: int = 1
    copy_header: str | None = None
    copy_parameter: str | None = None
    connect_timeout_s: float = 5.0
    timeout_s: float = 30.0  # of silence
    longest_s: float = 300.0  # from sending to the last byte of the answer
    idle_s: float = 60.0
    retry_s: float = 15.0  # without any connection, before requests are given up
    retries: int = 0
    queue_bytes: int = 64 * 1024 * 1024
    redirects: int = 0
    target_cookies: bool = False
    max_answer: int = 64 * 1024 * 1024
    tls: TlsSpec | None = None


@dataclass(frozen=True, slots=True)
class Sifting:
    """Which messages an output wants: what is noted of requests for those that answer them."""

    where: str | None = None
    sample: float = WHOLE_SAMPLE
    sample_from: float = 0.0
    sample_by: str = "exchange"


ALL: Final = Sifting()


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output as a worker needs to know it."""

    type: Literal["tcp", "http", "file", "stdout", "null"]
    index: int
    address: str | None = None  # tcp: "host:port" or "[v6]:port"; http: the URL
    path: str | None = None  # file
    format: Literal["jsonl", "recording", "gor", "har"] = "jsonl"
    rotate_bytes: int | None = None  # a file is full once it has so many
    rotate_every_s: float | None = None  # None: as often as the path's directives change
    compression: Literal["none", "gzip", "zstd"] = "none"
    tag: str = "ringtap"
    payload: Literal["binary", "base64", "text"] = "binary"  # tcp: how payloads are in chunks
    tls: TlsSpec | None = None  # tcp
    login: Login | None = None  # tcp
    policy: Literal["block", "drop"] = "block"
    retry_s: float = 15.0  # without a working connection and with something to send, before giving up
    attempts: int = 5  # ack timeouts in a row, without one acknowledgement between them, before giving up
    ack_timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    write_timeout_s: float = 5.0
    window_chunks: int = 16  # unacknowledged at a time; the parts of one message count as one
    window_bytes: int = 32 * 1024 * 1024
    chunk_bytes: int = 512 * 1024
    chunk_records: int = 1000
    flush_s: float = 0.05
    where: str | None = None  # which messages it wants; None: all
    sample: float = WHOLE_SAMPLE  # percent of what is wanted
    sample_from: float = 0.0  # percent at which the sample begins
    sample_by: str = "exchange"  # what it is chosen by, as emit/sampling.py reads it
    limit: float | None = None  # exchanges a second
    over_limit: Literal["drop", "wait"] = "drop"
    verdicts: Verdicts | None = field(default=None, repr=False, compare=False)  # outlives the worker
    http: HttpSpec | None = None
    follows: Verdicts | None = field(default=None, repr=False, compare=False)  # of a replay: of requests that were sent
    kept: Kept | None = field(default=None, repr=False, compare=False)  # tcp: outlives the worker, like `verdicts`
    spool: SpoolSpec | None = None  # tcp: where chunks go that the far side does not take
    answers: bool = False  # it sends requests, and what answers them goes to the other outputs
    summary: Summary | None = field(default=None, repr=False, compare=False)  # of a replay: read when the run is over
    notes: Notes | None = field(default=None, repr=False, compare=False)  # of a file: how far its workers have come
    transforms: tuple[TransformSpec, ...] = ()  # what its messages go through, in this order

    @property
    def sifting(self) -> Sifting:
        """Which messages it wants."""
        return Sifting(self.where, self.sample, self.sample_from, self.sample_by)

    @property
    def sifts(self) -> bool:
        """Whether it does not want every message."""
        return self.sifting != ALL or self.limit is not None

    @property
    def name(self) -> str:
        """How messages to the operator call this output."""
        where = self.address or self.path
        return f"output {self.index} ({self.type} {where})" if where else f"output {self.index} ({self.type})"


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """Everything that a worker process is started with."""

    parent: int
    level: int
    events: EventQueue
    counters: Counters = field(repr=False)
    ring: Ring = field(repr=False)
    index: int
    workers: int
    outputs: tuple[OutputSpec, ...]
    leave: Flag = field(default_factory=Flag, repr=False)  # raised: a successor takes over
    stop: Flag = field(default_factory=Flag, repr=False)  # raised: the run is to end, what is there is delivered
    after: Ended | None = field(default=None, repr=False)  # whom it succeeds
    answers: Ring | None = field(default=None, repr=False)  # where what answers its requests goes
    asked: tuple[tuple[Sifting, Verdicts], ...] = field(default=(), repr=False)  # to be known of requests sent
    attempt: int = 0  # how many processes have died at this work
    care: Care = field(default_factory=Care)  # what their deaths say of the messages
    kept: str = "."  # directory for copies of messages that workers died of


@dataclass(frozen=True, slots=True)
class ReceiverSpec:
    """Everything that a receiver process is started with."""

    parent: int
    level: int
    events: EventQueue
    counters: Counters = field(repr=False)
    outputs: tuple[Ring, ...] = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 24224
    tls: ServerTlsSpec | None = None
    access: Access | None = None
    connections: int = 256  # open at a time
    handshake_s: float = 10.0  # for TLS, and for the shared key
    connections_per_address: int = 256  # of those
    idle_s: float = 10.0  # without a chunk for so long, one gives way to another if there is no place for it
    frame_bytes: int = 32 * 1024 * 1024  # of one Forward frame as it comes
    inflated_bytes: int = 64 * 1024 * 1024  # of one frame's entries after gzip
    message_bytes: int = MOST_JOINED
    joining_bytes: int = 512 * 1024 * 1024  # held for messages that are not whole yet, all connections together
    held_bytes: int = 512 * 1024 * 1024  # in frames that are under way or being taken, all connections together
    stall_s: float = 60.0  # a frame that has begun and of which (next to) nothing more comes for so long is not awaited
    drain_s: float = 5.0  # how long to wait at the end for outputs to let go of what is not acknowledged yet
    attempt: int = 0  # how many processes have died at this work
    taken: Taken = field(default_factory=lambda: Taken(MOST_SESSIONS), repr=False)  # what the dead leave to the next


@dataclass(frozen=True, slots=True)
class ReaderSpec:
    """Everything that a reader process is started with."""

    parent: int
    level: int
    events: EventQueue
    counters: Counters = field(repr=False)
    outputs: tuple[Ring, ...] = field(repr=False)
    paths: tuple[str, ...]
    selection: Selection = field(default_factory=Selection)
    stdin: StandardInput | None = field(default=None, repr=False)  # where it is one of the paths
    attempt: int = 0  # how many processes have died at this work
    shown: tuple[Counters, ...] = field(default=(), repr=False)  # for each ring: a page of its mark

    def __post_init__(self) -> None:
        if not self.shown:
            object.__setattr__(self, "shown", tuple(Counters(MARK_COUNTERS) for _ in self.outputs))
