"""What the service manager hears of a run: it waits for the first word, and restarts what falls silent."""

import pytest

from pipeline.service import Service


class Heard:
    """A notifier that only writes down."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def __getattr__(self, name: str):
        return lambda: self.words.append(name)


class Run:
    """A supervisor's state."""

    ready = False
    stopping = False


@pytest.fixture
def told() -> tuple[Service, Run, list[str]]:
    """A service, its run, and what was said."""
    run, heard = Run(), Heard()
    return Service(run, heard), run, heard.words  # type: ignore[arg-type]


def test_ready_is_said_once_and_not_before_the_interfaces_are_open(told):
    """Units that wait for this one start then, and must find it watching."""
    service, run, words = told
    service.attend()
    assert words == ["watchdog"]
    run.ready = True
    service.attend()
    service.attend()
    assert words == ["watchdog", "ready", "watchdog", "watchdog"]


def test_stopping_is_said_once_and_signs_of_life_go_on(told):
    """Draining may take longer than the watchdog waits."""
    service, run, words = told
    run.stopping = True
    service.attend()
    service.attend()
    assert words == ["stopping", "watchdog", "watchdog"]


def test_a_reload_is_over_when_it_is_over_however_it_went(told):
    """A manager that was told of a beginning waits for the end."""
    service, _run, words = told
    assert service.reloading(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        service.reloading(lambda: 1 // 0)
    assert words == ["reloading", "ready", "reloading", "ready"]
