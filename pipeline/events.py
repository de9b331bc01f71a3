"""What the children have to say, on its way into the supervisor's log.

In: one event queue per child.  Out: log records, and whatever else they tell.  Each has a thread of its own:
the queue's mutex is not robust, so a child killed inside it may cost its reader, but never the supervisor.
"""

import contextlib
import logging
import threading
from collections.abc import Callable
from queue import Empty, Full
from typing import Any, Final

from capture.child import EventQueue

NAP_S: Final = 0.25  # how long a reader sleeps before it looks whether its child was killed
END: Final = {"event": "end"}
NOT_LOGGED: Final = ("failed", "listening", "ready")  # the supervisor acts on them, or the child logs the same

Handle = Callable[[str, dict[str, Any]], None]


class EventReader(threading.Thread):
    """Reads one child's queue until the child has ended, and hands on every event with the child's name."""

    def __init__(self, child: str, events: EventQueue, handle: Handle) -> None:
        super().__init__(name=f"events of {child}", daemon=True)
        self.child = child
        self.events = events
        self.handle = handle
        self.ended = threading.Event()

    def run(self) -> None:
        """Read until the end; several events at a time where several are there."""
        while True:
            last = self.ended.is_set()
            try:
                items = self.events.get_many(block=not last, timeout=NAP_S)
            except Empty:
                if last:
                    return
                continue
            except MemoryError:  # nothing was taken: once more, as long as the child goes on
                if last:
                    return
                self.ended.wait(NAP_S)
                continue
            for item in items:
                if item == END:
                    return
                self.handle(self.child, item)

    def let_go(self) -> None:
        """Read what is left of a child that was killed, and end, in a moment; nobody waits for that."""
        self.ended.set()

    def finish(self, killed: bool) -> None:
        """Read what is left, now that the child has ended; a queue jammed by a killed child is given up."""
        self.ended.set()
        if not killed:
            with contextlib.suppress(Full):  # then the reader is awake, and sees `ended`
                self.events.put_nowait(END)  # wakes it at once; not after a kill, the mutex may be held for ever
        self.join(timeout=2 * NAP_S if killed else 5.0)


def log_event(child: str, event: dict[str, Any]) -> None:
    """Let a child's log record or announcement appear in this process's log."""
    kind = event.get("event")
    if kind == "log":
        logger = logging.getLogger(child)
        level = int(event.get("level", logging.INFO))
        if logger.isEnabledFor(level):
            record = logger.makeRecord(child, level, "", 0, str(event.get("text", "")), (), None)
            record.created = float(event.get("at", record.created))
            logger.handle(record)
    elif kind not in NOT_LOGGED:
        said = ", ".join(f"{key} {value}" for key, value in event.items() if key not in {"event", "text"})
        logging.getLogger(child).warning("%s", event.get("text") or f"{kind}: {said}")
