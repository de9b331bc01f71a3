"""The output that writes nowhere: it counts, and shows what the rest of the pipeline can do."""

from emit.output import Output
from emit.walk import count_messages


class NullOutput(Output):
    """Takes every message and keeps none."""

    @property
    def safe(self) -> int:
        return self.cursor

    def take(self, head: int) -> None:
        if self.sieve is None:
            messages, payload_bytes = count_messages(self.consumer, self.cursor, head)
        else:
            messages, payload_bytes = self.sieve.count_messages(self.cursor, head)
        self.cursor = head
        self.tally.delivered += messages
        if payload_bytes:
            self.count("delivered_bytes", payload_bytes)
        if messages:
            self.count("chunks")
