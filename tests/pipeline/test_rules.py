"""Rules in a configuration: what is refused, with its place; what workers are given; what people read."""

from pathlib import Path
from typing import Any

import pytest

from capture.errors import ConfigError
from emit.masking import MaskSpec
from emit.records import OutputSpec
from emit.replacing import Replacement
from emit.rewriting import RewriteSpec
from pipeline import rules
from pipeline.config import Config
from pipeline.settings import parse

BASE = """
[input]
type = "pcap"
path = "examples/shop.pcap"
[[output]]
type = "null"
"""


def load(text: str) -> Config:
    """Read a configuration with one output and these rules."""
    return parse(BASE + text, "mirror.toml")


def refused(text: str) -> str:
    """Return what is said of a configuration that is refused."""
    with pytest.raises(ConfigError) as error:
        load(text)
    return str(error.value)


@pytest.mark.parametrize(
    ("rule", "key", "said"),
    [
        ("path = { pattern = '(a', with = 'b' }", "rewrite.1.path.pattern", "no regular expression (missing )"),
        ("path = { pattern = '(a)', with = '\\3' }", "rewrite.1.path.with", "there is no group \\3; the pattern has 1"),
        ("path = { pattern = 'a' }", "rewrite.1.path.with", "missing; write with = "),
        ("path = { pattern = 'a', with = 'b c' }", "rewrite.1.path.with", "write %20"),
        ("path = { pattern = 'a', with = '/b?c' }", "rewrite.1.path.with", "under query"),
        ("path = { pattern = 'a', with = 'b', count = 1 }", "rewrite.1.path.count", "the keys here are pattern, with"),
        ("query = { pattern = 'a' }", "rewrite.1.query", "go together"),
        ("query = {}", "rewrite.1.query", "changes nothing"),
        ("body = { pattern = 'a', with = '\\g<x>' }", "rewrite.1.body.with", "there is no group \\g<x>"),
        ("json = { 'user' = 1 }", "rewrite.1.json", "begins with /"),
        ("json = { '/user' = 2020-01-01 }", "rewrite.1.json", "JSON has no such value"),
        ("set_headers = { 'Content-Length' = '5' }", "rewrite.1.set_headers", "put right with it"),
        ("set_headers = { 'X Y' = '5' }", "rewrite.1.set_headers", "the name of a header field"),
        ('set_headers = { X = "a\\r\\nY: b" }', "rewrite.1.set_headers", "one line"),
        ("remove_headers = ['transfer-encoding']", "rewrite.1.remove_headers.0", "leave it out"),
        (
            "replace_headers = [{ name = 'A', pattern = '(', with = '' }]",
            "rewrite.1.replace_headers.0.pattern",
            "missing )",
        ),
        ("where = 'path ='", "rewrite.1.where", "path"),
        ("", "rewrite.1", "the rule changes nothing: write one of path, query, set_headers"),
        ("where = 'path'", "rewrite.1", "the rule changes nothing"),
        ("set_header = {}", "rewrite.1.set_header", "did you mean set_headers?"),
    ],
)
def test_a_rewriting_rule_that_cannot_work_is_refused_with_its_place(rule: str, key: str, said: str):
    """Before anything is read, let alone sent."""
    good = "[[output.rewrite]]\nset_headers = { X = '1' }\n[[output.rewrite]]\n"
    line = refused(good + rule)
    assert line.startswith(f"mirror.toml: output.0.{key}: ")
    assert said in line


@pytest.mark.parametrize(
    ("rule", "key", "said"),
    [
        ("", "mask.0", "the rule hides nothing"),
        ("json = ['/a/**']", "mask.0.json", "a name or *"),
        ("headers = ['Content-Encoding']", "mask.0.headers.0", "leave it out"),
        ("headers = ['A']\nhow = 'hash'", "mask.0.how", "it needs a key"),
        ("headers = ['A']\nhow = 'hash'\nkey_file = 'a'\nkey_env = 'B'", "mask.0.how", "one of them"),
        ("headers = ['A']\nkey_file = 'a'", "mask.0.key_file", "nothing is hashed"),
        ("headers = ['A']\nhow = 'hash'\nkey_env = 'A'\nwith = 'x'", "mask.0.with", "the hash takes the place"),
        ("headers = ['A']\nhow = 'md5'", "mask.0.how", 'write "replace" or "hash"'),
        ("headers = ['A']\nwith = \"a\\nb\"", "mask.0.with", "one line"),
    ],
)
def test_a_mask_that_cannot_work_is_refused_with_its_place(rule: str, key: str, said: str):
    """A mask that hides nothing is worse than none."""
    line = refused("[[output.mask]]\n" + rule)
    assert line.startswith(f"mirror.toml: output.0.{key}: ")
    assert said in line


FULL = r"""
[[output.rewrite]]
where = "path ~ '^/v1'"
path = { pattern = '^/v1/(.*)', with = '/v2/\1' }
query = { pattern = 'a', with = 'b', set = { c = "d" }, remove = "e" }
set_headers = { X-Mirror = "1" }
remove_headers = "Cookie"
replace_headers = [{ name = "Referer", pattern = "http:", with = "https:" }]
body = { pattern = "f", with = "" }
json = { "/user/email" = "x@example.com", "/n" = 5 }
[[output.mask]]
headers = ["Authorization"]
parameters = ["token"]
json = ["/**/card"]
[[output.mask]]
where = "status == 500"
headers = "Set-Cookie"
how = "hash"
key_file = "KEY"
"""


def steps(config: Config, before: Any = None) -> Any:
    """Return what workers are given."""
    return rules.steps("output.0", config.output[0].rewrite, config.output[0].mask, before)


def test_workers_get_what_is_written(tmp_path: Path):
    """Each key has its place; rewriting comes before masking."""
    key = tmp_path / "key"
    key.write_bytes(b"0123456789abcdef\n")
    rewriting, masking = steps(load(FULL.replace("KEY", str(key))))
    assert isinstance(rewriting, RewriteSpec)
    assert isinstance(masking, MaskSpec)
    [rule] = rewriting.rules
    assert (rule.path, rule.query) == (Replacement("^/v1/(.*)", r"/v2/\1"), Replacement("a", "b"))
    assert (rule.set_parameters, rule.remove_parameters) == ((("c", "d"),), ("e",))
    assert (rule.set_headers, rule.remove_headers) == ((("X-Mirror", "1"),), ("Cookie",))
    assert rule.replace_headers == (("Referer", Replacement("http:", "https:")),)
    assert (rule.body, rule.json) == (Replacement("f", ""), (("/user/email", '"x@example.com"'), ("/n", "5")))
    first, second = masking.rules
    assert (first.headers, first.parameters, first.json, first.text, first.key, first.verdicts) == (
        ("Authorization",), ("token",), ("/**/card",), "***", None, None,
    )  # fmt: skip
    assert (second.where, second.key) == ("status == 500", b"0123456789abcdef")
    assert b"0123" not in repr(masking).encode()
    assert steps(load("")) == ()


def test_what_is_known_of_requests_goes_on_to_successors(tmp_path: Path):
    """Each rule takes over from one of the same `where`, and no two from the same."""
    text = "[[output.rewrite]]\nwhere = \"path == '/a'\"\nset_headers = { X = '1' }\n" * 2
    earlier = steps(load(text))
    memories = [rule.verdicts for rule in earlier[0].rules]
    before = rules.judged([OutputSpec("null", 0, transforms=earlier), OutputSpec("null", 1)])
    later = steps(load(text + "[[output.mask]]\nwhere = \"path == '/a'\"\nheaders = 'A'"), before)
    assert [rule.verdicts for rule in later[0].rules] == memories
    assert later[1].rules[0].verdicts not in memories
    assert before == []


def test_a_key_that_cannot_be_read_is_refused_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Also one that is hardly one."""
    missing = load("[[output.mask]]\nheaders = 'A'\nhow = 'hash'\nkey_file = '/no/such'")
    with pytest.raises(ConfigError, match=r"^output\.0\.mask\.0\.key_file: /no/such: cannot be read: no such file"):
        steps(missing)
    by_name = load("[[output.mask]]\nheaders = 'A'\nhow = 'hash'\nkey_env = 'SOME_KEY'")
    monkeypatch.setenv("SOME_KEY", "short")
    with pytest.raises(ConfigError, match=r"^output\.0\.mask\.0\.key_env: SOME_KEY: a key of 5 bytes: write at "):
        steps(by_name)
    monkeypatch.setenv("SOME_KEY", "long enough to be a key")
    assert steps(by_name)[0].rules[0].key == b"long enough to be a key"


def test_rules_are_said_in_plain_words():
    """`pipeline check` is read before anything is sent."""
    output = load(FULL).output[0]
    assert list(rules.explain(output.rewrite, output.mask)) == [
        "changes messages where path ~ '^/v1': path ^/v1/(.*) -> /v2/\\1; query a -> b; parameters set: c; parameters "
        "removed: e; headers removed: Cookie; header Referer http: -> https:; headers set: X-Mirror; "
        "body f -> nothing; JSON set: /user/email, /n",
        "hides in every message: headers Authorization; parameters token; JSON /**/card, by ***",
        "hides in messages where status == 500: headers Set-Cookie, by a hash with the key in KEY",
    ]
