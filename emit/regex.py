"""Regular expressions over bytes that other people's traffic is held against, and the few that are refused.

In: the text of a pattern.  Out: a compiled pattern, or why not.  Invariant: no pattern that is let through needs
time that grows exponentially with its subject; and the more it may grow, the shorter the subject is cut.
"""

import math
import re
import warnings
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Final

SUBJECT_BYTES: Final = {0: 8192, 1: 8192, 2: 8192, 3: 512}
"""What of a value a pattern looks at, by its degree: so that no value takes much longer than a tenth of a second."""

SPECIAL: Final = re.compile(r"[.^$*+?{}\[\]\\|()]")
REPEATS: Final = ("MAX_REPEAT", "MIN_REPEAT")
ANCHORS: Final = ("AT_BEGINNING", "AT_BEGINNING_STRING")
MANY: Final = 32  # a repetition of up to that many is not counted as one without end
MOST_CHOICES: Final = 12.0  # of alternatives and short repetitions, as a power of two


def plain(text: str) -> tuple[bytes, bool] | None:
    """Return a pattern that is plain text as its bytes, and whether it must be at the beginning; else None."""
    body = text.removeprefix("^")
    return None if SPECIAL.search(body) else (body.encode(), body != text)


def subject_bytes(pattern: re.Pattern[bytes]) -> int:
    """Return how much of a value a pattern that was let through looks at."""
    return SUBJECT_BYTES[_degree(_read(pattern.pattern, pattern.flags)[1])]


def compiled(text: str, *, any_case: bool = False) -> re.Pattern[bytes]:
    """Compile a pattern; raises ValueError with what is wrong and what to write instead."""
    try:
        pattern, tree = _read(text.encode(), re.IGNORECASE if any_case else 0)
    except re.error as error:
        place = "" if error.pos is None else f" at its character {error.pos + 1}"
        raise ValueError(f"no regular expression ({error.msg}{place}); write one as Python's re takes it") from None
    except (RecursionError, OverflowError):
        raise ValueError("a regular expression too large; write a shorter one") from None
    if _explosive(tree, False):
        raise ValueError(
            "a repetition in a repetition, which may take for ever; write one of them possessively, as in (a+)++"
        )
    if _degree(tree) not in SUBJECT_BYTES or _choices(tree) > MOST_CHOICES:
        raise ValueError(
            "so many repetitions that they may take for ever; begin with ^, write them possessively, as in [^/]++, "
            "or write several comparisons"
        )
    return pattern


def _read(text: bytes, flags: int) -> tuple[re.Pattern[bytes], Any]:
    """Return a pattern, and what it consists of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a set that may mean something else some day is not our business
        return re.compile(text, flags), _parser.parse(text, flags)


def _degree(tree: Any) -> int:
    """Return the power of a subject's length that the time to search it may grow with."""
    every_line = tree.state.flags & re.MULTILINE  # then ^ ties it to no single place
    anchored = not every_line and len(tree) > 0 and str(tree[0][0]) == "AT" and str(tree[0][1]) in ANCHORS
    return _repeats(tree) + (not anchored)


def _repeats(tree: Any) -> int:
    """Return how many repetitions without end can be gone back on, one after the other; `\\1` repeats one."""
    count = 0
    for name, value in tree:
        kind = str(name)
        if kind in REPEATS:
            count += (value[1] > MANY and value[1] != value[0]) + _repeats(value[2])
        elif kind == "BRANCH":
            count += max(map(_repeats, value[1]))
        elif kind == "POSSESSIVE_REPEAT":
            count += _repeats(value[2])
        else:
            count += (kind == "GROUPREF") + sum(map(_repeats, _subtrees(value)))
    return count


def _choices(tree: Any) -> float:
    """Return how many ways alternatives and short repetitions leave, as a power of two."""
    bits = 0.0
    for name, value in tree:
        kind = str(name)
        if kind in REPEATS:
            least, most, inner = value
            bits += math.log2(most - least + 1) + most * _choices(inner) if most <= MANY else _choices(inner)
        elif kind == "BRANCH":
            bits += math.log2(len(value[1])) + max(map(_choices, value[1]))
        else:
            bits += sum(map(_choices, _subtrees(value)))
    return bits


def _explosive(tree: Any, repeated: bool) -> bool:
    """Tell whether something without end, or a choice, is repeated without end in a way that can be gone back on."""
    for name, value in tree:
        kind = str(name)
        if kind in REPEATS:
            least, most, inner = value
            if (repeated and most > least) or _explosive(inner, repeated or most > MANY):
                return True
        elif kind == "BRANCH":
            if repeated or any(_explosive(each, repeated) for each in value[1]):
                return True
        elif kind == "POSSESSIVE_REPEAT":
            if _explosive(value[2], False):
                return True
        elif any(_explosive(each, repeated and kind != "ATOMIC_GROUP") for each in _subtrees(value)):
            return True
    return False


def _subtrees(value: Any) -> list[Any]:
    """Return the patterns inside an operand."""
    if isinstance(value, _parser.SubPattern):
        return [value]
    return [each for each in value if isinstance(each, _parser.SubPattern)] if isinstance(value, tuple) else []
