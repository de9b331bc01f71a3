"""What is kept for a successor: whole states only, frames as they were, and no more memory than needed."""

import base64
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import emit.kept
from emit.kept import SPARE_BYTES, Kept, State, room
from emit.window import Chunk


class Killed(BaseException):
    """The process ends here."""


def chunk(kept: Kept, number: int, frame: bytes) -> Chunk:
    """Make a chunk whose frame is kept."""
    name = base64.b64encode(number.to_bytes(16, "big"))
    return Chunk(name, frame, 7 * number, number, 3, at=kept.put(frame), kind=1, part=number, parts=9, records=number)


def what(state: State) -> tuple[Any, ...]:
    """Return what is to be the same."""
    chunks = [(c.name, c.at, c.size, c.first, c.messages, c.payload_bytes, c.part, c.parts) for c in state.chunks]
    return state.session, state.sequence, state.mark, state.page, state.joint, list(state.totals), chunks


def memory_bytes(kept: Kept) -> int:
    """Return what the memory takes."""
    return os.fstat(kept.fd).st_blocks * 512


def successor(kept: Kept) -> Kept:
    """Return the same memory as another process has it."""
    return Kept(os.dup(kept.fd))


def test_sessions_differ():
    """A chunk id names one chunk, whoever sends it."""
    assert Kept.create().load().session != Kept.create().load().session


@given(st.data())
def test_a_state_is_there_as_a_whole_or_not_at_all(data: st.DataObject):
    """Killed before any of its writes: a successor finds the state before, with its frames as they were."""
    kept = Kept.create()
    state = kept.load()
    held: list[Chunk] = []
    valid = what(state)
    for turn in range(data.draw(st.integers(1, 12))):
        deadly = data.draw(st.integers(0, 4))
        left = iter([True] * deadly)

        class Falling:
            """The system, which the process calls so often."""

            def __getattr__(self, name: str, left: Any = left) -> Any:
                if name == "pwrite" and not next(left, False):
                    raise Killed
                return getattr(os, name)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(emit.kept, "os", Falling())
            try:
                drop = [held.pop(0)] if held and data.draw(st.booleans()) else []
                held.append(chunk(kept, turn, bytes([turn]) * data.draw(st.sampled_from([1, 4096, 70_000]))))
                state.chunks, state.mark, state.sequence, state.totals[3] = list(held), turn, turn, turn
                kept.commit(state)
                valid = what(state)
                for gone in drop:
                    kept.free(gone.at, gone.size)
            except Killed:
                kept = successor(kept)
                state = kept.load()
                held = list(state.chunks)
        assert what(successor(kept).load()) == valid
        for each in held:
            frame = kept.get(each.at, each.size)
            assert frame == frame[:1] * each.size
            assert frame[0] * 7 == each.first


def test_memory_is_given_back():
    """A message of many megabytes takes room while it is on its way, and no longer."""
    kept = Kept.create()
    state = kept.load()
    state.chunks = [chunk(kept, number, bytes(1 << 20)) for number in range(64)]
    kept.commit(state)
    assert memory_bytes(kept) >= 64 << 20
    gone, state.chunks = state.chunks, []
    kept.commit(state)
    for each in gone:
        kept.free(each.at, each.size)
    assert memory_bytes(kept) <= SPARE_BYTES + (1 << 20)
    successor(kept).load()
    assert memory_bytes(kept) < 1 << 20, "one that starts anew has no use for any of it"


def test_room_is_used_again():
    """A sender that runs for weeks does not grow."""
    kept = Kept.create()
    state = kept.load()
    for number in range(200):
        state.chunks = [chunk(kept, number, bytes(100_000))]
        kept.commit(state)
        kept.free(state.chunks[0].at, state.chunks[0].size)
    assert memory_bytes(kept) < 1 << 20
    assert room(1) == room(4096) == 4096
    assert room(4097) == 8192
