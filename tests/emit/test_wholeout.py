"""Outputs of whole messages: parts put together, and what cannot be written in its counted place."""

from pathlib import Path

import pytest

from assemble.message import Message
from capture.counters import Counters
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring
from emit.gorout import GorOutput
from emit.harout import HarOutput
from emit.records import OutputSpec, worker_counters
from emit.wholeout import WholeOutput
from tests.emit.builders import conversation, records_of, request, response, ring_of
from tests.emit.processes import Processes
from tests.emit.test_blockout import small_files
from tests.emit.test_file import run
from tests.emit.test_formats import read

KINDS: dict[str, type[WholeOutput]] = {"gor": GorOutput, "har": HarOutput}


def output(path: Path, ring: Ring, kind: str) -> WholeOutput:
    """Make an output over a ring."""
    spec = OutputSpec("file", 0, path=str(path), format=kind)  # type: ignore[arg-type]
    return KINDS[kind](spec, Consumer(ring), Counters(worker_counters(1)))


@pytest.mark.parametrize("kind", KINDS)
def test_messages_in_parts_are_put_together(tmp_path: Path, kind: str):
    """Also those that are larger than the ring lets be there at once."""
    made = [*conversation(100), request(200), response(200, bytes(2_000_000)), *conversation(4)]
    out = output(tmp_path / "f", ring_of(made, 4 << 20), kind)
    run(out)
    assert [each.payload for each in read(tmp_path / "f")[0]] == [each.payload for each in made]
    assert (out.tally.delivered, out.tally.undelivered) == (len(made), 0)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_that_stops_short_is_not_written(tmp_path: Path, kind: str):
    """Its writer died; what comes after it is whole, and others get their turn."""
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    for part in records_of(response(1, bytes(600_000)), 100_008)[:2]:
        assert producer.try_put(KIND_MESSAGE, part)
    for message in conversation(2):
        assert producer.try_put(KIND_MESSAGE, records_of(message)[0])
    producer.close()
    out = output(tmp_path / "f", ring, kind)
    run(out)
    assert [each.payload for each in read(tmp_path / "f")[0]] == [each.payload for each in conversation(2)]
    assert (out.tally.delivered, out.tally.undelivered, out.locked) == (2, 0, False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_that_is_too_long_is_undelivered(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture):
    """Memory is bounded, and the sums close."""
    made = [request(1), response(1, bytes(3_000_000)), request(2)]
    out = output(tmp_path / "f", ring_of(made, 4 << 20), kind)
    out.parts.most_message_bytes = 2_000_000
    run(out)
    assert [each.id for each in read(tmp_path / "f")[0]] == [1, 2]
    assert (out.tally.delivered, out.tally.undelivered) == (2, 1)
    assert "longer than 2000000" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_fills_up_keeps_whole_messages(tmp_path: Path, kind: str):
    """What does not fit is taken back, and every message is counted once; appending goes on."""
    made = [message for n in range(30) for message in [request(n), response(n, bytes(100_000))]]
    out = output(tmp_path / "f", ring_of(made, 32 << 20), kind)
    with small_files(2_500_000):
        run(out)
    assert out.failure is not None
    found, source = read(tmp_path / "f")
    assert (source.cut_at, source.refused) == (None, 0)
    assert 0 < len(found) < len(made)
    assert (out.tally.delivered, out.tally.undelivered) == (len(found), len(made) - len(found))
    run(output(tmp_path / "f", ring_of(made[:4]), kind))
    assert len(read(tmp_path / "f")[0]) == len(found) + 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_device_is_named(kind: str):
    """Nothing is delivered, and it says so."""
    out = output(Path("/dev/full"), ring_of(conversation(7)), kind)
    run(out)
    assert out.failure == "cannot write to /dev/full: no space left on device: make room"
    assert (out.tally.delivered, out.tally.undelivered) == (0, 7)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_something_else_stays_as_it_is(tmp_path: Path, kind: str):
    """A typing mistake in a path must not cost a file."""
    for text in ("my only copy", '{"log":{"entries":[]}}\n', "1 2 3\nx"):
        if kind == "gor" and text.startswith("1"):
            continue
        (tmp_path / "f").write_text(text)
        out = output(tmp_path / "f", ring_of(conversation(2)), kind)
        run(out)
        assert "stays as it is" in (out.failure or "")
        assert (tmp_path / "f").read_text() == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_at_any_byte_is_gone_on_with(tmp_path: Path, kind: str):
    """What is whole stays, what is not is cut off."""
    made = conversation(4, 16)
    run(output(tmp_path / "f", ring_of(made), kind))
    data = (tmp_path / "f").read_bytes()
    for cut in range(len(data) + 1):
        (tmp_path / "f").write_bytes(data[:cut])
        whole = [each.payload for each in read(tmp_path / "f", format=kind)[0]]
        run(output(tmp_path / "f", ring_of(made[:2]), kind))
        found, source = read(tmp_path / "f")
        assert [each.payload for each in found] == whole + [each.payload for each in made[:2]], cut
        assert (source.cut_at, source.refused) == (None, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_workers_write_one_file(tmp_path: Path, processes: Processes, kind: str):
    """Several processes, one file, nothing lost, order kept within each."""
    halves = [conversation(2000), [each.replace(id=each.id + 10_000) for each in conversation(1000)]]
    spec = OutputSpec("file", 0, path=str(tmp_path / "f"), format=kind)  # type: ignore[arg-type]
    workers = [processes.worker(ring_of(made, 32 << 20), spec) for made in halves]
    assert [each.end() for each in workers] == [0, 0]
    found = read(tmp_path / "f")[0]
    for made, low in zip(halves, (0, 10_000), strict=True):
        own = [each.payload for each in found if low <= each.id < low + 10_000]
        assert own == [each.payload for each in made]
    assert [each.counters["output0_delivered"] for each in workers] == [2000, 1000]


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_worker_repeats_at_most(tmp_path: Path, processes: Processes, kind: str):
    """Its successor goes on from what the ring still has, on the file that it left."""
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    spec = OutputSpec("file", 0, path=str(tmp_path / "f"), format=kind)  # type: ignore[arg-type]
    counters = Counters(worker_counters(1))
    made = conversation(6_000)
    first = processes.worker(ring, spec, counters=counters)
    for message in made[:3_000]:
        producer.put(KIND_MESSAGE, records_of(message)[0])
    first.kill()
    second = processes.worker(ring, spec, counters=counters)
    for message in made[3_000:]:
        producer.put(KIND_MESSAGE, records_of(message)[0])
    producer.close()
    assert second.end() == 0
    found, source = read(tmp_path / "f")
    assert (source.cut_at, source.refused) == (None, 0)
    names: list[tuple[int, str]] = [(message.id, message.kind) for message in found]
    assert set(names) == {(message.id, message.kind) for message in made}
    assert counters["output0_delivered"] == 6_000


def of(messages: list[Message]) -> list[bytes]:
    """Return their bytes."""
    return [message.payload for message in messages]
