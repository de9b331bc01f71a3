"""Target `expressions`: texts that users write, in each of the small languages, and what is made of them.

In: a byte that names the language, then a text, and behind a zero byte what it is applied to.  Out: an exception other
than the one line that the language has for its errors, or for filters another verdict than the obvious evaluator's.
"""

import contextlib
import json
import re
from collections.abc import Callable
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message
from emit.codings import Undecodable
from emit.judge import Judge
from emit.match import Matcher
from emit.pointers import Pointers, tokens
from emit.replacing import Replacement, check_template
from emit.sampling import parse_by
from emit.tokens import WhereError
from emit.verdicts import Verdicts
from emit.where import parse
from tests.emit.builders import request
from tests.emit.filters import Tree, exchanged, trees, wanted, write
from tests.emit.test_pointers import plainly

TRACED: Final = True
MOST_SUBJECT: Final = 4096


def judged(text: str, made: list[Message]) -> list[bool]:
    """Judge messages."""
    judge = Judge(Matcher(parse(text)), Verdicts.create())
    return [judge.wants(message) for message in made]


def filter_text(text: str, subject: bytes) -> None:
    """Read a filter, and judge a request by it; `not` of it must say the opposite."""
    head = subject.find(b"\r\n\r\n") + 4 or len(subject)
    asked = request(1).replace(payload=subject, head=min(head, len(subject)))
    try:
        verdict = judged(text, [asked])
    except WhereError as problem:
        said, at = str(problem), problem.at
        assert "\n" not in said
        assert 1 <= at <= len(text) + 1
        return
    with contextlib.suppress(WhereError):  # one deeper, it may be too deep
        assert judged(f"not ({text})", [asked]) == [not verdict[0]]


@given(trees, st.lists(exchanged(), max_size=6))
def filter_trees(tree: Tree, made: list[Message]) -> None:
    """Judge as the obvious evaluator does, written with all parentheses."""
    assert judged(write(tree), made) == wanted(tree, made)


def sample_text(text: str, subject: bytes) -> None:
    """Read what a sample is chosen by."""
    with contextlib.suppress(WhereError):
        parse_by(text)


def replace_text(text: str, subject: bytes) -> None:
    """Read a pattern and a template, parted by a line feed, and replace; as Python's `re` does where it is simple."""
    pattern, _, template = text.partition("\n")
    try:
        check_template(pattern, template)
    except ValueError as problem:
        said = str(problem)
        assert "\n" not in said, "an error is one line"
        return
    with contextlib.suppress(Undecodable):
        out = Replacement(pattern, template)(subject)
        if re.fullmatch("[a-z0-9/=&]+", pattern) and "\\" not in template:
            assert out == subject.replace(pattern.encode(), template.encode())


def pointer_text(text: str, subject: bytes) -> None:
    """Read JSON pointers, one a line, and find what they point to; as Python's `json` does where it reads the same."""
    try:
        pointers = Pointers(text.split("\n"))
    except ValueError:
        return
    try:
        spans = pointers.find(subject)
    except ValueError:
        with contextlib.suppress(ValueError, RecursionError):
            assert not json.loads(subject.decode("utf-8")) or subject.count(b"[") + subject.count(b"{") > 500, subject
        return
    assert all(0 <= start < end <= len(subject) for start, end, _number in spans)
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(subject.decode("utf-8"), object_pairs_hook=_with_names_once)
        found = [json.loads(subject[start:end]) for start, end, _number in spans]
        assert repr(found) == repr(plainly(value, [tokens(each) for each in text.split("\n")])), (text, subject)


def _with_names_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object; ValueError if a name is there twice: all are found then, and Python takes the last."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name twice")
    return made


LANGUAGES: Final[tuple[Callable[[str, bytes], None], ...]] = (filter_text, sample_text, replace_text, pointer_text)


def run(data: bytes) -> None:
    """Give it to the language that the first byte names."""
    if len(data) < 2:
        return
    which = data[0] % (len(LANGUAGES) + 1)
    if which == len(LANGUAGES):
        filter_trees.hypothesis.fuzz_one_input(bytes(data[1:]))  # type: ignore[attr-defined]
        return
    text, _, subject = bytes(data[1:]).partition(b"\0")
    LANGUAGES[which](text.decode("utf-8", "replace"), subject[:MOST_SUBJECT])
