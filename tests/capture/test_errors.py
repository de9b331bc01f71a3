"""Errors: sorted by whose move is next, each with the exit code that says so."""

import errno

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


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files: allow this process more open files"),
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), "/tmp/x: No space left on device: make room"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "the current directory is gone"),
        (OSError(errno.EIO, "Input/output error", "a"), "a: Input/output error: look at the disk"),
    ],
)
def test_what_the_kernel_refuses_is_told_in_a_line(error, says):
    """With what to do about it, where anything can be done."""
    assert errors.refused(error).startswith(says)
    assert "\n" not in errors.refused(error)


@pytest.mark.parametrize("error", [OSError("odd"), FileNotFoundError(errno.ENOENT, "No such file or directory", "x")])
def test_what_may_be_our_own_fault_is_not_made_a_line(error):
    """Its traceback is what it is found by."""
    assert errors.refused(error) is None
