"""The receiving end's side of the message rings: writes, never waits, and knows what the workers have released.

In: chunks of entries, and messages in parts.  Out: ring records.  Invariant: the parts of one message follow each
other in their ring with nothing between, and a ring without room stops only what is meant for it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from capture.records import KIND_MESSAGE
from capture.ring import Producer, Ring
from emit.decode import Decoder
from emit.joining import Budget, Pending, Whole

SHARE: Final = 8
"""Wake up when an eighth of a full ring is free, not at the first record: it would else be record by record."""
RECORD_HEADER_BYTES: Final = 16


class Feeder:
    """All rings of one receiver."""

    def __init__(self, rings: Sequence[Ring], budget: Budget) -> None:
        self.producers = [Producer(ring) for ring in rings]
        self.decoder = Decoder(self.producers)
        self.budget = budget
        self.queues: list[deque[Whole]] = [deque() for _ in rings]
        self.wanted: list[int | None] = [None for _ in rings]  # by ring: position whose release makes room
        self.messages = self.message_bytes = self.further_parts = 0  # written in parts
        self.on_written: Callable[[Whole], None] | None = None  # hears of such a message before workers see its end

    def put(self, whole: Whole) -> None:
        """Queue a message in parts; nothing else enters its ring before it is written."""
        self.queues[whole.ring].append(whole)
        self.decoder.block(whole.ring, True)
        self.pump()

    def pump(self) -> None:
        """Write what there is room for of the queued messages, and note which rings have room again."""
        for ring, queue in enumerate(self.queues):
            wanted = self.wanted[ring]
            if wanted is not None and self.producers[ring].released >= wanted:
                self.wanted[ring] = None
            while queue and self.write(ring, queue[0]):
                whole = queue.popleft()
                self.budget.held_bytes -= len(whole.payload)
                self.messages += 1
                self.message_bytes += len(whole.payload)
                self.further_parts += whole.records - 1
                position = self.producers[ring].position
                for chunk in whole.chunks:
                    chunk.waits -= 1
                    chunk.wrote(ring, position)
                if self.on_written is not None:
                    self.on_written(whole)
                self.producers[ring].show()
                if not queue:
                    self.decoder.block(ring, False)

    def write(self, ring: int, whole: Whole) -> bool:
        """Write parts of one message as long as there is room; True if that was the last."""
        while whole.part < whole.parts:
            record = whole.record()
            if not self.producers[ring].try_commit(KIND_MESSAGE, record):
                self.want(ring, len(record))
                return False
            whole.part += 1
            if whole.part < whole.parts:
                self.producers[ring].show()
        self.wanted[ring] = None
        return True

    def stalled(self, ring: int) -> None:
        """Note that entries wait for room in a ring (`decoder.full_bytes` of it)."""
        if not self.queues[ring]:
            self.want(ring, self.decoder.full_bytes)

    def want(self, ring: int, payload_bytes: int) -> None:
        """Note how far a ring must be released so that a record has room, wherever it comes to lie."""
        producer = self.producers[ring]
        capacity = producer.ring.capacity
        room = min(max(2 * (payload_bytes + RECORD_HEADER_BYTES + 8), capacity // SHARE), capacity)
        self.wanted[ring] = max(producer.position + room - capacity, 0)

    def is_safe(self, chunk: Pending) -> bool:
        """Whether everything that came in a chunk has been released by the worker that had it."""
        return (
            chunk.decoded
            and chunk.waits == 0
            and all(self.producers[ring].released >= position for ring, position in chunk.ends.items())
        )

    def arm(self, chunks: Sequence[Pending]) -> bool:
        """Have the rings' descriptors wake us for room, or for the next chunk to be safe; False if something is."""
        nearest: dict[int, int] = {ring: at for ring, at in enumerate(self.wanted) if at is not None}
        for chunk in chunks:
            # One look at each: what is released between two would be neither safe nor waited for.
            left = [(ring, at) for ring, at in chunk.ends.items() if at > self.producers[ring].released]
            if not left and chunk.decoded and chunk.waits == 0:  # nothing would wake us for it
                return False
            for ring, position in left:
                nearest[ring] = min(position, nearest.get(ring, position))
        asleep = True
        for ring, position in nearest.items():
            asleep = self.producers[ring].arm(position) and asleep
        return asleep

    def disarm(self) -> None:
        """Take back `arm`."""
        for producer in self.producers:
            producer.disarm()

    def take_counts(self) -> tuple[int, int, int]:
        """Return (messages, bytes, further parts that they came in) written in parts since the last call."""
        counts = self.messages, self.message_bytes, self.further_parts
        self.messages = self.message_bytes = self.further_parts = 0
        return counts

    def close(self) -> None:
        """Say in every ring that nothing more will come."""
        for producer in self.producers:
            producer.close()
