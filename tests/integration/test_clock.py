"""A clock that is set while a run goes on, by an hour, back and forth: nothing waits for it, and nothing is lost.

The machine's clock is everybody's: what the processes are told by it is changed instead, in each of them, by a module
that Python imports at its start.  The other half are captures with the times of such a machine.
"""

import json
import os
from collections.abc import Sequence
from typing import Final

import pytest

from tests.integration import jobs
from tests.integration.hardships import CLOSES, RUN, ended, start
from tests.integration.jobs import configuration, errors, exchange, exchanges, messages, reading, writing
from tests.packets_files import write_pcap
from tests.splitting import without_levels
from tests.talks import CLIENT, SERVER, START_NS, Talk

COUNT: Final = 50
HOUR_NS: Final = 3600 * 10**9
STEPS: Final = (0, HOUR_NS, 0, -HOUR_NS)
LOOKED: Final = "looked-at-the-clock"
SET: Final = f"""
import os, time
def set_back_and_forth(read, scale):
    looked = []
    def wrong():
        if not looked:
            looked.append(os.open({LOOKED!r}, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
            os.write(looked[0], b"%d\\n" % os.getpid())
            os.close(looked[0])
        return read() + {STEPS}[time.monotonic_ns() // 10**8 % 4] * scale
    return wrong
time.time, time.time_ns = set_back_and_forth(time.time, 1e-9), set_back_and_forth(time.time_ns, 1)
"""
"""Set ten times a second, by an hour."""
SPELL: Final = 'export PYTHONPATH="$PWD/clock:$PYTHONPATH"; exec "$@"'


@pytest.fixture
def place(tmp_path):
    """A directory for a run, and with what sets the clock."""
    for name in ("tmp", "clock"):
        (tmp_path / name).mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(SET)
    return tmp_path


def stepped(frames: Sequence[tuple[int, bytes]], every: int) -> list[tuple[int, bytes]]:
    """Have the clock set after every so many frames."""
    return [(ts_ns + STEPS[at // every % len(STEPS)], data) for at, (ts_ns, data) in enumerate(frames)]


def comm(pid: int) -> str:
    """By which name a process is known."""
    with open(f"/proc/{pid}/comm") as file:
        return file.read().strip()


def all_is_well(place, count: int, before: str = SPELL, *more: str) -> None:
    """Hold that everything came, in a run that ends by itself."""
    done = ended(place, before, *RUN, *more)
    assert (done.returncode, errors(done)) == (0, []), done.stderr
    assert CLOSES in done.stderr
    found = messages(place / "out.jsonl")
    assert len(found) == len({(each["id"], each["kind"]) for each in found}) == 2 * count


@pytest.mark.parametrize("every", [1, 6, 7, 50])
def test_captures_of_a_machine_whose_clock_was_set_are_read_as_others(place, every):
    """Timers run on packet time: it must neither end what is under way, nor be waited for."""
    write_pcap(place / "a.pcap", stepped(exchanges(COUNT), every))
    configuration(place / "m.toml", reading("a.pcap"), writing("out.jsonl"))
    all_is_well(place, COUNT, 'exec "$@"')


@pytest.mark.parametrize("every", [1, 7, 100])
@pytest.mark.parametrize("lanes", [1, 2])
def test_connections_side_by_side_are_read_as_others_too(place, every, lanes):
    """Frames of many connections, one of each in turn: each is in the middle of something at every step."""
    connections = [exchange(number) for number in range(COUNT)]
    frames = [frame for turn in zip(*connections, strict=True) for frame in turn]
    write_pcap(place / "a.pcap", stepped(frames, every))
    configuration(place / "m.toml", reading("a.pcap") + f"\nlanes = {lanes}", writing("out.jsonl"))
    all_is_well(place, COUNT, 'exec "$@"')


def set_back_in_the_middle() -> list[tuple[int, bytes]]:
    """Capture requests that lack three bytes, set the clock back, and go on for 70 s; then the bytes come after all."""
    holed = [Talk(20_000 + number, now_ns=START_NS + number * 1000) for number in range(12)]
    for talk in holed:
        talk.open().put(CLIENT, b"POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\n")
        talk.lose(CLIENT, b"abc").put(CLIENT, b"def").put(SERVER)
    frames = sorted(frame for talk in holed for frame in talk.frames)
    for second in range(70):
        other = Talk(30_000 + second, now_ns=START_NS + (second + 1) * 10**9 - HOUR_NS)
        frames += other.open().put(CLIENT, b"GET / HTTP/1.1\r\n\r\n").close().frames
    for talk in holed:
        frames += talk.wait(80 - HOUR_NS / 10**9).put(CLIENT, b"abc", at=talk.sent[CLIENT] - 6).frames[-1:]
    return frames


def test_timers_run_on_in_a_capture_whose_clock_was_set_back(place):
    """Holes are given up and silent connections ended as ever, in any number of lanes; times are the frames' own."""
    write_pcap(place / "a.pcap", set_back_in_the_middle())
    found, counted = [], []
    for lanes in (1, 2, 4):
        name = f"{lanes}.jsonl"
        configuration(place / "m.toml", reading("a.pcap") + f"\nlanes = {lanes}", writing(name))
        done = ended(place, 'exec "$@"', *RUN, "--ledger", "ledger.json")
        assert (done.returncode, errors(done)) == (0, []), done.stderr
        found.append(sorted((place / name).read_text().splitlines()))
        counts = json.loads((place / "ledger.json").read_text())["counters"]["assemble"]
        counted.append(without_levels(counts))
    assert found[0] == found[1] == found[2]
    assert counted[0] == counted[1] == counted[2]
    assert (counted[0]["holes"], counted[0]["bytes_missing"], counted[0]["flows_idle"]) == (12, 36, 12)
    several = messages(place / "4.jsonl")
    assert sorted(each["missing"] for each in several) == [0] * 70 + [3] * 12
    assert all((float(each["ts"]) < START_NS / 1e9) == (each["method"] == "GET") for each in several)


def test_a_run_whose_clock_is_set_again_and_again_does_its_work_as_ever(place):
    """Its own waits and deadlines go by a clock that nobody sets."""
    write_pcap(place / "a.pcap", exchanges(COUNT))
    configuration(place / "m.toml", reading("a.pcap"), writing("out.jsonl"))
    all_is_well(place, COUNT)
    assert (place / LOOKED).read_text(), "nobody was told the wrong time"


def test_delivery_and_the_death_of_a_process_are_none_of_the_clocks_business(place):
    """Two pipelines, and the sender's worker is killed: another follows, and all comes once."""
    (place / "far").mkdir()
    configuration(place / "far" / "m.toml", 'type = "tcp"\nlisten = "127.0.0.1:0"', writing("../out.jsonl"))
    far = start(place, f"cd far; {SPELL.replace('$PWD', str(place))}", *RUN)
    try:
        assert far.stderr
        while b"listening on " not in (line := far.stderr.readline()):
            assert line, "it ended"
        address = line.split(b"listening on ")[1].split()[0].decode()
        os.mkfifo(place / "fifo")
        write_pcap(place / "a.pcap", exchanges(COUNT))
        configuration(place / "m.toml", reading("fifo"), f'type = "tcp"\naddress = "{address}"')
        near = start(place, SPELL, *RUN)
        feed = os.open(place / "fifo", os.O_RDWR)
        try:
            data = (place / "a.pcap").read_bytes()
            os.write(feed, data[: len(data) // 2])
            jobs.wait_until(lambda: messages(place / "out.jsonl"), "the first messages")
            [worker] = [pid for pid in jobs.processes_under(near.pid) if comm(pid) == "worker 0"]
            os.kill(worker, 9)
            os.write(feed, data[len(data) // 2 :])
        finally:
            os.close(feed)
            done = jobs.finished(near)
        assert (done.returncode, errors(done)) == (0, []), done.stderr
        assert "worker 0 was killed by SIGKILL; it is started again" in done.stderr
        assert CLOSES in done.stderr
    finally:
        far.terminate()
        done = jobs.finished(far)
    assert done.returncode == 0
    found = messages(place / "out.jsonl")
    assert len(found) == len({(each["id"], each["kind"]) for each in found}) == 2 * COUNT
