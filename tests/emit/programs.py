"""Middlewares for tests, as their users write them, and a worker's poll loop around one, without the worker."""

import select
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from assemble.message import Message
from emit.chain import Chain
from emit.middleware import Middleware, MiddlewareSpec

DEADLINE_S: Final = 30.0

PYTHON: Final = """
import binascii, os, sys, time

def lines():
    for line in sys.stdin.buffer:
        head, _, payload = binascii.unhexlify(line.strip()).partition(b"\\n")
        kind, name, *rest = head.split(b" ")
        yield kind, name, head, payload

def send(head, payload, end=b"\\n"):
    sys.stdout.buffer.write(binascii.hexlify(head + b"\\n" + payload) + end)
    sys.stdout.buffer.flush()
"""
"""What every middleware in Python begins with."""

TOKENS: Final = (
    PYTHON
    + """
# The pattern that GoReplay is known for: what the original server gave out as a token is exchanged, in later requests,
# for what the replayed server gave out; responses are looked at and kept.
asked, aliases = {}, {}
for kind, name, head, payload in lines():
    sys.stderr.write("[DEBUG][TOKEN-MOD] %s %s\\\\n" % (kind.decode(), name.decode()))
    body = payload.partition(b"\\r\\n\\r\\n")[2]
    if kind == b"1":
        path = payload.split(b" ")[1]
        if path == b"/token":
            asked[name] = b""
        elif b"token=" in path:
            token = path.partition(b"token=")[2]
            payload = payload.replace(token, aliases.get(token, token), 1)
        send(head, payload)
    elif kind == b"2" and name in asked:
        asked[name] = body
    elif kind == b"3" and name in asked:
        aliases[asked.pop(name)] = body
""".replace("\\\\", "\\")
)


def python(tmp_path: Path, body: str, name: str = "middleware.py") -> tuple[str, ...]:
    """Write a program and return how to start it; its body follows what every one begins with."""
    path = tmp_path / name
    path.write_text(body if body.startswith(PYTHON) else PYTHON + body)
    return sys.executable, str(path)


class Driver:
    """A chain of one middleware, and what a worker does with it."""

    def __init__(self, command: Sequence[str], **spec: Any) -> None:
        self.step = MiddlewareSpec(tuple(command), "output 0: middleware", **spec).make()
        assert isinstance(self.step, Middleware)
        self.middleware = self.step
        self.chain = Chain([self.step])
        self.found: list[Message] = []
        self.put = 0
        self.counts: dict[str, int] = {}

    def turn(self) -> None:
        """Ask the step for all that it has, as an output does in its turn."""
        now_s = time.monotonic()
        while (message := self.chain.next(now_s)) is not None:
            self.found.append(message)
        for name, amount in self.step.take_counts().items():
            self.counts[name] = self.counts.get(name, 0) + amount

    def wait(self) -> None:
        """Wait for what the step waits for."""
        poller = select.poll()
        for fd, events in self.step.descriptors().items():
            poller.register(fd, events)
        at_s = self.step.deadline()
        wait_s = 1.0 if at_s is None else max(at_s - time.monotonic(), 0.0)
        poller.poll(min(wait_s, 1.0) * 1000 + 1)

    def until(self, condition: Any) -> None:
        """Go on until something is so."""
        end_s = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < end_s
            self.turn()
            if not condition():
                self.wait()

    def give(self, messages: Sequence[Message]) -> None:
        """Give messages, each when there is room, or until the step has failed."""
        for message in messages:
            self.until(lambda: not self.chain.waiting or self.step.failure)
            self.chain.put(message, self.put)
            self.put += 1
            self.turn()

    def finish(self) -> list[Message]:
        """Let it end, and return all that has come out."""
        self.until(lambda: not self.chain.waiting or self.step.failure)
        self.chain.finish()
        self.until(lambda: (self.chain.ended and not self.chain.pending) or self.step.failure)
        return self.found

    @property
    def closes(self) -> bool:
        """Whether every message is in one place."""
        gone = sum(self.chain.removed.values()) + self.chain.pending
        return self.put + self.chain.added == len(self.found) + gone


@contextmanager
def driven(command: Sequence[str], **spec: Any) -> Iterator[Driver]:
    """Run a middleware, and leave nothing of it behind."""
    driver = Driver(command, **spec)
    driver.step.start(time.monotonic())
    try:
        yield driver
        assert driver.closes
    finally:
        driver.step.close()
