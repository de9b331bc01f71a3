"""Rewriting: rules that change target, fields and body of messages, one after the other.

In: messages.  Out: messages, the same objects where no rule has something to change.  Invariant: what no rule names
stays as it was on the wire; a rule does all that it can of what it says, and what it could not is counted.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from assemble.message import Message
from emit.codings import Undecodable, spliced
from emit.draft import Draft
from emit.pointers import Pointers
from emit.replacing import Replacement
from emit.ruling import Rule, Rules
from emit.target import update
from emit.transform import Transform
from emit.verdicts import Verdicts


@dataclass(frozen=True, slots=True)
class RewriteRule:
    """One rule, as plain values; what is empty changes nothing."""

    where: str | None = None
    path: Replacement | None = None
    query: Replacement | None = None
    set_parameters: tuple[tuple[str, str], ...] = ()
    remove_parameters: tuple[str, ...] = ()
    remove_headers: tuple[str, ...] = ()
    replace_headers: tuple[tuple[str, Replacement], ...] = ()
    set_headers: tuple[tuple[str, str], ...] = ()
    body: Replacement | None = None
    json: tuple[tuple[str, str], ...] = ()  # pointers, and values as JSON texts
    verdicts: Verdicts | None = field(default=None, repr=False, compare=False)  # outlives the worker


@dataclass(frozen=True, slots=True)
class RewriteSpec:
    """All rules of an output."""

    rules: tuple[RewriteRule, ...]

    def make(self) -> Transform:
        """Make the step."""
        return Rules([_Rule(rule) for rule in self.rules], "undecoded")


class _Rule(Rule):
    """One rule, ready to be applied."""

    def __init__(self, rule: RewriteRule) -> None:
        super().__init__(rule.where, rule.verdicts)
        self.rule = rule
        self.parameters = {name.encode(): value.encode() for name, value in rule.set_parameters}
        self.without = {name.encode() for name in rule.remove_parameters}
        self.removed = {name.lower().encode() for name in rule.remove_headers}
        self.pointers = Pointers([pointer for pointer, _value in rule.json])
        self.values = [value.encode() for _pointer, value in rule.json]
        self.of_target = bool(rule.path or rule.query or self.parameters or self.without)

    def change(self, message: Message) -> Message:
        rule = self.rule
        draft = Draft(message)
        if not draft.readable:
            self.missed += 1
            return message
        try:
            self.change_head(draft)
            if draft.raw and (rule.body or rule.json):
                self.change_body(draft)
        except Undecodable:
            self.missed += 1
        return draft.finish()

    def change_head(self, draft: Draft) -> None:
        """Change target and fields."""
        rule = self.rule
        if self.of_target:
            self.retarget(draft)
        if self.removed:
            draft.head.remove(self.removed)
        for name, replacement in rule.replace_headers:
            draft.head.change({name.lower().encode()}, replacement)
        for name, value in rule.set_headers:
            draft.head.set(name.encode(), value.encode())

    def retarget(self, draft: Draft) -> None:
        """Change path and query of a request that has them."""
        target = draft.target()
        if target is None:
            return
        path = target.path if self.rule.path is None else self.rule.path(target.path)
        query = target.query[1:]
        if self.rule.query is not None:
            query = self.rule.query(query)
        if self.parameters or self.without:
            query = update(query, self.parameters, self.without)
        mark = b"?" if query or (target.query == b"?") else b""
        if (path, mark + query) != target[1:]:
            draft.retarget(target._replace(path=path, query=mark + query))

    def change_body(self, draft: Draft) -> None:
        """Change a body that can be looked into."""
        content = draft.content
        if self.rule.body is not None:
            content = self.rule.body(content)
        if self.values:
            content = self.exchange(content, draft.content_type)
        draft.replace(content)

    def exchange(self, content: bytes, kind: bytes) -> bytes:
        """Exchange values in a JSON text; any other stays as it is."""
        try:
            spans = self.pointers.find(content)
        except ValueError as error:
            if kind.endswith(b"json"):
                raise Undecodable(f"it is said to be JSON: {error}") from error
            return content
        return spliced(content, [(start, end, self.values[number]) for start, end, number in spans])


def as_json(value: Any) -> str:
    """Write a value of a configuration as JSON; ValueError if it has no such form."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("JSON has no such value: write text, a number, true, false, a list or a table") from None
