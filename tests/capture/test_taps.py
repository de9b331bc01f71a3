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
        self.link = 1
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

    def change(self, other: "FakeTap") -> None:
        self.calls.append("change")
        self.wanted = other.wanted

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


def test_a_new_filter_is_changed_in_place(world):
    """Whatever is opened and closed for it is not what is read: no frame is missed, and none is there twice."""
    world.names = {f"eth{at}": at + 1 for at in range(3)}
    both = lanes(2)
    settle(world, both)
    assert len(FakeTap.made) == 6
    for each in both:
        Orders(os.dup(each.plan.orders.fd)).give({"ports": [81]})
        each.look()
    assert [states(each) for each in both] == [[State.OPEN] * 3] * 2
    assert [tap.calls for tap in FakeTap.made] == [["listen", "change"]] * 6 + [["close"]] * 2, (
        "one model for each lane"
    )
    assert [each.counters["order_now"] for each in both] == [1, 1]
    assert not any(each.pending for each in both)


def test_a_filter_that_an_interface_cannot_have_leaves_it_as_it_is(world, caplog):
    """A capture that ended for it would lose everything until somebody looked."""
    one = Taps(PLAN, Counters(CAPTURE_COUNTERS))
    one.open()
    FakeTap.failing = {"eth0": "no"}
    Orders(os.dup(one.plan.orders.fd)).give({"filter": "vlan 5"})
    one.look()
    assert states(one) == [State.OPEN]
    assert "eth0: no; it goes on with the filter of before" in caplog.text


def test_a_lane_that_listens_while_another_gave_up_begins_anew(world):
    """An order and a new interface at the same moment: the flows of the other lane would be nobody's."""
    both = lanes(2)
    settle(world, both)
    lost = next(iter(both[1].held.values()))
    lost.state = State.HUSHED  # as if it had heard of the order before the other had joined
    for each in both:
        Orders(os.dup(each.plan.orders.fd)).give({"ports": [81]})
    settle(world, both, 12)
    assert [states(each) for each in both] == [[State.OPEN], [State.OPEN]]
    assert len(FakeTap.made) - len([tap for tap in FakeTap.made if "close" in tap.calls]) == 2
    assert {held.order for each in both for held in each.held.values()} == {2}


def settle(world: World, both: list[Taps], rounds: int = 6) -> None:
    """Let every lane look again and again."""
    for _ in range(rounds):
        for each in both:
            each.look()
        world.pass_time()


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
    assert [each.counters["order_now"] for each in both] == [2, 2]
    assert not any(each.pending for each in both)


def test_an_interface_that_goes_down_while_lanes_join_is_tried_again(world, monkeypatch, caplog):
    """A cable that is pulled at that moment must not end the capture."""
    both = lanes(2)
    down = [True]

    def listen(self: FakeTap) -> None:
        if down:
            down.clear()
            raise SourceError("eth0: The interface went down")
        self.calls.append("listen")

    monkeypatch.setattr(FakeTap, "listen", listen, raising=False)
    settle(world, both)
    assert [states(each) for each in both] == [[State.OPEN], [State.OPEN]]
    assert caplog.text.count("went down") == 1
