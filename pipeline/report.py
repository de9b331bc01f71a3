"""The ledger for people: a table on a terminal, aligned text elsewhere.

In: a `Ledger`.  Out: text.  Places that hold nothing are left out; a row that does not close says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.ledger import Ledger

WIDTH: Final = 12  # digits and commas of a count


@dataclass(frozen=True)
class Row:
    """One line of the ledger; `place` rows stand under the total they are part of."""

    what: str
    count: int
    place: bool
    remark: str


def rows(ledger: Ledger) -> Iterator[Row]:
    """Yield each equation's total, then the places where it went."""
    for equation in ledger.equations:
        yield Row(equation.name, equation.left, False, "closes" if equation.closes else "DOES NOT CLOSE")
        for place, count in equation.right.items():
            if count:
                yield Row(place, count, True, "")
        if equation.in_flight > 0:
            yield Row("in flight", equation.in_flight, True, "in no counted place")
        elif equation.in_flight < 0:
            yield Row("counted twice", -equation.in_flight, True, "")


def verdict(ledger: Ledger) -> str:
    """Return the last line: whether it closes, and what was lost."""
    closed = "the ledger closes" if ledger.closed else "the ledger DOES NOT CLOSE"
    if not ledger.losses:
        return f"{closed}; nothing was lost" if ledger.closed else closed
    lost = ", ".join(f"{count:,} {words}" for words, count in ledger.losses.items())
    return f"{closed}; lost: {lost}"


def plain(ledger: Ledger) -> str:
    """Return the ledger as aligned text without a final line end."""
    listed = list(rows(ledger))
    width = max((len(row.what) + 4 * row.place for row in listed), default=0)
    lines = [
        f"{'    ' * row.place + row.what:<{width}}  {row.count:>{WIDTH},}  {row.remark}".rstrip() for row in listed
    ]
    return "\n".join([*lines, verdict(ledger)])


def coloured(ledger: Ledger, columns: int) -> str:
    """Return the ledger as a table with terminal colours, at most `columns` wide."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="ledger", title_justify="left", header_style="bold")
    table.add_column("what")
    table.add_column("count", justify="right")
    table.add_column("")
    for row in rows(ledger):
        style = "dim" if row.place else ("bold" if row.remark == "closes" else "bold red")
        table.add_row("  " * row.place + row.what, f"{row.count:,}", row.remark, style=style)
    console = Console(width=columns, force_terminal=True)
    with console.capture() as captured:
        console.print(table)
        console.print(verdict(ledger), style="green" if ledger.closed and not ledger.losses else "yellow")
    return captured.get().rstrip("\n")
