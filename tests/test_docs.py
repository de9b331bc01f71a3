"""What docs/assembly.md lists is what there is: every counter, which of them are losses, every protocol's name."""

import re
from pathlib import Path
from typing import Final

from assemble.patterns import PATTERNS
from assemble.tally import ASSEMBLE_COUNTERS
from pipeline.ledger import LOSSES

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
