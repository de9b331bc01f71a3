"""Errors: sorted by whose move is next, each with the exit code that says so."""

import pytest

from capture import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("x"), 2),
        (errors.SourceError("x"), 1),
        (errors.DeliveryError("x"), 1),
        (errors.MalformedTraffic("x", 7), 1),
    ],
)
def test_exit_codes_tell_whose_move_it_is(error, code):
    """Scripts distinguish a wrong configuration, which trying again will not mend, from the rest."""
    assert isinstance(error, errors.MirrorError)
    assert error.exit_code == code


def test_malformed_traffic_says_where():
    """Without the place, nobody finds the byte in the capture."""
    assert str(errors.MalformedTraffic("length runs past the end", 41)) == "length runs past the end at byte 41"
