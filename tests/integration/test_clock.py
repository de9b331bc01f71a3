"""A clock that is set while a run goes on, by an hour, back and forth: nothing waits for it, and nothing is lost.

The machine's clock is everybody's: what the processes are told by it is changed instead, in each of them, by a module
that Python imports at its start.  The other half are captures with the times of such a machine.
"""

import os
from collections.abc import Sequence
from typing import Final

import pytest

from tests.integration import jobs
from tests.integration.hardships import CLOSES, RUN, ended, start
from tests.integration.jobs import configuration, errors, exchange, exchanges, messages, reading, writing
from tests.packets_files import write_pcap

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
