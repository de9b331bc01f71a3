"""A reload is asked for by a signal or by a command; the end of a terminal is neither."""

import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import hearing
from pipeline.control import ask
from pipeline.hearing import Hearing


class Run:
    """What of a supervisor is used here."""

    def __init__(self) -> None:
        self.hung_up = False
        self.attending: list[object] = []
        self.noted: list[int] = []
        self.unsettled = self.succeeding = False

    def note(self, number: int, _frame: object) -> None:
        self.noted.append(number)


class Terminal:
    """Whether there is one."""

    there = True


@pytest.fixture
def terminal(monkeypatch) -> Terminal:
    """A controlling terminal that can be taken away."""
    made = Terminal()
    monkeypatch.setattr(hearing, "has_terminal", lambda: made.there)
    return made


@pytest.fixture
def heard(tmp_path: Path, terminal: Terminal) -> Iterator[tuple[Hearing, Run, list[str]]]:
    """A run that counts its reloads."""
    run, reloads = Run(), []

    def reload() -> tuple[list[str], int]:
        reloads.append("reload")
        return ["done"], 0

    made = Hearing(run, reload, lambda: not run.unsettled, tmp_path / "m.toml")  # type: ignore[arg-type]
    yield made, run, reloads
    made.close()


def test_a_signal_reloads_once(heard):
    """systemd and everybody's fingers send SIGHUP."""
    made, run, reloads = heard
    made.attend()
    run.hung_up = True
    made.attend()
    made.attend()
    assert (reloads, run.noted) == (["reload"], [])


def test_a_signal_during_a_reload_waits_for_its_turn(heard):
    """Nobody sends it again."""
    made, run, reloads = heard
    run.hung_up = run.succeeding = True
    made.attend()
    assert reloads == []
    run.succeeding = False
    made.attend()
    assert reloads == ["reload"]


def test_a_terminal_that_hangs_up_stops_the_run(heard, terminal):
    """It sends the same signal; a run that went on unseen would surprise whoever closed the window."""
    made, run, reloads = heard
    terminal.there = False
    run.hung_up = True
    made.attend()
    assert (reloads, run.noted) == ([], [signal.SIGTERM])


def test_a_run_that_never_had_a_terminal_reloads(tmp_path, terminal):
    """A service has none from the beginning."""
    terminal.there = False
    run, reloads = Run(), []
    made = Hearing(run, lambda: (reloads, 0), lambda: True, tmp_path / "n.toml")  # type: ignore[arg-type]
    run.hung_up = True
    made.attend()
    assert run.noted == []
    made.close()


def test_the_command_reloads_and_gets_the_answer(heard, tmp_path):
    """It wakes the supervisor's loop up, so it need not wait for its next round."""
    made, run, reloads = heard
    (waited_for,) = run.attending
    answers = []
    asking = threading.Thread(target=lambda: answers.append(ask(tmp_path / "m.toml")))
    asking.start()
    assert select.select([waited_for], [], [], 10)[0]
    made.attend()
    asking.join()
    assert (reloads, answers) == (["reload"], [(["done"], 0)])


def test_the_command_gets_its_answer_when_it_is_true(heard, tmp_path):
    """Whoever sends the first request to the new port right afterwards finds it mirrored."""
    made, run, reloads = heard
    run.unsettled = True
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(ask(tmp_path / "m.toml")))
    asking.start()
    assert select.select(run.attending, [], [], 10)[0]
    for _ in range(5):
        made.attend()
    assert (reloads, answers) == (["reload"], [])
    run.unsettled = False
    made.attend()
    asking.join()
    assert answers == [(["done"], 0)]


def test_a_second_run_of_a_file_still_hears_the_signal(heard, tmp_path, terminal, caplog):
    """Only the command cannot tell them apart, and that is said."""
    run, reloads = Run(), []
    second = Hearing(run, lambda: (reloads.append("second") or [], 0), lambda: True, tmp_path / "m.toml")  # type: ignore[arg-type]
    assert "another run of" in caplog.text
    run.hung_up = True
    second.attend()
    second.close()
    assert reloads == ["second"]
