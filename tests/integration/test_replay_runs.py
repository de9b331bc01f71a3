"""Whole replays: in time, many times over, to real servers, and through what happens to a run on its way."""

import json
import os
import signal
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pytest

import assemble
from assemble.message import Message
from emit.pace import Pace
from emit.records import HttpSpec, OutputSpec
from tests import faults
from tests.emit.builders import request, ring_of
from tests.emit.processes import wait_until
from tests.integration.jobs import COMMAND, LIMIT_S, errors, pipeline, reading
from tests.integration.nginx import needs_nginx, nginx
from tests.integration.replays import (
    CAPTURES,
    asked,
    begin,
    captured,
    digests,
    ended,
    entries,
    in_order,
    record,
    recorded,
    replay,
    sending,
    targets,
)
from tests.targets import Arrival, Line, Target, fields, target, usual

SHOP: Final = Path(__file__).resolve().parents[2] / "examples" / "shop.pcap"
LATE_S: Final = 0.3  # of the first request, on a busy machine; all others are measured from it
NAMES: Final = ("keepalive-5.pcap", "post.pcap", "100-continue.pcap", "pipelined.pcap", "multi-conn.pcap")


@pytest.mark.parametrize(
    ("keys", "took_s"),
    [
        ({"speed": 2}, 0.995),
        ({"rate": 200}, 0.995),
        ({"rate": 200, "ramp": "1s"}, 1.495),
        ({"speed": 4, "multiply": 3}, 0.4975),
    ],
    ids=str,
)
@pytest.mark.parametrize("workers", [1, 2])
def test_requests_come_in_time(tmp_path, keys, took_s, workers):
    """Not before their time, and not much later; several workers keep one schedule."""
    record(tmp_path / "shop.rec", asked(connections=10, each=20, step_ns=10_000_000))
    source = recorded("shop.rec") + f"\n[workers]\ncount = {workers}\n"
    with target() as server:
        done = replay(tmp_path, source, sending(server.url, **keys))
    log = server.arrivals
    assert len(log) == 200 * keys.get("multiply", 1)
    span_s = log[-1].at_s - log[0].at_s
    assert took_s - LATE_S < span_s < took_s + 5
    if "speed" in keys:
        factor = keys["speed"]
        for each in log:
            line, at = map(int, each.target.decode().strip("/").split("/"))
            assert each.at_s - log[0].at_s > (10 * at + line) * 0.01 / factor - LATE_S
    assert done.failures() == {}
    assert in_order(([f"/{line}/{at}" for at in range(20)] for line in range(10)), targets(log))


def test_copies_are_told_apart_in_the_way_that_is_wanted(tmp_path):
    """By a header, or a parameter, from the second on; each captured connection becomes so many."""
    record(tmp_path / "shop.rec", asked(connections=2, each=3))
    with target() as plain, target() as header, target() as parameter:
        done = replay(
            tmp_path, recorded("shop.rec"), sending(plain.url, multiply=3),
            sending(header.url, multiply=3, copy_header="X-Copy"),
            sending(parameter.url, multiply=3, copy_parameter="copy"),
        )  # fmt: skip
    once = [f"/{line}/{at}" for line in range(2) for at in range(3)]
    assert Counter(targets(plain.arrivals)) == Counter(3 * once)
    assert {len(line) for line in plain.by_connection()} == {3}
    assert plain.accepted == 6
    assert Counter((each.target.decode(), *each.values(b"x-copy")) for each in header.arrivals) == Counter(
        (name, *mark) for name in once for mark in ((), (b"2",), (b"3",))
    )
    assert Counter(targets(parameter.arrivals)) == Counter(
        name + mark for name in once for mark in ("", "?copy=2", "?copy=3")
    )
    assert [done.count("delivered", output) for output in range(3)] == [6, 6, 6]  # messages, not copies


HOSTS: Final = [
    b"GET /a?b HTTP/1.1\r\nA: 1\r\nhost:shop\r\nB: 2\r\n\r\n",
    b"GET http://shop:80/a HTTP/1.1\r\nHost: shop:80\r\n\r\n",
    b"GET /a HTTP/1.0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n",
]


@pytest.mark.parametrize(
    ("host", "base", "wanted"),
    [
        ("captured", "", HOSTS),
        ("target", "", [each.replace(b"shop:80", b"<it>").replace(b"shop", b"<it>") for each in HOSTS]),
        (
            "other.example",
            "/base/",
            [
                b"GET /base/a?b HTTP/1.1\r\nA: 1\r\nhost:other.example\r\nB: 2\r\n\r\n",
                b"GET http://other.example/base/a HTTP/1.1\r\nHost: other.example\r\n\r\n",
                b"GET /base/a HTTP/1.0\r\n\r\n",
                b"OPTIONS * HTTP/1.1\r\nHost: other.example\r\n\r\n",
            ],
        ),
    ],
)
def test_host_and_path_are_those_that_are_wanted_and_all_else_as_captured(tmp_path, host, base, wanted):
    """To the byte: letters, blanks and order of everything else."""
    messages = []
    for at, payload in enumerate(HOSTS):
        method, name = payload.decode().split(" ")[:2]
        messages.append(request(at, sport=40_000, method=method, target=name, payload=payload, head=len(payload)))
    record(tmp_path / "shop.rec", messages)
    with target() as server:
        replay(tmp_path, recorded("shop.rec"), sending(server.url + base, host=host))
    assert [each.payload for each in server.arrivals] == [each.replace(b"<it>", server.authority) for each in wanted]


def test_a_method_that_is_not_named_is_never_sent(tmp_path):
    """The guard against writing to a system that is only to be read from; upper and lower case are two methods."""
    methods = ("GET", "HEAD", "POST", "DELETE", "get")
    record(tmp_path / "shop.rec", [each for method in methods for each in asked(2, 3, method=method)])
    with target() as server:
        done = replay(tmp_path, recorded("shop.rec"), sending(server.url, methods=["GET", "HEAD"]))
    assert {each.method for each in server.arrivals} == {b"GET", b"HEAD"}
    assert (done.count("delivered"), done.count("filtered")) == (12, 18)


class Expecting(Target):
    """A server that answers an expectation in its own way."""

    says = b""

    def expected(self, line: Line) -> None:
        line.send(self.says)


@pytest.mark.parametrize(
    ("says", "bodies"),
    [(b"HTTP/1.1 100 Continue\r\n\r\n", 6), (b"", 6), (b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", 0)],
)
def test_a_body_that_was_held_back_is_held_back_again(tmp_path, says, bodies):
    """Until 100, for a second at most, or for ever if the answer is there already: RFC 9110 section 10.1.1."""
    head = b"POST / HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    made = {"method": "POST", "target": "/", "payload": head + b"body", "head": len(head)}
    record(tmp_path / "shop.rec", [request(at, sport=40_000 + at % 2, **made) for at in range(6)])
    server = Expecting()
    server.says = says
    try:
        server.listen()
        done = replay(tmp_path, recorded("shop.rec"), sending(server.url, host="captured"))
    finally:
        server.close()
    assert [each.body for each in server.arrivals] == bodies * [b"body"]
    assert len(server.begun) == 6
    assert done.count("delivered") == 6
    if not bodies:
        assert server.accepted == 6  # a connection on which a body is owed is of no more use


def logged(messages: Iterable[Message]) -> list[list[dict[str, Any]]]:
    """What nginx is to log of the requests of each captured connection."""
    found: dict[Any, list[Any]] = defaultdict(list)
    for each in messages:
        if each.kind == "request":
            head, body = each.payload[: each.head], each.payload[each.head :]
            line, said = head.split(b"\r\n")[0].decode("latin-1"), dict(fields(head))
            if b"transfer-encoding" in said:
                body = b"".join(body.split(b"\r\n")[1::2])  # of chunks without line ends in them
            names = {"host": b"host", "agent": b"user-agent", "cookie": b"cookie", "number": b"x-number"}
            told = {name: said.get(header, b"").decode("latin-1") for name, header in names.items()}
            told |= {
                "method": each.method,
                "request": line,
                "length": len(each.payload),
                "body": body.decode("latin-1"),
                "status": 200,
            }
            found[each.src, each.sport].append(told)
    return list(found.values())


def in_any_order(lines: Iterable[Any]) -> list[Any]:
    """Sort what has no order of its own."""
    return sorted(lines, key=partial(json.dumps, sort_keys=True))


@needs_nginx
@pytest.mark.parametrize("mode", ["session", "pool"])
def test_nginx_gets_what_was_captured(tmp_path, mode):
    """A real server: all that its log can show of each request, and the order on each connection."""
    wanted = logged(assemble.messages(str(SHOP)))
    with nginx(tmp_path / "nginx") as server:
        done = replay(tmp_path, reading(SHOP), sending(server.url, mode=mode, host="captured"))
        log = server.by_connection()
    assert in_any_order(chain(*log)) == in_any_order(chain(*wanted))
    if mode == "session":
        assert in_any_order(log) == in_any_order(wanted)
    assert done.count("delivered") == 390


@needs_nginx
@pytest.mark.parametrize("entry", [pytest.param(each, id=each["file"]) for each in entries() if each["file"] in NAMES])
def test_nginx_gets_what_others_captured(tmp_path, entry):
    """The same of traffic that nobody here made."""
    wanted = logged(assemble.messages(str(CAPTURES / entry["file"]), ports=entry["ports"]))
    assert sum(map(len, wanted)) == sum(map(len, digests(entry)))
    with nginx(tmp_path / "nginx") as server:
        replay(tmp_path, captured(entry), sending(server.url, host="captured"))
        assert in_any_order(server.by_connection()) == in_any_order(wanted)


def slow(line: Line, request: Arrival) -> bool:
    """Answer after a while."""
    faults.pause(0.005)
    return usual(line, request)


def test_a_run_that_is_asked_to_end_brings_to_an_end_what_it_has_begun(tmp_path):
    """SIGTERM: what was taken is answered, nothing is sent behind that, and the books close."""
    record(tmp_path / "shop.rec", asked(connections=4, each=200))
    with target(slow) as server:
        job = begin(tmp_path, recorded("shop.rec"), sending(server.url))
        wait_until(lambda: len(server.arrivals) > 100, "requests")
        job.send_signal(signal.SIGTERM)
        done = ended(tmp_path, job)
    assert done.done.returncode == 0, done.done.stderr
    assert done.count("delivered") == len(server.arrivals)
    assert done.failures() == {}


@pytest.mark.parametrize("keys", [{"rate": 20}, {"speed": 0.1}], ids=str)
def test_what_waits_for_its_time_is_not_waited_for(tmp_path, keys):
    """Ctrl-C in a replay that would take another hour: under way is answered, all else is counted, at once."""
    record(tmp_path / "shop.rec", asked(connections=4, each=500, step_ns=5_000_000))
    with target() as server:
        job = begin(tmp_path, recorded("shop.rec"), sending(server.url, **keys))
        wait_until(lambda: len(server.arrivals) > 10, "requests")
        job.send_signal(signal.SIGTERM)
        done = ended(tmp_path, job)
    assert done.done.returncode == 0, done.done.stderr
    assert done.count("delivered") == len(server.arrivals) < 2000
    assert done.failures().keys() == {"left"}
    assert "draining" in done.done.stderr


def test_a_second_request_to_end_ends_it_at_once(tmp_path):
    """A server that never answers keeps nobody waiting."""
    record(tmp_path / "shop.rec", asked(connections=4, each=20))
    with target(faults.silent) as server:
        job = begin(tmp_path, recorded("shop.rec"), sending(server.url, timeout="1h", longest="2h"))
        wait_until(lambda: len(server.arrivals) == 4, "requests")
        job.send_signal(signal.SIGTERM)
        assert job.stderr is not None
        while b"draining" not in (line := job.stderr.readline()):
            assert line, "the run ended"
        job.send_signal(signal.SIGTERM)
        job.communicate(timeout=LIMIT_S)
    assert job.returncode == 143


def test_a_killed_worker_repeats_what_was_under_way_and_loses_nothing(processes):
    """kill -9 in the middle: its successor on the ring sends all that was not booked; at least once, each in order."""
    messages = asked(connections=5, each=100)
    ring = ring_of(messages, 1 << 20)
    with target(slow) as server:
        spec = OutputSpec("http", 0, address=server.url, http=HttpSpec("127.0.0.1", server.port, pace=Pace.create()))
        first = processes.worker(ring, spec)
        wait_until(lambda: len(server.arrivals) > 120, "requests")
        first.kill()
        before = len(server.arrivals)
        second = processes.worker(ring, spec, counters=first.counters)
        assert second.end() == 0
        log = targets(server.arrivals)
    wanted = Counter(each.target for each in messages)
    counted = Counter(log)
    assert counted.keys() == wanted.keys()
    assert before < len(wanted) < len(log) + 1
    assert in_order(([f"/{line}/{at}" for at in range(100)] for line in range(5)), log)
    assert second.counters["output0_delivered"] == second.counters["messages_taken"] == len(messages)


def test_a_target_can_be_changed_on_the_way(tmp_path):
    """Reload: the new one gets what the old one was not sent; each captured connection stays in order."""
    record(tmp_path / "shop.rec", asked(connections=5, each=100))
    with target() as old, target() as new:
        job = begin(tmp_path, recorded("shop.rec"), sending(old.url, rate=200))
        wait_until(lambda: len(old.arrivals) > 50, "requests")
        config = tmp_path / "replay.toml"
        config.write_text(config.read_text().replace(old.url, new.url))
        told = pipeline(tmp_path, "reload", "--config", config)
        assert told.stdout == "applied: output\n", told.stderr
        done = ended(tmp_path, job)
    assert (done.done.returncode, errors(done.done)) == (0, [])
    first, second = targets(old.arrivals), targets(new.arrivals)
    assert first
    assert second
    assert sorted(first + second) == sorted(f"/{line}/{at}" for line in range(5) for at in range(100))
    assert in_order(([f"/{line}/{at}" for at in range(100)] for line in range(5)), first + second)
    assert done.failures() == {}


def test_nothing_is_left_when_a_replay_is_killed(tmp_path):
    """kill -9 of the supervisor: connections end with the processes."""
    record(tmp_path / "shop.rec", asked(connections=4, each=2000))
    with target(slow) as server:
        job = subprocess.Popen(
            [COMMAND, "replay", "shop.rec", "--to", server.url], cwd=tmp_path,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            wait_until(lambda: len(server.arrivals) > 20, "requests")
            os.kill(job.pid, signal.SIGKILL)
            job.wait(LIMIT_S)
            wait_until(lambda: server.open_now == 0, "the end of the connections")
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
                job.wait()
