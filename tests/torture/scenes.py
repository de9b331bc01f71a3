"""Two pipelines under way, for tests that do something to their processes: who is who, what they say, how they end.

In: commands.  Out: children by name, what has come out at the far side, both ledgers.  Invariant: when a scene is left,
however that comes, both pipelines and what feeds them have ended.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.integration.jobs import LIMIT_S, start, wait_until

DIED: Final = re.compile(r"supervisor: (?:warning: )?(.+) was killed by SIGKILL; it is started again")
ANEW: Final = re.compile(r"supervisor: (?:warning: )?capture.*; it is started again")
BACK: Final = re.compile(r"supervisor: (.+) works again, ([0-9.]+) s after it died")


@dataclass
class Pipeline:
    """A run, all that it says, and at its end its ledger."""

    name: str
    directory: Path
    arguments: tuple[str | Path, ...]
    stdin: int = subprocess.DEVNULL
    said: list[str] = field(default_factory=list)
    code: int | None = None

    def __post_init__(self) -> None:
        self.job = start(self.directory, *self.arguments, "--ledger", f"{self.name}.json", stdin=self.stdin)
        self.listening = threading.Thread(target=self._listen)
        self.listening.start()

    def _listen(self) -> None:
        assert self.job.stderr is not None
        for line in self.job.stderr:
            self.said.append(line.decode())

    @property
    def text(self) -> str:
        """Everything that it has said."""
        return "".join(self.said)

    def wait_for(self, pattern: str) -> str:
        """Wait for it to say something; returns the first group of the pattern."""
        found: list[str] = []

        def look() -> bool:
            found.extend(re.findall(pattern, self.text))
            return bool(found) or self.job.poll() is not None

        wait_until(look, pattern)
        assert found, self.text
        return found[0]

    def child(self, name: str) -> int:
        """Return the living process of that name, as soon as there is one.

        Children are asked for by one read: beside a thread of ours that is busy, many reads take seconds.
        """
        found: list[int] = []

        def find() -> bool:
            found.extend(pid for pid, each in children(self.job.pid).items() if each == name)
            return bool(found) or self.job.poll() is not None

        wait_until(find, f"{name} lives")
        assert found, self.text
        return found[-1]

    def stop(self) -> int:
        """Ask it to end, as systemd does, and return its exit code."""
        if self.code is None:
            assert self.job.poll() is None, self.text
            self.job.send_signal(signal.SIGTERM)
            self.code = self.job.wait(LIMIT_S)
            self.listening.join()
        return self.code

    def end(self) -> None:
        """Kill it if it is still there, and hear it out."""
        if self.job.poll() is None:
            os.killpg(self.job.pid, signal.SIGKILL)
            self.job.wait()
        self.listening.join()
        for stream in (self.job.stdout, self.job.stderr):
            if stream is not None:
                stream.close()

    def ledger(self) -> dict[str, Any]:
        """Return what it has written at its end."""
        read: dict[str, Any] = json.loads((self.directory / f"{self.name}.json").read_text())
        return read

    def all_back(self) -> bool:
        """Whether each that was killed, as far as is known, has been followed by one that works."""
        waiting = set()
        for line in self.said[:]:
            if died := DIED.search(line):
                waiting.add(died[1])
            elif back := BACK.search(line):
                waiting.discard(back[1])
        return not waiting

    def watches(self, lanes: int) -> bool:
        """Whether all captures of an interface see it, as far as is known: one that works again is still to open it."""
        died = max((at for at, line in enumerate(self.said) if ANEW.search(line)), default=-1)
        return sum("capturing on" in line for line in self.said[died + 1 :]) >= lanes

    def address(self) -> str:
        """Where it listens."""
        return self.wait_for(r"listening on (\S+)")

    def recoveries(self) -> list[tuple[str, float]]:
        """Return who has come back, after how many seconds from a death to the next process's first sign of life."""
        return [(name, float(seconds)) for name, seconds in BACK.findall(self.text)]


def children(parent: int) -> dict[int, str]:
    """Return the children of a process that live, with what each is called."""
    found: dict[int, str] = {}
    with contextlib.suppress(OSError):
        for pid in map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()):
            with contextlib.suppress(OSError):
                before, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
                if not rest.startswith(" Z"):
                    found[pid] = before.partition("(")[2]
    return found


@contextlib.contextmanager
def ended(*pipelines: Pipeline) -> Iterator[None]:
    """End these in any case."""
    try:
        yield
    finally:
        for each in pipelines:
            each.end()


def size(path: Path) -> int:
    """How much has arrived."""
    return path.stat().st_size if path.exists() else 0


@contextlib.contextmanager
def again_and_again(do: Callable[[], None]) -> Iterator[None]:
    """Have a thread do something until this is left; what it raises is raised here then."""
    over, raised = threading.Event(), []

    def work() -> None:
        try:
            while not over.is_set():
                do()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if raised:
        raise raised[0]
