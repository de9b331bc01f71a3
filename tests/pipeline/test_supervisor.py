"""The supervisor with small children: whatever they do, the run ends, says why, and leaves nobody behind."""

import logging
import multiprocessing
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from capture.child import EventQueue
from capture.counters import Counters
from capture.ring import Consumer, Producer, Ring
from capture.turns import PAGE
from emit.succession import Ended
from pipeline import events
from pipeline.supervisor import Outcome, Supervisor
from pipeline.wiring import Stage, Wiring
from tests.pipeline import children
from tests.pipeline.children import FakeSpec

RING_BYTES = 64 * 1024


def stage(
    name: str,
    target: Callable[[FakeSpec], None],
    reads: Ring | None = None,
    writes: Ring | None = None,
    again: bool = False,
) -> Stage:
    """One fake child; whoever writes and does not read is a source."""
    events, counters = EventQueue(), Counters(("seen",))
    spec = FakeSpec(events, counters, reads, writes, os.getpid())
    written = () if writes is None else (writes,)
    read = () if reads is None else (reads,)
    source = writes is not None and reads is None
    return Stage(name, target, spec, events, counters, written, source=source, reads=read, again=again)


def wiring(consumer: Callable[[FakeSpec], None], source: Callable[[FakeSpec], None]) -> Wiring:
    """A source, a ring, a consumer."""
    ring = Ring.create(RING_BYTES)
    return Wiring(
        [stage("worker 0", consumer, reads=ring), stage("capture", source, writes=ring)],
        {"frame ring": ring},
        (),
    )


def seen(run: Wiring) -> dict[str, int]:
    """What each child counted."""
    return {each.name: each.counters["seen"] for each in run.stages}


def supervise(run: Wiring, signals: tuple[int, ...] = (), drain_s: float = 10.0) -> Outcome:
    """Run it; once every child has counted something, send this process the signals, one per tick."""
    due = list(signals)

    def tick() -> None:
        if due and all(seen(run).values()):
            os.kill(os.getpid(), due.pop(0))

    outcome = Supervisor(run, tick, drain_s).run()
    assert not multiprocessing.active_children()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("events of")]
    assert not due, "the run ended before the signals were sent"
    return outcome


def test_a_run_ends_when_its_children_have_ended_and_everything_has_passed():
    """The plain case: ten in, ten out, exit code 0."""
    run = wiring(children.read_all, children.write_some)
    outcome = supervise(run)
    assert (outcome.exit_code, outcome.errors) == (0, [])
    assert seen(run) == {"worker 0": 10, "capture": 10}
    assert run.in_flight() == ""


def test_what_children_log_reaches_the_log_of_the_supervisor(caplog):
    """An operator reads one log; the children write none of their own."""
    caplog.set_level(logging.INFO)
    supervise(wiring(children.read_all, children.write_some))
    said = {(record.name, record.getMessage()) for record in caplog.records}
    assert ("capture", "ten written") in said
    assert ("worker 0", "ready") in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains(number):
    """Ctrl-C is the usual end of a live run: it must lose nothing and count as success."""
    run = wiring(children.read_all, children.write_until_told)
    outcome = supervise(run, (number,))
    assert (outcome.exit_code, outcome.errors) == (0, [])
    assert outcome.stopped_by == signal.Signals(number).name
    assert seen(run) == {"worker 0": 1, "capture": 1}
    assert select.select([run.workers()[0].spec.stop], [], [], 0)[0], "the worker was told that the run ends"


def test_the_second_signal_aborts_and_says_what_was_in_flight():
    """Whoever presses twice wants out now, and must still learn what it cost."""
    run = wiring(children.hang, children.write_until_told)
    outcome = supervise(run, (signal.SIGINT, signal.SIGINT))
    assert outcome.exit_code == 130
    assert len(outcome.errors) == 1
    assert outcome.errors[0].startswith("aborted by SIGINT; in flight: ")
    assert "bytes in frame ring" in outcome.errors[0]


def test_draining_has_a_deadline():
    """A consumer that hangs must not keep a stopped run alive."""
    outcome = supervise(wiring(children.hang, children.write_until_told), (signal.SIGTERM,), drain_s=0.5)
    assert outcome.exit_code == 1
    assert "not drained within 0.5 s; in flight: " in outcome.errors[0]


@pytest.mark.parametrize("target", [children.read_and_die_once, children.stall_once])
def test_a_child_that_dies_or_hangs_is_started_again_and_goes_on(target, caplog):
    """Whatever was not released is read once more; the run ends as if nothing had been."""
    caplog.set_level(logging.INFO)
    ring = Ring.create(RING_BYTES)
    stages = [stage("worker 0", target, reads=ring, again=True), stage("capture", children.write_some, writes=ring)]
    run = Wiring(stages, {"message ring 0": ring}, ())
    outcome = Supervisor(run, lambda: None, stall_s=0.5).run()
    assert (outcome.exit_code, outcome.errors) == (0, [])
    assert seen(run) == {"worker 0": 10, "capture": 10}
    assert run.restarts() == {"worker 0": 1}
    said = [record.getMessage() for record in caplog.records if record.name == "supervisor"]
    assert any("it is started again in 0.05 s" in line for line in said)
    assert not multiprocessing.active_children()


def test_those_who_share_something_begin_anew_together(caplog):
    """One of them dies: the other is ended, and what they had shown each other is forgotten before either begins."""
    caplog.set_level(logging.INFO)
    pages = (Counters(PAGE), Counters(PAGE))
    rings = [Ring.create(RING_BYTES) for _ in pages]
    readers = [stage(f"worker {at}", children.read_all, reads=ring) for at, ring in enumerate(rings)]
    writers = [
        replace(stage(f"capture {at}", target, writes=ring, again=True), turns=pages)
        for at, (target, ring) in enumerate(zip((children.die_once, children.wait_once), rings, strict=True))
    ]
    for page in pages:
        page.set(PAGE[0], 1)
    run = Wiring([*readers, *writers], {}, ())
    outcome = Supervisor(run, lambda: None).run()
    assert (outcome.exit_code, outcome.errors) == (0, [])
    assert run.restarts() == {"capture 0": 1, "capture 1": 1}
    assert seen(run) == {"worker 0": 1, "worker 1": 1, "capture 0": 0, "capture 1": 0}
    assert [page[PAGE[0]] for page in pages] == [0, 0]
    said = [record.getMessage() for record in caplog.records if record.name == "supervisor"]
    assert any("capture 1 begins anew together with capture 0" in line for line in said)


def test_who_goes_on_does_not_wait_for_the_last_words_of_who_was_killed(monkeypatch):
    """They are read with patience, as nobody can tell that they are the last; the traffic goes on meanwhile."""
    monkeypatch.setattr(events, "NAP_S", 4.0)
    ring = Ring.create(RING_BYTES)
    stages = [stage("worker 0", children.read_until_relieved, reads=ring, again=True)]
    run = Wiring([*stages, stage("capture", children.write_until_told_more, writes=ring)], {}, ())
    killed_s: list[float] = []
    back_s: list[float] = []

    def tick() -> None:
        if not killed_s and all(seen(run).values()):
            killed_s.append(time.monotonic())
            supervisor.children[0].process.kill()
        elif run.restarts() and not back_s:
            back_s.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGTERM)

    supervisor = Supervisor(run, tick)
    assert supervisor.run().exit_code == 0
    assert back_s[0] - killed_s[0] < 2.0


def test_a_child_that_dies_again_and_again_ends_the_run():
    """With its name, and with what feeds it; a fault that does not go away must not look like a run."""
    ring = Ring.create(RING_BYTES)
    stages = [
        stage("worker 0", children.vanish, reads=ring, again=True),
        stage("capture", children.write_until_told, writes=ring),
    ]
    outcome = Supervisor(Wiring(stages, {}, ()), lambda: None).run()
    assert outcome.errors == ["worker 0 ended with exit code 7 and gave no reason"]
    assert outcome.exit_code == 7


def test_a_source_that_is_killed_while_the_run_ends_comes_back_to_put_right_what_it_counted():
    """What it had counted and not handed over would be in no place of the ledger."""
    ring = Ring.create(RING_BYTES)
    stages = [
        stage("worker 0", children.read_all, reads=ring),
        stage("capture", children.die_when_told_once, writes=ring, again=True),
    ]
    run = Wiring(stages, {}, ())
    outcome = supervise(run, (signal.SIGTERM,))
    assert (outcome.exit_code, outcome.errors, outcome.stopped_by) == (0, [], "SIGTERM")
    assert run.restarts() == {"capture": 1}
    assert seen(run) == {"worker 0": 1, "capture": 1}


def test_a_stopped_run_does_not_wait_for_a_source_that_dies_again():
    """Ctrl-C while the capture is being started again: what is in the rings is delivered, and that is all."""
    ring = Ring.create(RING_BYTES)
    Producer(ring).put(children.KIND, b"was there")
    stages = [
        stage("worker 0", children.read_all, reads=ring),
        stage("capture", children.die, writes=ring, again=True),
    ]
    run = Wiring(stages, {}, ())
    supervisor = Supervisor(run, lambda: None)
    restarts = []

    def tick() -> None:
        if supervisor.outcome.stopped_by is None and run.restarts():
            os.kill(os.getpid(), signal.SIGTERM)
            restarts.append(run.restarts()["capture"])

    supervisor.tick = tick
    outcome = supervisor.run()
    assert (outcome.exit_code, outcome.stopped_by) == (1, "SIGTERM")
    assert outcome.errors == ["capture was killed by SIGKILL"], "nobody has put right what it had counted"
    assert run.restarts()["capture"] <= restarts[-1] + 1
    assert seen(run)["worker 0"] == 1


def test_a_killed_consumer_ends_the_run_with_its_name_and_signal():
    """The source would wait for ever for room in a ring that nobody reads."""
    outcome = supervise(wiring(children.die, children.write_until_told))
    assert outcome.exit_code == 1
    assert outcome.errors == ["worker 0 was killed by SIGKILL"]


def test_a_lane_whose_assembler_dies_ends_the_run_and_the_other_lane_finishes():
    """What feeds the dead cannot go on; what feeds somebody else still has frames to assemble."""
    frames, messages = [Ring.create(RING_BYTES) for _ in range(2)], Ring.create(RING_BYTES)
    Producer(frames[1]).put(children.KIND, b"frames that were there")
    source = stage("capture", children.write_until_told, writes=frames[0])
    stages = (
        stage("worker 1", children.read_all, reads=messages),
        stage("assembler 0", children.die, reads=frames[0]),
        stage("assembler 1", children.pass_on, reads=frames[1], writes=messages),
        replace(source, writes=tuple(frames)),
    )
    run = Wiring(stages, {}, ())
    outcome = supervise(run)
    assert outcome.errors == ["assembler 0 was killed by SIGKILL"]
    assert (seen(run)["assembler 1"], seen(run)["worker 1"]) == (1, 1)


def test_a_source_that_dies_stops_the_other_sources():
    """A run with an error in it ends, and does not go on with part of the traffic."""
    rings = [Ring.create(RING_BYTES) for _ in range(2)]
    stages = (
        stage("worker 0", children.read_all, reads=rings[0]),
        stage("worker 1", children.read_all, reads=rings[1]),
        stage("capture 0", children.die, writes=rings[0]),
        stage("capture 1", children.write_until_told, writes=rings[1]),
    )
    run = Wiring(stages, {}, ())
    outcome = supervise(run)
    assert outcome.errors == ["capture 0 was killed by SIGKILL"]
    assert seen(run)["worker 1"] == seen(run)["capture 1"]


def test_a_killed_source_lets_the_rest_finish_what_is_there():
    """Its ring is closed on its behalf: what it had written is not lost with it."""
    outcome = supervise(wiring(children.read_all, children.die))
    assert outcome.exit_code == 1
    assert outcome.errors == ["capture was killed by SIGKILL"]


def test_an_error_of_a_child_is_the_error_of_the_run():
    """One line, in the words of the child that knows."""
    outcome = supervise(wiring(children.fail, children.write_until_told))
    assert (outcome.exit_code, outcome.errors) == (1, ["the far side said no"])


def test_a_child_that_ends_without_a_word_is_an_error():
    """Even where no code of ours had the last word."""
    outcome = supervise(wiring(children.read_all, children.vanish))
    assert outcome.exit_code == 7
    assert outcome.errors == ["capture ended with exit code 7 and gave no reason"]


def test_an_error_in_the_supervisor_leaves_no_child():
    """Our own bug is no excuse for processes without a parent."""

    def tick() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Supervisor(wiring(children.hang, children.write_until_told), tick).run()
    assert not multiprocessing.active_children()


def test_signal_handlers_are_put_back():
    """The supervisor is a guest in its process."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    supervise(wiring(children.read_all, children.write_some))
    assert [signal.getsignal(number) for number in numbers] == before


def test_workers_are_succeeded_while_the_run_goes_on():
    """Every record is read by one of the two, and none by both; twice in a row, as whoever tries settings does it."""
    ring = Ring.create(RING_BYTES)
    run = Wiring(
        [
            stage("worker 0", children.read_until_relieved, reads=ring),
            stage("capture", children.write_until_told_more, writes=ring),
        ],
        {"frame ring": ring},
        ("first",),
    )
    supervisor: Supervisor
    made: list[Stage] = []
    waited: list[int] = []  # for whoever prepares it

    def prepared() -> bool:
        waited.append(1)
        return len(waited) > 3

    def make(after: Sequence[Ended]) -> list[Stage]:
        successor = stage("worker 0", children.read_until_relieved, reads=ring)
        made.append(replace(successor, spec=replace(successor.spec, after=after[0])))
        return made[-1:]

    def tick() -> None:
        if not all(seen(run).values()) or supervisor.succeeding or supervisor.stopping:
            return
        if len(made) < 2:
            supervisor.succeed(
                make, (f"next {len(made)}",), lambda: bool(waited.append(1) or len(waited) > 3), pytest.fail
            )
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    supervisor = Supervisor(run, tick)
    outcome = supervisor.run()
    assert (outcome.exit_code, outcome.errors) == (0, [])
    counts = [counts["seen"] for each in run.succeeded for counts in each.workers]
    counts.append(run.workers()[0].counters["seen"])
    assert len(counts) == 3
    assert all(counts)
    assert sum(counts) == run.stages[-1].counters["seen"]
    assert [each.outputs for each in run.succeeded] == [("first",), ("next 0",)]
    assert run.outputs == ("next 1",)
    assert len(supervisor.children) == 2, "what is over is not kept"


def test_a_successor_that_does_not_start_changes_nothing(caplog):
    """A reload that fails must not take a healthy run with it."""
    ring = Ring.create(RING_BYTES)
    run = Wiring(
        [
            stage("worker 0", children.read_until_relieved, reads=ring),
            stage("capture", children.write_until_told_more, writes=ring),
        ],
        {"frame ring": ring},
        ("first",),
    )
    failed: list[str] = []
    started: list[int] = []

    def tick() -> None:
        if not all(seen(run).values()) or supervisor.succeeding:
            return
        if not started:
            started.append(1)
            supervisor.succeed(
                lambda _after: [stage("worker 0", children.die, reads=ring)], ("next",), lambda: True,
                lambda: failed.append("failed"),
            )  # fmt: skip
        elif seen(run)["worker 0"] > 100 and not supervisor.stopping:
            os.kill(os.getpid(), signal.SIGTERM)

    supervisor = Supervisor(run, tick)
    outcome = supervisor.run()
    assert (outcome.exit_code, outcome.errors, failed) == (0, [], ["failed"])
    assert run.outputs == ("first",)
    assert run.succeeded == []
    assert seen(run)["worker 0"] == seen(run)["capture"]
    assert "did not start: worker 0 was killed by SIGKILL; those of before go on" in caplog.text


def test_a_worker_killed_while_its_successor_fails_to_start_is_started_again():
    """Two faults at once must not leave a ring without a reader."""
    ring = Ring.create(RING_BYTES)
    first = stage("worker 0", children.read_until_relieved, reads=ring, again=True)
    run = Wiring([first, stage("capture", children.write_until_told_more, writes=ring)], {"ring": ring}, ("first",))
    failed: list[int] = []
    started: list[int] = []

    def make(after: Sequence[Ended]) -> list[Stage]:
        one = stage("worker 0", children.die_after, reads=ring)
        return [replace(one, spec=replace(one.spec, after=after[0]))]

    def tick() -> None:
        if not started and all(seen(run).values()):
            started.append(1)
            supervisor.succeed(make, ("next",), lambda: False, lambda: failed.append(first.counters["seen"]))
            supervisor.children[0].process.kill()
        elif failed and seen(run)["worker 0"] > failed[0] + 100 and not supervisor.stopping:
            os.kill(os.getpid(), signal.SIGTERM)

    supervisor = Supervisor(run, tick)
    outcome = supervisor.run()
    assert (outcome.exit_code, outcome.errors, len(failed)) == (0, [], 1)
    assert run.restarts() == {"worker 0": 1}
    assert seen(run)["worker 0"] >= seen(run)["capture"], "what was not released is read once more"


def test_a_successor_that_has_done_all_there_was_before_it_was_asked_for_has_not_failed(caplog):
    """The worker of before is killed just then, and the ring is closed: nobody is needed any more."""
    ring = Ring.create(RING_BYTES)
    first = stage("worker 0", children.hang, reads=ring, again=True)
    run = Wiring([first, stage("capture", children.write_some, writes=ring)], {"ring": ring}, ("first",))
    started: list[Stage] = []

    def make(after: Sequence[Ended]) -> list[Stage]:
        one = stage("worker 0", children.read_until_relieved, reads=ring)
        started.append(replace(one, spec=replace(one.spec, after=after[0])))
        return started

    def tick() -> None:
        if not started and seen(run)["worker 0"] and seen(run)["capture"] == 10:
            supervisor.succeed(make, ("next",), lambda: False, lambda: pytest.fail("it has not failed"))
            supervisor.children[0].process.kill()

    supervisor = Supervisor(run, tick)
    outcome = supervisor.run()
    assert (outcome.exit_code, outcome.errors) == (0, [])
    assert started[0].counters["seen"] == 10
    assert "did not start" not in caplog.text
    assert run.outputs == ("next",)


def test_a_ring_is_not_closed_behind_one_who_was_killed_when_another_goes_on_writing_it():
    """Whoever reads it would end, and who goes on would wait for room for ever."""
    incoming, outgoing = Ring.create(RING_BYTES), Ring.create(RING_BYTES)
    first = stage("worker 0", children.die_when_relieved, reads=incoming, writes=outgoing)
    run = Wiring(
        [
            stage("answer worker 0", children.read_until_relieved, reads=outgoing), first,
            stage("capture", children.write_until_told_more, writes=incoming),
        ],
        {},
        ("first",),
    )  # fmt: skip
    reader = run.stages[0]
    made: list[Stage] = []
    closed: list[bool] = []

    def make(after: Sequence[Ended]) -> list[Stage]:
        for name, target, ring, written, ended in (
            ("answer worker 0", children.read_until_relieved, outgoing, None, after[0]),
            ("worker 0", children.succeed_when_asked, incoming, outgoing, after[1]),
        ):
            one = stage(name, target, reads=ring, writes=written)
            made.append(replace(one, spec=replace(one.spec, after=ended)))
        return made

    def tick() -> None:
        if not made and all(seen(run).values()):
            supervisor.succeed(make, ("next",), lambda: True, pytest.fail)
        elif made and not supervisor.succeeding and not closed:
            closed.append(Consumer(outgoing).closed)
            made[1].spec.leave.raise_()  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGTERM)

    supervisor = Supervisor(run, tick)
    outcome = supervisor.run()
    assert (outcome.exit_code, outcome.errors) == (0, [])
    assert closed == [False]
    passed = first.counters["seen"] + made[1].counters["seen"]
    assert reader.counters["seen"] + made[0].counters["seen"] == passed


def test_a_hang_up_is_noted_and_ends_nobody():
    """SIGHUP reaches a whole group; the children are not the ones to act on it."""
    run = wiring(children.read_all, children.write_until_told)
    due = [signal.SIGHUP, signal.SIGTERM]
    noted = []

    def tick() -> None:
        if due and all(seen(run).values()):
            noted.append(supervisor.hung_up)
            if due[0] is signal.SIGHUP:
                for child in supervisor.children:
                    os.kill(child.process.pid or 0, signal.SIGHUP)
            os.kill(os.getpid(), due.pop(0))

    supervisor = Supervisor(run, tick)
    outcome = supervisor.run()
    assert (outcome.exit_code, outcome.errors, noted, supervisor.hung_up) == (0, [], [False, True], True)


def test_a_stage_runs_with_its_rights_and_on_its_cores():
    """What the wiring says of them is not decoration."""
    run = wiring(children.read_all, children.write_until_told)
    core = min(os.sched_getaffinity(0))
    run.stages = [replace(each, cores=(core,)) for each in run.stages]
    found = []

    def tick() -> None:
        if all(seen(run).values()) and not found:
            for child in supervisor.children:
                pid = child.process.pid or 0
                found.append((os.sched_getaffinity(pid), "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()))
            os.kill(os.getpid(), signal.SIGTERM)

    supervisor = Supervisor(run, tick)
    assert supervisor.run().errors == []
    assert found == [({core}, True)] * 2
