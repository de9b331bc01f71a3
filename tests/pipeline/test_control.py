"""The socket by which `pipeline reload` finds its run: only for who may, never in anybody's way."""

import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from capture.errors import MirrorError
from pipeline.control import Answer, Control, ask


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration of its own for each test."""
    return tmp_path / "mirror.toml"


@pytest.fixture
def control(path: Path) -> Iterator[Control]:
    """A run's end."""
    made = Control(path)
    yield made
    made.close()


def attended(control: Control, answer: Answer) -> threading.Thread:
    """Answer once, in a thread."""

    def run() -> None:
        assert select.select([control], [], [], 10)[0]
        control.attend(lambda: answer)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_an_answer_comes_back_with_its_exit_code(control, path, monkeypatch):
    """Whoever scripts it must learn that it was refused; and a path is one however it is written."""
    thread = attended(control, (["bad filter", "nothing was changed"], 2))
    monkeypatch.chdir(path.parent)
    assert ask(Path("./mirror.toml")) == (["bad filter", "nothing was changed"], 2)
    thread.join()


def test_without_a_run_there_is_one_line(path):
    """The most frequent mistake: another path, or nothing running."""
    with pytest.raises(MirrorError, match=r"mirror\.toml: no run of this file"):
        ask(path)


def test_a_second_run_of_the_same_file_is_noticed(control, path):
    """Only one of them can be meant."""
    with pytest.raises(OSError, match="in use"):
        Control(path)


def test_the_name_is_free_when_the_run_is_over(path):
    """However it ended: nothing is in the file system."""
    for _ in range(2):
        Control(path).close()


def test_nobody_asking_and_nonsense_are_passed_over(control, path):
    """The loop of a run must not wait here, nor fall over what some process sends."""
    control.attend(lambda: pytest.fail("nobody asked"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.connect(control._socket.getsockname())
        asking.send(b"x" * 64)
        control.attend(lambda: pytest.fail("nobody asked"))
        assert asking.recv(10) == b""


def test_who_goes_away_before_the_answer_is_no_trouble(control):
    """An impatient Ctrl-C; the reload was done all the same, and the next one is heard."""
    asked: list[str] = []

    def reload() -> Answer:
        asked.append("reload")
        return [], 0

    for settled in (False, True):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
            asking.connect(control._socket.getsockname())
            asking.send(b"reload")
            control.attend(reload, lambda settled=settled: settled)  # type: ignore[misc]
    assert asked == ["reload"], "the second one waits for the first"
    control.attend(reload)
    control.attend(reload)
    assert asked == ["reload"] * 2


@pytest.mark.skipif(os.geteuid() != 0, reason="changes its user, which only root can")
def test_another_user_is_refused(control, path):
    """A reload reads files and opens connections with the rights of the run."""
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            ask(path)
        except MirrorError as error:
            os._exit(0 if "refused: the run belongs to another user, number 0" in str(error) else 1)
        os._exit(2)
    assert select.select([control], [], [], 10)[0]
    control.attend(lambda: pytest.fail("not allowed"))
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="changes its user, which only root can")
def test_who_may_not_ask_keeps_nobody_waiting(control, path):
    """Any user of the machine can connect; the loop of the run must not stand still for it."""
    program = (
        "import os, signal, socket, sys\nos.setuid(65534)\n"
        "held = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(50)]\n"
        "for each in held: each.connect(bytes.fromhex(sys.argv[1]))\n"
        "print('connected', flush=True)\nsignal.pause()\n"
    )
    name = control._socket.getsockname().hex()
    with subprocess.Popen([sys.executable, "-c", program, name], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"connected\n"
            answered = threading.Event()

            def loop() -> None:
                while not answered.wait(0.001):
                    control.attend(lambda: (["done"], 0))

            thread = threading.Thread(target=loop)
            thread.start()
            try:
                assert ask(path) == (["done"], 0)
            finally:
                answered.set()
                thread.join()
        finally:
            other.kill()
