"""A sender that is killed anywhere: its successors send each message once, and book each once."""

import os
import tempfile
import zlib
from collections.abc import Iterator
from typing import Any, Final

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import emit.kept
import emit.spool
from capture.counters import Counters
from emit.kept import Kept
from emit.records import OUTCOMES, worker_counters
from emit.spool import SpoolSpec
from emit.spooling import SpoolingOutput
from emit.worker import Worker
from tests.emit.builders import conversation, replayed, request, response, ring_of
from tests.emit.processes import Processes
from tests.emit.steps import Suffix, Times
from tests.emit.test_tcp import FarSide, far_side, to


class Killed(BaseException):
    """The process ends here."""


class Fate:
    """Counts what a process does to the outside, and ends it before one of these."""

    left = 1 << 60

    def __call__(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


FATE = Fate()


class Falling:
    """The system as the keeper calls it."""

    def __getattr__(self, name: str) -> Any:
        if name == "pwrite":
            FATE()
        return getattr(os, name)


class Page(Counters):
    """Counters of which those of an output are stored when fate allows it."""

    def add(self, name: str, amount: int = 1) -> None:
        if name.startswith("output"):
            FATE()
        super().add(name, amount)

    def set(self, name: str, value: int) -> None:
        if name.startswith("output"):
            FATE()
        super().set(name, value)


@pytest.fixture(scope="module")
def one() -> Iterator[Processes]:
    made = Processes()
    yield made
    made.end()


def received(far: FarSide) -> list[tuple[str, str]]:
    """Return kind and id of each message that came, with a chunk that was repeated taken once, as our receiver does."""
    chunks: dict[str, Any] = {}
    for frame in far.chunks:
        assert chunks.setdefault(frame[2]["chunk"], frame) == frame, "one id, one chunk"
    found = []
    for _tag, packed, options in chunks.values():
        unpacker = msgpack.Unpacker()
        unpacker.feed(zlib.decompress(packed, 31) if "compressed" in options else packed)
        for _time, record in unpacker:
            if record.get("part", 0) + 1 == record.get("parts", 1):
                found.append((record["kind"], record["id"]))
    return sorted(found)


def live(worker: Worker, left: int) -> bool:
    """Let a worker run until it is killed, or done."""
    FATE.left = left
    try:
        worker.run()
    except Killed:
        return False
    finally:
        FATE.left = 1 << 60
        for output in worker.outputs:
            getattr(output, "inner", output).close()
    return True


MADE: Final = [
    *conversation(40),
    request(100, bytes(90_000)), response(100), replayed(100, bytes(300_000)), replayed(101),
    *conversation(400)[300:],
]  # fmt: skip
IDS: Final = sorted((message.kind, f"{message.id:016x}") for message in MADE)


def behind(output: SpoolingOutput, head: int, *, connected: bool) -> bool:
    """Put chunks on disk as soon as the window is full."""
    return not output.spooling and not output.window.room


def once(_message: tuple[str, str]) -> int:
    """How often a message is to come."""
    return 1


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, once),
        ({"compression": "gzip", "window_chunks": 2}, once),
        ({"payload": "text"}, once),
        ({"where": "kind == 'response'"}, lambda message: message[0] == "response"),
        ({"spool": True}, once),
        ({"transforms": (Suffix(b"!"),)}, once),
        ({"transforms": (Times(3),)}, lambda message: int(message[1], 16) % 3),
    ],
    ids=["plain", "gzip", "text", "filtered", "spool", "steps", "steps that add and remove"],
)
@settings(max_examples=30, deadline=None)
@given(kills=st.lists(st.integers(0, 60), min_size=2, max_size=6))
def test_killed_again_and_again(one: Processes, changes: dict[str, Any], wanted: Any, kills: list[int]):
    """Before any write to what outlives it: every message comes in one chunk, and has one outcome."""
    killed(one, changes, wanted, kills)


def test_killed_at_every_store(one: Processes):
    """One after the other, and once more a little later."""
    for left in range(120):
        killed(one, {}, once, [left, 9])


def killed(one: Processes, changes: dict[str, Any], wanted: Any, kills: list[int]) -> None:
    """Kill workers after so many stores, let the last one end, and see what has become of all messages."""
    with pytest.MonkeyPatch.context() as patch, far_side() as far, tempfile.TemporaryDirectory() as directory:
        patch.setattr(emit.kept, "os", Falling())
        patch.setattr(emit.spool, "os", Falling())
        if "spool" in changes:
            changes = changes | {"spool": SpoolSpec(directory, 1 << 20)}
            patch.setattr(SpoolingOutput, "behind", behind)
        output = to(far.address, chunk_records=7, kept=Kept.create(), **({"window_chunks": 4} | changes))
        counters = Page(worker_counters(1))
        ring = ring_of(MADE, 1 << 20)
        spec = one.worker_spec(ring, output, counters=counters)
        ended = False
        for left in [*kills, 1 << 60]:
            ended = ended or live(Worker(spec), left)
        assert ended
        counts = {name.removeprefix("output0_"): count for name, count in counters.as_dict().items()}
        wants = [(kind, name) for kind, name in IDS for _ in range(wanted((kind, name)))]
        found = received(far)
    assert counts["messages_taken"] == len(MADE)
    assert counts["messages_taken"] + counts["added"] == sum(counts[name] for name in OUTCOMES)
    if changes.get("transforms") == (Times(3),):
        assert set(found) == set(wants), "of what a step makes of one message some may be in a chunk, and come again"
    else:
        assert found == wants
        assert counts["delivered"] + counts["drained"] == len(wants)
        assert counts["drained"] == counts["spooled"]
    assert counts["undelivered"] == counts["dropped"] == 0
