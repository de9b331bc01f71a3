"""`pipeline interfaces` and `pipeline doctor`: what was found, as text for people or JSON for machines.

In: facts and findings.  Out: text.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from pipeline.config import Config
from pipeline.devices import Device, devices
from pipeline.doctor import examine
from pipeline.findings import Finding, Verdict
from pipeline.machine import machine
from pipeline.reach import named

GROWING_S = 0.5  # long enough for drops that go on to show
HEADS = ("interface", "kind", "state", "mtu", "part of", "offloads", "received", "missed", "addresses")


def interfaces(as_json: bool) -> str:
    """Describe every interface."""
    found = devices()
    return json.dumps([asdict(each) for each in found], indent=1) if as_json else "\n".join(_table(found))


def diagnose(config: Config | None, as_json: bool) -> tuple[str, int]:
    """Examine this machine; returns the text, and 1 if something is missing."""
    earlier, found = devices(), () if config is None else named(config)
    if any(each.rx_missed for each in earlier):
        threading.Event().wait(GROWING_S)
    findings = list(examine(machine(), devices(), config, found, earlier))
    lacking = any(each.verdict is Verdict.MISSING for each in findings)
    text = json.dumps([asdict(each) for each in findings], indent=1) if as_json else "\n".join(_lines(findings))
    return text, int(lacking)


def _table(found: Sequence[Device]) -> Iterator[str]:
    rows = [
        HEADS,
        *(row for each in found for row in _rows(each)),
        ("any", "all of them", "up", "", "", "", "", "", ""),
    ]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEADS))]
    for row in rows:
        cells = [
            each.rjust(width) if head in {"mtu", "received", "missed"} else each.ljust(width)
            for head, each, width in zip(HEADS, row, widths, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def _rows(each: Device) -> Iterator[tuple[str, ...]]:
    """Yield a row, and one more for each further address: several do not fit a terminal side by side."""
    first, *more = each.addresses or ("",)
    yield (*_row(each), first)
    yield from (("",) * (len(HEADS) - 1) + (address,) for address in more)


def _row(each: Device) -> tuple[str, ...]:
    on = [name for name, value in each.offloads.items() if value]
    return (
        each.name, each.kind, "up" if each.up else "down", str(each.mtu), each.master or "", " ".join(on),
        f"{each.rx_packets:,}", f"{each.rx_missed:,}",
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
