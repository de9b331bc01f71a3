"""The words of a filter expression, each with its place.

In: the text of a `where`.  Out: tokens, the last of which is the end.  Invariant: a token's `at` counts characters
from 1, as the errors say it.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

MOST_CHARACTERS: Final = 16_384
"""Of one expression: thousands of networks, and nothing that takes long to read."""

Kind = Literal["word", "text", "number", "sign", "end"]

TOKEN: Final = re.compile(
    r"""\s*(?:(?P<word>[A-Za-z_]\w*)|(?P<number>\d+)|(?P<text>'[^']*'|"[^"]*")|(?P<sign>[=!<>]=|!~|[<>~()\[\],]))""",
    re.ASCII,
)


class WhereError(ValueError):
    """An expression that cannot be used: what is wrong, where, and what to write instead, in one line."""

    def __init__(self, what: str, at: int, advice: str) -> None:
        super().__init__(f"{what} at character {at}; {advice}")
        self.at = at


@dataclass(frozen=True, slots=True)
class Token:
    """One word, number, text in quotes, or sign; `value` is without quotes."""

    kind: Kind
    value: str
    at: int

    @property
    def shown(self) -> str:
        """The token as an error quotes it."""
        if self.kind == "end":
            return "the end"
        value = self.value if len(self.value) <= 30 else f"{self.value[:29]}…"
        return f"text {value!r}" if self.kind == "text" else value


def tokens(text: str) -> list[Token]:
    """Split an expression; raises `WhereError`."""
    if len(text) > MOST_CHARACTERS:
        raise WhereError(f"{len(text)} characters: too long", MOST_CHARACTERS + 1, f"write at most {MOST_CHARACTERS}")
    found: list[Token] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = TOKEN.match(text, at)
        if match is None:
            raise _unreadable(text, at)
        kind = match.lastgroup
        assert kind is not None
        value = match[kind]
        found.append(Token(kind, value[1:-1] if kind == "text" else value, match.start(kind) + 1))  # type: ignore[arg-type]
        at = match.end()
    return [*found, Token("end", "", end + 1)]


def _unreadable(text: str, at: int) -> WhereError:
    at += len(text[at:]) - len(text[at:].lstrip())
    sign = text[at]
    if sign in "'\"":
        return WhereError("text without its closing quote", at + 1, f"write {sign} at its end")
    if sign == "=":
        return WhereError("a single =", at + 1, "write ==")
    if sign in "&|":
        return WhereError(sign, at + 1, f"write {'and' if sign == '&' else 'or'}")
    if sign == "!":
        return WhereError("a single !", at + 1, "write not")
    return WhereError(f"{sign!r} is no part of an expression", at + 1, "write text in quotes")
