"""Replay is faithful: a server gets exactly what was captured, byte for byte, each connection's requests in order."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.jobs import configuration, errors, pipeline, reading, wait_until
from tests.integration.replays import (
    arrived,
    asked,
    captured,
    digest,
    digests,
    entries,
    generated,
    in_order,
    readdressed,
    record,
    recorded,
    replay,
    sending,
    spoken,
    targets,
)
from tests.integration.test_mirror import Receiver
from tests.integration.test_mirror import sending as sending_on
from tests.packets_files import write_pcap
from tests.targets import Target, target

needs_captures = pytest.mark.skipif(not entries(), reason="../shared/captures is not there")
CASES = 30


def both(directory: Path, source: str, wanted: Callable[[Target], list[list[str]]], **keys: str) -> None:
    """Replay to two servers at once, one for each mode, and hold what they got against what is wanted of each."""
    with target() as one, target() as other:
        outputs = (sending(server.url, mode=mode, **keys) for server, mode in ((one, "session"), (other, "pool")))
        done = replay(directory, source, *outputs)
    for output, server in enumerate((one, other)):
        log = [each.digest for each in server.arrivals]
        assert sorted(log) == sorted(itertools.chain(*wanted(server)))
        assert in_order(wanted(server), log)
        assert server.faults == []
        assert done.count("delivered", output) == len(log)
        assert done.failures(output) == {}
    assert sorted(arrived(one)) == sorted(wanted(one))


@needs_captures
@pytest.mark.parametrize("entry", [pytest.param(each, id=each["file"]) for each in entries()])
def test_a_server_gets_exactly_what_was_captured(tmp_path, entry):
    """The promise of replay, on traffic that nobody here made: by digests that others have worked out."""
    both(tmp_path, captured(entry), lambda _server: digests(entry), host="captured")


@pytest.mark.parametrize("case", generated(0, CASES), ids=lambda case: str(case.seed))
def test_a_server_gets_exactly_what_was_said(tmp_path, case):
    """Whatever HTTP/1.x can be written: folded lines, odd methods, trailers, bodies of megabytes."""
    write_pcap(tmp_path / "said.pcap", case.bytes_of(), link=case.link)
    both(tmp_path, reading("said.pcap"), lambda server: [
        [digest(readdressed(each, server.authority)) for each in line] for line in spoken(case)
    ])  # fmt: skip


@pytest.mark.parametrize("mode", ["session", "pool"])
@pytest.mark.parametrize("workers", [1, 2])
def test_requests_of_a_connection_stay_in_order(tmp_path, mode, workers):
    """Seen from the server, over shared connections and several workers too: a login comes before what needs it."""
    record(tmp_path / "shop.rec", asked(connections=60, each=20))
    source = recorded("shop.rec") + f"\n[workers]\ncount = {workers}\n"
    with target() as server:
        done = replay(tmp_path, source, sending(server.url, mode=mode, connections=8))
    log = targets(server.arrivals)
    assert len(log) == len(set(log)) == 1200
    assert in_order(([f"/{line}/{at}" for at in range(20)] for line in range(60)), log)
    assert server.most_open <= 2 * 8 * workers  # a server sees the end of a connection after the client has it
    assert done.count("connections") == server.accepted


def test_the_command_replays_what_it_is_given(tmp_path):
    """A recording, a server, and nothing else to write; the answers are summed up at the end."""
    record(tmp_path / "shop.rec", asked(connections=3, each=5))
    with target() as server:
        done = pipeline(tmp_path, "replay", "shop.rec", "--to", server.url, "--ledger", "ledger.json", "--strict")
        assert (done.returncode, errors(done)) == (0, [])
        dry = pipeline(tmp_path, "replay", "shop.rec", "--to", server.url, "--dry-run")
    assert len(server.arrivals) == 15
    assert in_order(([f"/{line}/{at}" for at in range(5)] for line in range(3)), targets(server.arrivals))
    assert "replay by output 0" in done.stderr
    assert dry.stdout.startswith("would send  15 requests")
    assert json.loads((tmp_path / "ledger.json").read_text())["closed"]


def test_rounds_follow_each_other(tmp_path):
    """Each connection's requests in order, and again."""
    record(tmp_path / "shop.rec", asked(connections=3, each=5))
    with target() as server:
        done = pipeline(tmp_path, "replay", "shop.rec", "--to", server.url, "--speed", "max", "--loop", "4")
    assert (done.returncode, errors(done)) == (0, [])
    assert len(server.arrivals) == 60
    assert in_order(([f"/{line}/{at}" for at in range(5)] * 4 for line in range(3)), targets(server.arrivals))


def test_options_of_the_command_reach_the_server(tmp_path):
    """Each of them by what it does there."""
    messages = [*asked(connections=2, each=5), *asked(connections=1, each=3, method="POST")]
    record(tmp_path / "shop.rec", messages)
    with target() as server:
        done = pipeline(
            tmp_path, "replay", "shop.rec", "--to", f"{server.url}/base/", "--speed", "max", "--multiply", "2",
            "--method", "GET", "--host", "other.example", "--where", "path ~ '^/1/'", "--mode", "pool",
            "--connections", "1", "--set", "output.0.copy_header=X-Copy",
        )  # fmt: skip
    assert (done.returncode, errors(done)) == (0, [])
    assert sorted(targets(server.arrivals)) == sorted(2 * [f"/base/1/{at}" for at in range(5)])
    assert {each.values(b"host")[0] for each in server.arrivals} == {b"other.example"}
    assert [each.values(b"x-copy") for each in server.arrivals].count([b"2"]) == 5
    assert server.accepted == 1


def test_a_receiver_replays(tmp_path):
    """Captured on one machine, replayed from another."""
    record(tmp_path / "shop.rec", asked(connections=3, each=5))
    with target() as server:
        far = Receiver(tmp_path, to=server.url)
        try:
            outputs = sending_on(far.address)
            config = configuration(tmp_path / "near.toml", recorded("shop.rec"), outputs)
            done = pipeline(tmp_path, "run", "--config", config, "--strict")
            assert (done.returncode, errors(done)) == (0, [])
            wait_until(lambda: len(server.arrivals) == 15, "all requests")
            assert far.stop() == 0, far.said
        finally:
            far.end()
    assert in_order(([f"/{line}/{at}" for at in range(5)] for line in range(3)), targets(server.arrivals))
    assert json.loads((tmp_path / "receiver.json").read_text())["closed"]
