"""What is said about a run and how it ends, without the run: remarks, exit codes, the ledger's file."""

import io
import json
import resource
from pathlib import Path

import pytest

from capture.child import EventQueue
from capture.counters import Counters
from capture.errors import ConfigError, MirrorError
from pipeline import run
from pipeline.inputs import LiveInput, PcapInput
from pipeline.ledger import Equation, Ledger, Tally
from pipeline.run import Telling, Watch
from pipeline.settings import parse
from pipeline.supervisor import Outcome
from pipeline.terminal import Terminal
from pipeline.wiring import Stage, Wiring

CLOSED = Ledger((Equation("frames captured", 1, {"decoded": 1}),), {}, Tally())
LOSSY = Ledger(CLOSED.equations, {"messages incomplete": 1}, Tally())
OPEN = Ledger((Equation("frames captured", 2, {"decoded": 1}),), {}, Tally())


def settled(built: Ledger, outcome: Outcome, **telling: object) -> tuple[int, str]:
    """The exit code, and what was said."""
    stream = io.StringIO()
    code = run._settle(built, Wiring([], {}, ()), outcome, Telling(Terminal(stream), **telling))  # type: ignore[arg-type]
    return code, stream.getvalue()


@pytest.mark.parametrize(
    ("built", "strict", "code"),
    [
        (CLOSED, False, 0),
        (CLOSED, True, 0),
        (LOSSY, False, 0),
        (LOSSY, True, 3),
        (OPEN, False, 1),
        (OPEN, True, 1),
    ],
)
def test_the_exit_code_follows_from_the_ledger(built, strict, code):
    """DESIGN 6: 0 only when it closes; --strict also fails on any loss."""
    assert settled(built, Outcome(), strict=strict)[0] == code


def test_the_exit_code_of_an_error_goes_before_that_of_a_loss():
    """3 means 'ran well, lost something'."""
    outcome = Outcome()
    outcome.fail("no receiver", 1)
    code, said = settled(LOSSY, outcome, strict=True)
    assert code == 1
    assert said.endswith("pipeline: error: no receiver\n")


def test_an_open_ledger_after_an_error_is_not_called_a_bug():
    """A killed child leaves things in flight: that is said once, by its own error."""
    outcome = Outcome()
    outcome.fail("worker 0 was killed by SIGKILL")
    assert "bug" not in settled(OPEN, outcome)[1]
    assert "this is a bug" in settled(OPEN, Outcome())[1]


def test_what_was_counted_twice_is_a_bug_whatever_else_went_wrong():
    """No abort leaves more than there was; the exit code stays that of the abort."""
    outcome = Outcome()
    outcome.fail("aborted by SIGINT", 130)
    twice = Ledger((Equation("frames captured", 1, {"decoded": 1, "aborted": 1}),), {}, Tally())
    code, said = settled(twice, outcome)
    assert code == 130
    assert "DOES NOT CLOSE" in said
    assert "error: the ledger does not close: something was counted twice; this is a bug" in said


def test_the_ledger_file_holds_exit_code_and_errors(tmp_path):
    """Whoever reads it need not have watched."""
    outcome = Outcome()
    outcome.fail("no receiver", 1)
    settled(CLOSED, outcome, ledger=tmp_path / "l.json")
    written = json.loads((tmp_path / "l.json").read_text())
    assert (written["closed"], written["exit_code"], written["errors"]) == (True, 1, ["no receiver"])


def test_a_full_disk_under_the_ledger_is_an_error():
    """The run was good, its account is lost."""
    code, said = settled(CLOSED, Outcome(), ledger=Path("/dev/full"))
    assert code == 1
    assert "--ledger /dev/full: cannot be written: no space left on device: make room" in said


def test_what_a_full_disk_takes_of_a_ledger_is_not_left(tmp_path):
    """Half a ledger is no JSON; whoever reads it would look for the fault in the program."""
    path = tmp_path / "l.json"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        code, said = settled(CLOSED, Outcome(), ledger=path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 1
    assert "cannot be written: file too large" in said
    assert path.read_bytes() == b""


def test_the_ledger_cannot_share_standard_output_with_messages():
    """Nobody could take them apart."""
    config = parse('[input]\ntype = "tcp"\n[[output]]\ntype = "stdout"\n', "m.toml")
    with pytest.raises(ConfigError, match="standard output is taken"):
        run._check_ledger_path(config, Path("-"))
    with pytest.raises(MirrorError, match="cannot be written"):
        run._check_ledger_path(config, Path("/no/such/dir/l.json"))


@pytest.mark.parametrize(
    ("frames", "counts", "said"),
    [
        (0, {}, "no frame was read"),
        (9, {"segments_data": 4}, "TCP was seen, but no HTTP message in it"),
        (9, {"refused_port": 9}, "no TCP was seen on port 80, 81: 9 frames are of other ports"),
        (9, {"refused_not_ip": 9}, "no TCP was seen in 9 frames"),
    ],
)
def test_a_run_without_messages_says_why(frames, counts, said):
    """An empty result has several causes, and each its own remedy."""
    full = {"segments_data": 0, "segments_control": 0} | counts
    source = PcapInput(type="pcap", path=("a.pcap",), ports=(80, 81))
    assert run._why_no_message(full, {"frames_captured": frames}, source) == said


def test_a_live_run_that_saw_nothing_names_its_interfaces():
    """The wrong interface is the most frequent cause, and cannot be told from the ledger."""
    source = LiveInput(type="live", interfaces=("eth0", "eth1"))
    assert "no frame was captured on eth0, eth1; `pipeline interfaces`" in run._why_no_message({}, {}, source)


def test_progress_is_logged_every_few_seconds_where_there_is_no_terminal(caplog):
    """A log of a long run shows that it lives, and stays short; an idle receiver is silent."""
    caplog.set_level("INFO")
    counters = Counters(("frames_captured",))
    capture = Stage("capture", print, None, EventQueue(), counters)
    now_s = [0.0]
    watch = Watch(Wiring((capture,), {}, ()), Telling(Terminal(io.StringIO())), lambda: now_s[0])
    for now_s[0] in (1.0, 4.9, 5.0, 6.0, 9.9, 10.1):
        counters.add("frames_captured")
        watch()
    for now_s[0] in (16.0, 22.0):
        watch()
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == ["3 frames", "6 frames"]


def test_an_idle_live_run_says_nothing_for_hours(caplog):
    """Its counters of time go on; a line every five seconds would be a hundred thousand in a week."""
    caplog.set_level("INFO")
    counters = Counters(("frames_captured", "interfaces_opened", "cpu_ms"))
    counters.set("interfaces_opened", 1)
    now_s, told = [0.0], []
    watch = Watch(
        Wiring([Stage("capture", print, None, EventQueue(), counters)], {}, ()),
        Telling(Terminal(io.StringIO())),
        lambda: now_s[0],
    )
    watch.tell = told.append
    for now_s[0] in (6.0, 12.0, 18.0):
        counters.add("cpu_ms", 5)
        watch()
    assert not caplog.records
    assert len(told) == 3, "the service manager's line is one that is replaced"


def test_a_directory_that_cannot_be_entered_is_one_line(tmp_path, monkeypatch):
    """Every child would fail there, each with a traceback."""

    def refuse(_path: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(run.os, "chdir", refuse)
    with pytest.raises(MirrorError, match="current directory cannot be entered: Permission denied"):
        run._check_directory()
