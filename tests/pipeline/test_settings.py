"""Configuration errors are one line each: where, key, value, what to write instead; exit code 2."""

import pytest

from capture.errors import ConfigError
from pipeline.inputs import PcapInput
from pipeline.outputs import FileOutput, NullOutput, TcpOutput
from pipeline.settings import load, parse
from tests.pipeline.configurations import NULL, PCAP, TCP, fault

OUTPUT_TYPES = '"tcp", "http", "file", "stdout" or "null"'
HOW = "it says how, not how many"


def test_the_smallest_configuration_is_an_input_and_an_output():
    """Everything else has a default that is right offline."""
    config = parse(PCAP + NULL, "m.toml")
    assert config.input == PcapInput(type="pcap", path=("a.pcap",))
    assert config.output == (NullOutput(type="null"),)
    assert config.workers.count == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "input: missing; add [input]"),
        (
            PCAP,
            'output: [] is not possible; nothing would come out: add [[output]] with type = "file", "tcp", …',
        ),
        (
            PCAP + '[output]\ntype = "null"',
            "output: written as [output]; write [[output]], there may be several",
        ),
        (PCAP + "prots = [1]\n" + NULL, "input.prots: unknown key; did you mean ports?"),
        (PCAP + 'listen = "x"\n' + NULL, 'input.listen: unknown key; it belongs to type "tcp"'),
        (PCAP + NULL + "[wrokers]\n", "wrokers: unknown key; did you mean workers?"),
        (
            PCAP + NULL + "zebra = 1\n",
            f"output.0.zebra: unknown key; the keys here are {', '.join(NullOutput.model_fields)}",
        ),
        (
            TCP.replace("tcp", "lice") + NULL,
            'input: type "lice" does not exist; write type = "pcap", "live", "tcp" or "file"',
        ),
        (PCAP + "[[output]]\n", f"output.0: its type is missing; write type = {OUTPUT_TYPES}"),
        (
            PCAP + '[[output]]\ntype = "tpc"\n',
            f'output.0: type "tpc" does not exist; write type = {OUTPUT_TYPES}',
        ),
        ("input = 3\n", "input: 3 is not possible; write a table"),
    ],
)
def test_what_is_written_in_the_wrong_place_is_named(text, line):
    """Whoever mistypes a key must not run with its default."""
    assert fault(text) == f"m.toml: {line}"


def test_what_is_not_toml_is_told_in_the_words_of_the_parser():
    """With line and column."""
    assert fault("x = \n").startswith("m.toml: not valid TOML: Invalid value (at line 1, column 5)")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (PCAP + "ports = [0]\n" + NULL, "input.ports.0: 0 is not possible; write at least 1"),
        (PCAP + "ports = [70000]\n" + NULL, "input.ports.0: 70000 is not possible; write at most 65535"),
        (PCAP + 'ports = ["80"]\n' + NULL, 'input.ports.0: "80" is not possible; write a whole number'),
        (PCAP + "ports = 80\n" + NULL, "input.ports: 80 is not possible; write a list, like [80, 8080]"),
        (
            PCAP + NULL + "[workers]\ncount = true\n",
            "workers.count: true is not possible; write a whole number",
        ),
        (PCAP + NULL + "[workers]\ncount = 0\n", "workers.count: 0 is not possible; write at least 1"),
        *[
            (
                PCAP + f"lanes = {value}\n" + NULL,
                f'input.lanes: {value} is not possible; write a whole number from 1 to 64, or "auto"',
            )
            for value in ("0", "65", "true", "1.5", '"many"')
        ],
        (
            PCAP + NULL + "[assemble]\nresponses = 1\n",
            "assemble.responses: 1 is not possible; write true or false",
        ),
        (PCAP + '[[output]]\ntype = "tcp"\n', 'output.0.address: missing; write address = "127.0.0.1:24224"'),
        (PCAP + '[[output]]\ntype = "file"\n', 'output.0.path: missing; write path = "messages.jsonl"'),
        (
            PCAP + NULL + "[assemble]\ngap_timeout = 0\n",
            "assemble.gap_timeout: 0 is not possible; write more than 0",
        ),
    ],
)
def test_wrong_values_are_shown_with_what_to_write_instead(text, line):
    """The value itself is part of the line: it may have come from a template or an override."""
    assert fault(text) == f"m.toml: {line}"


def test_several_errors_are_one_line_that_counts_the_others():
    """The first one is told in full; nobody reads a page of them."""
    assert fault(PCAP + NULL + "[assemble]\nmemory = 1\nmax_header = 1\n").endswith("(and 1 more)")


def test_overrides_change_add_and_append():
    """--set must reach every key, also one in a table or an output that the file does not have."""
    config = parse(
        PCAP + NULL,
        "m.toml",
        ["input.ports=[80, 81]", "workers.count=2", "output.1.type=file", "output.1.path=out.jsonl"],
    )
    assert isinstance(config.input, PcapInput)
    assert config.input.ports == (80, 81)
    assert config.workers.count == 2
    assert config.output[1] == FileOutput(type="file", path="out.jsonl")


def test_an_override_is_read_as_toml_and_else_as_text():
    """An address needs no second pair of quotes on a command line."""
    overrides = [
        "output.0.type=tcp",
        "output.0.address=[::1]:9",
        "output.0.retry='3s'",
        "output.0.window_chunks=3",
    ]
    config = parse(PCAP + NULL, "m.toml", overrides)
    assert config.output[0] == TcpOutput(type="tcp", address="[::1]:9", retry=3.0, window_chunks=3)


def test_a_line_end_in_an_override_cannot_bring_further_keys():
    """A value is a value."""
    assert '"2\\nother = 1" is not possible' in fault(PCAP + NULL, "workers.count=2\nother = 1")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("workers.cuont=2", "--set: workers.cuont: unknown key; did you mean count?"),
        ("workers.count=many", '--set: workers.count: "many" is not possible; write a whole number'),
        ("output.3.type=null", "--set output.3.type: 3 is not an index; write a number from 0 to 1"),
        ("output.x=1", "--set output.x: x is not an index; write a number from 0 to 1"),
        ("input.path.x=1", '--set input.path.x: input.path is "a.pcap", which has no keys'),
        ("workers", "--set workers: write KEY=VALUE, like --set output.0.address=127.0.0.1:24224"),
        ("a..b=1", "--set a..b=1: write KEY=VALUE, like --set output.0.address=127.0.0.1:24224"),
        ("a\nb=1", '--set "a\\nb=1": write KEY=VALUE, like --set output.0.address=127.0.0.1:24224'),
    ],
)
def test_a_bad_override_names_itself_and_not_the_file(override, line):
    """The file is right: looking into it would waste time."""
    assert fault(PCAP + NULL, override) == line


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    """Missing, or not text at all."""
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file or directory"):
        load(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"a = \xff")
    with pytest.raises(ConfigError, match=r"bytes\.toml: not valid TOML: not UTF-8 at byte 4"):
        load(tmp_path / "bytes.toml")


def test_a_filter_that_cannot_be_read_is_named_with_its_place():
    """The file, the key, the value, the character, and what to write instead."""
    text = PCAP + NULL + "where = \"path = 'x'\"\n" + NULL
    with pytest.raises(ConfigError) as caught:
        parse(text, "m.toml")
    assert str(caught.value) == (
        "m.toml: output.0.where: \"path = 'x'\" is not possible; a single = at character 6; write =="
    )
    with pytest.raises(
        ConfigError, match=r"^--set: output\.0\.where: .* at character 11; write text in quotes, 'GET'$"
    ):
        parse(PCAP + NULL, "m.toml", ["output.0.where=method == GET"])


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("sample = 0", "sample: 0 is not possible; write more than 0"),
        ('sample = "120%"', 'sample: "120%" is not possible; write at most 100'),
        ('sample = "ten"', 'sample: "ten" is not possible; write a share like "10%" or "1/20", or a number of percent'),
        (
            'sample = 10\nsample_by = "user"',
            'sample_by: "user" is not possible; user to sample by at character 1; '
            "write exchange, flow, client, header('…'), param('…') or cookie('…')",
        ),
        (
            'sample_by = "flow"',
            f'sample_by: "flow" is not possible; {HOW}: add sample, or leave it out',
        ),
        (
            'sample_from = "50%"',
            f"sample_from: 50.0 is not possible; {HOW}: add sample, or leave it out",
        ),
        (
            'sample = "51%"\nsample_from = "1/2"',
            "sample_from: 50.0 is not possible; with a sample of 51% it ends beyond 100%: write less",
        ),
        ("sample = 1\nsample_from = 100", "sample_from: 100 is not possible; write less than 100"),
        ("limit = 0", "limit: 0 is not possible; write more than 0"),
        (
            'over_limit = "wait"',
            f'over_limit: "wait" is not possible; {HOW}: add limit, or leave it out',
        ),
        ('limit = 1\nover_limit = "x"', 'over_limit: "x" is not possible; write "drop" or "wait"'),
    ],
)
def test_a_sample_or_a_limit_that_cannot_work_is_refused_with_its_place(keys, line):
    """Whoever meant a tenth and mirrors everything may bring the far side down."""
    assert fault(PCAP + NULL + NULL + keys) == f"m.toml: output.1.{line}"


def test_what_is_over_a_limit_waits_where_everything_waits():
    """Offline nothing is lost; live nothing is held up: the key is for the other cases."""
    for where, expected in ((PCAP, "wait"), ('[input]\ntype = "live"\n', "drop")):
        config = parse(where + NULL + "limit = 5\n" + NULL + 'limit = 5\nover_limit = "drop"\n', "m.toml")
        assert [config.over_limit(each) for each in config.output] == [expected, "drop"]
    config = parse(PCAP + NULL + 'limit = 5\npolicy = "drop"', "m.toml")
    assert config.over_limit(config.output[0]) == "drop"
