"""Kills at random, over all processes of two pipelines: what reached a ring arrives once, and the ledgers close.

SIGKILL, or SIGSTOP and SIGCONT, to the capture, the assembler, the sender's and the far side's workers, and the
receiver; each time something more has to arrive before the next.  The first pipeline reads capture files, where it is
known which messages have to come out of the frames that were read, or watches an interface while a client and a server
talk.  Without the right to make network namespaces there are only the files.
"""

import base64
import os
import random
import re
import signal
import statistics
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.integration.jobs import configuration, exchanges, messages, reading, wait_until
from tests.integration.mirrors import PORT, fetch, serving
from tests.namespace import POSSIBLE, pair
from tests.packets_files import write_pcap
from tests.torture.scenes import Pipeline, again_and_again, ended, size

A_RUN: Final = 50
"""Kills of one run."""
EXCHANGES_S: Final = 500
"""What the near side's output lets through: files are read for as long as kills come."""
BODY_BYTES: Final = 2000
"""Large enough that what lies in the rings at the end has passed within some seconds."""
FRAMES: Final = 6  # of an exchange, of which the third has the request and the fourth the response
MOST_BYTES: Final = 500_000
"""That have to arrive before the next kill."""
LONGEST_PAUSE_S: Final = 0.3
SMALL_RINGS: Final = '\n[ring]\nframes = "1MiB"\nmessages = "1MiB"\nbatch_frames = 100\nbatch_bytes = "32KiB"\n'
"""So that whoever reads files is still at it, wherever the others are."""

VICTIMS: Final = (
    ("near", "capture"), ("near", "assembler"), ("near", "worker 0"), ("far", "receiver"), ("far", "worker 0"),
)  # fmt: skip
LABELS: Final = {("near", "worker"): "sender's worker", ("far", "worker"): "receiver's worker"}


@dataclass
class Toll:
    """What was done to whom, and what came of it."""

    messages: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    paused: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    back_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    lost: Counter[str] = field(default_factory=Counter)  # as the ledgers say

    @property
    def kills(self) -> int:
        """How many signals there were."""
        return self.killed.total() + self.paused.total()

    def add(self, other: "Toll") -> None:
        """Add what another run came to."""
        self.messages += other.messages
        self.restarts += other.restarts
        self.killed.update(other.killed)
        self.paused.update(other.paused)
        self.lost.update(other.lost)
        for name, seconds in other.back_s.items():
            self.back_s[name] += seconds

    def note(self, kind: str, near: Pipeline, far: Pipeline) -> None:
        """Read what both pipelines have to say."""
        for each in (near, far):
            self.restarts += sum(each.ledger().get("restarts", {}).values())
            for name, seconds in each.recoveries():
                self.back_s[label(kind, each.name, name)].append(seconds)
        counters = near.ledger()["counters"]
        self.lost["frames_lost"] += counters["assemble"]["frames_lost"]
        if kind == "live":
            self.lost["frames_lost by captures"] += counters["capture"]["frames_lost"]
            self.lost["blind_ms"] += counters["capture"]["blind_ms"]

    def table(self) -> Iterator[str]:
        """Yield a line for each kind of process: kills, pauses, and how long it took until its successor worked."""
        yield f"{'process':24}{'killed':>8}{'paused':>8}{'back after min':>16}{'median':>8}{'max':>8}"
        for name in sorted({*self.killed, *self.paused}):
            known = self.back_s.get(name, [])
            times = (min(known), statistics.median(known), max(known)) if known else ()
            said = "".join(f"{each:{width}.2f} s" for each, width in zip(times, (14, 6, 6), strict=False))
            yield f"{name:24}{self.killed[name]:8}{self.paused[name]:8}{said}"


def label(kind: str, side: str, name: str) -> str:
    """Say which process of a scene this is."""
    if name.startswith("capture"):
        return f"capture of {kind}"
    name = name.rstrip(" 0123456789")
    return LABELS.get((side, name), name)


def strike(
    dice: random.Random, kind: str, near: Pipeline, far: Pipeline, victims: Sequence[tuple[str, str]], toll: Toll
) -> None:
    """Kill a process, or stop it for a moment."""
    side, name = dice.choice(victims)
    pid, victim = (near if side == "near" else far).child(name), label(kind, side, name)
    pause_s = dice.random() * LONGEST_PAUSE_S if dice.random() < 0.2 else None
    with suppress(ProcessLookupError):  # of two at once it may be the one that was about to go
        if pause_s is None:
            os.kill(pid, signal.SIGKILL)
            toll.killed[victim] += 1
        else:
            os.kill(pid, signal.SIGSTOP)
            toll.paused[victim] += 1
            threading.Event().wait(pause_s)
            os.kill(pid, signal.SIGCONT)


def strikes(
    count: int, dice: random.Random, kind: str, near: Pipeline, far: Pipeline, arrived: Path,
    victims: Sequence[tuple[str, str]],
) -> Toll:  # fmt: skip
    """Strike so often, now and then two at once, then see that all goes on."""
    toll = Toll()

    def more(at_least: int) -> None:
        goal = size(arrived) + at_least
        wait_until(lambda: size(arrived) > goal or near.job.poll() is not None, "more arrives")
        assert near.job.poll() is None, near.text

    while toll.kills < count:
        more(dice.randrange(1, MOST_BYTES))
        for _ in range(min(dice.choice((1, 1, 1, 2)), count - toll.kills)):
            strike(dice, kind, near, far, victims, toll)
    more(MOST_BYTES)
    return toll


def torture(directory: Path, kills: int, seed: int, source: Path | None = None) -> Toll:
    """Have a capture file mirrored to another pipeline, kill so often, and hold what has arrived against the file.

    Every other seed spares the assembler: then what comes out is exactly what is in the frames that were read.
    """
    dice = random.Random(seed)
    spare = "assembler" if seed % 2 else ""
    source = source or make_source(directory / "source.pcap", kills)
    (directory / "far").mkdir()
    far = Pipeline("far", directory / "far", ("receive", "--listen", "127.0.0.1:0", "--to", "received.jsonl"))
    with ended(far):
        output = f'type = "tcp"\naddress = "{far.address()}"\nlimit = {EXCHANGES_S}\n{SMALL_RINGS}'
        config = configuration(directory / "m.toml", reading(source), output)
        near = Pipeline("near", directory, ("run", "--config", config))
        arrived = directory / "far" / "received.jsonl"
        with ended(near):
            victims = [each for each in VICTIMS if each[1] != spare]
            toll = strikes(kills, dice, "files", near, far, arrived, victims)
            assert (near.stop(), far.stop()) == (0, 0), near.text + far.text
    found = Counter(number_of(each) for each in messages(arrived))
    check(found, near, far)
    counters = near.ledger()["counters"]
    missing = in_frames(counters["capture"]["frames_captured"]) - set(found)
    assert set(found) <= in_frames(counters["capture"]["frames_captured"])
    lost_frames, lost_bytes = (counters["assemble"][each] for each in ("frames_lost", "skipped_lost"))
    assert sum(sizes(missing)[lost_frames:]) <= lost_bytes, (missing, lost_frames, lost_bytes, near.text)
    assert not (spare and missing)
    toll.messages = len(found)
    toll.note("files", near, far)
    return toll


def make_source(path: Path, kills: int) -> Path:
    """Write a capture that lasts for so many kills, a second for each of them, and some to spare."""
    return write_pcap(path, exchanges(EXCHANGES_S * (10 + kills), size=BODY_BYTES))


def number_of(message: dict[str, Any]) -> tuple[str, int]:
    """Return which message of which exchange this is."""
    found = re.search(rb"item[/ ](\d+)", base64.b64decode(message["payload"]))
    assert found, message
    return message["kind"], int(found[1])


def in_frames(count: int) -> set[tuple[str, int]]:
    """Return what is in the first frames of the capture."""
    places = (("request", 2), ("response", 3))
    return {(kind, number) for kind, at in places for number in range((count - at - 1) // FRAMES + 1)}


def sizes(missing: set[tuple[str, int]]) -> list[int]:
    """Return how many bytes such messages had, the longest first: each was in one frame."""
    requests = (
        len(f"GET /item/{number} HTTP/1.1\r\nHost: shop\r\n\r\n") for kind, number in missing if kind == "request"
    )
    responses = (
        BODY_BYTES + len("HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n") for kind, _ in missing if kind == "response"
    )
    return sorted([*requests, *responses], reverse=True)


def check(found: Counter[Any], near: Pipeline, far: Pipeline) -> None:
    """Hold what came out against both ledgers."""
    ours, its = near.ledger(), far.ledger()
    assert (ours["closed"], its["closed"]) == (True, True), near.text + far.text
    assert max(found.values()) == 1, found.most_common(3)
    delivered = sum(each["output0_delivered"] for each in ours["counters"]["workers"])
    assert len(found) == ours["counters"]["assemble"]["messages"] == delivered
    assert len(found) == its["counters"]["receiver"]["messages"]


def victims_of(lanes: int) -> list[tuple[str, str]]:
    """Return whom to kill in a run with so many lanes."""
    if lanes == 1:
        return list(VICTIMS)
    near = [("near", f"{kind} {lane}") for kind in ("capture", "assembler", "worker") for lane in range(lanes)]
    return [*near, *(each for each in VICTIMS if each[0] == "far")]


def torture_live(directory: Path, kills: int, seed: int, lanes: int = 1) -> Toll:
    """Have an interface watched while somebody talks, kill so often, and hold what arrived against what was said."""
    dice, asked = random.Random(seed), []
    pause = threading.Event()
    (directory / "far").mkdir()
    with ExitStack() as stack:
        client, server = stack.enter_context(pair("10.9.0.1/24", "10.9.0.2/24"))
        stack.enter_context(serving(server))

        def talk(count: int = 20) -> None:
            targets = [f"/item/{len(asked) + at}" for at in range(count)]
            asked.extend(targets)
            fetch(client, server.address, targets)
            pause.wait(0.02)

        listen = ("receive", "--listen", "127.0.0.1:0", "--to", "received.jsonl")
        far = server.call(lambda: Pipeline("far", directory / "far", listen))
        stack.enter_context(ended(far))
        source = f'type = "live"\ninterfaces = ["{server.device}"]\nports = [{PORT}]\nlanes = {lanes}'
        output = f'type = "tcp"\naddress = "{far.address()}"\npolicy = "block"'
        config = configuration(directory / "m.toml", source, output)
        near = server.call(lambda: Pipeline("near", directory, ("run", "--config", config, "-v")))
        stack.enter_context(ended(near))
        near.wait_for("ready: every source")
        arrived = directory / "far" / "received.jsonl"
        with again_and_again(talk):
            toll = strikes(kills, dice, "live", near, far, arrived, victims_of(lanes))
        wait_until(lambda: near.all_back() and near.watches(lanes), "everybody works again")
        last = len(asked)
        talk()
        wait_until(lambda: asked[-1] in arrived.read_text() or near.job.poll() is not None, "the last message")
        assert (near.stop(), far.stop()) == (0, 0), near.text + far.text
    found = messages(arrived)
    check(Counter((each["id"], each["kind"]) for each in found), near, far)
    requests = Counter(each["target"] for each in found if each["kind"] == "request")
    assert max(requests.values()) == 1, requests.most_common(3)
    assert set(asked[last:]) <= set(requests) <= set(asked)
    assert len(requests) == len(asked) or near.ledger()["loss"], "what is missing is said"
    toll.messages = len(found)
    toll.note("live", near, far)
    assert bool(toll.killed["capture of live"]) == bool(toll.lost["blind_ms"])
    return toll


def main(minutes: float, kills: int | None = None) -> Iterator[str]:
    """Kill for so long, or so often, in runs of fifty; yields what each has shown, and a table of all."""
    end_s, seed, total = time.monotonic() + 60 * minutes, int(time.time()), Toll()
    tried = 0
    with tempfile.TemporaryDirectory() as shared:
        source = make_source(Path(shared) / "source.pcap", A_RUN)
        while tried < kills if kills is not None else time.monotonic() < end_s:
            count = A_RUN if kills is None else min(A_RUN, kills - tried)
            live = POSSIBLE and seed % 3 == 0
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory)
                lanes = 1 + seed // 3 % 2
                result = torture_live(path, count, seed, lanes) if live else torture(path, count, seed, source)
            what = f"{result.kills} kills, {result.restarts} restarts, {result.messages:,} messages once each"
            lost = ", ".join(f"{name} {count:,}" for name, count in result.lost.items() if count) or "nothing lost"
            kind = f"live, lanes {lanes}" if live else "files"
            yield f"seed {seed}, {kind}: {what}; {lost}"
            total.add(result)
            tried += result.kills
            seed += 1
    yield from total.table()
    lost = ", ".join(f"{name} {count:,}" for name, count in total.lost.items())
    yield f"{total.kills:,} kills in all, {total.messages:,} messages once each; {lost}"
