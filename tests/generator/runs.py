"""Many seeds through one engine or both: what each makes of them, and whether both make the same.

In: a mode and seeds.  Out: a line for each complaint, and how many there were.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from assemble import Message
from generator.cases import Case, make_case

Engines = Sequence[str]  # of ENGINES in engines.py


@dataclass
class Report:
    """What came of the seeds of one mode."""

    mode: str
    engines: Engines
    seeds: int = 0
    failed: dict[str, list[int]] = field(default_factory=dict)  # by engine
    differ: list[int] = field(default_factory=list)  # the engines give other messages, be they right or not: `core_of`

    def bad(self) -> bool:
        """Tell whether anything is wrong."""
        return any(self.failed.values())

    def __str__(self) -> str:
        """Say it in one line."""
        parts = [f"{engine}: {len(self.failed[engine])} failed: {self.failed[engine]}" for engine in self.engines]
        if len(self.engines) > 1:
            parts.append(f"same messages in {self.seeds - len(self.differ)}, others in {self.differ}")
        return f"{self.mode}: {self.seeds} seeds; {'; '.join(parts)}"


def run(mode: str, seeds: Sequence[int], engines: Engines) -> Report:
    """Run seeds, and print the first complaint about each."""
    report = Report(mode, engines, failed={engine: [] for engine in engines})
    for seed in seeds:
        case = make_case(mode, seed)
        report.seeds += 1
        made = [Counter(map(core_of, judged(case, engine, report))) for engine in engines]
        if made[1:] and made[0] != made[1]:
            report.differ.append(seed)
    return report


def core_of(message: Message) -> tuple[object, ...]:
    """Give what both engines have to agree on even where the truth is not known: all but times and missing bytes."""
    ends = (message.src, message.sport, message.dst, message.dport)
    return (*ends, message.id, message.method, message.target, message.status, message.complete, message.payload)


def judged(case: Case, engine: str, report: Report) -> list[Message]:
    """Assemble a case with one engine, note what is wrong, and give the messages."""
    messages: list[Message] = []
    try:
        messages = case.messages(engine)
        found = case.judge(messages)
    except AssertionError as problem:
        found = [f"ledger: {problem}"]
    if found:
        report.failed[engine].append(case.seed)
        print(f"{case.mode} {case.seed}, {engine}: {found[0]}", flush=True)
    return messages
