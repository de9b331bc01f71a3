"""The reader process: takes messages from files, merged by time, and writes them to message rings.

In: recordings, JSON Lines, .gor, HAR.  Out: ring records; the ring is chosen by the flow.  Invariant: a message is in a
ring as a whole or not at all, and everything that was read has its counter.  While a ring is full, nothing is read:
memory is bounded by one block and one message for each file that is open.

A process that is started in the place of one that was killed reads the files again from their beginning, and leaves out
the records that are in the rings already: every message comes once.
"""

import signal
from typing import Final

from assemble.records import (
    AT_PARTS,
    MESSAGE_HEADER,
    part_bytes,
)
from capture.child import ending, run_child
from capture.errors import ChangedError, MirrorError
from capture.marks import Mark
from capture.records import KIND_MESSAGE
from capture.ring import Producer
from capture.streams import Stop
from emit.joining import Whole
from emit.merging import Merge
from emit.records import ReaderSpec
from emit.selection import FOREVER
from emit.source import Entry

BOOK_EVERY: Final = 1000  # messages


def main(spec: ReaderSpec) -> None:
    """Read to the end, or until SIGTERM; the target of its process."""
    run_child(lambda: Feed(spec).run(), spec.events, spec.parent, spec.level)


class Feed:
    """Some files and the rings that they go to."""

    def __init__(self, spec: ReaderSpec) -> None:
        self.counters = spec.counters
        self.producers = [Producer(ring) for ring in spec.outputs]
        self.part_bytes = part_bytes(min(ring.largest for ring in spec.outputs))
        self.marks = [Mark(page) for page in spec.shown]
        self.written = [mark.recover(ring) for mark, ring in zip(self.marks, spec.outputs, strict=True)]
        self.behind = self.written.copy()  # of each ring's records, those that come again and are left out
        for producer in self.producers:
            producer.show_life(spec.events.counters, "beats")
        self.spec = spec
        self.merge: Merge | None = None
        self.messages = self.message_bytes = self.further_parts = 0
        self.stop = False
        self.waking = Stop()  # whoever waits for a pipe
        self.waking.alive = spec.events.beat
        self.catching_up = any(self.behind)

    def run(self) -> None:
        """Read everything, and close the rings."""
        if not self.catching_up:
            self.heed()  # else once the counters agree with what is in the rings
        with ending(self.close_rings):
            try:
                self.read()
            finally:
                if self.merge is not None:
                    self.merge.close()
                self.waking.close()

    def heed(self) -> None:
        """Stop on SIGTERM from now on; whoever sends it does so again and again."""
        signal.signal(signal.SIGTERM, lambda _number, _frame: self.note_stop())

    def close_rings(self) -> None:
        """Say that nothing more will come."""
        for producer in self.producers:
            producer.close()

    def read(self) -> None:
        """Look at all files, then read them."""
        selection, stdin = self.spec.selection, self.spec.stdin
        self.merge = Merge(self.spec.paths, selection, self.waking, -1 if stdin is None else stdin.fd)
        rounds = 0 if selection.loop == FOREVER else selection.loop  # without end there is no share to tell
        self.counters.set("bytes_total", self.merge.bytes_total * rounds)
        self.spec.events.tell("ready")
        self.feed(self.merge)

    def note_stop(self) -> None:
        """Note that the end is wanted; the loop acts on it."""
        self.stop = True
        self.waking.set()

    def feed(self, merge: Merge) -> None:
        """Write messages until there are no more, or the end is wanted."""
        ended = False
        try:
            for entry in merge.entries():
                self.spec.events.beat()
                if self.stop or not self.put(entry):
                    return
                if self.messages % BOOK_EVERY == 0:
                    self.book(merge)
            ended = not self.stop
            if self.catching_up:
                raise ChangedError
        except MirrorError:
            if not self.stop:  # else it may be that reading was broken off
                raise
        finally:
            self.book(merge)
            if ended:  # so much was read: the ledger compares it with what became of it
                self.counters.set("records", merge.counts["records"])

    def put(self, entry: Entry) -> bool:
        """Write one message to its ring, waiting for room; False if it was not begun because the end is wanted."""
        ring = (entry.flow >> 32) % len(self.producers)
        size = len(entry.record) - MESSAGE_HEADER.size
        if size <= self.part_bytes:
            if not self.put_record(ring, entry.record, begun=False):
                return False
        else:
            fields = list(MESSAGE_HEADER.unpack_from(entry.record))
            whole = Whole(ring, fields, entry.record[MESSAGE_HEADER.size :], [], self.part_bytes)
            fields[AT_PARTS] = whole.parts
            for part in range(whole.parts):
                whole.part = part
                if not self.put_record(ring, whole.record(), begun=part > 0):
                    return False
        self.messages += 1
        self.message_bytes += size
        self.further_parts += max(entry.parts, 1) - 1
        return True

    def put_record(self, ring: int, record: bytes, begun: bool) -> bool:
        """Write one record; a message that is begun is brought to its end, also if the end is wanted."""
        if self.behind[ring]:
            self.behind[ring] -= 1
            self.catch_up()
            return True
        producer = self.producers[ring]
        while not producer.try_put(KIND_MESSAGE, record):
            if self.stop and not begun:
                return False
            producer.wait_room(len(record))
        self.written[ring] += 1
        self.marks[ring].note(producer.position, self.written[ring])
        return True

    def catch_up(self) -> None:
        """See whether all that a dead process had written has come again."""
        if not any(self.behind):
            self.catching_up = False
            self.heed()

    def book(self, merge: Merge) -> None:
        """Show what was done so far; what was done before stands there until all of it has come again."""
        if self.catching_up:
            return
        counts = merge.counts
        counts |= {
            "records": self.messages + self.further_parts + counts["records_refused"],
            "records_joined": self.further_parts,
            "messages": self.messages,
            "message_bytes": self.message_bytes,
        }
        for name, count in counts.items():
            self.counters.set(name, count)
