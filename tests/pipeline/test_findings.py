"""What a script reads of a finding."""

import json
from dataclasses import asdict

from pipeline.findings import Finding, Verdict


def test_a_verdict_is_a_word_in_json():
    """Scripts compare it with "missing"."""
    assert json.loads(json.dumps(asdict(Finding("clock", Verdict.MISSING, "gone"))))["verdict"] == "missing"
