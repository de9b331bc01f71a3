"""Standard error as the user sees it: log lines, and on a terminal one status line that rewrites itself.

In: log records, status texts.  Out: standard error.  Invariant: no line lands inside the status line.
"""

import json
import logging
import os
import shutil
import sys
import threading
import time
from typing import Final, Literal, TextIO

LogFormat = Literal["plain", "json"]
CLEAR: Final = "\r\x1b[K"


class Terminal:
    """Owns standard error for one command."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.live = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.columns = shutil.get_terminal_size().columns
        self._status = ""
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """Write whole lines above the status line."""
        with self._lock:
            self._write((CLEAR if self._status else "") + text + "\n" + self._status)

    def status(self, text: str) -> None:
        """Replace the status line; an empty text removes it.  Nothing happens when this is not a terminal."""
        if self.live:
            with self._lock:
                self._status = text[: self.columns - 1]
                self._write(CLEAR + self._status)

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):
            self._status = ""  # a full or closed standard error must not end a run


class TerminalHandler(logging.Handler):
    """Writes log records to a terminal, as plain lines or as one JSON object per line."""

    def __init__(self, terminal: Terminal, style: LogFormat) -> None:
        super().__init__()
        self.terminal = terminal
        self.setFormatter(JsonFormatter() if style == "json" else PlainFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.terminal.line(self.format(record))


class PlainFormatter(logging.Formatter):
    """Time of day, who, what; the level only where it is a warning or worse."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return f"{at} {record.name}: {level}{record.getMessage()}"


class JsonFormatter(logging.Formatter):
    """One object per record: at (seconds since the epoch), level, process, text."""

    def format(self, record: logging.LogRecord) -> str:
        said = {"at": round(record.created, 6), "level": record.levelname.lower(), "process": record.name}
        return json.dumps(said | {"text": record.getMessage()}, ensure_ascii=False)


def has_terminal() -> bool:
    """Return whether this process has a controlling terminal (tty(4)): none, once that has hung up."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def start_logging(terminal: Terminal, style: LogFormat, level: int) -> None:
    """Send this process's log to the terminal, in place of whatever was set up before."""
    root = logging.getLogger()
    root.handlers[:] = [TerminalHandler(terminal, style)]
    root.setLevel(level)
