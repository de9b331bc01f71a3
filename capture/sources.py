"""Offline sources: capture files, compressed or not, and standard input, as batches of frames merged by time.

In: paths.  Out: KIND_FRAMES payloads (capture/records.py), into the frame ring or as bytes.  Invariant:
every whole frame of every input comes out once, numbered from 1; an input cut short ends with a warning,
not with an error.
"""

import glob
import logging
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Final, Self

from capture.counters import Counters
from capture.errors import ChangedError, MirrorError, SourceError
from capture.frames import DONE, FULL, Merger
from capture.inputs import STANDARD_INPUT, Input
from capture.lanes import Lanes
from capture.records import CAPTURE_COUNTERS
from capture.ring import Producer
from capture.route import Route
from capture.streams import Stop

BATCH_FRAMES: Final = 2048
BATCH_BYTES: Final = 256 * 1024
UNBOUNDED: Final = 1 << 40
LONG_AGO_NS: Final = -(1 << 62)
META_TIME: Final = struct.Struct("=II")
"""What the meta of next_batch begins with: seconds, then the fraction in units of the chunk."""

log = logging.getLogger(__name__)


def expand(path: str | Sequence[str]) -> tuple[str, ...]:
    """Turn a path, a pattern, or several of them into the files meant, in order, each once.

    "-" is standard input; the files of a pattern are sorted by name.  A SourceError names a file that is
    missing, or a pattern without files.
    """
    found: dict[str, None] = {}
    for each in [path] if isinstance(path, str) else path:
        if each == STANDARD_INPUT or os.path.lexists(each):
            files = [each]
        elif not glob.has_magic(each):
            raise SourceError(f"{each}: no such file")
        else:
            files = sorted(name for name in glob.glob(each, recursive=True) if not os.path.isdir(name))
        if not files:
            raise SourceError(f"{each}: no file matches this pattern")
        found.update(dict.fromkeys(files))
    if not found:
        raise SourceError("no input file is given")
    return tuple(found)


class FrameSource:
    """The inputs of one run as batches; all of them are opened, and judged, before the first frame comes out.

    `warnings` tells in words which inputs were cut short.  Memory is bounded per input that is being read;
    of a file whose first frame is later than what is being read, only the time of that frame is held.
    """

    def __init__(
        self,
        paths: Sequence[str],
        *,
        batch_frames: int = BATCH_FRAMES,
        batch_bytes: int = BATCH_BYTES,
        bpf: str | None = None,
        counters: Counters | None = None,
        stop: Stop | None = None,
        stdin_fd: int = 0,
    ) -> None:
        self.warnings: list[str] = []
        self.counters = Counters(CAPTURE_COUNTERS) if counters is None else counters
        self._stop = Stop() if stop is None else stop
        self._own_stop = stop is None
        self._inputs = [Input(path, bpf, self._stop) for path in paths]
        self._merger = Merger(len(paths), batch_frames, batch_bytes)
        self._ended = False
        self._error: MirrorError | None = None
        self._dropped = (0, 0)
        try:
            self._open(stdin_fd)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all inputs; nothing comes out any more."""
        self._ended = True
        for each in self._inputs:
            each.close()
        if self._own_stop:
            self._stop.close()

    def stop(self) -> None:
        """Take no more input; what has been read still comes out.  May be called from a signal handler."""
        self._stop.set()

    def fill(self, producer: Producer) -> int:
        """Write one batch into the ring, waiting for room; returns its frames, 0 at the end."""
        if not self._gather(producer.ring.largest):
            return 0
        frames = self._merger.frames
        self._merger.write(producer)
        self.counters.add("batches")
        return frames

    def skip(self, frames: int, limit: int, alive: Callable[[], None]) -> None:
        """Go on after so many frames, which are in the ring already; files give the same batches each time."""
        while frames > 0:
            alive()
            if not self._gather(limit) or self._merger.frames > frames:
                raise ChangedError
            frames -= self._merger.frames
            self._merger.skip()
            self.counters.add("batches")

    def count_in(self, counters: Counters) -> None:
        """Count in this page from now on, in the place of what stands there."""
        for name, count in self.counters.as_dict().items():
            counters.set(name, count)
        self.counters = counters

    def send(self, route: Route, lanes: Lanes) -> bool:
        """Send one batch into the lanes of its frames, waiting for room; false at the end.

        What the lanes have not handed over yet waits for more frames, but not for an input that has none.
        """
        self._stop.before_waiting = lanes.flush
        if not self._gather(lanes.largest):
            return False
        route.send(self._merger, lanes)
        self.counters.set("batches", lanes.records)
        return True

    def gathered(self) -> Iterator[Merger]:
        """Give the merger once for each batch gathered; whoever takes the batch has the merger begin the next one."""
        while self._gather(UNBOUNDED):
            yield self._merger
            self.counters.add("batches")

    def payloads(self) -> Iterator[bytes]:
        """Give every batch as bytes, each the payload of one KIND_FRAMES record."""
        while self._gather(UNBOUNDED):
            yield self._merger.payload()
            self.counters.add("batches")

    def _open(self, stdin_fd: int) -> None:
        """Open every input; when there are several, learn when files begin and put them aside until then."""
        regular = [each.path != STANDARD_INPUT and os.path.isfile(each.path) for each in self._inputs]
        waiting_last = sorted(range(len(regular)), key=lambda number: not regular[number])
        for number in waiting_last:
            each = self._inputs[number]
            each.open(stdin_fd)
            if len(regular) == 1:
                self._merger.announce(number, 0)
            elif each.slow:
                self._merger.announce(number, LONG_AGO_NS)  # so that it is asked for its first frame
            else:
                self._look(number, each)
        known = all(each.regular for each in self._inputs)
        self.counters.set("bytes_total", sum(each.size for each in self._inputs) if known else 0)

    def _look(self, number: int, each: Input) -> None:
        """Announce a file by the time of its first frame."""
        chunk = each.read(1)
        if chunk is None:
            self.counters.add("bytes_read", each.read_bytes)
            self._note_end(each)
            return
        seconds, fraction = META_TIME.unpack_from(chunk.meta)
        self._merger.announce(number, seconds * 1_000_000_000 + fraction * chunk.unit_ns)
        each.park()

    def _gather(self, limit: int) -> bool:
        """Gather one batch of at most `limit` payload bytes; false if there is nothing more."""
        merger = self._merger
        while not self._ended:
            hungry = merger.gather(limit)
            if hungry == FULL or (merger.frames and hungry != DONE and self._inputs[hungry].slow):
                break
            if hungry == DONE:
                self._ended = True
                break
            try:
                self._feed(self._inputs[hungry])
            except MirrorError as error:  # what came before it is delivered first
                self._error = error
                self._ended = True
        self._count()
        if self._error is not None and not merger.frames:
            raise self._error
        return merger.frames > 0

    def _feed(self, each: Input) -> None:
        """Give the merger the next chunk of the input that it is hungry for."""
        before = each.read_bytes
        chunk = each.read()
        self.counters.add("bytes_read", each.read_bytes - before)
        if chunk is None:
            self._merger.finish()
            self._note_end(each)
        else:
            self._merger.push(chunk.data, chunk.meta, chunk.link, chunk.unit_ns, chunk.skip)

    def _note_end(self, each: Input) -> None:
        if not self._stop.wished:
            self.counters.add("files_read")
        if each.cut is not None:
            self.counters.add("files_cut")
            self.warnings.append(each.cut)
            log.warning("%s", each.cut)

    def _count(self) -> None:
        """Count the batch gathered, and what was dropped on the way because no ring record holds it."""
        merger = self._merger
        frames, size = merger.dropped_frames - self._dropped[0], merger.dropped_bytes - self._dropped[1]
        self._dropped = (merger.dropped_frames, merger.dropped_bytes)
        self.counters.add("frames_captured", merger.frames + frames)
        self.counters.add("bytes_captured", merger.frame_bytes + size)
        self.counters.add("frames_dropped_ring", frames)
        self.counters.add("bytes_dropped_ring", size)
