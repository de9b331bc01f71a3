"""What steps of rules share: each rule is applied, in their order, to the messages that its `where` is about.

In: messages.  Out: messages.  Invariant: every rule is asked about every message, so that responses know of their
requests; what a rule could not look into is counted.
"""

import abc
from collections.abc import Mapping, Sequence

from assemble.message import Message
from emit.judge import Judge
from emit.match import Matcher
from emit.transform import Transform
from emit.verdicts import Verdicts
from emit.where import parse


class Rule(abc.ABC):
    """One rule, ready to be applied."""

    def __init__(self, where: str | None, verdicts: Verdicts | None) -> None:
        self.judge = None if where is None else Judge(Matcher(parse(where)), verdicts or Verdicts.create())
        self.missed = 0  # bodies, or whole messages, that it could not look into

    @abc.abstractmethod
    def change(self, message: Message) -> Message:
        """Return the message as the rule says."""


class Rules(Transform):
    """Applies rules: each sees what those before it have made.  What they missed has the counter of that name."""

    def __init__(self, rules: Sequence[Rule], missed: str) -> None:
        self.rules = rules
        self.missed = missed

    def apply(self, message: Message, now_s: float) -> tuple[Message]:  # noqa: ARG002
        for rule in self.rules:
            if rule.judge is None or rule.judge.wants(message):
                message = rule.change(message)
        return (message,)

    def take_counts(self) -> Mapping[str, int]:
        missed = sum(rule.missed for rule in self.rules)
        for rule in self.rules:
            rule.missed = 0
        return {self.missed: missed}
