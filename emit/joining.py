"""Messages that need several records: parts as they arrive are put together, and cut again for the ring they go to.

In: headers and payloads, part by part, of one connection.  Out: whole messages.  Invariant: what is held is
bounded, and is held in a chunk's name, which is not acknowledged before the message is safe.
"""

from dataclasses import dataclass, field
from typing import Final

from assemble.records import (
    AT_ID,
    AT_KIND,
    AT_OFFSET,
    AT_PART,
    AT_PARTS,
    AT_START_LEN,
    AT_TARGET,
    AT_TARGET_LEN,
    AT_TOTAL,
    MESSAGE_HEADER,
)
from capture.errors import MalformedTraffic

CHUNK_COST: Final = 16 * 1024
PIECE_COST: Final = 64
"""Counted for each chunk, and for each part, that a message is held in: one may come in a million empty parts."""
MOST_UNFINISHED: Final = 64
"""Messages under way on one connection; our sender has one at a time, a relay may mix those of several."""


@dataclass(slots=True, eq=False)
class Pending:
    """One chunk that is not acknowledged yet."""

    ack: bytes | None
    ident: tuple[bytes, int] | None
    owner: object  # the connection to answer on
    ends: dict[int, int] = field(default_factory=dict)  # by ring: the position that must be released
    waits: int = 0  # messages that have begun in it and are not written yet
    decoded: bool = False
    mixed: bool = False  # there is part of a message in it

    def wrote(self, ring: int, position: int) -> None:
        """Note that something of this chunk lies before `position` in a ring."""
        self.ends[ring] = position


@dataclass(slots=True, eq=False)
class Whole:
    """A message that is to be written to a ring in parts."""

    ring: int
    fields: list[int | bytes]  # of its header
    payload: bytes
    chunks: list[Pending]  # that it came in
    part_bytes: int
    records: int = 1  # that it came in
    part: int = 0  # the next to be written

    def record(self) -> bytes:
        """Return the next part as a ring record's payload."""
        offset = self.part * self.part_bytes
        self.fields[AT_OFFSET] = offset
        self.fields[AT_PART] = self.part
        return MESSAGE_HEADER.pack(*self.fields) + self.payload[offset : offset + self.part_bytes]

    @property
    def parts(self) -> int:
        """How many records it takes."""
        return max(1, -(-len(self.payload) // self.part_bytes))


@dataclass(slots=True, eq=False)
class Unfinished:
    """A message whose last part has not come."""

    ring: int
    fields: list[int | bytes]
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    held_bytes: int = 0  # of the budget
    chunks: list[Pending] = field(default_factory=list)


@dataclass(slots=True)
class Budget:
    """Bytes held for messages that are not whole, or not written, over all connections."""

    most_message_bytes: int
    most_bytes: int
    held_bytes: int = 0


class Joiner:
    """The messages in parts of one connection."""

    def __init__(self, budget: Budget, part_bytes: int) -> None:
        self.budget = budget
        self.part_bytes = part_bytes
        self.unfinished: dict[tuple[int, int], Unfinished] = {}
        self.refused = 0  # parts given up

    def add(self, ring: int, header: bytes, payload: bytes, chunk: Pending) -> Whole | None:
        """Take one part, and return the message if it is whole now; raises MalformedTraffic if there is too much."""
        fields: list[int | bytes] = list(MESSAGE_HEADER.unpack(header))
        part, parts, key = int(fields[AT_PART]), int(fields[AT_PARTS]), (int(fields[AT_ID]), int(fields[AT_KIND]))
        if part == 0:
            self.give_up(key)
            if len(self.unfinished) >= MOST_UNFINISHED:
                raise MalformedTraffic("too many messages in parts at a time", at=part)
            self.unfinished[key] = Unfinished(ring, fields)
        message = self.unfinished.get(key)
        if message is None or part != len(message.pieces) or parts != message.fields[AT_PARTS]:
            self.give_up(key)
            self.refused += 1
            return None
        message.pieces.append(payload)
        message.size += len(payload)
        cost = len(payload) + PIECE_COST
        if not message.chunks or message.chunks[-1] is not chunk:
            message.chunks.append(chunk)
            chunk.waits += 1
            cost += CHUNK_COST
        message.held_bytes += cost
        self.budget.held_bytes += cost
        if message.size > self.budget.most_message_bytes:
            raise MalformedTraffic(f"a message in parts of more than {self.budget.most_message_bytes} bytes", at=part)
        if self.budget.held_bytes > self.budget.most_bytes:
            raise MalformedTraffic("more messages in parts, over all connections, than there is memory for", at=part)
        return self.finish(key) if part + 1 == parts else None

    def finish(self, key: tuple[int, int]) -> Whole | None:
        """Return a message whose last part has come; None if its start line is not where it should be."""
        message = self.unfinished[key]
        payload = b"".join(message.pieces)
        fields = message.fields
        if int(fields[AT_TARGET]) + int(fields[AT_TARGET_LEN]) > len(payload):
            self.give_up(key)
            return None
        del self.unfinished[key]
        self.budget.held_bytes -= message.held_bytes - len(payload)
        fields[AT_TOTAL] = len(payload)
        fields[AT_START_LEN] = payload.find(b"\n") + 1
        whole = Whole(message.ring, fields, payload, message.chunks, self.part_bytes, len(message.pieces))
        fields[AT_PARTS] = whole.parts
        return whole

    def give_up(self, key: tuple[int, int]) -> None:
        """Forget a message that will not become whole: its parts are refused, its chunks no longer wait for it."""
        message = self.unfinished.pop(key, None)
        if message is not None:
            self.refused += len(message.pieces)
            self.budget.held_bytes -= message.held_bytes
            for chunk in message.chunks:
                chunk.waits -= 1

    def close(self) -> list[Pending]:
        """Forget everything, as the connection has ended; return the chunks whose content is lost by that."""
        lost = [chunk for message in self.unfinished.values() for chunk in message.chunks]
        for key in list(self.unfinished):
            self.give_up(key)
        return lost
