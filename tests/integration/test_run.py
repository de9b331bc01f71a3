"""Whole runs with real processes: what comes out, what is said, the exit code, what is left behind."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.integration.jobs import (
    all_gone,
    configuration,
    errors,
    exchange,
    exchanges,
    finished,
    messages,
    pipeline,
    processes_under,
    reading,
    start,
    wait_until,
    watching,
    writing,
)
from tests.packets import ethernet
from tests.packets_files import pcap, write_pcap

NULL = 'type = "null"'


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A capture of fifty exchanges."""
    return write_pcap(tmp_path / "shop.pcap", exchanges(50))


def test_every_message_comes_out_and_the_ledger_closes(tmp_path, shop):
    """The main job in one run: file in, file out, nothing lost."""
    config = configuration(tmp_path / "m.toml", reading("shop.pcap"), writing("out.jsonl"), NULL)
    done = pipeline(tmp_path, "run", "--config", config, "--ledger", "ledger.json", "--strict")
    assert (done.returncode, errors(done), done.stdout) == (0, [], "")
    assert "the ledger closes; nothing was lost" in done.stderr
    found = messages(tmp_path / "out.jsonl")
    assert len(found) == 100
    assert {each["target"] for each in found if each["kind"] == "request"} == {f"/item/{n}" for n in range(50)}
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    assert (ledger["closed"], ledger["loss"], ledger["exit_code"]) == (True, {}, 0)
    assert ledger["counters"]["capture"]["frames_captured"] == 300


def test_nothing_is_left_behind(tmp_path, shop):
    """Shared memory has no names, and nothing is written where nobody asked for it."""
    config = configuration(tmp_path / "m.toml", reading("shop.pcap"), NULL)
    before = set(tmp_path.iterdir())
    job = start(tmp_path, "run", "--config", config)
    assert finished(job).returncode == 0
    assert set(tmp_path.iterdir()) == before
    assert not processes_under(job.pid)
    with pytest.raises(ProcessLookupError):
        os.killpg(job.pid, 0)


def test_standard_output_holds_messages_and_nothing_else(tmp_path, shop):
    """`pipeline run … | jq` must see JSON only."""
    config = configuration(tmp_path / "m.toml", reading("shop.pcap"), 'type = "stdout"')
    done = pipeline(tmp_path, "run", "--config", config, "--verbose")
    assert done.returncode == 0
    assert [json.loads(line)["kind"] for line in done.stdout.splitlines()].count("response") == 50


def test_quiet_says_nothing_about_a_good_run(tmp_path, shop):
    """For cron."""
    config = configuration(tmp_path / "m.toml", reading("shop.pcap"), NULL)
    done = pipeline(tmp_path, "run", "--config", config, "--quiet")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


def test_the_log_can_be_json(tmp_path, shop):
    """For log collectors: every line before the ledger is an object."""
    config = configuration(tmp_path / "m.toml", reading("shop.pcap"), NULL)
    done = pipeline(tmp_path, "run", "--config", config, "--log-format", "json")
    said = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert said[-1]["process"] == "pipeline"
    assert said[-1]["text"].startswith("done after")


# What cannot be read.


def broken(name: str) -> bytes:
    """The content of a bad input file."""
    return {
        "empty": b"",
        "text": b"GET / HTTP/1.1\r\n" * 10,
        "link": pcap(exchanges(1), link=147),
    }[name]


@pytest.mark.parametrize(("name", "said"), [("empty", "is empty"), ("text", "not a capture"), ("link", "147")])
def test_a_file_that_is_no_capture_is_one_line(tmp_path, name, said):
    """File and reason, no traceback."""
    (tmp_path / "bad.pcap").write_bytes(broken(name))
    done = pipeline(tmp_path, "run", "--config", configuration(tmp_path / "m.toml", reading("bad.pcap"), NULL))
    assert done.returncode == 1
    (error,) = errors(done)
    assert "bad.pcap" in error
    assert said in error
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    """Found before any process is started."""
    done = pipeline(tmp_path, "run", "--config", configuration(tmp_path / "m.toml", reading("no.pcap"), NULL))
    assert (done.returncode, done.stderr) == (1, "pipeline: error: no.pcap: no such file\n")


def test_a_bad_filter_is_one_line(tmp_path, shop):
    """In the words of libpcap, with the exit code of a bad configuration."""
    config = configuration(tmp_path / "m.toml", reading("shop.pcap") + '\nfilter = "prot 80"', NULL)
    done = pipeline(tmp_path, "run", "--config", config)
    assert done.returncode == 2
    assert "prot 80" in errors(done)[0]


def test_whole_packets_before_a_cut_are_delivered(tmp_path, shop):
    """A capture that was interrupted: a warning, not an error; a loss for --strict."""
    shop.write_bytes(shop.read_bytes()[:-10])
    config = configuration(tmp_path / "m.toml", reading("shop.pcap"), writing("out.jsonl"))
    done = pipeline(tmp_path, "run", "--config", config)
    assert (done.returncode, errors(done)) == (0, [])
    assert "warning: " in done.stderr
    assert len(messages(tmp_path / "out.jsonl")) == 100
    strict = pipeline(tmp_path, "run", "--config", config, "--strict")
    assert strict.returncode == 3
    assert "files that end in the middle of a frame" in errors(strict)[0]


def test_a_capture_without_tcp_says_so(tmp_path):
    """Exit code 0: the run did its job, but somebody may have the wrong file."""
    frames = [(1, ethernet(b"\0" * 46, ethertype=0x0806))]
    write_pcap(tmp_path / "arp.pcap", frames)
    done = pipeline(tmp_path, "run", "--config", configuration(tmp_path / "m.toml", reading("arp.pcap"), NULL))
    assert done.returncode == 0
    assert "warning: no TCP was seen in 1 frames" in done.stderr


def test_tcp_on_other_ports_only_says_so(tmp_path, shop):
    """The commonest mistake is a wrong port."""
    config = configuration(tmp_path / "m.toml", reading("shop.pcap") + "\nports = [8080]", NULL)
    done = pipeline(tmp_path, "run", "--config", config)
    assert done.returncode == 0
    assert "warning: no TCP was seen on port 8080: 300 frames are of other ports" in done.stderr


# What cannot be written.


def test_a_receiver_that_is_not_there_is_an_error_that_counts(tmp_path, shop):
    """After bounded retries, with the number of messages that were not delivered."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    output = f'type = "tcp"\naddress = "127.0.0.1:{port}"'
    config = configuration(tmp_path / "m.toml", reading("shop.pcap"), output)
    done = pipeline(tmp_path, "run", "--config", config, "--set", "output.0.retry=300ms", "--ledger", "ledger.json")
    assert done.returncode == 1
    (error,) = errors(done)
    assert f"127.0.0.1:{port}" in error
    assert "100" in error
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    assert ledger["closed"]
    assert ledger["loss"] == {f"messages undelivered at output 0: tcp 127.0.0.1:{port}": 100}


@pytest.mark.parametrize("path", ["no/such/directory/out.jsonl", "/dev/full"])
def test_a_file_that_cannot_be_written_is_one_line(tmp_path, shop, path):
    """A missing directory, a full disk: the other output gets everything all the same."""
    config = configuration(tmp_path / "m.toml", reading("shop.pcap"), writing(path), writing("good.jsonl"))
    done = pipeline(tmp_path, "run", "--config", config)
    assert done.returncode == 1
    (error,) = errors(done)
    assert path in error
    assert len(messages(tmp_path / "good.jsonl")) == 100


def test_a_ledger_that_cannot_be_written_is_found_before_the_run(tmp_path, shop):
    """An hour later would be late."""
    config = configuration(tmp_path / "m.toml", reading("shop.pcap"), writing("out.jsonl"))
    done = pipeline(tmp_path, "run", "--config", config, "--ledger", "no/such/ledger.json")
    assert done.returncode == 1
    assert errors(done) == ["--ledger no/such/ledger.json: cannot be written: no such file or directory"]
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("workers.cuont=2", "--set: workers.cuont: unknown key; did you mean count?"),
        ("workers.count='two'", '--set: workers.count: "two" is not possible; write a whole number'),
        ("workers.count=0", "--set: workers.count: 0 is not possible; write at least 1"),
    ],
)
def test_a_bad_configuration_is_one_line_and_exit_code_2(tmp_path, shop, override, said):
    """Nothing is started."""
    config = configuration(tmp_path / "m.toml", reading("shop.pcap"), NULL)
    done = pipeline(tmp_path, "run", "--config", config, "--set", override)
    assert (done.returncode, done.stderr) == (2, f"pipeline: error: {said}\n")


# Being stopped.


def feed(fd: int) -> None:
    """Write exchanges without end, until nobody reads any more."""
    header, number = len(pcap([])), 0
    with open(fd, "wb", buffering=0) as pipe, contextlib.suppress(BrokenPipeError):
        pipe.write(pcap([]))
        while True:
            pipe.write(b"".join(pcap(exchange(each))[header:] for each in range(number, number + 50)))
            number += 50


@pytest.fixture
def endless(tmp_path):
    """A run in the middle of endless input, with messages already written."""
    config = configuration(tmp_path / "m.toml", reading("-"), writing("out.jsonl"))
    read_fd, write_fd = os.pipe()
    job = start(tmp_path, "run", "--config", config, "--ledger", "ledger.json", stdin=read_fd)
    os.close(read_fd)
    feeder = threading.Thread(target=feed, args=(write_fd,), daemon=True)
    feeder.start()
    wait_until(lambda: messages(tmp_path / "out.jsonl"), "first message")
    yield job
    if job.poll() is None:
        os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    feeder.join(timeout=5)
    assert not feeder.is_alive()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_mid_run_drains_and_prints_the_ledger(tmp_path, endless, number):
    """Ctrl-C goes to the whole group; what was read is delivered, what is counted is there."""
    os.killpg(endless.pid, number) if number == signal.SIGINT else endless.send_signal(number)
    done = finished(endless)
    assert (done.returncode, errors(done)) == (0, [])
    assert "draining" in done.stderr
    assert "the ledger closes" in done.stderr
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    assert ledger["closed"]
    found = messages(tmp_path / "out.jsonl")
    assert len(found) == ledger["counters"]["assemble"]["messages"] > 0


def test_a_killed_worker_is_followed_by_another(tmp_path, endless):
    """kill -9 in the middle of the night: the run goes on, says so, and every message comes out."""
    (worker,) = [pid for pid in processes_under(endless.pid) if b"worker 0" in Path(f"/proc/{pid}/comm").read_bytes()]
    os.kill(worker, signal.SIGKILL)
    before = len(messages(tmp_path / "out.jsonl"))
    wait_until(lambda: len(messages(tmp_path / "out.jsonl")) > before + 100, "more messages")
    endless.send_signal(signal.SIGTERM)
    done = finished(endless)
    assert (done.returncode, errors(done)) == (0, [])
    assert "worker 0 was killed by SIGKILL; it is started again in 0.05 s" in done.stderr
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    assert (ledger["closed"], ledger["restarts"]) == (True, {"worker 0": 1})
    found = {
        (each["id"], each["kind"], each["payload"]) for each in messages(tmp_path / "out.jsonl")
    }  # ports come again
    assert len(found) == ledger["counters"]["assemble"]["messages"]


@pytest.mark.parametrize("how", ["ctypes.string_at(0)", "os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_a_message_that_kills_its_worker_is_left_out_counted_and_kept(tmp_path, shop, how):
    """A fault in somebody's function, or in ours: it costs this message, and not the run."""
    (tmp_path / "hooks.py").write_text(
        "import ctypes, os\n"
        "def check(message):\n"
        f"    if message.payload.startswith(b'GET /item/33 '): {how}\n"
        "    return message\n"
    )
    output = writing("out.jsonl") + '\npython = "hooks:check"\n\n[supervision]\nkept = "kept"'
    config = configuration(tmp_path / "m.toml", reading("shop.pcap"), output)
    done = pipeline(tmp_path, "run", "--config", config, "--ledger", "ledger.json")
    assert (done.returncode, errors(done)) == (0, [])
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    (counts,) = ledger["counters"]["workers"]
    assert (ledger["closed"], counts["output0_poisoned"], counts["output0_delivered"]) == (True, 1, 99)
    targets = {each.get("target") for each in messages(tmp_path / "out.jsonl")}
    assert targets == {None, *(f"/item/{number}" for number in range(50) if number != 33)}
    (kept,) = (tmp_path / "kept").iterdir()
    assert b"GET /item/33 HTTP/1.1" in kept.read_bytes()
    assert f"a copy is in {kept}" in done.stderr or f"a copy is in kept/{kept.name}" in done.stderr


def test_killing_the_supervisor_leaves_no_process(endless):
    """kill -9, the out-of-memory killer: nobody is there to clean up, and nothing is there to be cleaned."""
    started = processes_under(endless.pid)
    assert len(started) >= 4  # three stages and multiprocessing's own tracker
    for pid in [endless.pid, *started]:
        named = [line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "/dev/shm/" in line]
        assert all(line.endswith("(deleted)") for line in named)
    with watching(started) as held:
        os.kill(endless.pid, signal.SIGKILL)
        assert all_gone(held)


def test_a_port_that_is_taken_is_one_line(tmp_path):
    """The commonest cause is a receiver that already runs."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = pipeline(tmp_path, "receive", "--listen", address, "--to", "null")
    assert done.returncode == 1
    (error,) = errors(done)
    assert address in error
    assert "in use" in error


def test_frames_that_arrive_late_do_not_wait_for_more(tmp_path):
    """A live tcpdump piped in: each message comes out when it is there, not when a batch is full."""
    config = configuration(tmp_path / "m.toml", reading("-"), writing("out.jsonl"))
    job = start(tmp_path, "run", "--config", config, stdin=subprocess.PIPE)
    assert job.stdin is not None
    job.stdin.write(pcap(exchange(1)))
    job.stdin.flush()
    wait_until(lambda: len(messages(tmp_path / "out.jsonl")) == 2, "two messages")
    assert finished(job).returncode == 0


def test_udp_and_tcp_are_told_apart(tmp_path):
    """A mixed capture: each frame in one counted place."""
    odd = [(1, ethernet(b"\x45" + bytes(19))), (2, ethernet(b"\0" * 46, ethertype=0x88CC))]
    write_pcap(tmp_path / "mixed.pcap", [*odd, *exchanges(2)])
    config = configuration(tmp_path / "m.toml", reading("mixed.pcap"), NULL)
    done = pipeline(tmp_path, "run", "--config", config, "--ledger", "-")
    ledger = json.loads(done.stdout)
    assert done.returncode == 0
    frames = ledger["equations"][0]
    assert (frames["left"], frames["right"]["decoded"], frames["closes"]) == (14, 12, True)
