"""Files of messages as one stream: merged by time, from one moment to another, once or again and again.

In: paths.  Out: entries, by the time at which they were whole.  Invariant: a file is open only from when its first
message is due until its last one is read, so that files that follow each other in time are not open together;
everything that was read has its count.
"""

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from capture.streams import Stop
from emit.formats import open_source
from emit.selection import EVERYTHING, Selection
from emit.source import Entry, Source, is_regular, losses
from emit.timeline import Gaps, Rounds

LONG_AGO_NS: Final = -(2**63)


@dataclass(slots=True)
class Waiting:
    """One file that is not open, or one that cannot be opened twice."""

    path: str
    due_ns: int = LONG_AGO_NS  # when its first message is whole
    first_ns: int | None = None  # when that began; None: it has none
    source: Source | None = None
    entry: Entry | None = None  # its first, already read
    rest: Iterator[Entry] | None = None


class Merge:
    """The messages of several files; all are opened once, and judged, when this is made; raises SourceError."""

    def __init__(
        self, paths: Sequence[str], selection: Selection = EVERYTHING, stop: Stop | None = None, stdin_fd: int = 0
    ) -> None:
        self.selection = selection
        self.own_stop = stop is None
        self.stop = Stop() if stop is None else stop
        self.stdin_fd = stdin_fd
        self.start_ns: int | None = None
        self.end_ns: int | None = None
        self.active: dict[int, Source] = {}
        self.done: Counter[str] = Counter()  # of files that were read to their end
        self.bytes_total = 0
        self.files: list[Waiting] = []
        try:
            for path in paths:
                self.files.append(self.look(path))
            self.bound()
        except BaseException:
            self.close()
            raise

    def look(self, path: str) -> Waiting:
        """Open a file, find out when it begins, and close it again, if it can be opened again."""
        source = open_source(
            path, self.selection.format, None, None, self.selection.most_bytes, self.stop, self.stdin_fd
        )
        found = Waiting(path, source=source)
        self.bytes_total += source.size
        found.rest = source.entries()
        plain = is_regular(path)
        moments = (self.selection.start, self.selection.end)
        if plain or any(moment is not None and moment.relative for moment in moments):
            self.read_first(found, source)
        if plain:
            source.close()
            found.source = found.entry = found.rest = None
        return found

    def read_first(self, file: Waiting, source: Source) -> None:
        """Read a file's first message; what is wrong with the file is told when it is its turn."""
        said, source.said = source.said, LOOKING
        try:
            file.entry = next(file.rest or iter(()), None)
        except BaseException:
            source.close()
            raise
        source.said = said
        if file.entry is not None:
            file.due_ns, file.first_ns = file.entry.last_ns, file.entry.first_ns

    def bound(self) -> None:
        """Find out from when to when messages are wanted."""
        selection = self.selection
        first_ns = min((each.first_ns for each in self.files if each.first_ns is not None), default=0)
        self.start_ns = None if selection.start is None else selection.start.after(first_ns)
        self.end_ns = None if selection.end is None else selection.end.after(first_ns)

    # -- what comes out

    def entries(self) -> Iterator[Entry]:
        """Yield each message that is wanted, in its round."""
        rounds = Rounds()
        while True:
            gaps = Gaps(self.selection.longest_gap_ns)
            before = rounds.placed_messages
            for entry in self.round(quiet=rounds.number > 0):
                if (self.start_ns is None or entry.first_ns >= self.start_ns) and (
                    self.end_ns is None or entry.first_ns < self.end_ns
                ):
                    yield rounds.placed(gaps.moved(entry))
                else:  # read before it was known from when to when, and as if it had not been
                    self.done.subtract({"records": max(entry.parts, 1), "records_joined": max(entry.parts, 1) - 1})
            if self.stop.wished or rounds.placed_messages == before:  # of files emptied meanwhile there is no end
                return
            if not rounds.next() or rounds.number == self.selection.loop:
                return

    def round(self, quiet: bool) -> Iterator[Entry]:
        """Yield the messages of all files once, by the time at which they were whole."""
        waiting = sorted(enumerate(self.files), key=lambda each: each[1].due_ns, reverse=True)
        heap: list[tuple[int, int, Entry, Iterator[Entry]]] = []
        while waiting or heap:
            while waiting and (not heap or waiting[-1][1].due_ns <= heap[0][0]):
                index, file = waiting.pop()
                entry, rest = self.begin(index, file, quiet)
                if entry is not None:
                    heapq.heappush(heap, (entry.last_ns, index, entry, rest))
                else:
                    self.finish(index)
            if not heap:
                continue
            _due_ns, index, entry, rest = heap[0]
            yield entry
            following = next(rest, None)
            if following is not None:
                heapq.heapreplace(heap, (following.last_ns, index, following, rest))
            else:
                heapq.heappop(heap)
                self.finish(index)

    def begin(self, index: int, file: Waiting, quiet: bool) -> tuple[Entry | None, Iterator[Entry]]:
        """Open a file, if it is not, and return its first entry and the others."""
        if file.source is not None and file.rest is not None:
            self.active[index] = file.source
            file.source.start_ns, file.source.end_ns = self.start_ns, self.end_ns
            return file.entry or next(file.rest, None), file.rest
        source = open_source(
            file.path, self.selection.format, self.start_ns, self.end_ns, self.selection.most_bytes, self.stop
        )
        if quiet:
            source.said = LOOKING
        self.active[index] = source
        rest = source.entries()
        return next(rest, None), rest

    def finish(self, index: int) -> None:
        """Close a file that is read to its end, and keep its counts."""
        source = self.active.pop(index)
        source.close()
        self.done.update(counts((source,)))

    # -- what was done

    @property
    def counts(self) -> dict[str, int]:
        """What was read so far, by the names of the reader's counters, with `records` as the files have them."""
        total = self.done.copy()
        total.update(counts(tuple(self.active.values())))
        return dict(total)

    def close(self) -> None:
        """Close what is open."""
        for index in list(self.active):
            self.finish(index)
        for file in self.files:
            if file.source is not None:
                file.source.close()
        if self.own_stop:
            self.stop.close()


LOOKING: Final = 1 << 40  # faults "said" already: of a file that is only looked at, nothing is


def counts(sources: Sequence[Source]) -> dict[str, int]:
    """Return what some sources have counted."""
    return losses(sources) | {
        "bytes_read": sum(source.position for source in sources),
        "records": sum(source.records for source in sources),
        "records_joined": sum(source.joined for source in sources),
    }
