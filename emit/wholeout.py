"""What outputs of whole messages share: messages in parts are put together, and each is written as its format has it.

In: records of a message ring.  Out: pieces of text.  Invariant: a buffer is written as a whole or taken back; a message
that the format cannot hold is counted as undelivered, one that it changes as altered, and the log says so once.
"""

import abc
import logging
from collections.abc import Iterator
from typing import Final

from assemble.records import (
    AT_PART,
    AT_PARTS,
    MESSAGE_HEADER,
)
from capture.counters import Counters
from capture.ring import Consumer
from emit.file import PieceOutput
from emit.packing import Packer, split
from emit.parts import Parts
from emit.records import OutputSpec
from emit.selection import LONGEST_MESSAGE

PACKED_BYTES: Final = 2 * 1024 * 1024  # of the buffer that is kept

log = logging.getLogger(__name__)


class WholeOutput(PieceOutput):
    """Appends messages to `spec.path`, each as one piece."""

    def __init__(self, spec: OutputSpec, consumer: Consumer, counters: Counters) -> None:
        super().__init__(spec, consumer, counters)
        self.parts = Parts(LONGEST_MESSAGE)
        self.text: bytes | None = None  # the buffer as it is written
        self.held = 0  # messages in it
        self.unheld = 0  # of the buffer, that the format cannot hold
        self.told: set[str] = set()

    def writer(self, consumer: Consumer) -> Packer:
        return Packer(consumer, PACKED_BYTES, self.sieve)

    # -- what

    @abc.abstractmethod
    def compose(self, records: Iterator[bytes]) -> bytes:
        """Return messages as text, counting them in `held`."""

    def block(self) -> bytes:
        if self.text is None:
            self.held = self.unheld = 0
            self.text = self.compose(self.whole())
        return self.text

    def whole(self) -> Iterator[bytes]:
        """Yield the messages that end in the buffer."""
        for _last_ns, _first_ns, _flow, parts, record in split(self.lines.view())[0]:
            message: bytes | None = record
            if parts > 1:
                message = self.parts.add(record)
                fields = MESSAGE_HEADER.unpack_from(record)
                if message is None and fields[AT_PART] + 1 == fields[AT_PARTS]:
                    self.refuse(f"it is longer than {self.parts.most_message_bytes} bytes, or its beginning is lost")
            if message is not None:
                yield message

    def refuse(self, why: str) -> None:
        """Count a message that cannot be written."""
        self.unheld += 1
        self.tell(f"cannot be written: {why}")

    def alter(self, why: str) -> None:
        """Count a message that is not written as it was."""
        self.count("altered")
        self.tell(why)

    def tell(self, why: str) -> None:
        """Say something about messages, once."""
        if why not in self.told:
            self.told.add(why)
            log.warning("%s: %s; said once, and counted", self.spec.name, why)

    # -- afterwards

    def wrote(self) -> None:
        self.tally.delivered += self.held - self.lines.messages
        self.tally.undelivered += self.unheld
        super().wrote()
        self.text = None

    def undo(self, error: OSError) -> None:
        self.tally.undelivered += self.held + self.unheld - self.lines.messages
        super().undo(error)
        self.text = None

    def give_up(self, error: OSError) -> None:
        self.tally.undelivered += self.waiting()
        super().give_up(error)

    def waiting(self) -> int:
        """Return how many messages are neither written nor in the buffer, and wait no longer."""
        return 0
