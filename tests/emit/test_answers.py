"""Answers on their way to other outputs: what is in the ring, large ones, a full ring, judged by requests sent."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message
from capture.counters import Counters
from capture.ring import Consumer, Producer, Ring
from emit.answers import AnswerWriter
from emit.match import Matcher
from emit.records import WORKER_COUNTERS, OutputSpec, Sifting, worker_counters
from emit.sieve import Sieve
from emit.verdicts import REMEMBERED, Verdicts
from emit.where import parse
from tests.emit.builders import (
    as_line,
    drain,
    fill,
    messages,
    part_bytes_of,
    read_lines,
    records_of,
    replayed,
    request,
    response,
    ring_of,
)
from tests.emit.echo import answer_to, replaying
from tests.emit.filters import Tree, exchanged, trees, wanted, write
from tests.emit.processes import Processes, wait_until
from tests.emit.test_worker import put_all


def writer_of(ring: Ring, sieves: Sequence[Sieve] = ()) -> tuple[AnswerWriter, Counters]:
    """Make the writing end of a ring."""
    counters = Counters(WORKER_COUNTERS)
    return AnswerWriter(Producer(ring), counters, sieves), counters


def put(writer: AnswerWriter, message: Message) -> bool:
    """Hand on an answer."""
    return writer.write(
        message.id, message.status or 0, message.first_ns, message.last_ns, message.src.packed, message.sport,
        message.dst.packed, message.dport, message.payload, message.head, message.complete,
    )  # fmt: skip


answers = messages().filter(lambda message: message.kind == "replayed").map(lambda message: message.replace(missing=0))


@given(st.lists(answers, max_size=8))
def test_an_answer_is_a_message_like_any_other(made: list[Message]):
    """To the byte what any reader of a message ring expects, whatever the target sent."""
    ring = Ring.create(1 << 20)
    writer, counters = writer_of(ring)
    assert all(put(writer, message) for message in made)
    assert drain(ring) == made
    consumer, at = Consumer(ring), 0
    for message in made:
        found = consumer.read(at)
        assert found is not None
        assert bytes(found[1]).startswith(records_of(message)[0])
        at = found[2]
    assert (counters["answers"], counters["answers_dropped"]) == (len(made), 0)


def test_a_large_answer_comes_in_parts_that_nothing_comes_between():
    """It may be larger than the ring: what is left of it is written as room is made, and first of all."""
    ring = Ring.create(64 * 1024)
    consumer = Consumer(ring)
    writer, counters = writer_of(ring)
    large, small = replayed(1, bytes(range(256)) * 1000), replayed(2)
    assert put(writer, large)
    assert not put(writer, small)
    assert counters["answers"] == 1
    found: list[bytes] = []
    for _turn in range(200):
        if writer.flush():
            break
        record = consumer.read(consumer.tail)
        assert record is not None
        found.append(bytes(record[1]))
        consumer.release(record[2])
    assert writer.flush()
    while (record := consumer.read(consumer.tail)) is not None:
        found.append(bytes(record[1]))
        consumer.release(record[2])
    parts = records_of(large, part_bytes_of(ring))
    assert [each[: len(part)] for each, part in zip(found, parts, strict=True)] == parts
    assert len(parts) > 8
    assert put(writer, small)
    assert counters["answers"] == 2


def test_what_finds_no_room_is_not_there_and_is_not_counted():
    """Whoever sends requests may wait for it, and comes again with the same answer."""
    ring = Ring.create(4096)
    consumer = Consumer(ring)
    writer, counters = writer_of(ring)
    number = 0
    while put(writer, replayed(number)):
        number += 1
    assert (counters["answers"], counters["answers_dropped"]) == (number, 0)
    assert writer.arm()
    first = consumer.read(0)
    assert first is not None
    consumer.release(consumer.head)
    assert not writer.arm()
    writer.disarm()
    assert put(writer, replayed(number))
    assert counters["answers"] == number + 1
    writer.drop(2)
    assert counters["answers_dropped"] == 2


def test_where_nobody_may_wait_an_answer_without_room_is_counted_as_dropped():
    """The file that the reader of the answers waits for may be held until this very worker goes on."""
    ring = Ring.create(4096)
    writer, counters = writer_of(ring)
    writer.urgent = True
    for number in range(100):
        assert put(writer, replayed(number))
    held = len(drain(ring))
    assert 0 < held < 100
    assert (counters["answers"], counters["answers_dropped"]) == (held, 100 - held)


def test_addresses_of_two_families_are_refused():
    """A record has one flag for both."""
    writer, _counters = writer_of(Ring.create(4096))
    with pytest.raises(ValueError, match="addresses of 4 and 16 bytes"):
        writer.write(1, 200, 0, 1, bytes(4), 1, bytes(16), 2, b"")


@given(trees, st.lists(exchanged(), max_size=8), st.lists(st.integers(0, 4), max_size=6))
def test_an_answer_is_judged_by_the_request_that_was_sent(tree: Tree, made: list[Message], answered: list[int]):
    """In another process, which does not see the requests: with the result that it would have if it did."""
    asked = [message for message in made if message.kind == "request"]
    sent = {message.id: message for message in asked}
    replies = [replayed(number, b"abc") for number in answered]
    matcher, noted = Matcher(parse(write(tree))), Verdicts.create()
    there = Sieve(Consumer(ring_of(asked)), matcher, noted)
    ring = Ring.create(1 << 20)
    writer, _counters = writer_of(ring, [there] if matcher.remembers else [])
    for message in asked:
        writer.asked(records_of(message)[0])
    for message in replies:
        put(writer, message)
    own = Verdicts.create()
    own.follow(noted)
    here = Sieve(Consumer(ring), Matcher(parse(write(tree))), own)
    expected = wanted(tree, [*sent.values(), *replies])[len(sent) :]
    assert here.count_messages(0, Consumer(ring).head)[0] == sum(expected)


def test_whoever_follows_knows_the_latest_also_if_it_comes_late():
    """As many as are remembered, but for the oldest, which may just be overwritten."""
    source, other = Verdicts.create(), Verdicts.create()
    other.follow(source)
    for number in range(3 * REMEMBERED):
        source.put(number + 1, number % 5)
        if number == 10:
            assert [other.get(at + 1) for at in range(11)] == [at % 5 for at in range(11)]
    assert other.get(2 * REMEMBERED) is None
    late = range(2 * REMEMBERED + 1, 3 * REMEMBERED)
    assert all(other.get(number + 1) == number % 5 for number in late)


@pytest.mark.parametrize("policy", ["block", "drop"])
def test_answers_reach_the_other_outputs(processes: Processes, tmp_path: Path, policy: str):
    """Two processes, one file: requests by the one, answers by the other; a ring that is full makes the sender wait."""
    made = [request(number, target="/bad" if number % 5 == 0 else "/good") for number in range(3000)]
    path, ring, answer_ring = tmp_path / "m.jsonl", Ring.create(256 * 1024), Ring.create(256 * 1024)
    noted = Verdicts.create()
    where = "path == '/bad'"
    thread = put_all(ring, made)
    outputs = [OutputSpec("http", 0, answers=True, policy=policy), OutputSpec("file", 1, path=str(path), where=where)]
    spec = processes.worker_spec(ring, *outputs, answers=answer_ring, asked=((Sifting(where), noted),))
    sender = processes.start(replaying, spec)
    if policy == "drop":
        wait_until(lambda: sender.counters["answers_dropped"] > 100, "answers without room")
    taker = processes.worker(
        answer_ring, OutputSpec("file", 1, path=str(path), where=where, follows=noted),
        counters=Counters(worker_counters([1])),
    )  # fmt: skip
    assert sender.end() == 0
    assert taker.end() == 0
    thread.join()
    written, dropped = sender.counters["answers"], sender.counters["answers_dropped"]
    sent = sender.counters["output0_delivered"]
    assert written + dropped == sent == len(made) - sender.counters["output0_dropped"]
    assert (dropped > 0) == (policy == "drop")
    counts = taker.counters.as_dict()
    assert counts["messages_taken"] == written == counts["output1_delivered"] + counts["output1_filtered"]
    lines = read_lines(path.read_bytes())
    bad = [message for message in made if message.target == "/bad"]
    assert [line for line in lines if line["kind"] == "request"] == [as_line(message) for message in bad]
    found = [line for line in lines if line["kind"] == "replayed"]
    expected = [as_line(answer_to(message)) for message in bad]
    if policy == "block":
        assert found == expected
    else:
        by_id = {line["id"]: line for line in expected}
        assert found
        assert all(by_id[line["id"]] == line for line in found)


def test_a_line_that_is_larger_than_the_ring_does_not_stop_everything(processes: Processes, tmp_path: Path):
    """Its writer holds the file until the rest of it comes, for which the ring has room once the answers are taken; who
    takes them waits for the file."""
    asked = [request(number, bytes(2000)) for number in range(100, 180)]
    large = response(1, bytes(2_000_000))
    path, ring, answer_ring = tmp_path / "m.jsonl", Ring.create(512 * 1024), Ring.create(64 * 1024)
    thread = put_all(ring, [*asked, large, request(2)])
    outputs = [OutputSpec("http", 0, answers=True), OutputSpec("file", 1, path=str(path))]
    sender = processes.start(replaying, processes.worker_spec(ring, *outputs, answers=answer_ring))
    wait_until(lambda: path.exists() and path.read_bytes()[-1:] not in {b"\n", b""}, "a line under way")
    taker = processes.worker(
        answer_ring, OutputSpec("file", 1, path=str(path)), counters=Counters(worker_counters([1]))
    )
    assert sender.end() == 0
    assert taker.end() == 0
    thread.join()
    counts = sender.counters.as_dict()
    assert counts["answers"] + counts["answers_dropped"] == len(asked) + 1
    assert counts["answers_dropped"] > 0
    lines = read_lines(path.read_bytes())
    assert sum(line["kind"] == "replayed" for line in lines) == counts["answers"] == taker.counters["output1_delivered"]
    assert [line for line in lines if line["kind"] == "response"] == [as_line(large)]


def test_a_worker_killed_while_it_answers_leaves_whole_answers(processes: Processes):
    """What is in the ring can be read to its end, but for the one message that was being written."""
    ring, answer_ring = Ring.create(1 << 20), Ring.create(1 << 20)
    thread = put_all(ring, [request(number) for number in range(5000)])
    spec = processes.worker_spec(ring, OutputSpec("http", 0, answers=True), answers=answer_ring)
    sender = processes.start(replaying, spec)
    wait_until(lambda: sender.counters["answers"] > 20, "some answers")
    sender.kill()
    Producer(answer_ring).close()
    taker = processes.worker(answer_ring, OutputSpec("null", 0))
    assert taker.end() == 0
    assert 20 < taker.counters["output0_delivered"] <= sender.counters["answers"]
    Consumer(ring).release(Consumer(ring).head)
    drained = threading.Thread(target=release_all, args=(ring,))
    drained.start()
    thread.join()
    drained.join()


def release_all(ring: Ring) -> None:
    """Take whatever is written, so that its writer ends."""
    consumer = Consumer(ring)
    while not consumer.closed or consumer.tail < consumer.head:
        consumer.wait(consumer.tail, 10)
        consumer.release(consumer.head)


def test_a_worker_that_is_succeeded_ends_the_answer_that_it_has_begun(processes: Processes):
    """Its successor could not go on in the middle of a message, and goes on behind it in the same ring."""
    ring, answer_ring = Ring.create(1 << 20), Ring.create(64 * 1024)
    producer = fill(ring, [request(14)], close=False)
    spec = processes.worker_spec(ring, OutputSpec("http", 0, answers=True), answers=answer_ring)
    first = processes.start(replaying, spec)
    wait_until(lambda: first.counters["messages_taken"] == 1, "the request")
    spec.leave.raise_()
    taker = processes.worker(answer_ring, OutputSpec("null", 0))
    assert first.end() == 0
    second = processes.start(
        replaying, processes.worker_spec(ring, OutputSpec("http", 0, answers=True), answers=answer_ring)
    )
    for record in records_of(request(1)):
        producer.put(2, record)
    producer.close()
    assert second.end() == 0
    assert taker.end() == 0
    assert taker.counters["output0_delivered"] == 2
    assert taker.counters["bytes_taken"] == sum(len(answer_to(request(number)).payload) for number in (14, 1))
