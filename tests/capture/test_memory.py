"""Memory that processes share: what one writes the other reads, and nothing of it is left."""

import os

import pytest

from capture.counters import Counters
from capture.errors import MirrorError
from capture.memory import Memory, make_memory


def test_two_mappings_are_of_the_same_memory():
    """Counters are the simplest that lies in it."""
    counters = Counters(("a", "b"))
    other = Counters(("a", "b"), os.dup(counters.fd))
    counters.add("b", 7)
    assert other["b"] == 7


def test_a_descriptor_is_closed_with_its_holder():
    fd = make_memory("test", 4096)
    memory = Memory("test", fd)
    assert (memory.fd, memory.size) == (fd, 4096)
    assert os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:ringtap-test")
    del memory
    with pytest.raises(OSError):  # noqa: PT011  # there is no such descriptor any more
        os.fstat(fd)


def test_what_has_another_size_is_something_else():
    with pytest.raises(MirrorError, match="test: the descriptor does not hold a schedule"):
        Memory("test", make_memory("test", 4096), 64, "a schedule")


def test_nothing_cannot_be_mapped():
    with pytest.raises(MirrorError, match="test: cannot map 0 bytes"):
        Memory("test", make_memory("test", 0))
