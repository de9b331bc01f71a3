"""Regular expressions that change other people's traffic: a pattern, and what is put in its place.

In: texts of a configuration.  Out: a `Replacement`, or a ValueError of one line.  Invariant: time is linear in what is
searched, whatever the pattern and the traffic: the engine is RE2, which has neither look-around nor references back.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from emit.codings import spliced

PIECE: Final = re.compile(r"\\(?:(\d)|g<(\w+)>|(.?))", re.DOTALL)
MEMORY_BYTES: Final = 8 * 1024 * 1024  # of the engine, for one pattern


@dataclass(frozen=True, slots=True)
class Replacement:
    """What `pattern` matches becomes `template`, in which `\\1` and `\\g<name>` are groups; texts, so it travels."""

    pattern: str
    template: str

    def __call__(self, value: bytes) -> bytes:
        """Return a value with every match replaced; raises Undecodable if there are too many."""
        pattern, pieces = _ready(self.pattern, self.template)
        return spliced(value, ((*match.span(), _expanded(match, pieces)) for match in pattern.finditer(value)))


def _expanded(match: Any, pieces: list[bytes | int]) -> bytes:
    """Return what takes the place of a match."""
    return b"".join([each if isinstance(each, bytes) else match.group(each) or b"" for each in pieces])


def check_pattern(text: str) -> str:
    """Return the text of a pattern if it is one; else raise ValueError with what to write instead."""
    _compiled(text)
    return text


def check_template(pattern: str, template: str) -> str:
    """Return the text that is put in a pattern's place if it can be; else raise ValueError."""
    _ready(pattern, template)
    return template


def _shown(text: str) -> str:
    """Return a text as it can be told in one line."""
    return text if text.isprintable() else ascii(text)


def _compiled(text: str) -> Any:
    import re2  # here, as `pipeline --help` and most runs have no use for it

    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1  # bytes: traffic is not always UTF-8
    options.max_mem = MEMORY_BYTES
    try:
        return re2.compile(text.encode(), options)
    except re2.error as error:
        why = _shown(error.args[0].decode(errors="replace"))
        raise ValueError(f"no regular expression ({why}); write one as RE2 takes it") from None


@lru_cache(maxsize=256)
def _ready(text: str, template: str) -> tuple[Any, list[bytes | int]]:
    """Return a compiled pattern, and its template as texts and numbers of groups."""
    pattern = _compiled(text)
    names = {name.decode() if isinstance(name, bytes) else name: at for name, at in pattern.groupindex.items()}
    pieces: list[bytes | int] = []
    at = 0
    for match in PIECE.finditer(template):
        pieces.append(template[at : match.start()].encode())
        at = match.end()
        digit, name, other = match.groups()
        if other is not None:
            if other != "\\":
                said = f"{_shown(match[0])} means nothing"
                raise ValueError(f"{said}; write \\1 or \\g<name> for a group, \\\\ for a backslash")
            pieces.append(b"\\")
            continue
        group = int(digit) if digit else int(name) if name.isdecimal() else names.get(name, -1)
        if not 0 <= group <= pattern.groups:
            has = f"{pattern.groups} group{'' if pattern.groups == 1 else 's'}"
            raise ValueError(f"there is no group {match[0]}; the pattern has {has}")
        pieces.append(group)
    pieces.append(template[at:].encode())
    return pattern, [each for each in pieces if each != b""]
