"""Replay is faithful: a server gets exactly what was captured, byte for byte, each connection's requests in order."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.jobs import reading
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
        assert sorted(log) == sorted(sum(wanted(server), []))
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
