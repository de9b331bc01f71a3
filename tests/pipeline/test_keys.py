"""Values that cannot be meant are refused by their type, with what to write instead."""

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline import keys


@pytest.mark.parametrize(
    ("key", "wrong", "advice"),
    [
        (keys.Receiver, "h:0", "port 0 cannot be connected to"),
        (keys.Host, "a b", 'write "target"'),
        (keys.Token, "a b", "letters, digits"),
        (keys.Method, "GET ", "write a method"),
        (keys.Network, "10.0.0.0/33", "an address or a network"),
        (keys.Interface, "eth 0", "name of an interface"),
        (keys.Lanes, True, "from 1 to 64"),
        (keys.Lanes, 65, "from 1 to 64"),
        (keys.Speed, "fast", '"max", or a factor'),
        (keys.Loop, 0, '"forever"'),
        (keys.Port, 65536, "less than or equal to 65535"),
        (keys.Percent, "120%", "less than or equal to 100"),
        (keys.Address, "nowhere", "host:port"),
        (keys.FileNames, "100%.rec", '"%%"'),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(key, wrong, advice):
    """The advice is what a person reads; a value that passed would fail later, without a place."""
    with pytest.raises(ValidationError, match="1 validation error") as caught:
        TypeAdapter(key).validate_python(wrong)
    assert advice in str(caught.value)


def test_what_is_written_naturally_is_understood():
    """Units in texts, networks by any address in them."""
    for key, written, value in (
        (keys.Seconds, "500ms", 0.5),
        (keys.Size, "1MiB", 2**20),
        (keys.Percent, "1/4", 25.0),
        (keys.Network, "10.0.0.7/8", "10.0.0.0/8"),
        (keys.Speed, "max", "max"),
        (keys.Lanes, "auto", "auto"),
    ):
        assert TypeAdapter(key).validate_python(written) == value
