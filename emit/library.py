"""Files of messages as a library: one door to read any of them, one to write any of them; no process is started.

In and out: `assemble.Message` objects.  Invariant: what is written is what the pipeline would write, by the same code.
"""

import select
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Literal, Self

from assemble.message import Message, read_message
from assemble.records import (
    AT_PARTS,
    MESSAGE_HEADER,
    part_bytes,
)
from capture.counters import Counters
from capture.errors import ConfigError, DeliveryError
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring
from emit.building import record_of
from emit.file import FileOutput
from emit.formats import BY_ENDING, by_ending
from emit.joining import Whole
from emit.merging import Merge
from emit.records import OutputSpec, worker_counters
from emit.selection import Format, Moment, Selection
from emit.worker import output_class

RING_BYTES: Final = 16 * 1024 * 1024
NAP_MS: Final = 2
SECONDS: Final = timedelta(seconds=1)


def open_messages(
    *paths: str,
    start: datetime | int | None = None,
    end: datetime | int | None = None,
    format: Format | Literal["auto"] = "auto",  # noqa: A002  # its name everywhere
) -> Iterator[Message]:
    """Yield the messages of recordings, JSON Lines, .gor and HAR files, merged by the time at which they were whole.

    start, end   about when a message began, half-open; times with a zone, or nanoseconds since 1970
    Raises SourceError, at once, if a file is not there or is none of these; what is not whole in one is a warning.
    """
    return _yielded(Merge(paths, Selection(format, _moment(start), _moment(end))))


def _yielded(merge: Merge) -> Iterator[Message]:
    with closing(merge):
        for entry in merge.entries():
            yield read_message(entry.record)


def _moment(value: datetime | int | None) -> Moment | None:
    if not isinstance(value, datetime):
        return None if value is None else Moment(value)
    if value.tzinfo is None:
        raise ValueError("a time without a zone is another one elsewhere")
    since = value - datetime(1970, 1, 1, tzinfo=UTC)
    return Moment((since // SECONDS) * 10**9 + since.microseconds * 1000)


class MessageWriter:
    """Appends messages to a file, in the format that its name says unless it is told; raises DeliveryError.

    What `flush` has returned from survives this process, but for requests in HAR, which wait for their responses.
    """

    def __init__(
        self,
        path: str,
        format: Format | None = None,  # noqa: A002
        compression: Literal["none", "gzip", "zstd"] = "none",
        rotate_bytes: int | None = None,
    ) -> None:
        chosen = format or by_ending(path)
        if chosen is None:
            raise ConfigError(f"{path}: name a format, or end the name with one of {', '.join(BY_ENDING)}")
        spec = OutputSpec("file", 0, path=path, format=chosen, compression=compression, rotate_bytes=rotate_bytes)
        self.ring = Ring.create(RING_BYTES)
        self.producer, self.consumer = Producer(self.ring), Consumer(self.ring)
        self.part_bytes = part_bytes(self.ring.largest)
        self.counters = Counters(worker_counters(1))
        output = output_class(spec)(spec, self.consumer, self.counters)
        assert isinstance(output, FileOutput)
        self.output = output
        self.open = True
        self.output.start(time.monotonic())
        self.check()

    def write(self, message: Message | bytes) -> None:
        """Add a message, or one as a record."""
        record = message if isinstance(message, bytes) else record_of(message)
        fields = list(MESSAGE_HEADER.unpack_from(record))
        whole = Whole(0, fields, record[MESSAGE_HEADER.size :], [], self.part_bytes)
        fields[AT_PARTS] = whole.parts
        for part in range(whole.parts):
            whole.part = part
            piece = whole.record()
            while not self.producer.try_put(KIND_MESSAGE, piece):
                self.pump()

    def flush(self) -> None:
        """Write what has been added."""
        while self.output.cursor != self.consumer.head or self.pending:
            self.pump()

    @property
    def pending(self) -> bool:
        """Whether something waits in a buffer."""
        return self.output.lines.size > 0

    def pump(self) -> None:
        """Give the output a turn, and wait a moment if it has no use for another one."""
        before = (self.output.cursor, self.output.safe)
        self.output.pump(self.consumer.head, time.monotonic())
        self.check()
        self.consumer.release(self.output.safe)
        if before == (self.output.cursor, self.output.safe):
            select.poll().poll(NAP_MS)

    def check(self) -> None:
        """Raise if nothing more can be written."""
        failure = self.output.failure or self.output.interruption  # nothing is to be missing in the middle
        if failure is not None:
            self.abandon()
            raise DeliveryError(failure)

    def abandon(self) -> None:
        """Close without writing what is left."""
        if self.open:
            self.open = False
            self.output.close()

    def close(self) -> None:
        """Write what is left, and give the file back."""
        if not self.open:
            return
        self.output.finish()
        while not self.output.done(self.consumer.head):
            self.pump()
        self.abandon()
        if self.output.failure is not None:
            raise DeliveryError(self.output.failure)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self.close()
