"""Steps one after the other: order, accounts, and what must not be let go yet."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message
from emit.chain import Chain
from emit.transform import Transform
from tests.emit.builders import request
from tests.emit.steps import Lazy, Room, Suffix, Times

steps = st.lists(
    st.one_of(
        st.builds(Times, st.integers(1, 4)), st.just(Suffix(b"+")), st.just(Lazy()), st.builds(Room, st.integers(1, 3))
    ),
    max_size=5,
)


def plainly(spec: Any, messages: Sequence[Message]) -> list[Message]:
    """Do what a step does, to a whole list at once."""
    if isinstance(spec, Times):
        return [message for message in messages for _ in range(message.id % spec.modulo)]
    if isinstance(spec, Suffix):
        return [message.replace(payload=message.payload + spec.text) for message in messages]
    if isinstance(spec, Room):
        return [message for at, message in enumerate(messages, start=1) if at % 5]
    return list(messages)


def run(chain: Chain, messages: Sequence[Message]) -> list[Message]:
    """Put messages in as a worker does, and check at every step what is said of those inside."""
    out: list[Message] = []
    waiting = list(enumerate(messages))
    for turn in range(100 * (len(messages) + 10)):
        while (message := chain.next(float(turn))) is not None:
            out.append(message)
        inside = chain.oldest
        assert (inside is None) == (chain.pending == 0)
        if waiting and not chain.waiting:
            start, message = waiting.pop(0)
            assert inside is None or inside <= start
            chain.put(message, start)
        elif not waiting and not chain.finish() and chain.pending == 0:
            break
    return out


@given(steps, st.lists(st.integers(0, 50), max_size=20))
def test_a_chain_does_what_its_steps_do_to_the_whole_list(specs: list[Any], ids: list[int]):
    """Steps that wait, hold, multiply and take away, in any order: nothing is lost, reordered, or counted wrong."""
    messages = [request(number) for number in ids]
    expected: list[Message] = messages
    for spec in specs:
        expected = plainly(spec, expected)
    chain = Chain([spec.make() for spec in specs])
    assert run(chain, messages) == expected
    assert len(messages) + chain.added == len(expected) + sum(chain.removed.values())
    assert chain.pending == 0


class Shuffler(Transform):
    """Gives back the one given latest first."""

    holds = True

    def __init__(self) -> None:
        self.kept: list[tuple[int, Message]] = []
        self.given = 0

    def apply(self, message: Message, now_s: float) -> Sequence[Message]:
        self.kept.append((self.given, message))
        self.given += 1
        return ()

    def collect(self, now_s: float) -> Sequence[Message]:
        return [self.kept.pop()[1]] if len(self.kept) > 1 else ()

    @property
    def held(self) -> int:
        return len(self.kept)

    @property
    def span(self) -> int:
        return self.given - self.kept[0][0] if self.kept else 0


def test_a_step_that_gives_back_in_another_order_keeps_its_oldest():
    """What a crash would lose is what is inside, not what was given latest."""
    chain = Chain([Shuffler()])
    for number in range(5):
        chain.put(request(number), 100 + number)
        made = chain.next(0.0)
        assert made is None if number == 0 else made == request(number)
        assert chain.oldest == 100
    assert (chain.added, chain.removed, chain.pending) == (0, {}, 1)


@pytest.mark.parametrize("later", [0, 1])
def test_what_is_forgotten_is_counted(later: int):
    """An output that fails has to say how many messages were inside."""
    chain = Chain([Times(always=3).make(), Room(2).make(), Lazy().make()])
    chain.put(request(1), 7)
    for _ in range(later):
        chain.next(0.0)
    assert chain.clear() == (1, 3)[later]
    assert (chain.oldest, chain.waiting) == (None, False)


class Epilogue(Transform):
    """Has a last word, some time after all is said."""

    holds = True

    def __init__(self) -> None:
        self.speaking = False

    def apply(self, message: Message, now_s: float) -> Sequence[Message]:
        return [message]

    def finish(self) -> None:
        self.speaking = True

    @property
    def unfinished(self) -> bool:
        return self.speaking

    def collect(self, now_s: float) -> Sequence[Message]:
        if not self.speaking or now_s < 5.0:
            return ()
        self.speaking = False
        return [request(99)]


def test_what_comes_after_the_end_goes_through_the_steps_behind():
    """A program may write when it sees the end of its input; those behind it are told of the end after that."""
    chain = Chain([Epilogue(), Room(2).make(), Suffix(b"!").make()])
    chain.put(request(1), 0)
    found = []
    for now_s in range(10):
        while (message := chain.next(float(now_s))) is not None:
            found.append(message)
        assert now_s > 4 or not chain.ended
        chain.finish()
    assert chain.ended
    assert found == [request(1, b"!"), request(99, b"!")]
    assert (chain.added, chain.removed, chain.pending, chain.finish()) == (1, {}, 0, False)


def test_steps_before_one_that_waits_are_not_asked():
    """Nobody takes what they have: to wake up for it would be to run in circles."""
    first, second, third = (spec.make() for spec in (Room(1), Lazy(), Room(1)))
    chain = Chain([first, second, third])
    assert chain.asked == (first, second, third)
    chain.queue.append((1, request(1), 0))
    assert chain.asked == (second, third)


class Judge(Transform):
    """Takes everything away, for one reason or another."""

    def apply(self, message: Message, now_s: float) -> Sequence[Message]:
        self.outcome = "undelivered" if message.id % 3 == 0 else "removed"
        return ()


def test_a_step_says_of_each_message_why_it_took_it_away():
    """What a function was not meant to do is a loss; what it was meant to do is none."""
    chain = Chain([Judge()])
    for number in range(10):
        chain.put(request(number), number)
        assert chain.next(0.0) is None
    assert chain.removed == {"undelivered": 4, "removed": 6}
