"""From the options of `pipeline replay` to a configuration: what was not given has its default."""

import pytest

from capture.errors import ConfigError, SourceError
from pipeline.inputs import FileInput, PcapInput
from pipeline.outputs import HttpOutput
from pipeline.replay import factor, tables, times
from pipeline.settings import build
from tests.integration.jobs import exchanges
from tests.integration.replays import asked, record
from tests.packets_files import write_pcap

URL = "http://127.0.0.1:8080"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A capture and two recordings, whose names do not tell."""
    monkeypatch.chdir(tmp_path)
    write_pcap(tmp_path / "a", exchanges(1))
    record(tmp_path / "b.1", asked(1, 1))
    record(tmp_path / "b.2", asked(1, 1))


def test_the_content_of_a_file_says_how_it_is_read(files):
    """People name their files as they like."""
    capture = build(tables(["a"], [80], {"address": URL}), "replay").input
    assert isinstance(capture, PcapInput)
    assert (capture.path, capture.ports) == (("a",), (80,))
    recording = build(tables(["b.*"], [], {"address": URL}), "replay").input
    assert isinstance(recording, FileInput)
    assert recording.path == ("b.*",)
    piped = build(tables(["-"], [], {"address": URL}), "replay").input
    assert isinstance(piped, PcapInput)


@pytest.mark.parametrize(
    ("names", "ports", "says"),
    [
        (["a", "b.1"], [], "captures and files of messages do not mix"),
        (["b.1", "-"], [], "captures and files of messages do not mix"),
        (["b.1"], [80], "--where 'dport == 80'"),
    ],
)
def test_what_cannot_be_read_together_is_refused(files, names, ports, says):
    """Before anything is sent."""
    with pytest.raises(ConfigError, match=says):
        tables(names, ports, {"address": URL})


def test_a_file_that_is_not_there_is_named(files):
    """A recording that is missing must not be taken for a capture."""
    with pytest.raises(SourceError, match=r"none\.rec: no such file"):
        tables(["none.rec"], [], {"address": URL})


def test_without_a_pace_the_captured_timing_is_kept(files):
    """As fast as it goes would be an attack on the server that was not asked for."""
    (output,) = build(tables(["a"], [], {"address": URL, "speed": None, "rate": None}), "replay").output
    assert isinstance(output, HttpOutput)
    assert (output.speed, output.rate) == (1.0, None)
    (output,) = build(tables(["a"], [], {"address": URL, "rate": 5.0}), "replay").output
    assert isinstance(output, HttpOutput)
    assert output.rate == 5.0
    with pytest.raises(ConfigError, match="write one of them"):
        build(tables(["a"], [], {"address": URL, "rate": 5.0, "speed": 2.0}), "replay")


def test_options_that_were_not_given_are_no_keys(files):
    """Else they would hide what the configuration says of its defaults."""
    given = {"address": URL, "methods": [], "multiply": None, "verify": None, "speed": "max"}
    assert tables(["a"], [], given)["output"] == [{"type": "http", "address": URL, "speed": "max"}]


@pytest.mark.parametrize(
    ("text", "value"), [(None, None), ("2", 2.0), ("0.5x", 0.5), ("max", "max"), ("fast", "fast"), ("", "")]
)
def test_a_speed_is_a_factor_or_text_that_the_check_judges(text, value):
    """One place says what is possible."""
    assert factor(text) == value


def test_parts_of_files_are_chosen_and_of_captures_are_not(files):
    """`pipeline convert` makes of a capture what has parts."""
    parts = {"loop": times("3"), "start": "+1s", "end": None, "longest_gap": "5s"}
    source = build(tables(["b.*"], [], {"address": URL}, parts), "replay").input
    assert isinstance(source, FileInput)
    assert (source.loop, source.start, source.end, source.longest_gap) == (3, (10**9, True), None, 5.0)
    with pytest.raises(ConfigError, match="--longest-gap: not of captures"):
        tables(["a"], [], {"address": URL}, {"loop": None, "longest_gap": "5s"})
    assert [times(each) for each in ("forever", "7", "x", None)] == ["forever", 7, "x", None]
