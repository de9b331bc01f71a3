"""A stand-in for an output that replays: it answers every request itself; and a worker that has it."""

import select

import emit.worker
from assemble.message import Message, read_message
from assemble.records import (
    AT_KIND,
    AT_PART,
    AT_PARTS,
    MESSAGE_HEADER,
    REQUEST,
)
from emit.output import Output
from emit.records import WorkerSpec
from tests.emit.builders import replayed


def answer_to(asked: Message) -> Message:
    """Say what a request is answered: nothing, much, or its own payload, by its id; failures for /bad."""
    if asked.id % 97 == 13:
        return replayed(asked.id, status=0, complete=False, head=0, payload=b"")
    body = b"x" * 300_000 if asked.id % 97 == 14 else asked.payload
    return replayed(asked.id, body, status=500 if asked.target == "/bad" else 200)


class Echo(Output):
    """Sends nowhere, and has its answers at once."""

    waiting = False

    @property
    def safe(self) -> int:
        return self.cursor

    @property
    def hungry(self) -> bool:
        return not self.waiting

    def take(self, head: int) -> None:
        """Take what can be answered now; a test's requests are in one part."""
        self.waiting = False
        while self.cursor < head:
            record = self.consumer.read(self.cursor)
            assert record is not None
            _kind, view, following = record
            fields = MESSAGE_HEADER.unpack_from(view)
            if fields[AT_KIND] == REQUEST and not self.answer(view):
                self.waiting = True
                return
            if fields[AT_KIND] != REQUEST and fields[AT_PARTS] == 1:
                self.compare(view)
            self.tally.delivered += fields[AT_PART] + 1 == fields[AT_PARTS]
            self.cursor = following

    def answer(self, view: memoryview) -> bool:
        """Have one request answered; False if there is no room for that now."""
        if self.answers is None:
            return True
        self.answers.asked(view)
        made = answer_to(read_message(view))
        assert made.status is not None
        done = self.answers.write(
            made.id, made.status, made.first_ns, made.last_ns, made.src.packed, made.sport, made.dst.packed,
            made.dport, made.payload, made.head, made.complete,
        )  # fmt: skip
        if not done and self.spec.policy == "drop":
            self.answers.drop()
            done = True
        if done:
            self.sum_up(read_message(view), made)
        return done

    def sum_up(self, asked: Message, made: Message) -> None:
        """Count a request and its answer, where that is wanted."""
        summary = self.spec.summary
        if summary is not None:
            assert asked.method is not None
            assert asked.target is not None
            summary.sent(asked.id, asked.method.encode(), asked.target.encode(), asked.first_ns)
            if made.status:
                summary.answered(made.id, made.status, len(made.payload), made.last_ns - made.first_ns)
            else:
                summary.failed(made.id, "timeout")

    def compare(self, view: memoryview) -> None:
        """Count an original response."""
        message = read_message(view)
        if self.spec.summary is not None and message.status is not None:
            self.spec.summary.original(message.id, message.status, message.last_ns, len(message.payload))

    def descriptors(self) -> dict[int, int]:
        """Be woken when there is room."""
        if self.waiting and self.answers is not None and self.answers.arm():
            return {self.answers.fileno(): select.POLLIN}
        return {}

    @property
    def busy(self) -> bool:
        return self.waiting and self.answers is not None and not self.answers.arm()

    def attend(self) -> None:
        """Take back what was asked for."""
        if self.answers is not None:
            self.answers.disarm()


def replaying(spec: WorkerSpec) -> None:
    """Be a worker whose http output answers itself; the target of its process."""
    emit.worker.OUTPUTS["http"] = "tests.emit.echo:Echo"
    emit.worker.main(spec)
