"""A server that does wrong harms the requests that it does wrong to: all are accounted for, nothing is stuck.

Every run here has a second output, a file, which has to be whole whatever the server does.
"""

import time
from pathlib import Path
from typing import Any, Final

import pytest

from tests import faults
from tests.faults import Authority
from tests.integration.jobs import LIMIT_S, errors, messages, wait_until, writing
from tests.integration.replays import Replay, asked, begin, ended, record, recorded, replay, sending, targets
from tests.targets import Arrival, Line, Script, Target, target, usual

LINES: Final = 4
EACH: Final = 3
ALL: Final = {f"/{line}/{at}" for line in range(LINES) for at in range(EACH)}
QUICK: Final[dict[str, Any]] = {"timeout": "500ms", "longest": "2s", "connect_timeout": "500ms", "retry": "1s"}

WRONG: Final[dict[Script, str]] = {
    faults.silent: "timeout",
    faults.stalled_within: "timeout",
    faults.unending_chunks: "timeout",
    faults.closing: "reset",
    faults.resetting: "reset",
    faults.cut: "reset",
    faults.cut_chunks: "reset",
    faults.cut_head: "reset",
    faults.reset_within: "reset",
    faults.garbage: "garbage",
    faults.bad_length: "garbage",
    faults.bad_chunk: "garbage",
    faults.unending_head: "garbage",
    faults.unending_interims: "garbage",
    faults.unending_size: "garbage",
}
"""What each fault counts as."""


def on_line(number: int, fault: Script) -> Script:
    """Do wrong to the requests of one captured connection, and right to all others."""
    mark = b"/%d/" % number
    return lambda line, request: (fault if mark in request.target else usual)(line, request)


def shop(directory: Path, **changes: Any) -> str:
    """Make a recording, and return the input table that reads it."""
    return recorded(record(directory / "shop.rec", asked(LINES, EACH, **changes)))


def is_whole(directory: Path) -> bool:
    """Whether the file beside the replay has every request."""
    found = [each["target"] for each in messages(directory / "all.jsonl")]
    return len(found) == len(ALL) and set(found) == ALL


@pytest.mark.parametrize(("fault", "reason"), WRONG.items(), ids=lambda each: getattr(each, "__name__", each))
def test_a_fault_costs_its_own_requests_and_has_a_name(tmp_path, fault, reason):
    """In both modes: those of other connections are answered, also where they share."""
    with target(on_line(1, fault)) as one, target(on_line(1, fault)) as other:
        outputs = [sending(each.url, mode=mode, **QUICK) for each, mode in ((one, "session"), (other, "pool"))]
        begun_s = time.monotonic()
        done = replay(tmp_path, shop(tmp_path), *outputs, writing("all.jsonl"))
    for output, server in enumerate((one, other)):
        assert done.failures(output) == {reason: EACH}
        assert done.count("delivered", output) == (LINES - 1) * EACH
        log = targets(server.arrivals)
        assert set(log) == ALL
        assert all(log.count(each) <= 1 + ("/1/" in each) for each in ALL)  # RFC 9112 section 9.3.1: once more
    assert is_whole(tmp_path)
    assert time.monotonic() - begun_s < LIMIT_S / 2


def promising(line: Line, _request: Arrival) -> bool:
    """Answer a HEAD: the length is that of what is not there."""
    line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
    return True


@pytest.mark.parametrize(
    ("script", "method"), [*((each, "GET") for each in faults.ANSWERED), (promising, "HEAD"), (usual, "PURGE")],
    ids=lambda each: getattr(each, "__name__", each),
)  # fmt: skip
def test_every_way_to_answer_is_an_answer(tmp_path, script, method):
    """Slow, in chunks, closing after each, with or without a word about it."""
    with target(script) as one, target(script) as other:
        outputs = [sending(each.url, mode=mode, **QUICK) for each, mode in ((one, "session"), (other, "pool"))]
        done = replay(tmp_path, shop(tmp_path, method=method), *outputs, writing("all.jsonl"))
    for output in range(2):
        assert done.failures(output) == {}
        assert done.count("delivered", output) == LINES * EACH
    assert is_whole(tmp_path)


@pytest.mark.parametrize("script", [faults.talking_on, faults.twice], ids=lambda each: each.__name__)
def test_what_comes_behind_an_answer_is_no_answer_to_the_next(tmp_path, script):
    """Else each request would get the answer of the one before, from then on."""
    with target(script) as server:
        done = replay(tmp_path, shop(tmp_path), sending(server.url, **QUICK), writing("all.jsonl"))
    assert done.count("delivered") == LINES * EACH
    assert server.accepted == LINES * EACH


def test_what_may_have_been_acted_upon_is_not_sent_twice(tmp_path):
    """A POST on a kept connection that the server closed just then: lost and counted, or sent on a new one, once."""
    with target(faults.closing_in_silence) as server:
        done = replay(tmp_path, shop(tmp_path, method="POST"), sending(server.url, **QUICK), writing("all.jsonl"))
    log = targets(server.arrivals)
    assert len(log) == len(set(log))
    assert done.count("delivered") == len(log)
    assert sum(done.failures().values()) == LINES * EACH - len(log)
    assert set(done.failures()) <= {"reset"}


@pytest.mark.parametrize(("method", "sent"), [("GET", 3), ("POST", 1)])
def test_retries_are_for_what_may_be_repeated(tmp_path, method, sent):
    """RFC 9110 section 9.2.2: a second POST would be a second order."""
    with target(faults.closing) as server:
        done = replay(
            tmp_path, shop(tmp_path, method=method), sending(server.url, retries=2, **QUICK), writing("all.jsonl")
        )
    assert len(server.arrivals) == LINES * EACH * sent
    assert done.count("retried") == LINES * EACH * (sent - 1)
    assert done.failures() == {"reset": LINES * EACH}


def test_a_server_that_is_well_again_gets_the_rest(tmp_path):
    """What failed is counted, and everything else goes on."""
    with target(faults.at_first(3, faults.garbage)) as server:
        done = replay(tmp_path, shop(tmp_path), sending(server.url, **QUICK), writing("all.jsonl"))
    assert done.failures() == {"garbage": 3}
    assert done.count("delivered") == LINES * EACH - 3


def test_a_server_that_is_not_there_is_given_up(tmp_path):
    """An error that says so, all requests counted, the file whole, and an end after `retry`."""
    with target(listening=False) as server:
        done = replay(tmp_path, shop(tmp_path), sending(server.url, **QUICK), writing("all.jsonl"), code=1)
    assert done.failures() == {"unreachable": LINES * EACH}
    assert "connection refused" in errors(done.done)[0]
    assert is_whole(tmp_path)


def test_a_server_that_comes_late_gets_everything(tmp_path):
    """A staging system that is being restarted."""
    with target(listening=False) as server:
        job = begin(tmp_path, shop(tmp_path), sending(server.url, **QUICK | {"retry": "30s"}), writing("all.jsonl"))
        assert job.stderr is not None
        while b"requests wait" not in (line := job.stderr.readline()):
            assert line, "the run ended"
        server.listen()
        done = ended(tmp_path, job)
    assert done.done.returncode == 0, done.done.stderr
    assert "reached again" in done.done.stderr
    assert done.count("delivered") == LINES * EACH == len(server.arrivals)


def test_a_server_that_accepts_and_does_nothing_is_given_up(tmp_path):
    """Connections are made by its kernel, and nobody reads them."""
    with target(listening=False) as server:
        server.listener.listen(100)
        done = replay(tmp_path, shop(tmp_path), sending(server.url, **QUICK), writing("all.jsonl"))
    assert done.failures() == {"timeout": LINES * EACH}
    assert is_whole(tmp_path)


def test_a_server_that_goes_away_for_good_ends_nothing_else(tmp_path):
    """Requests before its end are delivered, those after it counted."""
    servers: list[Target] = []

    def leaving(line: Line, request: Arrival) -> bool:
        if request.number == 4:
            servers[0].listener.shutdown(2)
            servers[0].listener.close()
        return usual(line, request) and request.number < 4

    with target(leaving) as server:
        servers.append(server)
        one_by_one = sending(server.url, mode="pool", connections=1, **QUICK)
        done = replay(tmp_path, shop(tmp_path), one_by_one, writing("all.jsonl"), code=1)
    assert done.count("delivered") == 5
    assert done.failures() == {"unreachable": LINES * EACH - 5}
    assert is_whole(tmp_path)


def secured(directory: Path, server: Target, code: int = 0, **keys: Any) -> Replay:
    """Replay over TLS, beside a file."""
    (directory / "all.jsonl").unlink(missing_ok=True)
    address = server.url.replace("http:", "https:")
    outputs = sending(address, **QUICK | keys), writing("all.jsonl")
    done = replay(directory, shop(directory), *outputs, code=code)
    assert is_whole(directory)
    return done


@pytest.fixture
def authority(tmp_path):
    """Who makes certificates."""
    return Authority(tmp_path)


def test_a_server_with_a_good_certificate_gets_everything(tmp_path, authority):
    """With its own authority; what is asked for in SNI is the name in the address unless another is given."""
    with target(tls=authority.server("127.0.0.1", "shop.example")) as server:
        done = secured(tmp_path, server, ca=str(authority.path), server_name="shop.example")
        assert done.count("delivered") == LINES * EACH == len(server.arrivals)
        assert set(server.names) == {"shop.example"}
        done = secured(tmp_path, server, ca=str(authority.path))
    assert done.count("delivered") == LINES * EACH
    assert server.faults == []


@pytest.mark.parametrize(
    ("make", "keys", "says"),
    [
        (lambda a: a.server(expired=True), True, "certificate has expired"),
        (lambda a: a.server("other.example"), True, "not valid for '127.0.0.1'"),
        (lambda a: a.server(), False, "unable to get local issuer certificate"),
    ],
    ids=["expired", "another name", "an unknown authority"],
)
def test_a_server_with_a_bad_certificate_gets_nothing(tmp_path, authority, make, keys, says):
    """Not a byte of any request: they may hold passwords.  With `verify = false` it is the user's own wish."""
    trust = {"ca": str(authority.path)} if keys else {}
    with target(tls=make(authority)) as server:
        done = secured(tmp_path, server, code=1, **trust)
        assert done.failures() == {"unreachable": LINES * EACH}
        assert says in errors(done.done)[0]
        assert server.arrivals == []
        done = secured(tmp_path, server, verify=False)
    assert done.count("delivered") == LINES * EACH == len(server.arrivals)


@pytest.mark.parametrize("greet", [faults.stopping_handshake, faults.plain_answer], ids=lambda each: each.__name__)
def test_a_handshake_that_fails_is_no_connection(tmp_path, greet):
    """It has an end, and requests wait for another."""
    with target(greet=greet) as server:
        done = secured(tmp_path, server, code=1)
    assert done.failures() == {"unreachable": LINES * EACH}


def test_a_server_that_asks_for_a_certificate_gets_ours(tmp_path, authority):
    """Without one nothing is delivered; the refusal may come when the handshake is over (RFC 8446 section 4.4.2.4)."""
    certificate, key = authority.client()
    with target(tls=authority.server(asking=True)) as server:
        done = secured(tmp_path, server, ca=str(authority.path), certificate=str(certificate), key=str(key))
        assert done.count("delivered") == LINES * EACH == len(server.arrivals)
        assert "replay.example" in str(server.certificates[0])
        done = secured(tmp_path, server, ca=str(authority.path))
    assert done.count("delivered") == 0
    assert sum(done.failures().values()) == LINES * EACH
    assert len(server.arrivals) == LINES * EACH


def flooding(line: Line, _request: Arrival) -> bool:
    """Send a body without end, as fast as it is taken."""
    line.send(b"HTTP/1.1 200 OK\r\n\r\n")
    return faults.endless(line, bytes(1 << 16))


@pytest.mark.parametrize("tls", [False, True])
def test_an_answer_without_end_has_an_end(tmp_path, authority, tls, monkeypatch):
    """Never silent, never done: `longest` is for that, and other connections have their turn meanwhile."""
    monkeypatch.setattr(faults, "PIECES", 1_000_000)
    keys = {"ca": str(authority.path)} if tls else {}
    with target(on_line(1, flooding), tls=authority.server() if tls else None) as server:
        done = replay(tmp_path, shop(tmp_path), sending(server.url, **QUICK | keys), writing("all.jsonl"))
        wait_until(lambda: server.open_now == 0, "the end of every connection")
    assert done.failures() == {"timeout": EACH}
    assert done.count("delivered") == (LINES - 1) * EACH
    assert is_whole(tmp_path)
