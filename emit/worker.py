"""The worker process: takes messages from one ring, hands them to every output, releases what all are done with.

In: a message ring.  Out: deliveries, counters, and one "undelivered" event per output that failed.  Invariant: the
ring is released up to the slowest output's safe position, and nothing is counted as taken before it is released.

An output that replays has answers.  They go into a ring of their own, which a further worker reads, with the other
outputs: they cannot go into the ring that they are answers to, and outputs may be slow.
"""

import logging
import math
import select
import time
from importlib import import_module
from pathlib import Path
from typing import Final

from capture.child import run_child
from capture.counters import Counters
from capture.errors import DeliveryError, reason
from capture.ring import Consumer, Producer
from emit.answers import AnswerWriter
from emit.care import Steps, keep
from emit.output import Output, make_sieve
from emit.records import OUTCOMES, OutputSpec, WorkerSpec
from emit.walk import count_messages, skip_messages

log = logging.getLogger(__name__)

NAP_MS: Final = 1
"""After a burst: wait that long for a next one to gather before looking, instead of being woken record by record."""
BACKLOG_BYTES: Final = 256 * 1024
"""More than that waiting in the ring already: go on at once."""
SLEEP_MS: Final = 2_000
"""Longest sleep: a worker that never wakes up looks as if it hung."""
CAREFUL_MS: Final = 5
LEAVE_S: Final = 2.0
"""How long a worker that is succeeded waits for what is under way; the successor then sends it once more."""

OUTPUTS: Final[dict[str, str]] = {
    "tcp": "emit.tcp:TcpOutput",
    "http": "emit.http:HttpOutput",
    "file": "emit.file:FileOutput",
    "recording": "emit.blockout:BlockOutput",
    "gor": "emit.gorout:GorOutput",
    "har": "emit.harout:HarOutput",
    "stdout": "emit.stdout:StdoutOutput",
    "null": "emit.null:NullOutput",
}
"""Where each kind is, by the format of a file or by type: what is not needed is not imported."""


def output_class(spec: OutputSpec) -> type[Output]:
    """Return what an output is made of."""
    module, _, name = OUTPUTS[spec.format if spec.format in OUTPUTS else spec.type].partition(":")
    found: type[Output] = getattr(import_module(module), name)
    return found


def main(spec: WorkerSpec) -> None:
    """Run one worker until its ring is closed and everything in it has an outcome; the target of its process."""
    run_child(lambda: _work(spec), spec.events, spec.parent, spec.level)


def _work(spec: WorkerSpec) -> None:
    spec.events.tell("ready")
    if spec.after is not None:
        while not spec.after.wait(SLEEP_MS):
            spec.events.beat()
    Worker(spec).run()


def take_note(counters: Counters) -> None:
    """Put what was noted of the ring's messages in its place; once more does no harm."""
    for name, following in (
        ("bytes_taken", "next_bytes"),
        ("messages_taken", "next_messages"),
        ("position", "next_position"),
    ):
        counters.set(name, counters[following])


def recover(spec: WorkerSpec, consumer: Consumer) -> list[int]:
    """Finish what a worker was killed in: it books, notes the position, and releases, in this order.

    Returns for each output how many messages have left the ring, and have no outcome that was booked.
    """
    counters = spec.counters
    if counters["next_position"] > counters["position"]:
        take_note(counters)
    position = counters["position"]
    if consumer.tail < position <= consumer.head:
        consumer.release(position)
    owed = []
    for output in spec.outputs:
        names = [f"output{output.index}_{name}" for name in OUTCOMES]
        released = counters["messages_taken"] + counters[f"output{output.index}_added"]
        twice = sum(counters[name] for name in names) - released
        for name in names:  # booked, but not released: these messages are about to be repeated
            taken_back = min(max(twice, 0), counters[name])
            counters.set(name, counters[name] - taken_back)
            twice -= taken_back
        owed.append(max(-twice, 0))
    return owed


class Worker:
    """One consumer of one message ring, with its outputs."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        self.counters = spec.counters
        self.consumer = Consumer(spec.ring)
        self.recover()
        self.released = self.consumer.tail
        self.answers = self.answering()
        self.outputs = [self.open(output) for output in spec.outputs]
        if spec.care.skip is not None:
            self.leave_out(*spec.care.skip)
        self.steps = Steps(spec.care, self.consumer, self.counters)
        self.poller = select.poll()
        self.watched: dict[int, int] = {}
        self.moved = True
        self.leaving = self.stopping = False

    def recover(self) -> None:
        """Finish what a predecessor was killed in; what has left the ring with no outcome, nobody has now."""
        for output, owed in zip(self.spec.outputs, recover(self.spec, self.consumer), strict=True):
            if owed and output.kept is None:
                self.counters.add(f"output{output.index}_dropped", owed)

    def leave_out(self, start: int, end: int) -> None:
        """Have no output take the message there, of which workers died, and keep a copy of it."""
        taking = [output for output in self.outputs if output.cursor == start]
        if not taking:
            return
        end, messages = skip_messages(self.consumer, start, end, self.consumer.head)
        for output in taking:
            output.cursor = end
            output.tally.poisoned += messages
        try:
            where = f"a copy is in {keep(self.consumer, start, end, Path(self.spec.kept), 'message')}"
        except OSError as error:
            where = f"no copy could be kept in {self.spec.kept}: {reason(error)}"
        log.error("workers died of a message, which is left out; %s; please report it", where)

    def open(self, spec: OutputSpec) -> Output:
        """Make one output; nothing is opened yet."""
        kind = output_class(spec)
        if spec.transforms:
            from emit.transformed import TransformedOutput  # here, as most have no use for it

            output: Output = TransformedOutput(spec, self.consumer, self.counters, kind)
        else:
            output = kind(spec, self.consumer, self.counters)
        output.answers = self.answers if spec.answers else None
        return output

    def answering(self) -> AnswerWriter | None:
        """Make what takes the answers to what our outputs send, if others want them."""
        if self.spec.answers is None:
            return None
        sieves = [make_sieve(self.consumer, sifting, verdicts) for sifting, verdicts in self.spec.asked]
        return AnswerWriter(Producer(self.spec.answers), self.counters, [each for each in sieves if each.remembers])

    def run(self) -> None:
        """Work until the ring is closed and every output is done; raises DeliveryError if one of them failed.

        Or until somebody else takes over: what is not done with by then is left in the ring.
        """
        for output in self.outputs:
            output.start(time.monotonic())
        finishing = False
        while not self.leaving:
            self.spec.events.beat()
            now_s = time.monotonic()
            ended = self.consumer.closed  # before head: what was written before closing is seen
            head = self.consumer.head
            if self.careful:
                head, ended = self.step(head), ended and not self.careful
            if ended and not finishing:
                finishing = True
                for output in self.outputs:
                    output.finish()
            self.pump(head, now_s)
            if ended and all(output.done(head) for output in self.outputs):
                self.end()
                return
            self.wait(head, finishing)
        self.hand_over()

    @property
    def careful(self) -> bool:
        """Whether a message here may be one that kills."""
        return self.steps.active

    def step(self, head: int) -> int:
        """Return up to where the outputs may go now."""
        tried = min((output.tried for output in self.outputs), default=head)
        cursor = min((output.cursor for output in self.outputs), default=head)
        return self.steps.head(head, tried, cursor)

    def pump(self, head: int, now_s: float) -> None:
        """Give every output its turn, and the ring what all are done with."""
        if head > self.counters["given"]:
            self.counters.set("given", head)
        before = [output.cursor for output in self.outputs]
        if self.answers is not None:  # the one who has the file we hold may be the one who is to read them
            self.answers.urgent = any(output.holding for output in self.outputs)
        for output in self.outputs:
            output.pump(head, now_s)
        self.moved = before != [output.cursor for output in self.outputs]
        self.release(head)

    def hand_over(self) -> None:
        """Begin nothing new, wait a little for what is under way, and leave the rest to the successor."""
        until_s = time.monotonic() + LEAVE_S
        head = max(output.cursor for output in self.outputs)
        while time.monotonic() < until_s and not all(output.done(head) for output in self.outputs):
            self.pump(head, time.monotonic())
            self.poll({fd: events for each in self.outputs for fd, events in each.descriptors().items()}, NAP_MS)
        for output in self.outputs:
            output.let_no_other()
        self.release(head)
        for output in self.outputs:
            output.leave()
        if self.answers is not None:
            self.answers.drain()

    def release(self, head: int) -> None:
        """Give back what every output is done with, and book it."""
        safe = min((output.safe for output in self.outputs), default=head)
        messages, payload_bytes = count_messages(self.consumer, self.released, safe)
        for output in self.outputs:
            output.settle(messages)
        if safe > self.released:
            self.counters.set("next_bytes", self.counters["bytes_taken"] + payload_bytes)
            self.counters.set("next_messages", self.counters["messages_taken"] + messages)
            self.counters.set("next_position", safe)  # from here on a successor finishes it
            take_note(self.counters)
            self.consumer.release(safe)
            self.released = safe

    def wait(self, head: int, finishing: bool) -> None:
        """Wait until an output or the ring has something new, and tell the outputs about their descriptors."""
        hungry = not (finishing or self.careful) and any(
            output.hungry and (output.resumes_s is None or output.spec.policy == "drop") for output in self.outputs
        )
        armed = False
        if any(output.busy for output in self.outputs) or (self.moved and (finishing or self.careful)):
            timeout_ms = 0
        elif hungry and self.moved:
            timeout_ms = 0 if self.consumer.head - head >= BACKLOG_BYTES else NAP_MS
        else:
            armed = hungry and self.consumer.arm(head)
            timeout_ms = 0 if hungry and not armed else self.until_deadline_ms()
        wanted = {fd: events for output in self.outputs for fd, events in output.descriptors().items()}
        wanted |= {fd: events for output in self.outputs for fd, events in output.wakeups().items()}
        wanted[self.spec.leave.fileno()] = select.POLLIN
        if not self.stopping:
            wanted[self.spec.stop.fileno()] = select.POLLIN
        if armed:
            wanted[self.consumer.fileno()] = select.POLLIN
        self.poll(wanted, timeout_ms)
        if armed:
            self.consumer.disarm()

    def poll(self, wanted: dict[int, int], timeout_ms: int) -> None:
        """Wait for descriptors, and tell the outputs about theirs."""
        self.watch(wanted)
        if self.careful:
            self.steps.rest()
            timeout_ms = min(timeout_ms, CAREFUL_MS)
        ready = self.poller.poll(timeout_ms)
        if self.careful:
            self.steps.note()
        now_s = time.monotonic()
        for fd, _events in ready:
            self.leaving = self.leaving or fd == self.spec.leave.fileno()
            if fd == self.spec.stop.fileno():
                self.stop()
            for output in self.outputs:
                if fd in output.descriptors():
                    output.on_ready(now_s)

    def stop(self) -> None:
        """Tell the outputs that the run is to end."""
        self.stopping = True
        for output in self.outputs:
            output.stop()

    def until_deadline_ms(self) -> int:
        """Return how long the nearest deadline is away, rounded up."""
        listed = [at_s for output in self.outputs for at_s in (output.deadline(), output.resumes_s)]
        deadlines = [at_s for at_s in listed if at_s is not None]
        if not deadlines:
            return SLEEP_MS
        return min(max(math.ceil((min(deadlines) - time.monotonic()) * 1000), 0), SLEEP_MS)

    def watch(self, wanted: dict[int, int]) -> None:
        """Have the poller watch these descriptors, by their events."""
        if wanted == self.watched:
            return
        for fd in self.watched.keys() - wanted.keys():
            self.poller.unregister(fd)
        for fd, events in wanted.items():
            if self.watched.get(fd) != events:
                self.poller.register(fd, events)
        self.watched = wanted

    def end(self) -> None:
        """Close the outputs, and say what was not delivered."""
        failures = []
        for output in self.outputs:
            output.close()
            output.settle(0)
            why = output.shortcoming
            if why is None:
                continue
            undelivered = self.counters[f"output{output.spec.index}_undelivered"]
            text = f"{output.spec.name}: {why}; {undelivered} messages were not delivered"
            self.spec.events.tell("undelivered", output=output.spec.index, messages=undelivered, text=text)
            failures.append(text)
        if self.answers is not None:
            self.answers.close()
        if failures:
            raise DeliveryError("; ".join(failures))
