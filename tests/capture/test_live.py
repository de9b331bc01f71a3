"""Live sources in networks of our own: every frame once, whatever interfaces and orders do meanwhile."""

import logging
import os
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import packets as p
import pytest

from capture.counters import Counters
from capture.errors import ConfigError, MirrorError, SourceError
from capture.filters import Wanted
from capture.frames import Merger
from capture.interfaces import Manner, Tap
from capture.live import LOOK_S, LiveSource
from capture.orders import Orders
from capture.records import CAPTURE_COUNTERS
from capture.streams import Stop
from capture.taps import LivePlan
from capture.turns import PAGE, Turns, ticket
from tests.capture.batches import Got, unpack
from tests.capture.wires import DEADLINE_S, is_ours, numbered, send, sender
from tests.namespace import Namespace, needs_root, pair

pytestmark = needs_root

ENDS = ("10.9.0.1/24", "10.9.0.2/24")
MANNER = Manner(buffer_bytes=4 << 20)
WEB = Wanted(ports=(80,), filter="tcp")


class Memory:
    """An outlet that keeps everything."""

    limit = 1 << 20
    dropped_frames = dropped_bytes = 0

    def __init__(self) -> None:
        self.records = 0
        self.got: list[Got] = []
        self.ticks: list[tuple[int, int]] = []  # what it said, and when

    def put(self, merger: Merger) -> None:
        """Take a batch."""
        self.records += 1
        self.got += unpack(merger.payload())[1]

    def tick(self, ts_ns: int) -> None:
        """Take the time."""
        self.ticks.append((ts_ns, time.time_ns()))

    def close(self) -> None:
        """Nothing to do."""


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait until a condition holds; fails after the deadline."""
    end_s = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end_s, f"{what}: not within {DEADLINE_S} s"
        pause.wait(0.005)


class Watch:
    """A live source that runs in a namespace, in a thread."""

    def __init__(self, where: Namespace, plan: LivePlan) -> None:
        self.plan = plan
        self._orders = Orders(os.dup(plan.orders.fd))
        self.memory = Memory()
        self.counters = Counters(CAPTURE_COUNTERS)
        self.wish = Stop()
        self.opened = threading.Event()
        self.failed: MirrorError | None = None
        self.source: LiveSource
        self._thread = threading.Thread(target=lambda: where.call(self._run))
        self._thread.start()
        assert self.opened.wait(DEADLINE_S)

    def _run(self) -> None:
        self.source = source = LiveSource(self.plan, self.memory, self.counters, self.wish, 1024, 1 << 18)
        try:
            source.open()
            self.opened.set()
            source.run()
        except MirrorError as error:
            self.failed = error
        finally:
            self.opened.set()
            source.close()

    def order(self, **changes: Any) -> None:
        """Give an order, as the supervisor does, from its own end."""
        self._orders.give(changes)

    @property
    def frames(self) -> list[bytes]:
        """What came so far of the frames that we made."""
        return [got.data for got in self.memory.got if is_ours(got.data)]

    def has(self, count: int) -> None:
        """Wait for so many frames."""
        until(lambda: len(self.frames) >= count, f"{count} frames")

    def shows(self, name: str, value: int) -> None:
        """Wait for a value of a counter."""
        until(lambda: self.counters[name] == value, f"{name} of {value}")

    def stop(self) -> None:
        """Ask it to stop, and wait for that."""
        self.wish.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        self.wish.close()


@contextmanager
def watching(where: Namespace, *interfaces: str, manner: Manner = MANNER, **rest: Any) -> Iterator[Watch]:
    """Watch interfaces of a namespace for the length of a block; sums are checked at the end."""
    plan = LivePlan(interfaces or (where.device,), manner, rest.pop("wanted", WEB), **rest)
    watch = Watch(where, plan)
    try:
        yield watch
    finally:
        watch.stop()
    memory, counters = watch.memory, watch.counters.as_dict()
    assert counters["frames_captured"] == len(memory.got)
    assert counters["bytes_captured"] == sum(len(got.data) for got in memory.got)
    assert counters["batches"] == memory.records


def add_cable(where: Namespace, name: str, peer: str) -> None:
    """Put another pair of interfaces into a namespace, both ends."""
    where.run(["ip", "link", "add", name, "type", "veth", "peer", "name", peer])
    for each in (name, peer):
        where.run(["ip", "link", "set", each, "up"])


def number_of(frame: bytes) -> int:
    """Return the sequence number of one of our plain frames."""
    return int(struct.unpack_from("!I", frame, 38)[0])


@pytest.mark.parametrize("device", ["veth0", "lo"])
def test_frames_arrive_once_and_in_their_order(device):
    """A loopback shows each frame twice, going out and coming in."""
    frames = numbered(5000)
    with pair(*ENDS) as (a, b), watching(b, device) as watch:
        out = (b if device == "lo" else a).call(lambda: sender(device))
        for at in range(0, len(frames), 500):
            send(out, frames[at : at + 500])
            watch.has(at + 500)
        out.close()
    assert watch.frames == frames
    times = [got.ts_ns for got in watch.memory.got]
    assert times == sorted(times)
    assert time.time_ns() - times[0] < 60 * 10**9
    assert (watch.counters["interfaces_opened"], watch.counters["frames_dropped_kernel"]) == (1, 0)


def test_an_interface_that_comes_is_watched_and_one_that_goes_leaves_its_frames(caplog):
    """Containers start and stop for weeks; the last request before one went is the one that is looked for."""
    caplog.set_level(logging.INFO)
    with pair(*ENDS) as (_a, b), watching(b, "pod*", b.device) as watch:
        assert watch.counters["interfaces_now"] == 1
        for turn in range(2):
            add_cable(b, "pod0", "peer0")
            watch.shows("interfaces_now", 2)
            with b.call(lambda: sender("peer0")) as out:
                send(out, numbered(4000, first=4000 * turn, size=20))
                b.run(["ip", "link", "delete", "pod0"])
            watch.shows("interfaces_now", 1)
            assert watch.frames == numbered(4000 * (turn + 1), size=20)
        assert watch.counters["interfaces_opened"] == 3
    said = [record.message for record in caplog.records if "pod0" in record.message and "went" not in record.message]
    assert said == ["capturing on pod0", "pod0: is gone"] * 2


def test_what_the_kernel_still_holds_of_an_interface_that_went_is_waited_for(monkeypatch):
    """It hands over a block when that is full or late; the next look may come sooner."""
    monkeypatch.setattr("capture.live.LOOK_S", 0.01)
    late = replace(MANNER, timeout_ms=200)
    with pair(*ENDS) as (a, b), watching(b, b.device, "lo", manner=late) as watch:
        watch.shows("interfaces_now", 2)
        with a.call(lambda: sender(a.device)) as out:
            send(out, numbered(20))
            b.run(["ip", "link", "delete", b.device])
        watch.shows("interfaces_now", 1)
        assert watch.frames == numbered(20)


def test_one_that_comes_back_under_its_name_is_another_one():
    """A restarted container: the old socket hears nothing any more."""
    with pair(*ENDS) as (_a, b):
        add_cable(b, "pod0", "peer0")
        with watching(b, "pod0") as watch:
            for turn in range(1, 4):
                watch.shows("interfaces_opened", turn)
                with b.call(lambda: sender("peer0")) as out:
                    send(out, numbered(10, first=10 * turn))
                b.run(["ip", "link", "delete", "pod0"])
                add_cable(b, "pod0", "peer0")
            watch.has(30)
    assert watch.frames == numbered(30, first=10)


def test_a_silent_wire_still_has_time():
    """Timers of the assembler run on packet time: a request without an answer would be held for ever."""
    with pair(*ENDS) as (a, b), watching(b) as watch:
        until(lambda: len(watch.memory.ticks) >= 3, "time")
        with a.call(lambda: sender(a.device)) as out:
            send(out, numbered(1))
            watch.has(1)
        ticks = len(watch.memory.ticks)
        until(lambda: len(watch.memory.ticks) > ticks, "time after a frame")
    said = [ts_ns for ts_ns, _ in watch.memory.ticks]
    assert said == sorted(said)
    assert all(10**8 < now_ns - ts_ns < 10**10 for ts_ns, now_ns in watch.memory.ticks), "behind what is on its way"


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_set_while_nothing_comes_moves_no_timer(monkeypatch, hours):
    """An hour forward would end every connection that is silent for a moment, in the middle of a message."""
    read = time.time_ns
    with pair(*ENDS) as (a, b), watching(b) as watch:
        with a.call(lambda: sender(a.device)) as out:
            send(out, numbered(1))
            watch.has(1)
        until(lambda: watch.memory.ticks, "time")
        monkeypatch.setattr(time, "time_ns", lambda: read() + hours * 3600 * 10**9)
        ticks = len(watch.memory.ticks)
        until(lambda: len(watch.memory.ticks) > ticks + 2, "more of it")
        monkeypatch.undo()
    said = [ts_ns for ts_ns, _ in watch.memory.ticks]
    assert all(0 < after - before < 60 * 10**9 for before, after in pairwise(said))


def test_an_interface_that_is_down_for_a_while_is_watched_on():
    """`ip link set down` and up is how people mend things; it must not need a restart of ours."""
    with pair(*ENDS) as (a, b), a.call(lambda: sender(a.device)) as out, watching(b) as watch:
        for turn in range(3):
            send(out, numbered(1000, first=1000 * turn))
            b.run(["ip", "link", "set", b.device, "down"])
            b.run(["ip", "link", "set", b.device, "up"])
            carrier = ["sh", "-c", f"until grep -q 1 /sys/class/net/{b.device}/carrier; do :; done"]
            b.run(carrier)
            watch.has(1000 * (turn + 1))
    assert watch.frames == numbered(3000)
    assert watch.counters["interfaces_opened"] == 1


class Talker(threading.Thread):
    """Sends numbered frames without a pause worth the name, until told to stop."""

    def __init__(self, where: Namespace, device: str, *ports: int) -> None:
        super().__init__()
        self.ports = ports
        self.sent = 0
        self.enough = threading.Event()
        self._out = where.call(lambda: sender(device))
        self.start()

    def run(self) -> None:
        """Send ten of each port, again and again."""
        with self._out:
            while not self.enough.wait(0.001):
                for port in self.ports:
                    send(self._out, numbered(10, first=self.sent, port=port, size=10))
                self.sent += 10

    def stop(self) -> None:
        """Stop, once all that was sent is on the wire."""
        self.enough.set()
        self.join(DEADLINE_S)


def numbers(frames: list[bytes], port: int) -> Counter[int]:
    """Count how often each frame of a port came."""
    return Counter(number_of(frame) for frame in frames if frame[36:38] == port.to_bytes(2, "big"))


def test_a_new_order_takes_effect_and_loses_nothing_that_both_want():
    """A reload on a busy machine: what comes twice is put right later, what is missing never is."""
    with pair(*ENDS) as (a, b), watching(b) as watch:
        talker = Talker(a, a.device, 80, 81, 82)
        try:
            watch.has(100)
            for turn, ports in enumerate([(80, 81), (80,), (80, 82)]):
                watch.order(ports=ports)
                watch.shows("order_now", turn + 1)
                seen = len(watch.frames)
                watch.has(seen + 100)
        finally:
            talker.stop()
    assert set(numbers(watch.frames, 80)) == set(range(talker.sent)), "every frame that was wanted all the time"
    assert max(numbers(watch.frames, 80).values()) == 1, "none twice"
    assert numbers(watch.frames, 81)
    assert max(numbers(watch.frames, 81)) < min(numbers(watch.frames, 82)), "no longer wanted, no longer taken"
    assert watch.counters["frames_dropped_kernel"] == 0
    assert watch.counters["interfaces_now"] == 1


def test_an_order_that_changes_nothing_changes_nothing():
    """A reload is sent to every child, whatever it was about."""
    with pair(*ENDS) as (a, b), watching(b) as watch:
        watch.order(ports=[80], filter="tcp", interfaces=[b.device], hosts=[])
        with a.call(lambda: sender(a.device)) as out:
            send(out, numbered(100))
            ticks = len(watch.memory.ticks)
            until(lambda: len(watch.memory.ticks) > ticks + 2 * LOOK_S / 0.25, "two looks")
        assert watch.counters["interfaces_opened"] == 1
    assert watch.frames == numbered(100)


def test_an_order_can_be_about_other_interfaces():
    """The one that is wanted no more is given back, after what it had captured."""
    with pair(*ENDS) as (a, b), a.call(lambda: sender(a.device)) as out, watching(b) as watch:
        watch.order(interfaces=["lo"])
        send(out, numbered(10))
        watch.shows("interfaces_opened", 2)
        watch.shows("interfaces_now", 1)
        send(out, numbered(10, first=50))
        with b.call(lambda: sender("lo")) as inner:
            send(inner, numbered(10, first=100))
        watch.has(20)
    assert sorted(map(number_of, watch.frames)) == [*range(10), *range(100, 110)]


def test_an_order_that_cannot_be_obeyed_leaves_the_last_one_in_force(caplog):
    """A capture that ended for it would lose everything until somebody looked."""
    with pair(*ENDS) as (a, b), a.call(lambda: sender(a.device)) as out, watching(b, "any") as watch:
        watch.order(filter="vlan 5")  # for which `any` has no tags
        until(lambda: "vlan 5" in caplog.text, "a warning")
        send(out, numbered(100))
        watch.has(100)
        watch.order(filter="tcp or udp")
        watch.shows("order_now", 2)
        send(out, numbered(100, first=100))
        watch.has(200)
    assert [number_of(frame[2:]) for frame in watch.frames] == list(range(200))
    assert caplog.text.count("vlan 5") == 1


@pytest.mark.parametrize("count", [1, 5000])
def test_a_wish_to_stop_leaves_nothing_in_the_kernel(count):
    """The kernel hands over a block when it is full or late: the last frames are in one that is neither."""
    late = replace(MANNER, timeout_ms=500)
    with pair(*ENDS) as (a, b), a.call(lambda: sender(a.device)) as out, watching(b, manner=late) as watch:
        send(out, numbered(count))
    assert watch.frames == numbered(count)


def test_a_wish_to_stop_is_obeyed_while_frames_keep_coming():
    """Under load there always are more: those from after the wish are not waited for."""
    with pair(*ENDS) as (a, b):
        talker = Talker(a, a.device, 80)
        try:
            with watching(b) as watch:
                watch.has(100)
                began_s, sent = time.monotonic(), talker.sent
            assert time.monotonic() - began_s < 1
        finally:
            talker.stop()
    seen = set(map(number_of, watch.frames))
    assert set(range(min(seen), sent)) <= seen, "everything from the first one that was seen to the wish"


def test_a_wish_to_stop_is_obeyed_when_an_interface_goes_at_the_same_time():
    """A machine that is shut down does both."""
    with pair(*ENDS) as (a, b), a.call(lambda: sender(a.device)) as out, watching(b, b.device, "lo") as watch:
        send(out, numbered(3000))
        b.run(["ip", "link", "delete", b.device])
        watch.wish.set()
    assert watch.failed is None
    assert watch.frames == numbered(3000)


def flow(number: int) -> p.Tcp:
    """Make one of many flows."""
    return p.Tcp(sport=20_000 + number)


def lanes_of(watches: list[Watch]) -> dict[int, set[int]]:
    """Return in which lanes the flows of each number are."""
    seen: dict[int, set[int]] = {}
    for lane, watch in enumerate(watches):
        for frame in watch.frames:
            seen.setdefault(max(*struct.unpack_from("!HH", frame, 34)), set()).add(lane)
    return seen


@pytest.mark.parametrize("first", [0, 1])
def test_a_flow_stays_in_its_lane_on_every_interface_and_after_every_order(first):
    """On a router it comes in by one interface and its answers go out by another; a lane needs both to pair them."""
    pages = (Counters(PAGE), Counters(PAGE))
    with pair(*ENDS) as (a, b):
        add_cable(b, "pod0", "peer0")
        plans = [
            LivePlan(("pod*", b.device), MANNER, WEB, Turns(pages, 0)),
            LivePlan(("pod*", b.device), MANNER, WEB, Turns(pages, 1)),
        ]
        watches: list[Watch] = []
        try:
            watches = [Watch(b, plans[at]) for at in (first, 1 - first)]
            watches = watches if first == 0 else watches[::-1]
            with a.call(lambda: sender(a.device)) as out, b.call(lambda: sender("peer0")) as pod:
                for order in range(3):
                    for watch in watches:
                        watch.shows("order_now", order)
                        watch.shows("interfaces_now", 2)
                        watch.shows("interfaces_opened", 2)
                    for number in range(100):
                        send(out, [p.frame(flow(number))])
                        send(pod, [p.frame(flow(number).back())])
                    until(lambda order=order: arrived(watches) >= 200 * (order + 1), "all frames")  # type: ignore[misc]
                    for watch in reversed(watches):  # the second lane may hear of an order first
                        watch.order(ports=(80, 1000 + order))
        finally:
            for watch in watches:
                watch.stop()
    assert arrived(watches) == 600, "each frame in one lane"
    lanes = lanes_of(watches)
    assert len(lanes) == 100
    assert {len(each) for each in lanes.values()} == {1}
    assert set.union(*lanes.values()) == {0, 1}


def arrived(watches: list[Watch]) -> int:
    """Count the frames of all lanes."""
    return sum(len(watch.frames) for watch in watches)


def test_a_later_lane_is_idle_while_an_interface_is_down():
    """It waits for the first one, which opens none that is down: looking fifty times a second would be for nothing."""
    page = Counters(PAGE)
    with pair(*ENDS) as (_a, b):
        b.run(["ip", "link", "set", b.device, "down"])
        with watching(b, "*", turns=Turns((page, Counters(PAGE)), 1)) as watch:
            until(lambda: watch.source.taps.pending, "the loopback is up: something is under way")
            other = b.call(lambda: Tap("lo", 1, MANNER, WEB))
            page.set("slot0", ticket(1, 1) | other.join(None) << 32)
            watch.shows("interfaces_now", 1)
            until(lambda: not watch.source.taps.pending, "nothing under way")
        other.close()


def test_a_pattern_without_a_match_waits_and_a_wrong_name_does_not(caplog):
    """The one is how containers are watched, the other a slip of the pen."""
    with pair(*ENDS) as (_a, b):
        with watching(b, "pod*") as watch:
            assert "pod*: no interface matches yet" in caplog.text
            add_cable(b, "pod0", "peer0")
            watch.shows("interfaces_now", 1)
        assert watch.failed is None
        with watching(b, b.device, "vteh0") as wrong:
            pass
    assert isinstance(wrong.failed, SourceError)
    assert str(wrong.failed) == "vteh0: there is no such interface; `pipeline interfaces` lists those there are"


def test_interfaces_of_which_none_can_be_opened_are_an_error_of_one_line(caplog):
    """A run that captures nothing must not look like one that does; where one works, the others are warned about."""
    with pair(*ENDS) as (_a, b):
        b.run(["ip", "link", "set", b.device, "down"])
        with watching(b) as watch:
            pass
        with watching(b, "any", wanted=Wanted(filter="vlan 5")) as other:
            pass
        assert str(watch.failed) == "veth0: is down; `ip link set dev veth0 up` brings it up"
        assert isinstance(watch.failed, SourceError)
        assert isinstance(other.failed, ConfigError)
        assert "\n" not in str(other.failed)
        caplog.clear()
        with watching(b, "*") as some:
            b.run(["ip", "link", "set", b.device, "up"])
            some.shows("interfaces_now", 2)
        assert some.failed is None
        assert caplog.text.count("veth0: is down") == 1


def test_what_the_kernel_drops_is_counted():
    """The frames that nobody will ever see are the first thing that an operator asks for."""
    busy, go_on = threading.Event(), threading.Event()

    def wait(_ts_ns: int) -> None:
        busy.set()
        assert go_on.wait(DEADLINE_S)

    small = replace(MANNER, buffer_bytes=1 << 19)
    with pair(*ENDS) as (a, b), a.call(lambda: sender(a.device)) as out, watching(b, manner=small) as watch:
        watch.memory.tick = wait  # type: ignore[method-assign]
        assert busy.wait(DEADLINE_S)
        send(out, numbered(5000, size=1000))
        go_on.set()
    assert watch.counters["frames_dropped_kernel"] > 0
    assert watch.counters["frames_captured"] + watch.counters["frames_dropped_kernel"] == 5000
