"""Messages in parts, one after the other: parts become whole messages, and what stops short is counted.

In: records of one message each, or of one part.  Out: whole messages, as one record.  Invariant: what is held is the
message under way, and no longer than is allowed.
"""

from typing import Any, Final

from assemble.records import AT_ID, AT_KIND, AT_OFFSET, AT_PART, AT_PARTS, AT_TOTAL, MESSAGE_HEADER

SAME: Final = (AT_ID, AT_KIND, AT_TOTAL, AT_PARTS)
"""What all parts of a message agree in."""


class Parts:
    """The message under way, where no part of another comes between two of its own."""

    def __init__(self, most_message_bytes: int) -> None:
        self.most_message_bytes = most_message_bytes
        self.fields: list[Any] = []  # of its header; empty: there is none
        self.body = bytearray()
        self.count = 0  # parts of it that have come, or of the one that has become whole
        self.refused = 0  # parts of messages that have not become whole, in all
        self.why = ""  # what the latest call has given up, in words

    def add(self, record: bytes) -> bytes | None:
        """Take a part, and return the message if it is whole now."""
        fields = list(MESSAGE_HEADER.unpack_from(record))
        self.why = ""
        if fields[AT_PART] == 0:
            self.give_up()
            if fields[AT_TOTAL] <= self.most_message_bytes:
                self.fields, self.count = fields, 0
            else:
                self.why = f"a message of {fields[AT_TOTAL]} bytes is longer than {self.most_message_bytes}"
        if not self.follows(fields):
            why = self.why
            self.give_up()
            self.why = self.why or why
            self.refused += 1
            return None
        self.body += memoryview(record)[MESSAGE_HEADER.size :]
        self.count += 1
        return self.end() if self.count == fields[AT_PARTS] else None

    def follows(self, fields: list[Any]) -> bool:
        """Whether a part is the next of the message under way."""
        return (
            bool(self.fields)
            and (fields[AT_PART], fields[AT_OFFSET]) == (self.count, len(self.body))
            and all(fields[at] == self.fields[at] for at in SAME)
        )

    def end(self) -> bytes:
        """Return the message, which is whole, as one record."""
        head = [*self.fields]
        head[AT_OFFSET], head[AT_PART], head[AT_PARTS] = 0, 0, 1
        message = MESSAGE_HEADER.pack(*head) + self.body
        self.fields, self.body = [], bytearray()
        return message

    def give_up(self) -> int:
        """Forget the message under way, as the rest of it will not come; return how many parts that costs."""
        lost = self.count if self.fields else 0
        self.why = f"a message of which {lost} of {self.fields[AT_PARTS]} parts were written is lost" if lost else ""
        self.refused += lost
        self.fields, self.body, self.count = [], bytearray(), 0
        return lost
