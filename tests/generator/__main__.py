"""Run many seeds: python -m generator MODE FIRST COUNT, or look at one: python -m generator MODE SEED."""

import sys

from generator.cases import make_case, run, smaller


def main() -> int:
    """Run what the command line says."""
    mode, first = sys.argv[1], int(sys.argv[2])
    if len(sys.argv) > 3:
        seeds = range(first, first + int(sys.argv[3]))
        failed = run(mode, seeds)
        print(f"{mode}: {len(seeds)} seeds, {len(failed)} failed: {failed}")
        return bool(failed)
    case = make_case(mode, first)
    print("\n".join(case.complaints()) or "fine")
    case = smaller(case, lambda c: bool(c.complaints()))
    print("\n".join(case.complaints()))
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
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
