"""`pipeline interfaces` and `pipeline doctor`: what was found, as text for people or JSON for machines.

In: facts and findings.  Out: text.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from pipeline.config import Config
from pipeline.devices import Device, devices
from pipeline.doctor import Finding, Verdict, examine
from pipeline.machine import machine

HEADS = ("interface", "kind", "state", "mtu", "part of", "offloads", "received", "missed", "addresses")


def interfaces(as_json: bool) -> str:
    """Describe every interface."""
    found = devices()
    return json.dumps([asdict(each) for each in found], indent=1) if as_json else "\n".join(_table(found))


def diagnose(config: Config | None, as_json: bool) -> tuple[str, int]:
    """Examine this machine; returns the text, and 1 if something is missing."""
    findings = list(examine(machine(), devices(), config))
    lacking = any(each.verdict is Verdict.MISSING for each in findings)
    text = json.dumps([asdict(each) for each in findings], indent=1) if as_json else "\n".join(_lines(findings))
    return text, int(lacking)


def _table(found: Sequence[Device]) -> Iterator[str]:
    rows = [HEADS, *(_row(each) for each in found), ("any", "all of them", "up", "", "", "", "", "", "")]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEADS))]
    for row in rows:
        cells = [
            each.rjust(width) if head in {"mtu", "received", "missed"} else each.ljust(width)
            for head, each, width in zip(HEADS, row, widths, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def _row(each: Device) -> tuple[str, ...]:
    on = [name for name, value in each.offloads.items() if value]
    return (
        each.name, each.kind, "up" if each.up else "down", str(each.mtu), each.master or "", " ".join(on),
        f"{each.rx_packets:,}", f"{each.rx_missed:,}", " ".join(each.addresses),
    )  # fmt: skip


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    width = max(len(each.what) for each in findings)
    for each in findings:
        yield f"{each.verdict.value:<7}  {each.what:<{width}}  {each.found}"
        if each.advice:
            yield f"{'':<7}  {'':<{width}}  {each.advice}"
    lacking = [each.what for each in findings if each.verdict is Verdict.MISSING]
    better = sum(each.verdict is Verdict.BETTER for each in findings)
    if lacking:
        yield f"Live traffic cannot be captured here: {', '.join(lacking)}."
    else:
        more = f" {better} thing{'s' if better > 1 else ''} could be better." if better else ""
        yield f"Live traffic can be captured here.{more}"
