"""One thing that the doctor looked at, how it is, and what to do about it."""

import enum
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    """How it is with one thing."""

    OK = "ok"
    BETTER = "better"  # it works; something would improve it
    MISSING = "missing"  # it will not work


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    verdict: Verdict
    found: str
    advice: str = ""
