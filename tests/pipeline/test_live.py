"""What a live input means for the stages: captures and assemblers must be told the same."""

import pytest

from capture.taps import LivePlan
from pipeline import live
from pipeline.config import Config
from pipeline.inputs import LiveInput
from pipeline.settings import parse

TEXT = """
[input]
type = "live"
interfaces = ["eth0", "veth*"]
ports = [80, 8080]
hosts = ["10.1.2.3/8", "2001:db8::1"]
direction = "inbound"
filter = "not host 10.0.0.7"
sample = 12.5
snap_length = 1600
buffer = "2MiB"
timeout = "50ms"
promiscuous = false
[assemble]
responses = false
[[output]]
type = "tcp"
address = "127.0.0.1:8080"
[[output]]
type = "tcp"
address = "[::1]:9"
[[output]]
type = "http"
address = "http://127.0.0.1:81/x"
[[output]]
type = "null"
"""


def configured(text: str = TEXT) -> tuple[Config, LiveInput]:
    """A configuration and its input."""
    config = parse(text, "m.toml")
    assert isinstance(config.input, LiveInput)
    return config, config.input


def selected(config: Config) -> live.Selection:
    """What it says in names, looked up."""
    chosen = live.select(config)
    assert chosen is not None
    return chosen


def planned(lanes: int) -> list[LivePlan]:
    """The plans of so many captures."""
    config, source = configured()
    return list(live.plans(config, source, selected(config), lanes))


def test_every_key_arrives_at_the_captures():
    """A key that is accepted and not obeyed is worse than an unknown one."""
    (plan,) = planned(1)
    assert plan.interfaces == ("eth0", "veth*")
    assert plan.turns.pages == ()
    assert (plan.manner.snap_bytes, plan.manner.buffer_bytes, plan.manner.timeout_ms) == (1600, 2 << 20, 50)
    assert not plan.manner.promiscuous
    wanted = plan.wanted
    assert (wanted.ports, wanted.hosts) == ((80, 8080), ("10.0.0.0/8", "2001:db8::1/128"))
    assert (wanted.direction, wanted.responses, wanted.filter) == ("inbound", False, "not host 10.0.0.7")


def test_where_outputs_send_to_is_left_out_by_both():
    """On a watched port of this host it would come back as new traffic, and be sent again."""
    config, source = configured()
    (plan,) = planned(1)
    assert plan.wanted.exclude == (("127.0.0.1", 81), ("127.0.0.1", 8080), ("::1", 9))
    assert live.assemble_order(source, selected(config))["exclude"] == plan.wanted.exclude


def test_a_direction_is_seen_from_the_hosts_or_else_from_this_machine():
    """Whoever mirrors a virtual address names it; whoever names nothing means the machine."""
    config, _source = configured()
    assert selected(config).ours == ("10.0.0.0/8", "2001:db8::1/128")
    config, _source = configured(TEXT.replace('hosts = ["10.1.2.3/8", "2001:db8::1"]\n', ""))
    assert "127.0.0.1" in selected(config).ours
    config, _source = configured(TEXT.replace('direction = "inbound"\n', ""))
    assert selected(config).ours == ()


def test_captures_and_assemblers_are_ordered_the_same():
    """What one lets through and the other refuses is lost, or work for nothing."""
    config, source = configured()
    capture, assembler = live.capture_order(source, selected(config)), live.assemble_order(source, selected(config))
    shared = {"ports", "hosts", "direction", "ours", "exclude"}
    assert {key: capture[key] for key in shared} == {key: assembler[key] for key in shared}
    assert set(capture) == shared | {"interfaces", "filter"}
    assert set(assembler) == shared | {"sample"}
    assert assembler["sample"] == 12.5


def test_lanes_open_interfaces_in_turn():
    """Each sees the pages of all, and writes its own."""
    plans = planned(3)
    assert [plan.turns.lane for plan in plans] == [0, 1, 2]
    assert [len(plan.turns.pages) for plan in plans] == [3, 3, 3]
    assert len({plan.turns.pages for plan in plans}) == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('hosts = ["10.0.0.300"]', "write an address or a network"),
        ('interfaces = ["eth 0"]', "write the name of an interface"),
        ("interfaces = []", "write at least one"),
        ('direction = "in"', 'write "both", "inbound" or "outbound"'),
        ("sample = 0", "write more than 0"),
        ("sample = 101", "write at most 100"),
        ('snap_length = "1MiB"', "write at most 262144"),
        ('timeout = "2s"', "write at most 1"),
        ('buffer = "2GiB"', "write less than 2147483648"),
        ('lanes = "many"', 'or "auto"'),
        ('path = "x.pcap"', 'it belongs to type "pcap"'),
    ],
)
def test_a_bad_value_is_one_line_that_says_what_to_write(line, says):
    """Before anything starts, and with the key."""
    from capture.errors import ConfigError

    with pytest.raises(ConfigError, match=rf"m.toml: input\.{line.split()[0]}(\.0)?: .*{says}"):
        parse(f'[input]\ntype = "live"\n{line}\n[[output]]\ntype = "null"\n', "m.toml")


def test_a_live_run_drops_at_outputs_but_not_in_files():
    """A slow receiver must not hold the capture up; a file is there to have everything."""
    text = '[input]\ntype = "{}"\n{}[[output]]\ntype = "null"\n[[output]]\ntype = "file"\npath = "a.jsonl"\n'
    more = '[[output]]\ntype = "null"\npolicy = "block"\n'
    config = parse(text.format("live", "") + more, "m.toml")
    assert [config.policy(output) for output in config.output] == ["drop", "block", "block"]
    config = parse(text.format("pcap", 'path = "a.pcap"\n') + more, "m.toml")
    assert [config.policy(output) for output in config.output] == ["block", "block", "block"]
