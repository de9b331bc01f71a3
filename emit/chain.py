"""The steps of one output, one after the other, and which messages are inside them.

In: messages, each with its place in the ring.  Out: what has passed all steps, in order.  Invariant: what goes in, and
what a step adds, comes out, or is taken away and counted; and `oldest` is never behind a message that is inside.
"""

from collections import deque
from collections.abc import Sequence

from assemble.message import Message
from emit.transform import Transform


class Chain:
    """Steps, and what waits between them; `put` gives it a message when `next` has nothing more."""

    def __init__(self, steps: Sequence[Transform]) -> None:
        self.steps = tuple(steps)
        self.queue: deque[tuple[int, Message, int]] = deque()  # the step to come, a message, where it comes from
        self.inside: tuple[deque[int], ...] = tuple(deque() for _ in steps)  # where come from what steps hold
        self.added = 0  # messages beyond those put in
        self.removed: dict[str, int] = {}  # messages taken away, by outcome
        self.finished = 0  # steps that know that no more will come
        self.holding = tuple(at for at, step in enumerate(steps) if step.holds)

    def put(self, message: Message, start: int) -> None:
        """Take a message that begins at a position of the ring."""
        self.queue.append((0, message, start))

    def next(self, now_s: float) -> Message | None:
        """Return the next message that has passed every step; None if there is none, or a step has to wait."""
        last = len(self.steps)
        while True:
            at, made = 0, None
            if self.queue:
                at, message, start = self.queue[0]
                if at == last:
                    self.queue.popleft()
                    return message
                made = self.apply(at, message, start, now_s)
            if made is not None:
                self.queue.popleft()
                self.give(at + 1, made, start)
            elif not self.collect(at, now_s):  # only steps behind the one that has to wait: its turn comes first
                return None

    def apply(self, at: int, message: Message, start: int, now_s: float) -> Sequence[Message] | None:
        """Give a step a message, and account for what it makes of it."""
        step = self.steps[at]
        held = step.held if step.holds else 0
        made = step.apply(message, now_s)
        if made is None:
            return None
        if step.holds:
            self.inside[at].append(start)
            self.account(at, 1, len(made), step.held - held)
        elif len(made) != 1:
            self.account(at, 1, len(made), 0)
        return made

    def collect(self, first: int, now_s: float) -> bool:
        """Take what has come out of a step from `first` on, the last that has changed; False if none has."""
        for at in reversed(self.holding):
            if at < first:
                break
            step, inside = self.steps[at], self.inside[at]
            held, oldest = step.held, inside[0] if inside else None
            made = step.collect(now_s)
            self.account(at, 0, len(made), step.held - held)
            if made or step.held != held:
                self.give(at + 1, made, self.start_of(oldest))
                return True
        return False

    def finish(self) -> bool:
        """Tell the next step that nothing more will come, once those before it are empty; False if there is none."""
        if self.queue or self.finished == len(self.steps) or not self.through:
            return False
        self.steps[self.finished].finish()
        self.finished += 1
        return True

    def start_of(self, oldest: int | None) -> int:
        """Return a place for messages that came of no particular one."""
        if oldest is not None:
            return oldest
        return self.queue[0][2] if self.queue else 0

    def give(self, at: int, made: Sequence[Message], start: int) -> None:
        """Put messages before a step, ahead of all that wait."""
        for message in reversed(made):
            self.queue.appendleft((at, message, start))

    def account(self, at: int, given: int, made: int, more_held: int) -> None:
        """Count what a step has added or taken away, and forget what is no longer inside."""
        step, inside = self.steps[at], self.inside[at]
        net = made + more_held - given
        if net > 0:
            self.added += net
        elif net < 0:
            self.removed[step.outcome] = self.removed.get(step.outcome, 0) - net
        if inside:
            span = step.span
            while len(inside) > span:
                inside.popleft()

    @property
    def through(self) -> bool:
        """Whether nothing comes any more out of the steps that know that nothing will come."""
        return not self.finished or not (self.steps[self.finished - 1].held or self.steps[self.finished - 1].unfinished)

    @property
    def ended(self) -> bool:
        """Whether nothing comes any more out of any step."""
        return self.finished == len(self.steps) and self.through

    @property
    def asked(self) -> tuple[Transform, ...]:
        """The steps that `next` would ask for something: one that is not would have it in vain that it has."""
        return self.steps[self.queue[0][0] :] if self.queue else self.steps

    @property
    def waiting(self) -> bool:
        """Whether a message waits for a step that cannot take it now."""
        return bool(self.queue)

    @property
    def pending(self) -> int:
        """Messages inside."""
        return len(self.queue) + sum(self.steps[at].held for at in self.holding)

    @property
    def oldest(self) -> int | None:
        """Where the oldest message that is inside comes from; None if none is."""
        starts = [self.inside[at][0] for at in self.holding if self.inside[at]]
        if self.queue:
            starts.append(self.queue[0][2])
        return min(starts, default=None)

    @property
    def failure(self) -> str | None:
        """Why a step cannot go on, if one cannot."""
        return next((step.failure for step in self.steps if step.failure is not None), None)

    def clear(self) -> int:
        """Forget what is inside, and return how many messages that was."""
        lost = self.pending
        self.queue.clear()
        for inside in self.inside:
            inside.clear()
        return lost
