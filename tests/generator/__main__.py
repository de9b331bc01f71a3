"""Run many seeds: python -m generator MODE FIRST COUNT, or look at one: python -m generator MODE SEED.

`--engine` holds the reference against the same truth, or both; the reference takes about four times as long.
"""

import argparse

from engines import ENGINES

from generator.cases import CHECKS, Case, make_case, smaller
from generator.runs import run


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m generator", description=__doc__)
    parser.add_argument("mode", choices=CHECKS)
    parser.add_argument("first", type=int)
    parser.add_argument("count", type=int, nargs="?")
    parser.add_argument("--engine", choices=[*ENGINES, "both"], default="compiled")
    given = parser.parse_args()
    engines = list(ENGINES) if given.engine == "both" else [given.engine]
    if given.count is None:
        look_at(given.mode, given.first, engines)
        return 0
    report = run(given.mode, range(given.first, given.first + given.count), engines)
    print(report)
    return report.bad()


def look_at(mode: str, seed: int, engines: list[str]) -> None:
    """Print what is wrong with a case, and the least that shows it."""

    def complaints(case: Case) -> list[str]:
        return [f"{engine}: {found}" for engine in engines for found in case.complaints(engine)]

    case = make_case(mode, seed)
    print("\n".join(complaints(case)) or "fine")
    case = smaller(case, lambda c: bool(complaints(c)))
    print("\n".join(complaints(case)))
    for c in case.frames:
        p = c.passing
        print(
            c.line,
            "C" if p.side else "S",
            c.t % 10**12 / 1e9,
            p.at,
            len(c.data),
            f"flags {p.flags:#x} ack {p.ack}",
            c.data[:40],
        )


if __name__ == "__main__":
    raise SystemExit(main())
