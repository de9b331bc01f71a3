"""Standard error: status line and log lines do not run into each other."""

import io
import json
import logging

from pipeline.terminal import CLEAR, Terminal, start_logging


class Screen(io.StringIO):
    """A terminal that keeps what was written."""

    def isatty(self) -> bool:
        return True


class Full(io.StringIO):
    """A standard error that cannot be written to."""

    def write(self, _text: str, /) -> int:
        raise OSError("no space")


def test_a_line_lands_above_the_status_line(monkeypatch):
    """The status is taken away, the line written, the status put back."""
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    terminal = Terminal(screen)
    terminal.status("50%")
    terminal.line("hello")
    terminal.status("")
    assert screen.getvalue() == f"{CLEAR}50%{CLEAR}hello\n50%{CLEAR}"


def test_a_long_status_is_cut_to_the_width(monkeypatch):
    """A status that wraps could not be taken away again."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen()
    Terminal(screen).status("x" * 100)
    assert screen.getvalue() == CLEAR + "x" * 19


def test_a_pipe_gets_lines_only():
    """No control characters in a log file."""
    stream = io.StringIO()
    terminal = Terminal(stream)
    terminal.status("50%")
    terminal.line("hello")
    assert stream.getvalue() == "hello\n"


def test_a_full_or_closed_standard_error_does_not_end_the_run():
    """The messages matter more than what is said about them."""
    Terminal(Full()).line("hello")
    closed = io.StringIO()
    terminal = Terminal(closed)
    closed.close()
    terminal.line("hello")


def test_plain_lines_name_process_and_trouble():
    """A warning can be found by its name."""
    stream = io.StringIO()
    start_logging(Terminal(stream), "plain", logging.INFO)
    logging.getLogger("worker 0").info("ready")
    logging.getLogger("capture").warning("cut")
    logging.getLogger("capture").debug("too fine")
    ready, cut = stream.getvalue().splitlines()
    assert ready.endswith(" worker 0: ready")
    assert cut.endswith(" capture: warning: cut")


def test_json_lines_are_objects():
    """One object per line, whatever the text."""
    stream = io.StringIO()
    start_logging(Terminal(stream), "json", logging.INFO)
    logging.getLogger("worker 0").info("two\nlines")
    (line,) = stream.getvalue().splitlines()
    said = json.loads(line)
    assert said.pop("at") > 0
    assert said == {"level": "info", "process": "worker 0", "text": "two\nlines"}
