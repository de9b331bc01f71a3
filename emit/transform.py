"""What a step between a ring and an output is: a message in, messages out.

In: whole messages, in the order of the ring.  Out: messages in their place, in order.  Invariant: a step says of every
message that it was given whether it is still inside: none is let go before all that is made of it is safe.
"""

import abc
from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from assemble.message import Message


class Transform(abc.ABC):
    """One step of one output.  All that most need is `apply`; the rest is for steps that wait or have helpers.

    The bytes of a message are what counts: method, target and status of what comes out are read from its payload.
    `Message.with_payload` is the quick way to change it, `Message.replace` the general one.
    """

    outcome: str = "removed"
    """What has become of messages that it has just taken away: one of OUTCOMES in emit/records.py."""
    holds: ClassVar[bool] = False
    """Whether messages may still be inside when `apply` has returned, and come out by `collect`."""

    @abc.abstractmethod
    def apply(self, message: Message, now_s: float) -> Sequence[Message] | None:
        """Return what takes the message's place, in order; () takes it away; None: not now, ask again with the same.

        `now_s` is the monotonic clock, as of this turn of the worker.
        """

    # -- for steps that hold messages; they give them back in time, and not only when more are given: what is inside
    #    stays in the ring, which may need the room for what is still to come

    def collect(self, now_s: float) -> Sequence[Message]:  # noqa: ARG002
        """Return what has come out since; also called when there is nothing new to give, and must not wait."""
        return ()

    @property
    def held(self) -> int:
        """How many of the messages given are inside: neither returned, nor known to be taken away."""
        return 0

    @property
    def span(self) -> int:
        """How many messages were given since the oldest that is inside, with that one; `held`, if order is kept."""
        return self.held

    # -- for steps that look at more than what they are given

    def tell(self, message: Message) -> bool:  # noqa: ARG002
        """Take note of what an output was answered; False, and it is not noted, if there is no room for it now."""
        return True

    # -- for steps with helpers

    def start(self, now_s: float) -> None:  # noqa: B027  # most have nothing to start
        """Begin: start what helps; failures are kept, not raised."""

    @property
    def failure(self) -> str | None:
        """Why it cannot go on, for good: it takes and returns nothing more, and its output gives up."""
        return None

    def descriptors(self) -> dict[int, int]:
        """Return poll events by descriptor that make it worth asking again."""
        return {}

    def deadline(self) -> float | None:
        """Return when it is worth asking again in any case, on the monotonic clock."""
        return None

    def finish(self) -> None:  # noqa: B027
        """Note that no more messages will be given; what is inside is still waited for."""

    @property
    def unfinished(self) -> bool:
        """Whether something may still come out after `finish` though nothing is inside."""
        return False

    def close(self) -> None:  # noqa: B027
        """Let go of what `start` opened; nothing is asked any more."""

    def take_counts(self) -> Mapping[str, int]:
        """Return what is to be added to the output's counters, by their names in emit/records.py, since last asked."""
        return {}


def head_of(payload: bytes) -> int:
    """Return the length of start line and headers, with the blank line; all of it if there is none."""
    ends = [at + len(end) for end in (b"\n\r\n", b"\n\n") if (at := payload.find(end)) >= 0]
    return min(ends, default=len(payload))


class TransformSpec(Protocol):
    """A step as a worker is told of it: plain values that travel to its process."""

    def make(self) -> Transform:
        """Make the step; nothing is started yet."""
