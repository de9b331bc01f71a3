"""What a run is asked while it goes on: to reload, by SIGHUP or by `pipeline reload`.

In: the supervisor, which notes the signal and waits for the socket.  Out: calls of what reloads.
"""

import logging
import signal
from collections.abc import Callable
from pathlib import Path

from pipeline.control import Answer, Control
from pipeline.supervisor import Supervisor
from pipeline.terminal import has_terminal

log = logging.getLogger("pipeline")


class Hearing:
    """Attended a few times per second, and as soon as somebody asks."""

    def __init__(
        self, supervisor: Supervisor, reload: Callable[[], Answer], settled: Callable[[], bool], path: Path
    ) -> None:
        self.supervisor = supervisor
        self.reload = reload
        self.settled = settled
        self.had_terminal = has_terminal()
        self.control: Control | None = None
        try:
            self.control = Control(path)
        except OSError:
            log.warning("another run of %s is there: `pipeline reload` reaches that one, SIGHUP this one", path)
        else:
            supervisor.attending = [self.control]

    def attend(self) -> None:
        """Act on what came since the last time."""
        if self.supervisor.hung_up and not self.supervisor.succeeding:  # else it waits for its turn
            self.supervisor.hung_up = False
            if self.had_terminal and not has_terminal():
                self.supervisor.note(signal.SIGTERM, None)  # not a wish: the terminal that it was started from is gone
            else:
                self.reload()
        if self.control is not None:
            self.control.attend(self.reload, self.settled)

    def close(self) -> None:
        """Hear nothing more."""
        if self.control is not None:
            self.control.close()
