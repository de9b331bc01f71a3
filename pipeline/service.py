"""What the service manager is told about a run, if there is one (systemd, sd_notify(3)).

In: the supervisor's state.  Out: ready, stopping, and signs of life: none come from a loop that hangs.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

from pipeline.notify import Notifier
from pipeline.supervisor import Supervisor

Result = TypeVar("Result")

log = logging.getLogger("pipeline")


class Service:
    """Attended a few times per second."""

    def __init__(self, supervisor: Supervisor, notifier: Notifier) -> None:
        self.supervisor = supervisor
        self.notifier = notifier
        self.told_ready = False
        self.told_stopping = False

    def attend(self) -> None:
        """Tell what is new."""
        if not self.told_ready and self.supervisor.ready:
            self.told_ready = True
            log.debug("ready: every source takes input")
            self.notifier.ready()
        if not self.told_stopping and self.supervisor.stopping:
            self.told_stopping = True
            self.notifier.stopping()
        self.notifier.watchdog()

    def reloading(self, reload: Callable[[], Result]) -> Result:
        """Reload between a notice that this begins and one that it is over."""
        self.notifier.reloading()
        try:
            return reload()
        finally:
            self.notifier.ready()
