"""What every child process does first and last: signals, its parent's death, log and events (DESIGN 11, 13).

Log records and events travel to the supervisor over one faster-fifo queue per child, as msgpack, never
blocking.
"""

import contextlib
import ctypes
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing import heap, reduction, util
from queue import Full
from typing import Any, Final

import faster_fifo
import msgpack

from capture.counters import Counters
from capture.errors import MirrorError
from capture.limits import allowed
from capture.memory import make_memory

QUEUE_BYTES: Final = 256 * 1024
CHILD_COUNTERS: Final = (
    "events_lost",
    "beats",  # turns of its loop: one that stands still, with something to do, hangs
)
BUG_EXIT_CODE: Final = 70
"""Of a child that met an error which is no user's and no other process's: it may be started again (sysexits.h)."""
PR_SET_PDEATHSIG: Final = 1
PR_SET_NAME: Final = 15  # at most 15 bytes


def _pack(item: dict[str, Any]) -> bytes:
    packed: bytes = msgpack.packb(item, default=str)
    return packed


def _unpack(item: memoryview) -> dict[str, Any]:
    unpacked: dict[str, Any] = msgpack.unpackb(item)
    return unpacked


class _Arena(heap.Arena):
    """Where multiprocessing puts what faster-fifo shares: in memory without a name, as our own.

    Its files in /dev/shm or /tmp need that there is such a place, and end whoever touches them when it is full.
    """

    def __init__(self, size: int, fd: int = -1) -> None:
        made = fd < 0
        super().__init__(size, make_memory("queue", size) if made else fd)
        if made:
            util.Finalize(self, os.close, (self.fd,))


heap.Arena = _Arena  # type: ignore[misc]
reduction.register(_Arena, heap.reduce_arena)


class EventQueue(faster_fifo.Queue):  # type: ignore[misc]  # the library is untyped
    """One child's way to tell the supervisor something: maps of plain values, lossy when full but counted."""

    def __init__(self, counters: Counters | None = None) -> None:
        super().__init__(max_size_bytes=QUEUE_BYTES, loads=_unpack, dumps=_pack)
        self.counters = counters or Counters(CHILD_COUNTERS)

    def renewed(self) -> "EventQueue":
        """Return a queue for a successor: this one's mutex may be held by a child that was killed inside it."""
        return EventQueue(self.counters)

    def tell(self, event: str, **fields: object) -> None:
        """Send one event; counted as lost if the queue is full: a child never waits for its supervisor."""
        try:
            self.put_nowait({"event": event, **fields})
        except Full:
            self.counters.add("events_lost")

    def beat(self) -> None:
        """Show a sign of life: every turn of a child's loop, at least every few seconds, also with nothing to do."""
        self.counters.add("beats")


class EventHandler(logging.Handler):
    """Turns log records into events, with the message already formatted: nothing is pickled."""

    def __init__(self, events: EventQueue) -> None:
        super().__init__()
        self.events = events

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        self.events.tell("log", level=record.levelno, logger=record.name, text=text, at=record.created)


@contextlib.contextmanager
def ending(close: Callable[[], None]) -> Iterator[None]:
    """Close the rings when all is done, and on an error that would come again; else another process goes on there."""
    try:
        yield
    except MirrorError:
        close()
        raise
    close()


def _settle_in(parent: int) -> None:
    """Be known by name to ps(1) and top(1), and end when the parent ends, or has ended already (prctl(2))."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(PR_SET_NAME, multiprocessing.current_process().name.encode()[:15], 0, 0, 0)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def run_child(body: Callable[[], None], events: EventQueue, parent: int, level: int = logging.INFO) -> None:
    """Run a child's work: SIGINT, SIGTERM and SIGHUP are ignored, an error becomes one event and the exit code.

    A source process (one that has to stop taking input) installs its own SIGTERM handler inside `body`.
    """
    _settle_in(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    root = logging.getLogger()
    root.handlers = [EventHandler(events)]
    root.setLevel(level)
    try:
        body()
        return
    except MirrorError as error:
        events.tell("failed", text=str(error), exit_code=error.exit_code)
        sys.exit(error.exit_code)
    except MemoryError:
        pass  # told once nothing of what led here holds any memory
    except BaseException as error:
        logging.getLogger(__name__).exception("unexpected %s", type(error).__name__)
        events.tell("failed", text=f"internal error: {type(error).__name__}: {error}", exit_code=1)
        sys.exit(BUG_EXIT_CODE)
    events.tell("failed", text=_out_of_memory(), exit_code=1)
    sys.exit(BUG_EXIT_CODE)


def _out_of_memory() -> str:
    most = allowed()
    limit = "" if most is None else f": it may have {most >> 20} MiB of its own (docs/reliability.md)"
    return f"{multiprocessing.current_process().name} ran out of memory{limit}"
