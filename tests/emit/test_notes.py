"""Workers that are killed at a file: what it holds afterwards is every message once."""

import errno
import itertools
import os
import signal
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

import emit.file
from capture.counters import Counters
from emit.notes import Note, Noted, Notes
from emit.records import OUTCOMES, OutputSpec, WorkerSpec, worker_counters
from emit.worker import main
from tests.emit.builders import conversation, ring_of
from tests.emit.processes import Processes
from tests.emit.test_formats import read

OUTCOME_ZERO: Final = dict.fromkeys(OUTCOMES, 0)


def test_a_note_says_what_was_put_last():
    """A successor reads what its predecessor wrote, negative times included."""
    note = Note.create(OUTCOMES)
    assert note.get() is None
    for position in range(5):
        said = Noted(-(2**63), 3, 2**63 + 1, 4, 5, position, OUTCOME_ZERO | {"delivered": position}, position % 2 == 1)
        note.put(said)
        assert note.get() == said
    note.put(Noted(0, 0, 1, 2, 3, 4, OUTCOME_ZERO, True))
    note.resolve()
    assert note.get() == Noted(0, 0, 1, 2, 3, 4, OUTCOME_ZERO, False)


def dying(step: int, spec: WorkerSpec) -> None:
    """Be a worker that is killed at the given step of those that change a file, its note, or its counters."""
    steps = itertools.count()
    write, cut, put = os.write, os.ftruncate, Note.put

    def passes() -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def half(fd: int, data: Any) -> int:
        passes()
        middle = len(data) // 2
        count = write(fd, data[:middle])
        passes()
        count += write(fd, data[middle:])
        passes()
        return count

    def around(real: Any) -> Any:
        def call(*given: Any) -> Any:
            passes()
            result = real(*given)
            passes()
            return result

        return call

    emit.file.os.write = half  # type: ignore[assignment]
    emit.file.os.ftruncate = around(cut)
    Note.put = around(put)  # type: ignore[method-assign]
    main(spec)


def ids(paths: list[Path]) -> Counter[tuple[int, str]]:
    """Count the messages in files, by id and kind."""
    return Counter((each.id, each.kind) for path in paths for each in read(path)[0])


@pytest.mark.parametrize("where", [None, "method == 'GET' or status == 200"])
@pytest.mark.parametrize(
    ("form", "compression"), [("jsonl", "none"), ("recording", "zstd"), ("recording", "gzip"), ("gor", "none")]
)
def test_a_killed_worker_leaves_every_message_once(
    tmp_path: Path, processes: Processes, form: Any, compression: Any, where: str | None
):
    """Killed again and again, each time at a later step, beside another that writes to the same files."""
    made = conversation(600)
    rings = [ring_of(made[:300], 4 << 20), ring_of(made[300:], 4 << 20)]
    notes = tuple(Note.create(OUTCOMES) for _ring in rings)
    path = tmp_path / f"m.{form}"
    specs = [
        OutputSpec(
            "file",
            0,
            path=str(path),
            format=form,
            compression=compression,
            rotate_bytes=64_000,
            where=where,
            notes=Notes(notes, at),
        )
        for at in range(2)
    ]
    counters = Counters(worker_counters(1))
    other = None
    for step in (1, 2, 3, 4, 6, 9, 13, 20):
        child = processes.start(partial(dying, step), processes.worker_spec(rings[1], specs[1], counters=counters))
        if child.end() == 0:
            break
        assert child.process.exitcode == -signal.SIGKILL
        other = other or processes.worker(rings[0], specs[0])
    assert other is not None
    last = processes.worker(rings[1], specs[1], counters=counters)
    assert (other.end(), last.end()) == (0, 0)
    expected = OutputSpec("file", 0, path=str(tmp_path / "whole"), format=form, where=where)
    whole = [ring_of(made[:300], 4 << 20), ring_of(made[300:], 4 << 20)]
    for ring in whole:
        assert processes.worker(ring, expected).end() == 0
    assert ids(sorted(tmp_path.glob("m*"))) == ids([tmp_path / "whole"])
    assert sum(counters[f"output0_{name}"] for name in OUTCOMES) == counters["messages_taken"] == 300


def dying_on_a_full_disk(step: int, spec: WorkerSpec) -> None:
    """Be a worker whose disk takes half of what it is given, is full now and then, and that is killed at some step."""
    steps, writes = itertools.count(), itertools.count(1)
    write, put = os.write, Note.put

    def passes() -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def half(fd: int, data: Any) -> int:
        passes()
        if next(writes) % 5 == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = write(fd, data[: -(-len(data) // 2)] if len(data) > 1000 else data)
        passes()
        return count

    def putting(note: Note, noted: Noted) -> None:
        passes()
        put(note, noted)
        passes()

    os.write = half
    Note.put = putting  # type: ignore[method-assign]
    emit.file.REST_S = 0.0  # type: ignore[misc]
    main(spec)


@pytest.mark.parametrize("form", ["jsonl", "recording", "gor"])
def test_killed_on_a_disk_that_is_full_now_and_then_every_message_has_one_outcome(
    tmp_path: Path, processes: Processes, form: Any
):
    """What was delivered is in the files once, what was not is in none, and the sums close over all of them."""
    made = conversation(600)
    ring = ring_of(made, 4 << 20)
    path = tmp_path / f"m.{form}"
    note = Notes((Note.create(OUTCOMES),), 0)
    spec = OutputSpec("file", 0, path=str(path), format=form, rotate_bytes=64_000, notes=note)
    counters = Counters(worker_counters(1))
    for step in (1, 2, 3, 5, 8, 13, 21, 34, 55, 1000):
        child = processes.start(
            partial(dying_on_a_full_disk, step), processes.worker_spec(ring, spec, counters=counters)
        )
        if child.end() >= 0:
            break
    assert child.process.exitcode in {0, 1}
    found = ids(sorted(tmp_path.glob("m*")))
    assert max(found.values()) == 1
    outcomes = {name: counters[f"output0_{name}"] for name in OUTCOMES}
    assert sum(outcomes.values()) == counters["messages_taken"] == 600
    assert (outcomes["delivered"], outcomes["undelivered"]) == (len(found), 600 - len(found))
    assert 0 < len(found) < 600
