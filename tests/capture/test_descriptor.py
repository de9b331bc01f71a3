"""What travels to a child by descriptor: every kind arrives whole, and none is left open."""

import os
from multiprocessing import reduction
from typing import Any

import pytest

from capture.descriptor import Descriptor


class Named(Descriptor):
    """One that travels with something besides."""

    def __init__(self, name: str, fd: int) -> None:
        super().__init__(fd)
        self.name = name

    @property
    def arguments(self) -> dict[str, Any]:
        return {"name": self.name}


class Picky(Descriptor):
    """One that is not made after all."""

    def __init__(self, fd: int = -1) -> None:
        if fd < 0:
            raise OSError("no descriptors left")
        super().__init__(fd)


def is_open(fd: int) -> bool:
    """Whether a descriptor is anybody's here."""
    return os.path.exists(f"/proc/self/fd/{fd}")


def test_it_arrives_with_its_arguments_under_a_number_of_its_own(monkeypatch):
    class Travelled:
        def __init__(self, fd):
            self.fd = fd

        def detach(self):
            return os.dup(self.fd)

    monkeypatch.setattr(reduction, "DupFd", Travelled)
    sent = Named("books", os.memfd_create("descriptor"))
    os.write(sent.fd, b"hello")

    make, arguments = sent.__reduce__()
    arrived = make(*arguments)

    assert type(arrived) is Named
    assert arrived.name == "books"
    assert arrived.fd != sent.fd
    assert os.pread(arrived.fd, 10, 0) == b"hello"


def test_it_is_closed_with_its_holder():
    holder = Descriptor(os.memfd_create("descriptor"))
    fd = holder.fd
    assert is_open(fd)
    del holder
    assert not is_open(fd)


def test_one_that_could_not_be_made_closes_nothing(recwarn):
    with pytest.raises(OSError, match="no descriptors left"):
        Picky()
    assert not recwarn
