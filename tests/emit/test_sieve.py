"""A filter in front of outputs: parts, repetitions, several outputs, what is counted, and a worker that is killed."""

from collections.abc import Sequence
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message
from capture.counters import Counters
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring
from emit.bucket import Bucket
from emit.chunks import Chunker
from emit.lines import LineWriter
from emit.match import Matcher
from emit.null import NullOutput
from emit.records import OutputSpec, worker_counters
from emit.sampler import Sampler
from emit.sampling import parse_by
from emit.sieve import Sieve
from emit.tcp import TcpOutput
from emit.verdicts import REMEMBERED, Verdicts
from emit.where import parse
from tests.emit.builders import as_line, conversation, fill, read_lines, records_of, request, response, ring_of
from tests.emit.filters import Tree, exchanged, trees, wanted, write
from tests.emit.processes import Processes, free_port, wait_until
from tests.emit.test_worker import put_all


def sieve_of(consumer: Consumer, where: str, verdicts: Verdicts | None = None) -> Sieve:
    """Make the filter of an output."""
    return Sieve(consumer, Matcher(parse(where)), verdicts or Verdicts.create())


def entries_of(chunker: Chunker, cursor: int, head: int) -> list[dict[str, object]]:
    """Take everything as msgpack records, in whatever chunks."""
    found: list[tuple[int, dict[str, object]]] = []
    while True:
        cursor = chunker.fill(cursor, head, True)
        for kind in [chunker.ready] if chunker.ready else [1, 2, 3]:
            unpacker = msgpack.Unpacker(raw=False)
            unpacker.feed(chunker.entries(kind))
            found += [(cursor, record) for _time, record in unpacker]
            ready = bool(chunker.ready)
            chunker.clear(kind)
        if cursor == head and not ready:
            return [record for _at, record in found]


@given(trees, st.lists(exchanged(), max_size=8))
def test_every_output_wants_the_same_messages(tree: Tree, made: list[Message]):
    """Lines, chunks and counting go through the ring in their own ways."""
    verdicts = wanted(tree, made)
    kept = [message for message, verdict in zip(made, verdicts, strict=True) if verdict]
    consumer = Consumer(ring_of(made, 1 << 20))
    sieve = sieve_of(consumer, write(tree))
    found = entries_of(Chunker(consumer, 1 << 20, 1000, sieve), 0, consumer.head)
    assert sorted(f"{r['id']}{r['kind']}" for r in found) == sorted(f"{m.id_hex}{m.kind}" for m in kept)
    assert sieve.take_outcomes()[0] == len(made) - len(kept)
    sieve = sieve_of(consumer, write(tree))
    assert sieve.count_messages(0, consumer.head) == (len(kept), sum(len(m.payload) for m in kept))
    assert sieve.take_outcomes()[0] == len(made) - len(kept)
    sieve = sieve_of(consumer, write(tree))
    assert sieve.skip_messages(0, consumer.head, consumer.head) == (consumer.head, len(kept))
    assert [sieve.take_outcomes()[0] for _ in range(2)] == [len(made) - len(kept), 0]


def large(number: int, target: str, size: int = 200_000) -> list[Message]:
    """Make an exchange whose two messages have many parts in a small ring."""
    return [request(number, bytes(size), target), response(number, b"x" * size)]


@pytest.mark.parametrize("capacity", [256 * 1024, 4 << 20])
def test_a_message_in_parts_is_judged_by_its_first(processes: Processes, tmp_path: Path, capacity: int):
    """All its parts follow, it counts once, and the lines around it are whole; in a ring smaller than it, too."""
    made = [*large(1, "/in"), *large(2, "/out"), request(3, target="/in"), *large(4, "/in"), *large(5, "/out")]
    ring = Ring.create(capacity)
    writer = put_all(ring, made)
    path = tmp_path / "m.jsonl"
    inside = OutputSpec("file", 0, path=str(path), where="path == '/in'")
    worker = processes.worker(ring, inside, OutputSpec("null", 1, where="path == '/out'"))
    assert worker.end() == 0
    writer.join()
    assert read_lines(path.read_bytes()) == [as_line(m) for m in made if m.id in {1, 3, 4}]
    counts = worker.counters.as_dict()
    assert [counts[f"output{at}_{name}"] for at in (0, 1) for name in ("delivered", "filtered")] == [5, 4, 4, 5]
    assert counts["output1_delivered_bytes"] == sum(len(m.payload) for m in made if m.id in {2, 5})


def test_a_body_beyond_the_first_part_is_not_looked_at():
    """The rest of a large message may not be there yet; docs/filters.md says how much is."""
    ring = Ring.create(256 * 1024)
    made = [request(1, b"a" * 100_000 + b"needle"), request(2, b"a" * 5000 + b"needle")]
    fill(ring, made)
    consumer = Consumer(ring)
    lines = LineWriter(consumer, 1 << 20, sieve_of(consumer, "body ~ 'needle'"))
    lines.fill(0, consumer.head, 1 << 30, True)
    assert [line["id"] for line in read_lines(bytes(lines.view()))] == [made[1].id_hex]


@pytest.mark.parametrize("target", ["/in", "/out"])
def test_a_message_that_is_cut_short_does_not_take_the_next_with_it(target: str):
    """Whoever wrote it died; what follows belongs to another message, wanted or not."""
    ring = Ring.create(256 * 1024)
    producer = Producer(ring)
    for record in [*records_of(request(1, bytes(9600), "/in"), 2400)[:2], *records_of(request(2, target=target))]:
        assert producer.try_put(KIND_MESSAGE, record)
    producer.close()
    consumer = Consumer(ring)
    lines = LineWriter(consumer, 1 << 20, sieve_of(consumer, "path == '/in'"))
    assert lines.fill(0, consumer.head, 1 << 30, True) == consumer.head
    text = bytes(lines.view()).splitlines()
    assert [line.endswith(b'"aborted":true}') for line in text] in ([True, False], [False], [True], [])
    assert not lines.mid_line
    chunker = Chunker(consumer, 1 << 20, 1000, sieve_of(consumer, "path == '/in'"))
    entries_of(chunker, 0, consumer.head)
    assert not chunker.under_way


def test_a_part_whose_beginning_was_not_seen_is_left_to_the_output():
    """It is lost, not unwanted, and must count as that."""
    ring = Ring.create(256 * 1024)
    producer = Producer(ring)
    for record in records_of(request(1, bytes(9600)), 2400)[1:]:
        assert producer.try_put(KIND_MESSAGE, record)
    consumer = Consumer(ring)
    sieve = sieve_of(consumer, "path == '/nowhere'")
    lines = LineWriter(consumer, 1 << 20, sieve)
    lines.fill(0, consumer.head, 1 << 30, True)
    assert (lines.take_strays(), sieve.take_outcomes()[0]) == (1, 0)


def unreachable(where: str, policy: str, made: Sequence[Message]) -> tuple[TcpOutput, int]:
    """Make an output that cannot deliver, over a ring with these messages."""
    ring = ring_of(made, 4 << 20)
    spec = OutputSpec("tcp", 0, address=f"127.0.0.1:{free_port()}", where=where, policy=policy, retry_s=0.0)  # type: ignore[arg-type]
    consumer = Consumer(ring)
    return TcpOutput(spec, consumer, Counters(worker_counters(1))), consumer.head


def test_what_a_failed_output_did_not_want_is_no_loss():
    """Undelivered is what should have been delivered."""
    made = conversation(100)
    output, head = unreachable("path ~ '^/item/1'", "block", made)
    output.start(0.0)
    output.fail("the reason")
    output.pump(head, 0.0)
    output.close()
    assert (output.tally.undelivered, output.tally.filtered) == (22, 78)
    assert output.done(head)


def test_what_an_output_drops_it_would_have_wanted():
    """The policy drop passes messages over; the others are filtered as ever, and responses know of their requests."""
    made = conversation(5000)
    output, head = unreachable("path ~ '7$'", "drop", made)
    output.capacity = head // 4
    output.start(0.0)
    output.pump(head, 0.0)
    output.finish()
    output.give_up("the end")
    output.pump(head, 0.0)
    output.close()
    assert output.tally.dropped > 0
    assert output.tally.dropped + output.tally.undelivered == 500
    assert output.tally.filtered == 4500


def test_a_request_is_forgotten_after_so_many_others_and_not_before():
    """The limit that docs/filters.md states."""
    made = [request(number, target="/in") for number in range(REMEMBERED + 1)]
    ring = ring_of([*made, response(0), response(1)], 64 << 20)
    consumer = Consumer(ring)
    sieve = sieve_of(consumer, "path == '/in'")
    assert sieve.count_messages(0, consumer.head)[0] == REMEMBERED + 2
    assert sieve.take_outcomes()[0] == 1


def test_an_output_without_a_filter_has_no_sieve():
    """What nobody asked for costs nothing."""
    consumer = Consumer(ring_of([]))
    assert NullOutput(OutputSpec("null", 0), consumer, Counters(worker_counters(1))).sieve is None


@pytest.mark.parametrize("large_ones", [False, True])
def test_a_killed_worker_repeats_with_the_same_verdicts(processes: Processes, tmp_path: Path, large_ones: bool):
    """Its successor knows of requests that were released long before their responses, and of parts under way."""
    if large_ones:
        made = [each for number in range(40) for each in large(number, "/in" if number % 3 else "/out")]
    else:
        asked = [request(number, target="/in" if number % 3 else "/out") for number in range(8000)]
        made = [*asked, *(response(number) for number in range(8000))]
    ring = Ring.create(1 << 20 if large_ones else 256 * 1024)
    path = tmp_path / "m.jsonl"
    spec = OutputSpec("file", 0, path=str(path), where="path == '/in'", verdicts=Verdicts.create())
    writer = put_all(ring, made)
    first = processes.worker(ring, spec)
    wait_until(lambda: first.counters["messages_taken"] > len(made) // 3, "some messages")
    first.kill()
    second = processes.worker(ring, spec, counters=first.counters)
    assert second.end() == 0
    writer.join()
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b'"}\n')]
    found = {f"{line['id']} {line['kind']}" for line in read_lines(b"".join(lines))}
    kept = {f"{m.id_hex} {m.kind}" for m in made if m.id % 3}
    counts = second.counters.as_dict()
    assert found == kept
    assert counts["messages_taken"] == len(made)
    assert counts["output0_delivered"] + counts["output0_filtered"] == len(made)
    assert abs(counts["output0_filtered"] - len(made) + len(kept)) < 0.1 * len(made), "but for what was being booked"


def test_a_successor_knows_the_verdict_on_every_message_in_parts_that_is_in_the_ring():
    """Of one that is not wanted, the ring is released part by part, while later ones have been judged already."""
    ring = Ring.create(256 * 1024)
    producer, consumer, verdicts = Producer(ring), Consumer(ring), Verdicts.create()
    for record in [
        *records_of(request(1, bytes(9600), "/out"), 2400),
        *records_of(request(2, bytes(9600), "/in"), 2400),
    ]:
        assert producer.try_put(KIND_MESSAGE, record)
    assert sieve_of(consumer, "path == '/in'", verdicts).count_messages(0, consumer.head)[0] == 1
    first = consumer.read(0)
    assert first is not None
    after = sieve_of(consumer, "path == '/in'", verdicts)
    assert after.count_messages(first[2], consumer.head)[0] == 1
    assert after.take_outcomes()[0] == 1


def sifting(
    consumer: Consumer, where: str | None, sample: float, by: str, limit: float, verdicts: Verdicts | None = None
) -> Sieve:
    """Make all that can be in front of an output; the limit is a number of exchanges, as no time goes by."""
    matcher = None if where is None else Matcher(parse(where))
    sampler = None if sample == 100 else Sampler(sample, parse_by(by))
    return Sieve(consumer, matcher, verdicts or Verdicts.create(), sampler, Bucket(limit, False))


def one_by_one(made: list[Message], sample: float, by: str) -> list[bool]:
    """Return which messages are in a sample."""
    consumer = Consumer(ring_of(made, 1 << 20))
    sieve = Sieve(consumer, None, Verdicts.create(), Sampler(sample, parse_by(by)))
    found, cursor = [], 0
    while record := consumer.read(cursor):
        found.append(sieve.count_messages(cursor, record[2])[0] == 1)
        cursor = record[2]
    return found


@given(st.none() | trees, st.lists(exchanged(), max_size=12), st.sampled_from([100, 50]), st.integers(1, 8), st.data())
def test_what_is_filtered_is_not_sampled_and_what_is_sampled_out_takes_no_token(
    tree: Tree | None, made: list[Message], sample: float, limit: int, data: st.DataObject
):
    """Each message has one fate, in the order filter, sample, limit; a response has that of its request."""
    by = data.draw(st.sampled_from(["exchange", "flow", "header('host')", "cookie('a')"]))
    matched = [True] * len(made) if tree is None else wanted(tree, made)
    chosen = [sample == 100 or each for each in one_by_one(made, sample, by)]
    fates, tokens = [], dict[int, bool]()
    for message, matches, is_chosen in zip(made, matched, chosen, strict=True):
        fate = "filtered" if not matches else "limited" if is_chosen else "sampled"
        if fate == "limited" and tokens.setdefault(message.id, sum(tokens.values()) < limit):
            fate = "wanted"
        fates.append(fate)
    consumer = Consumer(ring_of(made, 1 << 20))
    sieve = sifting(consumer, None if tree is None else write(tree), sample, by, limit)
    assert sieve.count_messages(0, consumer.head)[0] == fates.count("wanted")
    assert sieve.take_outcomes() == tuple(map(fates.count, ("filtered", "sampled", "limited")))
    assert sieve.take_outcomes() == (0, 0, 0)


def test_a_record_that_is_looked_at_again_takes_no_second_token():
    """Lines look at the first part of a message until all of it is there; a successor begins with what is there."""
    made = [request(1, bytes(9600)), request(2), request(3)]
    ring = Ring.create(256 * 1024)
    producer, consumer = Producer(ring), Consumer(ring)
    first, *rest = records_of(made[0], 2400)
    assert producer.try_put(KIND_MESSAGE, first)
    verdicts = Verdicts.create()
    lines = LineWriter(consumer, 1 << 20, sifting(consumer, None, 100, "exchange", 2, verdicts))
    for _ in range(5):
        lines.fill(0, consumer.head, 1 << 30)
    for record in [*rest, *records_of(made[1]), *records_of(made[2])]:
        assert producer.try_put(KIND_MESSAGE, record)
    lines.fill(0, consumer.head, 1 << 30, True)
    assert read_lines(bytes(lines.view())) == [as_line(each) for each in made[:2]]
    sieve = sifting(consumer, None, 100, "exchange", 2, verdicts)
    assert sieve.count_messages(0, consumer.head)[0] == 2
    assert sieve.take_outcomes() == (0, 0, 1)


def test_responses_of_what_the_limit_let_through_take_no_token():
    """The limit is one of exchanges; a response whose request was not seen is one."""
    made = [*(request(number) for number in range(4)), response(9), *(response(number) for number in range(4))]
    consumer = Consumer(ring_of(made))
    sieve = sifting(consumer, None, 100, "exchange", 3)
    assert [sieve.count_messages(0, consumer.head)[0], sieve.take_outcomes()] == [6, (0, 0, 3)]


def test_a_limit_that_waits_lets_an_output_go_on_to_the_next_message_that_is_too_many():
    """What needs no token goes on with what has one; parts are never parted; what is passed over waits no more."""
    made = [request(0), request(1, bytes(9600)), response(0), request(2), response(1), request(3), response(2)]
    ring = Ring.create(256 * 1024)
    producer = Producer(ring)
    for record in [record for each in made for record in records_of(each, 2400)]:
        assert producer.try_put(KIND_MESSAGE, record)
    consumer, bucket = Consumer(ring), Bucket(20, True)
    sieve = Sieve(consumer, None, Verdicts.create(), None, bucket)
    cursor, taken = 0, []
    for now_s in (1.0, 1.04, 1.08, 1.09):  # two tokens at first, 0.8, 1.6, and 0.8 of those that are left
        bucket.tick(now_s)
        until = sieve.pace(cursor, consumer.head)
        assert sieve.pace(cursor, consumer.head) == until
        taken.append(sieve.count_messages(cursor, until)[0])
        cursor = until
    assert taken == [3, 0, 2, 0]
    assert sieve.skip_messages(cursor, consumer.head, consumer.head) == (consumer.head, 2)
    assert sieve.take_outcomes() == (0, 0, 0)
