"""What the documents list is what there is: counters, losses, protocols by name, the language of filters, links."""

import base64
import json
import re
import tomllib
from pathlib import Path
from typing import Any, Final

from assemble.patterns import PATTERNS
from assemble.tally import ASSEMBLE_COUNTERS
from emit import middleware, summary
from emit.codings import MOST_BYTES
from emit.gorlines import LEAST_LINE
from emit.masking import DIGITS
from emit.middleware import MiddlewareSpec
from emit.pointers import MOST_DEPTH as MOST_NESTED
from emit.pointers import MOST_TOKENS
from emit.program import SAID_CHARACTERS, SAID_LINES, SAID_S
from emit.regex import SUBJECT_BYTES
from emit.tokens import MOST_CHARACTERS
from emit.transformed import RING_BYTES
from emit.verdicts import REMEMBERED
from emit.where import FIELDS, MOST_COMPARISONS, MOST_DEPTH, NAMED, OPERATORS, parse
from pipeline.ledger import LOSSES
from pipeline.rules import SHORTEST_KEY, Mask, Rewrite, explain
from pipeline.settings import build
from pipeline.settings import parse as parse_config
from tests.emit.builders import request, response
from tests.emit.programs import driven, python

ROOT: Final = Path(__file__).parents[1]
TEXT: Final = (ROOT / "docs" / "assembly.md").read_text(encoding="utf-8")
RULES, REASONS = TEXT.split("\n## Every reason\n")
ROW: Final = re.compile(r"^\| `(\w+)` \| (loss)? ?\| (.+) \|$", re.MULTILINE)


def test_every_counter_has_one_row_and_every_row_a_counter():
    """Whoever finds a name in the ledger looks it up there."""
    assert sorted(name for name, _, _ in ROW.findall(REASONS)) == sorted(ASSEMBLE_COUNTERS)


def test_the_rows_say_which_counters_are_losses():
    """A new reason needs a decision, and `--strict` rests on it."""
    assert {name for name, loss, _ in ROW.findall(REASONS) if loss} == set(LOSSES) & set(ASSEMBLE_COUNTERS)


def test_every_protocol_with_a_name_is_listed():
    """What is told by its first bytes is said, and nothing else."""
    section = RULES.split("\n## What is not HTTP/1.x\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == sorted({p.name for p in PATTERNS})


def test_every_counter_that_the_rules_name_exists():
    """A counter that was renamed would be looked for in vain."""
    named = set(re.findall(r"`((?:refused|skipped|segments|bytes|responses|frames|flows)_\w+)`", RULES))
    assert "skipped_tunnel" in named
    assert named <= set(ASSEMBLE_COUNTERS)


FILTERS: Final = (ROOT / "docs" / "filters.md").read_text(encoding="utf-8")
HOOKS: Final = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")


def test_every_field_and_operator_of_filters_has_its_row():
    """The tables are all there is to learn the language from."""
    rows = re.findall(r"^\| (`.+?) \|", FILTERS.split("\n## Examples\n")[0], re.MULTILINE)
    first = "\n".join(rows)
    assert set(re.findall(r"`(\w+)(?=[`(])", first)) == {*FIELDS, *NAMED}
    shown = {word for row in rows for each in re.findall(r"`(.+?)`", row) for word in each.split(" ")[:1]}
    assert {op for ops in OPERATORS.values() for op in ops} <= shown


def test_every_example_of_a_filter_parses_and_means_what_is_said():
    """People begin with one of them."""
    tables = [tomllib.loads(block) for block in re.findall(r"```toml\n(.+?)```", FILTERS, re.DOTALL)]
    outputs = [output for table in tables for output in build({"input": {"type": "tcp"}, **table}, "docs").output]
    assert [parse(each.where).by_message for each in outputs if each.where] == [False, True, False]
    assert [(each.sample, each.limit) for each in outputs] == [
        (100, None), (100, None), (10, None), (50, None), (50, None), (100, 500),
    ]  # fmt: skip
    spans = re.findall(r"`([^`\n]+ (?:[=!<>]=|[<>~]|!~|in) [^`\n]+)`", FILTERS.replace("where = ", ""))
    expressions = [each for each in spans if re.match(r"(not )?(\w+(\('.+?'\))?) ", each) and "…" not in each]
    assert len(expressions) > 10
    for each in expressions:
        parse(each)


def test_the_limits_of_filters_are_those_that_are_stated():
    """A limit that nobody knows is a surprise."""
    stated = re.sub(r"(?<=\d),(?=\d)", "", FILTERS.split("\n## Limits\n")[1])
    for limit in (MOST_CHARACTERS, MOST_COMPARISONS, MOST_DEPTH, REMEMBERED):
        assert re.search(rf"\b{limit}\b", stated)
    assert "at 8 KiB, or at 512 bytes" in FILTERS
    assert set(SUBJECT_BYTES.values()) == {8 * 1024, 512}


ANSWERS: Final = (ROOT / "docs" / "answers.md").read_text(encoding="utf-8")


def test_the_answer_that_is_shown_is_one():
    """The line is real, and the filters beside it mean what is said."""
    line = json.loads(ANSWERS.split("```json\n")[1].split("\n")[0])
    assert (line["kind"], line["status"]) == ("replayed", 200)
    assert base64.b64decode(line["payload"]).startswith(b"HTTP/1.1 200 ")
    table = ANSWERS.split("| `where` | wants |")[1].split("\n\n")[0]
    wheres = re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)
    assert [parse(each).by_message for each in wheres] == [False, True, True, True]


def test_the_limits_of_a_summary_are_those_that_are_stated():
    """What is over them is in no row of its own."""
    stated = re.sub(r"(?<=\d),(?=\d)", "", ANSWERS.split("| what | limit |")[1].split("\n\n")[0])
    for limit in (summary.OPEN, summary.ENDPOINTS - 1, summary.PAIRS, summary.REASONS - 1):
        assert re.search(rf"\b{limit}\b", stated)
    assert f"more than {REMEMBERED:,} requests later" in ANSWERS


def test_the_payloads_that_are_shown_are_of_one_message():
    """Whoever writes the other end begins with them."""
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    shown = text.split("\n### `payload` of a tcp output\n")[1].split("```json\n")[1].split("```")[0]
    first, second = map(json.loads, shown.splitlines())
    payload = second.pop("payload").encode()
    assert base64.b64decode(first.pop("payload"), validate=True) == payload
    assert first == second
    assert first["head"] == len(payload)


LINK: Final = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)")


def test_every_link_between_the_documents_leads_somewhere():
    """Files move, and headings change."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
            file = (page.parent / target) if target else page
            assert file.exists(), f"{page.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}


TRANSFORMS: Final = (ROOT / "docs" / "transforms.md").read_text(encoding="utf-8")


def test_every_key_of_a_rule_has_its_row():
    """The tables are all there is to learn the rules from."""
    for heading, model in (("Rewriting", Rewrite), ("Masking", Mask)):
        section = TRANSFORMS.split(f"\n## {heading}\n")[1].split("\n## ")[0]
        rows = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
        shown = {name for row in rows for name in re.findall(r"`(\w+)", row)}
        assert shown == {field.alias or name for name, field in model.model_fields.items()}


def test_the_example_of_rules_is_one_and_is_said_as_shown():
    """People begin with it."""
    [example] = re.findall(r"```toml\n(.+?)```", TRANSFORMS, re.DOTALL)
    config = parse_config('[input]\ntype = "pcap"\npath = "examples/shop.pcap"\n' + example, "mirror.toml")
    for line in explain(config.output[1].rewrite, config.output[1].mask):
        assert f"         {line}\n" in TRANSFORMS


def test_the_limits_of_rules_are_those_in_force():
    """A number in the text that is another in the code is worse than none."""
    for said in (
        f"{MOST_TOKENS} names", f"deeper than {MOST_NESTED}", f"{MOST_BYTES // 2**20} MiB when decoded",
        f"first {DIGITS} hexadecimal", f"{SHORTEST_KEY} bytes at least", f"{RING_BYTES // 2**20} MiB, between",
    ):  # fmt: skip
        assert said in TRANSFORMS


def test_the_function_and_the_program_that_are_shown_work(tmp_path):
    """People begin with one of them."""
    function, program = re.findall(r"```python\n(.+?)```", HOOKS, re.DOTALL)
    names: dict[str, Any] = {}
    exec(function, names)
    assert names["mask"](request(1, method="DELETE")) is None
    assert names["mask"](request(1, b"card=4111111111111111")).payload.endswith(b"card=4111********1111")
    with driven(python(tmp_path, program)) as driver:
        driver.give([request(1), response(1)])
        (found,) = driver.finish()
    assert found.payload == request(1).payload.replace(b"\r\n\r\n", b"\r\nX-Mirrored: yes\r\n\r\n")


def test_the_limits_of_programs_are_those_that_are_stated():
    """A limit that nobody knows is a surprise."""
    defaults = MiddlewareSpec((), "")
    for text in (
        f"{middleware.GRACE_S:g} seconds after the program has read it, or after {middleware.MOST_BYTES >> 20} MiB or "
        f"{middleware.MOST_INSIDE:,} messages",
        f"neither reads nor writes for {defaults.stuck_s:g} seconds",
        f"not be silent for {defaults.quiet_s:g} seconds",
        f"after {middleware.RESTART_S:g} seconds, then {2 * middleware.RESTART_S:g}, and so on up to "
        f"{middleware.LONGEST_RESTART_S:g}",
        f"given up at {LEAST_LINE >> 20} MiB, or at twice the longest line",
        f"up to {SAID_CHARACTERS} characters of each and {SAID_LINES} lines in ten seconds",
    ):
        assert text in HOOKS
    assert (middleware.MOST_DEATHS, "After six deaths in a row" in " ".join(HOOKS.split())) == (5, True)
    assert (middleware.AHEAD_BYTES, middleware.END_S, middleware.MOST_GIVEN, SAID_S) == (1 << 20, 60, 2, 10)
