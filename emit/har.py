"""HTTP archives (HAR 1.2) as a source of messages, entry by entry.

In: JSON.  Out: entries.  Invariant: one entry is held at a time, of bounded size, depth and number of values; an entry
that no message can be made of costs itself.  What comes after a fault in the JSON cannot be read.
"""

from collections.abc import Iterator
from typing import Any, Final

import ijson
from ijson.common import ObjectBuilder

from emit.building import entry_of
from emit.exchanges import BadEntryError, records_of
from emit.source import Entry, StreamSource

READ_BYTES: Final = 64 * 1024
MOST_DEPTH: Final = 64
MOST_VALUES: Final = 200_000  # of one entry
ROOM: Final = 2  # an entry has two messages; and text may be escaped: times this
OPENING: Final = ("start_map", "start_array")
CLOSING: Final = ("end_map", "end_array")
WITHIN: Final = (("log", 1), ("entries", 2))  # keys that lead to the list, and their depths


class TooMuchError(Exception):
    """An entry that is larger than any of ours may be."""


class HarSource(StreamSource):
    """The messages of a HAR file."""

    def entries(self) -> Iterator[Entry]:
        self.begun = 0  # unpacked bytes, when the entry under way began, about
        number = 0
        try:
            for said in self.items():
                number += 1
                yield from self.item(said, number)
        except ijson.IncompleteJSONError:
            if not self.unpacked_bytes or self.opened.stopped:
                return
            self.end_early(f"it is cut after entry {number}")
        except (ijson.JSONError, UnicodeDecodeError):
            self.end_early(f"it is not JSON after entry {number}: the rest cannot be read")
        except TooMuchError:
            self.end_early(f"entry {number + 1} is too large: the rest cannot be read")
        if self.opened.stream.fault is not None and not self.opened.stopped:
            self.cut_at = self.begun
            self.say(self.opened.stream.fault)

    def end_early(self, why: str) -> None:
        """Account for a file of which the rest cannot be read."""
        self.cut_at = self.begun
        self.lost_bytes += max(self.unpacked_bytes - self.begun, 1)
        self.say(why)

    def item(self, said: Any, number: int) -> Iterator[Entry]:
        """Yield the messages of one entry that are wanted."""
        try:
            records = list(records_of(said, number))
        except BadEntryError as error:
            self.refuse(f"entry {number} is no exchange: {error}")
            return
        for record in records:
            entry = entry_of(record)
            if len(record) > self.most_message_bytes:
                self.refuse(f"entry {number} has a message that is longer than {self.most_message_bytes} bytes")
            elif self.wanted(entry.first_ns, entry.first_ns):
                self.records += 1
                yield entry

    def items(self) -> Iterator[Any]:
        """Yield each entry of `log.entries`."""
        depth, keys = 0, [""] * (MOST_DEPTH + 1)
        building: ObjectBuilder | None = None
        values = 0
        for event, value in ijson.basic_parse(self, buf_size=READ_BYTES):
            depth -= event in CLOSING
            if building is not None:
                building.event(event, value)
                values += 1
            elif depth == 3 and event == "start_map" and (keys[1], keys[2]) == ("log", "entries"):
                building, values, self.begun = ObjectBuilder(), 1, self.unpacked_bytes
                building.event(event, value)
            depth += event in OPENING
            if depth > MOST_DEPTH or values > MOST_VALUES or self.too_long:
                raise TooMuchError
            if event == "map_key":
                keys[depth] = value
            if building is not None and depth == 3:
                yield building.value
                building, self.begun = None, self.unpacked_bytes

    def read(self, size: int = READ_BYTES) -> bytes:
        """Return the next bytes for the parser."""
        if self.too_long:
            raise TooMuchError
        return super().read(size)

    @property
    def too_long(self) -> bool:
        """Whether the entry under way has more bytes than two messages in base64 can have."""
        return self.unpacked_bytes - self.begun > ROOM * 2 * self.most_message_bytes + READ_BYTES
