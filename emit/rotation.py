"""Names of files that follow each other: by the time of the messages in them, and by a number when one is full.

In: a path with directives of strftime(3), and a message's time.  Out: names, and the stretch of time that each is for.
Invariant: which name a message belongs to depends on its own time alone, so the same input gives the same files however
fast it is read, by however many workers.
"""

import re
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Final

NS_PER_S: Final = 1_000_000_000
DAY_S: Final = 86_400
ALWAYS: Final = (-(2**63), 2**63 - 1)
DIRECTIVES: Final = {
    "Y": DAY_S, "y": DAY_S, "m": DAY_S, "b": DAY_S, "d": DAY_S, "j": DAY_S, "a": DAY_S, "F": DAY_S,
    "G": DAY_S, "V": DAY_S, "u": DAY_S, "H": 3600, "M": 60, "S": 1, "T": 1,
}  # fmt: skip
"""Those that a path may have, and for how many seconds at least the name stays the same."""
_DIRECTIVE: Final = re.compile(r"%(.?)", re.DOTALL)


class Names:
    """The names of one output's files; raises ValueError if the path has a directive that is not known."""

    def __init__(self, path: str, every_s: float | None = None) -> None:
        self.pattern = path
        used = [each for each in _DIRECTIVE.findall(path) if each != "%"]
        unknown = [each for each in used if each not in DIRECTIVES]
        if unknown:
            known = ", ".join(f"%{each}" for each in DIRECTIVES)
            raise ValueError(f'%{unknown[0]} is none of {known}; write "%%" for a percent sign')
        self.finest_s = min((DIRECTIVES[each] for each in used), default=0)
        self.every_ns = round((every_s or self.finest_s) * NS_PER_S)

    @property
    def by_time(self) -> bool:
        """Whether the time of a message is part of the name."""
        return self.finest_s > 0

    @property
    def fixed(self) -> str:
        """The directory that does not depend on any time."""
        path = PurePosixPath(self.pattern)
        while any(each != "%" for each in _DIRECTIVE.findall(str(path))):
            path = path.parent
        return str(path).replace("%%", "%") if path != PurePosixPath(self.pattern) else str(path.parent)

    def window(self, ns: int) -> tuple[int, int]:
        """Return the stretch of time, half-open, that has the same name as this moment, in nanoseconds since 1970."""
        if not self.by_time:
            return ALWAYS
        begin = ns // self.every_ns * self.every_ns
        return max(begin, ALWAYS[0]), min(begin + self.every_ns, ALWAYS[1])

    def path(self, begin_ns: int, number: int = 0) -> str:
        """Return the name of the file for a stretch of time; `number` of those before it are full."""
        path = self.pattern.replace("%%", "%") if not self.by_time else self._written(begin_ns)
        if number == 0:
            return path
        pure = PurePosixPath(path)
        return str(pure.with_name(f"{pure.stem}.{number}{pure.suffix}"))

    def _written(self, begin_ns: int) -> str:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=begin_ns // NS_PER_S)).strftime(self.pattern)

    def number(self, begin_ns: int, name: str) -> int:
        """Return which number a name in the same directory has; -1 if it is none of these."""
        pure = PurePosixPath(self.path(begin_ns))
        if name == pure.name:
            return 0
        digits = name.removeprefix(f"{pure.stem}.").removesuffix(pure.suffix)
        found = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else -1
        return found if found > 0 and name == f"{pure.stem}.{found}{pure.suffix}" else -1
