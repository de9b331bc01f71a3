"""The filter language: what parses, and what is said about what does not."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emit.tokens import WhereError
from emit.where import NO, YES, Expression, parse
from tests.emit.filters import Tree, comparisons_of, trees, write


def outcome(expression: Expression, true: set[str]) -> bool:
    """Follow an expression whose comparisons hold for these fields."""
    at, steps = expression.start, 0
    while at >= 0:
        test = expression.tests[at]
        at = test.yes if test.field in true else test.no
        steps += 1
        assert steps <= len(expression.tests), "each comparison is made at most once"
    assert at in {YES, NO}
    return at == YES


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("path or query and not body", lambda p, q, b: p or (q and not b)),
        ("(path or query) and not body", lambda p, q, b: (p or q) and not b),
        ("not path and query or body", lambda p, q, b: ((not p) and q) or b),
        ("not (path or query or body)", lambda p, q, b: not (p or q or b)),
        ("not not path and (query or (body))", lambda p, q, b: p and (q or b)),
    ],
)
def test_not_binds_most_then_and_then_or(text, meaning):
    """As in every language that has these words."""
    expression = parse(text)
    for bits in range(8):
        true = {name for at, name in enumerate(("path", "query", "body")) if bits >> at & 1}
        assert outcome(expression, true) == meaning("path" in true, "query" in true, "body" in true)


@given(trees)
def test_every_well_typed_expression_parses(tree: Tree):
    """With all its comparisons, however it is nested."""
    expression = parse(write(tree))
    assert sorted(test.field for test in expression.tests) == sorted(test[1] for test in comparisons_of(tree))
    assert expression.by_message == any(test[1] in {"status", "kind"} for test in comparisons_of(tree))


FIELDS = r"write one of method, target, .*, header\('…'\), param\('…'\), cookie\('…'\)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"the end where a field should be at character 1; {FIELDS}"),
        ("method ==", "the end to compare method with at character 10; write text in quotes"),
        ("metod == 'GET'", f"metod is not a field at character 1; {FIELDS}"),
        ("method == GET", "GET to compare method with at character 11; write text in quotes, 'GET'"),
        ("method < 'GET'", "method with < at character 8; write ==, !=, ~, !~ or in, as it is text"),
        ("status ~ '5..'", "status with ~ at character 8; write ==, !=, <, <=, >, >= or in, as it is a number"),
        ("status == '500'", "text '500' to compare status with at character 11; write a whole number, without quotes"),
        ("size > 1000000000000000000000", ".* to compare size with at character 8; write a whole number.*"),
        ("complete == 1", "complete with == at character 10; write complete or not complete, without a comparison"),
        ("src == '10.0.0.0/8'", "a network with == at character 8; write src in '10.0.0.0/8'"),
        ("src in '10.0.0.300'", "text '10.0.0.300', which is no address at character 8; write an address or .*"),
        ("dst ~ '^10'", "dst with ~ at character 5; write ==, != or in, as it is an address"),
        ("method in 'GET'", r"text 'GET' after in at character 11; write a list, method in \['GET', 'HEAD'\]"),
        ("method in ['GET'", "the end at character 17; write ] here"),
        ("method in []", "an empty list at character 12; write at least one value in it"),
        ("method not in ['GET']", "not before an operator at character 8; write not before method"),
        ("kind == 'reply'", "kind 'reply' at character 9; write 'request', 'response' or 'replayed'"),
        ("header == 'x'", r"== at character 8; write \( here"),
        ("header('') == 'x'", r"text '' .* at character 8; write header\('…'\)|header without a name at .*"),
        ("path ~ '(a'", "no regular expression .* at character 8; write one as Python's re takes it"),
        ("path ~ '(a+)+'", "a repetition in a repetition.* at character 8; write one of them possessively.*"),
        ("path ~ 5", "5 after ~ at character 8; write a regular expression in quotes, path ~ '…'"),
        ("path == 'a' query", "query after a whole expression at character 13; write and, or before it"),
        ("(path", r"the end at character 6; write \) here"),
        ("path and", f"the end where a field should be at character 9; {FIELDS}"),
    ],
)
def test_an_error_says_what_where_and_what_to_write(text: str, message: str):
    """One line is all that an operator gets to see."""
    with pytest.raises(WhereError) as caught:
        parse(text)
    assert re.fullmatch(message, str(caught.value)), str(caught.value)


@pytest.mark.parametrize("text", ["(" * 8000, "not " * 4000 + "path", "(" * 33 + "path" + ")" * 33])
def test_deep_nesting_is_refused(text: str):
    """The parser calls itself, so its depth is bounded."""
    with pytest.raises(WhereError, match="nested too deeply"):
        parse(text)


def test_the_number_of_comparisons_is_bounded_and_that_of_a_list_is_not():
    """Their results are bits of one number; a list is one comparison."""
    parse(" or ".join(["path"] * 60))
    with pytest.raises(WhereError, match="too many comparisons at character 481; write at most 60"):
        parse(" or ".join(["path"] * 65))
    [test] = parse("src in ['10.0.0.1'" + ", '10.0.0.1'" * 999 + "]").tests
    assert len(test.networks) == 1000


@given(st.text(st.sampled_from("methodpasrcin()[]',\"=!<>~ 0159andotxé\n\\"), max_size=60))
def test_anything_else_raises_where_error_alone(text: str):
    """A configuration is checked before anything starts, and a traceback is no answer."""
    error = None
    try:
        parse(text)
    except WhereError as caught:
        error = caught
    assert error is None or ("; " in str(error) and "\n" not in str(error) and 1 <= error.at <= len(text) + 1)
