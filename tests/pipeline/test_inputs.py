"""Inputs: what people write is what is read."""

from pipeline.inputs import PcapInput
from pipeline.settings import parse
from tests.pipeline.configurations import NULL


def test_one_path_or_many_and_values_with_units():
    """TOML has no tuples and no durations; people write what is natural."""
    source = '[input]\ntype = "pcap"\npath = ["a", "b"]\nports = [80, 8080]\n'
    config = parse(source + '[assemble]\ngap_timeout = "500ms"\nmemory = "1GiB"\n' + NULL, "m.toml")
    assert isinstance(config.input, PcapInput)
    assert config.input.path == ("a", "b")
    assert config.input.ports == (80, 8080)
    assert config.assemble.gap_timeout == 0.5
    assert config.assemble.memory == 2**30
