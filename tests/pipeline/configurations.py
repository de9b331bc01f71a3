"""Configurations that tests begin with, and what is said of one that cannot be."""

import pytest

from capture.errors import ConfigError
from pipeline.settings import parse

PCAP = '[input]\ntype = "pcap"\npath = "a.pcap"\n'
TCP = '[input]\ntype = "tcp"\n'
FILE = '[input]\ntype = "file"\npath = "a.rec"\n'
HTTP = PCAP + '[[output]]\ntype = "http"\naddress = "http://h"\n'
NULL = '[[output]]\ntype = "null"\n'


def fault(text: str, *overrides: str) -> str:
    """The one line that is said about a configuration."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "m.toml", overrides)
    line = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in line
    return line
