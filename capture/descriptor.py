"""A descriptor that is ours, and how it travels to a child.

In: a descriptor.  Out: the same, in this process or in one that is spawned.  Invariant: it is closed with its last
holder here, also where the interpreter is ending.
"""

import os
from collections.abc import Callable
from multiprocessing import reduction
from typing import Any


class Descriptor:
    """Subclasses say what it is of; they take it as `fd`, and whatever else they travel with as `arguments` has it."""

    fd = -1

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # `os` may be gone by then
        if self.fd >= 0:
            close(self.fd)
            self.fd = -1

    def __reduce__(self) -> tuple[Any, ...]:
        return _attach, (type(self), self.arguments, reduction.DupFd(self.fd))

    @property
    def arguments(self) -> dict[str, Any]:
        """What one is made of at the other end, besides `fd`."""
        return {}


def _attach(kind: type[Descriptor], arguments: dict[str, Any], travelled: Any) -> Descriptor:
    return kind(fd=travelled.detach(), **arguments)
