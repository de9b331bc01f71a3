"""Which interfaces are open, step by step: lanes wait for each other, buffers are shared, refusals are said once."""

import logging
import os
from dataclasses import replace
from typing import ClassVar

import pytest

from capture import interfaces, taps
from capture.counters import Counters
from capture.errors import SourceError
from capture.filters import Wanted
from capture.interfaces import Manner
from capture.orders import Orders
from capture.records import CAPTURE_COUNTERS
from capture.taps import LEAST_BUFFER, LivePlan, State, Taps
from capture.turns import PAGE, Turns, ticket


class FakeTap:
    """An interface that only remembers what was asked of it."""

    failing: ClassVar[dict[str, str]] = {}
    made: ClassVar[list["FakeTap"]] = []

    def __init__(self, name: str, index: int, manner: Manner, wanted: Wanted) -> None:
        if name in self.failing:
            raise SourceError(f"{name}: {self.failing[name]}")
        self.name, self.index, self.manner, self.wanted, self.filter = name, index, manner, wanted, "f"
        self.calls: list[str] = []
        self.dropped = 0
        self.fd = 1000 + len(self.made)
        self.made.append(self)

    def fileno(self) -> int:
        return self.fd

    def drops(self) -> int:
        return self.dropped

    def join(self, group: int | None) -> int:
        self.group = 100 + len(self.made) if group is None else group
        return self.group

    def __getattr__(self, name: str):
        return lambda: self.calls.append(name)


class World:
    """The interfaces that there are, and the time."""

    def __init__(self) -> None:
        self.names = {"eth0": 2}
        self.now_s = 100.0

    def pass_time(self) -> None:
        self.now_s += 1.0


@pytest.fixture
def world(monkeypatch) -> World:
    """A machine with one interface."""
    made = World()
    monkeypatch.setattr(taps, "Tap", FakeTap)
    monkeypatch.setattr(taps, "present", lambda: dict(made.names))
    monkeypatch.setattr(taps, "up", lambda _name: True)
    monkeypatch.setattr(taps.time, "monotonic", lambda: made.now_s)
    FakeTap.made, FakeTap.failing = [], {}
    return made


PLAN = LivePlan(("eth*",), Manner(buffer_bytes=64 << 20), Wanted())


def lanes(count: int) -> list[Taps]:
    """The captures of so many lanes."""
    pages = tuple(Counters(PAGE) for _ in range(count))
    return [
        Taps(replace(PLAN, turns=Turns(pages, at), orders=Orders()), Counters(CAPTURE_COUNTERS)) for at in range(count)
    ]


def states(each: Taps) -> list[State]:
    """How far its taps are, oldest first."""
    return [held.state for held in each.held.values()]


def test_interfaces_share_the_buffer(world):
    """A hundred containers must not cost a hundred times the memory."""
    world.names = {f"eth{at}": at + 1 for at in range(4)}
    one = Taps(PLAN, Counters(CAPTURE_COUNTERS))
    one.open()
    assert {tap.manner.buffer_bytes for tap in FakeTap.made} == {16 << 20}
    world.names = {f"eth{at}": at + 1 for at in range(100)}
    one.look()
    assert {tap.manner.buffer_bytes for tap in FakeTap.made[4:]} == {LEAST_BUFFER}


def test_no_lane_listens_before_all_have_joined(world):
    """The first one would be given the flows of the others."""
    first, second = lanes(2)
    second.look()
    assert (states(second), second.pending) == ([], True)
    first.look()
    world.pass_time()
    first.look()
    assert states(first) == [State.JOINING]
    assert first.readable() == {}
    second.look()
    world.pass_time()
    first.look()
    second.look()
    assert states(first) == states(second) == [State.OPEN]
    assert [tap.calls for tap in FakeTap.made] == [["listen"], ["listen"]]
    assert not first.pending


def test_a_new_order_has_no_moment_without_a_tap_and_none_with_a_strange_flow(world):
    """Old taps are read until the new ones listen, then hushed everywhere, and closed only then."""
    both = lanes(2)
    for _ in range(4):
        for each in both:
            each.look()
        world.pass_time()
    orders = [Orders(os.dup(each.plan.orders.fd)) for each in both]
    for each in orders:
        each.give({"ports": [81]})
    seen = []
    for _ in range(12):
        for each in both:
            each.look()
            listening = [held for held in each.held.values() if held.state in {State.OPEN, State.LEAVING}]
            assert listening, "a moment without a tap"
        hushed = [s for each in both for s in states(each) if s is State.HUSHED]
        seen.append((len(FakeTap.made), len(hushed)))
        for number, tap in enumerate(FakeTap.made):
            if "close" in tap.calls:
                other = FakeTap.made[number ^ 1]
                assert "hush" in other.calls, "closed while the other lane could still be given its flows"
        world.pass_time()
    assert [states(each) for each in both] == [[State.OPEN], [State.OPEN]]
    assert [tap.calls for tap in FakeTap.made] == [["listen", "hush", "close"]] * 2 + [["listen"]] * 2
    assert [tap.wanted.ports for tap in FakeTap.made] == [(), (), (81,), (81,)]
    groups = [tap.group for tap in FakeTap.made]
    assert groups[0] == groups[1] != groups[2] == groups[3], "two orders in one group would mix"
    assert (4, 2) in seen


def test_a_refusal_is_said_once_and_another_one_again(world, caplog):
    """An interface is looked at every second, for weeks."""
    caplog.set_level(logging.WARNING)
    FakeTap.failing = {"eth1": "no"}
    world.names["eth1"] = 3
    one = Taps(PLAN, Counters(CAPTURE_COUNTERS))
    one.open()
    for _ in range(3):
        one.look()
    FakeTap.failing = {"eth1": "not now"}
    one.look()
    assert [record.message for record in caplog.records] == ["eth1: no", "eth1: not now"]
    FakeTap.failing = {}
    one.look()
    assert len(one.readable()) == 2


def test_drops_are_counted_once_each_and_to_the_end(world):
    """What was dropped between the last look and the end is a loss like any other."""
    one = Taps(PLAN, counters := Counters(CAPTURE_COUNTERS))
    one.open()
    for dropped in (5, 5, 8):
        FakeTap.made[0].dropped = dropped
        one.look()
    FakeTap.made[0].dropped = 10
    one.close()
    assert counters["frames_dropped_kernel"] == 10


def test_what_an_interface_missed_is_counted_by_one_lane(world, monkeypatch, tmp_path):
    """All lanes see the same count of the same card."""
    monkeypatch.setattr(interfaces, "SYS", tmp_path)
    (tmp_path / "eth0/statistics").mkdir(parents=True)
    missed = tmp_path / "eth0/statistics/rx_missed_errors"
    missed.write_text("1000\n")
    both = lanes(2)
    for _ in range(4):
        for each in both:
            each.look()
        world.pass_time()
    missed.write_text("1007\n")
    for each in both:
        each.look()
        each.look()
    assert [each.counters["frames_dropped_interface"] for each in both] == [7, 0]


def test_what_the_first_lane_cannot_open_the_others_do_not_wait_for(world, caplog):
    """A run that is never ready is restarted for ever."""
    FakeTap.failing = {"eth1": "no"}
    world.names["eth1"] = 3
    both = lanes(2)
    for _ in range(4):
        for each in both:
            each.look()
        world.pass_time()
    assert [each.pending for each in both] == [False, False]
    assert [states(each) for each in both] == [[State.OPEN], [State.OPEN]]
    FakeTap.failing = {}
    for _ in range(4):
        for each in both:
            each.look()
        world.pass_time()
    assert [states(each) for each in both] == [[State.OPEN] * 2, [State.OPEN] * 2], "once it can be opened, by all"


def test_other_interfaces_are_opened_before_the_old_ones_are_left(world):
    """Lanes hear of an order up to a second apart: what was watched goes on until all of them watch the other."""
    world.names = {"eth0": 2, "wan0": 3}
    both = lanes(2)
    for _ in range(4):
        for each in both:
            each.look()
        world.pass_time()
    for each in both:
        Orders(os.dup(each.plan.orders.fd)).give({"interfaces": ["wan*"]})
    both[0].look()
    world.pass_time()
    both[0].look()
    assert State.OPEN in states(both[0])
    assert FakeTap.made[0].calls == FakeTap.made[1].calls == ["listen"]
    for _ in range(6):
        for each in both:
            each.look()
        world.pass_time()
    assert [[held.tap.name for held in each.held.values()] for each in both] == [["wan0"], ["wan0"]]
    assert [states(each) for each in both] == [[State.OPEN], [State.OPEN]]


def test_a_look_does_not_open_everything_at_once(world, monkeypatch):
    """Each interface takes the kernel a while, in which nothing is read."""
    world.names = {f"eth{at}": at + 1 for at in range(20)}
    monkeypatch.setattr(taps.time, "monotonic", lambda: clock[0])
    clock = [100.0]
    first = FakeTap.__init__

    def slow(self: FakeTap, *arguments: object) -> None:
        clock[0] += 0.025
        first(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeTap, "__init__", slow)
    one = Taps(PLAN, Counters(CAPTURE_COUNTERS))
    looks = 0
    one.open()
    while one.pending:
        one.look()
        looks += 1
    assert len(one.readable()) == 20
    assert looks == 19


def test_an_interface_that_left_is_read_to_its_end(world, caplog):
    """And its lane tells the others nothing of it: it has no flows any more."""
    (one,) = lanes(1)
    for _ in range(2):
        one.look()
        world.pass_time()
    world.names = {}
    one.look()
    assert (states(one), len(one.readable())) == ([State.GONE], 1)
    world.pass_time()
    one.look()
    assert states(one) == []
    assert FakeTap.made[0].calls == ["listen", "close"]
    assert caplog.text.count("eth0: is gone") == 1
    assert not one.plan.turns.may_join(ticket(1, 2)) or one.plan.turns.lane == 0


def test_a_lane_that_missed_an_order_obeys_the_next_one_with_the_others(world):
    """Two reloads in a second, of which the second takes the first one back: one lane saw both, the other only one."""
    both = lanes(2)
    for _ in range(4):
        for each in both:
            each.look()
        world.pass_time()
    orders = [Orders(os.dup(each.plan.orders.fd)) for each in both]
    for ports in ([81], []):
        for each in orders:
            each.give({"ports": ports})
        both[0].look()
        world.pass_time()
    for _ in range(8):
        for each in both:
            each.look()
        world.pass_time()
    assert [states(each) for each in both] == [[State.OPEN], [State.OPEN]]
    assert {held.order for each in both for held in each.held.values()} == {3}
    assert not any(each.pending for each in both)
