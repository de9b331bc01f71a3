"""An output behind steps: what comes out, what is released when, and where every message is counted."""

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assemble.message import Message
from capture.counters import Counters
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring
from emit.file import FileOutput
from emit.masking import MaskRule, MaskSpec
from emit.null import NullOutput
from emit.output import Output
from emit.records import OUTCOMES, OutputSpec, worker_counters
from emit.replacing import Replacement
from emit.rewriting import RewriteRule, RewriteSpec
from emit.succession import Ended, Flag
from emit.transform import Transform
from emit.transformed import RING_BYTES, TransformedOutput
from emit.walk import count_messages
from tests.emit.builders import (
    as_line,
    conversation,
    drain,
    part_bytes_of,
    read_lines,
    records_of,
    request,
    response,
    ring_of,
)
from tests.emit.processes import Processes, free_port, wait_until
from tests.emit.steps import Lazy, Room, RoomStep, Suffix, Times
from tests.emit.test_worker import put_all


class Slow(Output):
    """Takes as many records as it is told to, and calls safe what it is told is safe."""

    allowed = 0
    kept: int | None = None
    fails = False

    @property
    def safe(self) -> int:
        return self.cursor if self.kept is None else self.kept

    def take(self, head: int) -> None:
        if self.fails:
            self.fail("it broke")
        while self.allowed and self.cursor < head and (record := self.consumer.read(self.cursor)) is not None:
            messages, _size = count_messages(self.consumer, self.cursor, record[2])
            self.cursor = record[2]
            self.allowed -= 1
            self.tally.delivered += messages


class Bench:
    """One output behind steps, and what a worker does with it, without the process."""

    def __init__(self, *steps: Any, kind: Any = Slow, capacity: int = 65536, **spec: Any) -> None:
        self.ring = Ring.create(capacity)
        self.counters = Counters(worker_counters(1))
        self.producer = Producer(self.ring)
        self.consumer = Consumer(self.ring)
        self.output = TransformedOutput(
            OutputSpec("null", 0, transforms=steps, **spec), self.consumer, self.counters, kind
        )
        self.output.start(0.0)
        self.released = 0
        self.taken = 0

    @property
    def slow(self) -> Slow:
        assert isinstance(self.output.inner, Slow)
        return self.output.inner

    def put(self, *messages: Message) -> None:
        for message in messages:
            for record in records_of(message, part_bytes_of(self.ring)):
                assert self.producer.try_put(KIND_MESSAGE, record)

    def turn(self, turns: int = 1, now_s: float = 0.0) -> None:
        for _ in range(turns):
            self.output.pump(self.producer.position, now_s)
            safe = self.output.safe
            count, _size = count_messages(self.consumer, self.released, safe)
            self.output.settle(count)
            self.taken += count
            self.consumer.release(safe)
            self.released = safe

    def finish(self, turns: int = 200) -> None:
        self.output.finish()
        for _ in range(turns):
            self.turn()
            if self.output.done(self.producer.position):
                break
        assert self.output.done(self.producer.position)
        self.output.close()
        self.output.settle(0)

    @property
    def counts(self) -> dict[str, int]:
        return {name: self.counters[f"output0_{name}"] for name in (*OUTCOMES, "added")}

    def closes(self) -> bool:
        counts = self.counts
        added = counts.pop("added")
        return self.taken + added == sum(counts.values())


def test_outputs_get_what_the_steps_make(tmp_path: Path):
    """Any output reads the private ring as it reads the worker's."""
    path = tmp_path / "m.jsonl"
    bench = Bench(Times(3), Suffix(b"!"), kind=FileOutput, path=str(path))
    made = conversation(60)
    bench.put(*made)
    bench.finish()
    expected = [as_line(each.replace(payload=each.payload + b"!")) for each in made for _ in range(each.id % 3)]
    assert read_lines(path.read_bytes()) == expected
    assert bench.taken == 60
    assert bench.counts == dict.fromkeys(OUTCOMES, 0) | {"delivered": 60, "added": 20, "removed": 20}
    assert bench.counters["output0_delivered_bytes"] == sum((len(each.payload) + 1) * (each.id % 3) for each in made)


def test_a_message_is_safe_when_all_that_was_made_of_it_is():
    """A crash repeats: what is released must have been delivered to the last copy."""
    bench = Bench(Times(always=3))
    bench.put(request(1), request(2))
    bench.turn()
    assert (bench.output.cursor == bench.producer.position, bench.released) == (True, 0)
    bench.slow.allowed = 2
    bench.turn()
    assert (bench.released, bench.taken) == (0, 0)
    bench.slow.allowed = 2
    bench.turn()
    assert (bench.taken, bench.closes()) == (1, True)
    bench.slow.allowed = 2
    bench.turn()
    assert (bench.taken, bench.counts["delivered"], bench.counts["added"]) == (2, 6, 4)


def test_what_is_written_but_not_acknowledged_is_kept():
    """The output proper says what is safe, in its own ring; only that is released in the worker's."""
    bench = Bench(Suffix(b"!"))
    bench.slow.kept, bench.slow.allowed = 0, 100
    bench.put(*conversation(10))
    bench.turn()
    assert (bench.released, bench.slow.cursor > 0) == (0, True)
    bench.slow.kept = None
    bench.turn()
    assert bench.taken == 10


def test_messages_that_are_taken_away_are_released_though_nothing_is_written():
    """Else a filter that lets nothing through would fill the ring."""
    bench = Bench(Times(always=0))
    bench.put(*conversation(50))
    bench.turn()
    assert (bench.taken, bench.counts["removed"], bench.output.done(bench.producer.position)) == (50, 50, True)


def test_what_a_step_holds_is_kept():
    """A helper that dies with a message inside must get it again."""
    bench = Bench(Room(3))
    bench.slow.allowed = 1000
    bench.put(*(request(number) for number in range(2)))
    bench.turn()
    assert (bench.released, bench.output.hungry, bench.output.done(bench.producer.position)) == (0, True, False)
    bench.put(*(request(number) for number in range(10)))
    bench.turn()
    assert 0 < bench.taken < 12
    assert bench.output.chain.pending == 12 - bench.taken
    bench.finish()
    assert (bench.taken, bench.counts["removed"], bench.counts["delivered"], bench.closes()) == (12, 2, 10, True)


steps = st.lists(
    st.one_of(
        st.builds(Times, st.integers(1, 3)), st.just(Suffix(b"+")), st.just(Lazy()), st.builds(Room, st.integers(1, 3))
    ),
    min_size=1,
    max_size=4,
)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 6_000)),
        st.tuples(st.just("turn"), st.integers(1, 4)),
        st.tuples(st.just("allow"), st.integers(1, 50)),
        st.tuples(st.just("hold"), st.booleans()),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(steps, actions, st.sampled_from(["block", "drop"]), st.sampled_from(["end", "fail", "leave", "kill"]))
def test_the_sums_close_whatever_happens(specs: list[Any], what: list[tuple[str, int]], policy: str, end: str):
    """Slow, failing, succeeded and killed: messages taken + added are in exactly one place each."""
    bench = Bench(*specs, policy=policy, capacity=1 << 15)
    number = 0
    for action, value in what:
        if action == "put":
            number += 1
            records = records_of(response(number, bytes(value)), part_bytes_of(bench.ring))
            if sum(len(record) + 64 for record in records) < bench.ring.capacity // 2 - (
                bench.producer.position - bench.released
            ):
                bench.put(response(number, bytes(value)))
        elif action == "turn":
            bench.turn(value)
        elif action == "allow":
            bench.slow.allowed += value
        else:
            bench.slow.kept = bench.slow.cursor if value else None
        assert bench.closes() or policy == "drop"
    bench.slow.kept = None
    if end == "leave":
        bench.output.leave()
    elif end == "kill":
        bench.turn()
    else:
        bench.slow.allowed, bench.slow.fails = 1 << 40, end == "fail"
        bench.finish()
        assert bench.released == bench.producer.position
        assert (bench.counts["undelivered"] == 0) or end == "fail"
    assert bench.closes() or (policy == "drop" and end == "kill")


def test_an_output_that_fails_takes_what_is_inside_with_it():
    """Messages in steps, in the private ring, half written and still to come: each is counted once."""
    bench = Bench(Suffix(bytes(RING_BYTES // 3)), Room(1), capacity=1 << 20)
    bench.put(*(response(number) for number in range(20)))
    bench.turn(6)
    assert bench.output.ready is not None, "one is written in part"
    bench.slow.fails = True
    bench.turn()
    bench.put(*(response(number) for number in range(5)))
    bench.turn()
    assert bench.output.failure == "it broke"
    assert (bench.taken, bench.counts["undelivered"], bench.closes()) == (25, 25, True)
    assert bench.output.done(bench.producer.position)


def test_a_step_that_fails_fails_the_output():
    """What a step was to do is not done: nothing may go on without it."""
    bench = Bench(Room(2, fails_after=2))
    bench.slow.allowed = 100
    bench.put(*(request(number) for number in range(9)))
    bench.turn(2)
    assert bench.output.failure == "the helper has died"
    assert (bench.taken, bench.closes()) == (9, True)
    assert bench.counts["undelivered"] >= 8


def test_an_output_that_drops_lets_go_of_what_is_inside():
    """Policy "drop": a slow far side must not fill the ring for others, and what is inside still goes out."""
    bench = Bench(Room(2), policy="drop", capacity=1 << 15)
    for number in range(2000):
        bench.put(request(number))
        bench.turn()
        assert bench.producer.position - bench.released <= bench.ring.capacity // 2 + 400
    bench.slow.allowed = 1 << 40
    bench.finish()
    assert (bench.taken, bench.closes()) == (2000, True)


def test_a_turn_ends_though_there_is_more():
    """Other outputs of the worker have theirs."""
    bench = Bench(Suffix(b"!"), kind=NullOutput, capacity=1 << 20)
    bench.put(*conversation(1200, 0))
    bench.turn()
    assert (bench.output.busy, bench.taken) == (True, 500)
    bench.turn(2)
    assert (bench.output.busy, bench.taken) == (False, 1200)


def test_large_messages_pass_in_parts(tmp_path: Path):
    """Larger than the worker's ring and the private one, though the steps see them as a whole."""
    path = tmp_path / "m.jsonl"
    made = [response(1, bytes(range(256)) * 40_000), request(2), response(3, b"x" * 5_000_000)]
    bench = Bench(Suffix(b"!"), kind=FileOutput, path=str(path))
    for message in made:
        for record in records_of(message, part_bytes_of(bench.ring)):
            while not bench.producer.try_put(KIND_MESSAGE, record):
                before = bench.released
                bench.turn()
                assert bench.released > before or bench.output.busy
    bench.finish()
    assert read_lines(path.read_bytes()) == [as_line(each.replace(payload=each.payload + b"!")) for each in made]
    assert (bench.taken, bench.closes()) == (3, True)


def test_what_steps_count_is_counted():
    """Bodies that a rule could not look into are told of at the end of the run."""
    bench = Bench(
        RewriteSpec((RewriteRule(body=Replacement("a", "b")),)), MaskSpec((MaskRule(json=("/a",)),)), kind=NullOutput
    )
    bench.put(response(1, b"{", complete=False, missing=5), response(2, b"a"))
    bench.finish()
    assert (bench.counters["output0_undecoded"], bench.counters["output0_withheld"]) == (1, 1)
    assert (bench.counts["delivered"], bench.closes()) == (2, True)


def test_a_step_holds_every_message_it_is_said_to():
    """The helpers of these tests are themselves held to the interface."""
    step = Room(2).make()
    assert isinstance(step, RoomStep)
    assert [step.apply(request(number), 0.0) for number in range(3)] == [(), (), None]
    assert (step.held, step.span) == (2, 2)


class Watcher(Transform):
    """Has a descriptor and a deadline."""

    def apply(self, message: Message, now_s: float) -> list[Message]:
        return [message]

    def descriptors(self) -> dict[int, int]:
        return {7: 1}

    def deadline(self) -> float | None:
        return 3.0


class Watching:
    """Makes a step that is to be woken."""

    def make(self) -> Transform:
        return Watcher()


def test_steps_are_not_woken_while_what_they_made_has_no_room():
    """A worker would turn in circles until the far side has time."""
    bench = Bench(Watching(), Suffix(bytes(RING_BYTES // 3)))
    assert (bench.output.wakeups(), bench.output.deadline()) == ({7: 1}, 3.0)
    bench.put(*(request(number) for number in range(9)))
    bench.turn()
    assert (bench.output.full, bench.output.wakeups(), bench.output.deadline()) == (True, {}, None)
    bench.slow.allowed = 1000
    bench.turn(4)
    assert (bench.output.wakeups(), bench.output.deadline()) == ({7: 1}, 3.0)


def test_a_sample_is_taken_once_and_a_limit_is_one_of_what_the_steps_made():
    """In the order of the configuration: filter, sample, change, limit."""
    made = [request(number) for number in range(200)]
    plain = Bench(kind=NullOutput, sample=50.0)
    plain.put(*made)
    plain.finish()
    bench = Bench(Times(always=2), kind=NullOutput, sample=50.0, limit=30.0, over_limit="drop", where="path == '/'")
    bench.put(*made)
    bench.finish()
    chosen = plain.counts["delivered"]
    assert 60 < chosen < 140
    assert bench.counts == dict.fromkeys(OUTCOMES, 0) | {
        "sampled": 200 - chosen, "added": chosen, "delivered": 60, "limited": 2 * (chosen - 30),
    }  # fmt: skip


def test_a_limit_behind_steps_that_waits_says_when_it_goes_on():
    """The output proper has the deadline, and the worker asks us."""
    bench = Bench(Suffix(b"!"), kind=NullOutput, limit=10.0, over_limit="wait")
    bench.put(*(request(number) for number in range(5)))
    bench.turn(now_s=7.0)
    assert bench.counts["delivered"] == 1
    assert bench.output.deadline() == pytest.approx(7.1)
    bench.turn(now_s=7.1)
    assert bench.counts["delivered"] == 2


# -- whole workers


def test_a_worker_with_and_without_steps_side_by_side(processes: Processes, tmp_path: Path):
    """What one output changes, the other gets as it was."""
    made = [*conversation(3000), response(9_000, b"y" * 9_000_000)]
    ring = Ring.create(256 * 1024)
    writer = put_all(ring, made)
    paths = [tmp_path / "plain.jsonl", tmp_path / "changed.jsonl"]
    outputs = [
        OutputSpec("file", 0, path=str(paths[0])),
        OutputSpec("file", 1, path=str(paths[1]), transforms=(Lazy(), Times(3), Suffix(b"!"))),
        OutputSpec("null", 2, where="kind == 'response'", transforms=(Room(4),)),
    ]
    worker = processes.worker(ring, *outputs)
    assert worker.end() == 0
    writer.join()
    assert read_lines(paths[0].read_bytes()) == [as_line(message) for message in made]
    changed = [each.replace(payload=each.payload + b"!") for each in made for _ in range(each.id % 3)]
    assert read_lines(paths[1].read_bytes()) == [as_line(message) for message in changed]
    counts = worker.counters.as_dict()
    assert counts["messages_taken"] == len(made)
    assert counts["output1_delivered"] == len(changed)
    assert counts["output1_removed"] - counts["output1_added"] == len(made) - len(changed)
    assert (counts["output2_filtered"], counts["output2_delivered"], counts["output2_removed"]) == (1500, 1201, 300)


@pytest.mark.parametrize("how", ["killed", "asked to leave"])
def test_a_successor_goes_on_from_what_is_safe(processes: Processes, tmp_path: Path, how: str):
    """A reload, or a death, in the middle of it: at least once, and the sums close over both."""
    made = conversation(4000)
    ring = Ring.create(1 << 20)
    writer = put_all(ring, made)
    path = tmp_path / "m.jsonl"
    spec = OutputSpec("file", 0, path=str(path), transforms=(Room(3), Times(always=2)))
    leave = Flag()
    first = processes.worker(ring, spec, leave=leave)
    wait_until(lambda: first.counters["messages_taken"] > 100, "some messages")
    if how == "killed":
        first.kill()
        second = processes.worker(ring, spec, counters=first.counters)
        pages = [second.counters.as_dict()]
    else:
        after = Ended(first.process.pid)
        leave.raise_()
        second = processes.worker(ring, spec, after=after)
        assert first.end() == 0
    assert second.end() == 0
    writer.join()
    pages = [second.counters.as_dict()]
    if how == "asked to leave":
        pages.append(first.counters.as_dict())
    taken = sum(page["messages_taken"] + page["output0_added"] for page in pages)
    assert taken == sum(page[f"output0_{name}"] for page in pages for name in OUTCOMES)
    assert sum(page["messages_taken"] for page in pages) == len(made)
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b'"}\n')]
    found = {line["id"] + line["kind"] for line in read_lines(b"".join(lines))}
    lost = sum(page["output0_removed"] for page in pages)
    assert len({m.id_hex + m.kind for m in made} - found) <= lost + 2


def test_a_worker_whose_far_side_is_not_there_ends(processes: Processes):
    """The failure of the output proper is the output's own."""
    ring = ring_of(conversation(100))
    spec = OutputSpec("tcp", 0, address=f"127.0.0.1:{free_port()}", retry_s=0.3, transforms=(Times(always=2), Room(2)))
    worker = processes.worker(ring, spec)
    assert worker.end() == 1
    counts = worker.counters.as_dict()
    assert counts["messages_taken"] == 100
    assert 100 + counts["output0_added"] == counts["output0_undelivered"] + counts["output0_removed"]
    assert "tried for 0.3 s" in worker.events("failed")[0]["text"]


def test_an_idle_worker_with_steps_uses_no_processor(processes: Processes, tmp_path: Path):
    """Steps are asked when there is something to ask them."""
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    worker = processes.worker(ring, OutputSpec("file", 0, path=str(tmp_path / "m"), transforms=(Suffix(b""), Room(4))))
    producer.put(KIND_MESSAGE, records_of(request(1))[0])
    wait_until(lambda: worker.events("ready"), "the worker")
    threading.Event().wait(0.5)
    before_s = worker.cpu_s()
    threading.Event().wait(1.0)
    assert worker.cpu_s() - before_s <= 0.02
    producer.close()
    assert worker.end() == 0
    assert worker.counters["output0_delivered"] == 1


def test_messages_through_a_receiver(processes: Processes):
    """The tcp output's chunks, windows and acknowledgements work on the private ring."""
    made = conversation(2000)
    far = Ring.create(8 << 20)
    receiver, port = processes.receiver(far)
    ring = Ring.create(1 << 20)
    writer = put_all(ring, made)
    worker = processes.worker(ring, OutputSpec("tcp", 0, address=f"127.0.0.1:{port}", transforms=(Suffix(b"!"),)))
    consumer = Consumer(far)
    wait_until(lambda: count_messages(consumer, 0, consumer.head)[0] == 2000, "the messages")
    found = drain(far)
    consumer.release(consumer.head)
    assert worker.end() == 0
    writer.join()
    assert sorted(each.payload for each in found) == sorted(each.payload + b"!" for each in made)
    assert receiver.stop() == 0
