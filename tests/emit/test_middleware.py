"""GoReplay's middleware, with real programs: good ones, bad ones, and ones that die."""

import logging
import os
import time
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest

from assemble.message import Message
from capture.ring import Consumer, Ring
from emit.middleware import AHEAD_BYTES, GRACE_S, MOST_BYTES, MOST_DEATHS, MiddlewareSpec
from emit.records import OUTCOMES, OutputSpec
from emit.succession import Ended, Flag
from tests.emit.builders import conversation, read_lines, request, response, ring_of
from tests.emit.processes import Processes, wait_until
from tests.emit.programs import TOKENS, Driver, driven, python
from tests.emit.test_worker import put_all

ECHO = "for kind, name, head, payload in lines(): send(head, payload)\n"


def name_of(message: Message) -> tuple[int, str]:
    """Return what tells messages of a test apart."""
    return message.id, message.kind


def children() -> set[int]:
    """Return the processes that we have started and not waited for."""
    found = set()
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                fields = (each / "stat").read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == os.getpid():
                found.add(int(each.name))
    return found


@pytest.fixture(autouse=True)
def no_process_is_left():
    """Neither running nor a zombie."""
    resource_tracker.ensure_running()  # that of multiprocessing stays
    before = children()
    yield
    assert children() <= before


@pytest.mark.parametrize("command", ["cat", "python", "sh"])
def test_an_echo_changes_nothing(tmp_path: Path, command: str):
    """The least that works with GoReplay: every message comes back as it was, in its order."""
    started = {
        "cat": ("cat",), "python": python(tmp_path, ECHO), "sh": ("sh", "-c", "while read line; do echo $line; done"),
    }[command]  # fmt: skip
    made = [*conversation(400), response(7, bytes(range(256)) * 20), *conversation(40)]
    with driven(started) as driver:
        driver.give(made)
        assert driver.finish() == made
        assert (driver.chain.added, driver.chain.removed, driver.counts) == (0, {}, {})


def test_a_large_message_passes(tmp_path: Path):
    """Longer than any pipe and any of our bounds."""
    made = [request(1), response(1, os.urandom(1 << 20) * 12), request(2)]
    with driven(("cat",)) as driver:
        driver.give(made)
        assert driver.finish() == made


def test_the_token_modifier_works_unchanged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Responses go in and are kept, requests come out with the token that the replayed server knows."""
    asked, used = request(1, target="/token"), request(2, target="/use?token=old")
    original, replayed = response(1, b"old"), response(1, b"brandnew").replace(kind="replayed")
    with driven(python(tmp_path, TOKENS)) as driver, caplog.at_level(logging.INFO):
        driver.give([asked, original, replayed])
        driver.until(lambda: driver.found)
        driver.give([used, response(2)])
        found = driver.finish()
        assert [(each.kind, each.target) for each in found] == [
            ("request", "/token"),
            ("request", "/use?token=brandnew"),
        ]
        assert found[0] == asked
        assert found[1].payload == used.payload.replace(b"old", b"brandnew")
        assert (found[1].src, found[1].id, found[1].first_ns) == (used.src, used.id, used.first_ns)
        assert (driver.chain.added, driver.chain.removed) == (0, {"removed": 3})
    assert "output 0: middleware says: [DEBUG][TOKEN-MOD] 1 0000000000000001" in caplog.text


def test_it_can_be_told_of_answers_that_go_another_way(tmp_path: Path):
    """What a replay was answered: the program is to know of it, and nothing is expected to come back."""
    asked, replayed = request(1, target="/token"), response(1, b"brandnew").replace(kind="replayed")
    with driven(python(tmp_path, TOKENS)) as driver:
        driver.give([asked, response(1, b"old")])
        driver.until(lambda: driver.found)
        assert driver.step.tell(replayed)
        driver.give([request(2, target="/use?token=old")])
        assert [each.target for each in driver.finish()] == ["/token", "/use?token=brandnew"]
        assert (driver.chain.added, driver.chain.removed) == (0, {"removed": 1})
        assert not driver.step.tell(replayed), "it has ended"


def test_a_shell_pipeline_works(tmp_path: Path):
    """All of it ends with its input."""
    with driven(("sh", "-c", "cat | sed -u s/0d0a/0d0a/ | cat")) as driver:
        made = conversation(50)
        driver.give(made)
        assert driver.finish() == made


def test_changed_messages_have_the_fields_of_their_bytes(tmp_path: Path):
    """Method, target, status and where the head ends."""
    body = """
for kind, name, head, payload in lines():
    if kind == b"1":
        payload = payload.replace(b"GET /", b"DELETE /all/").replace(b"\\r\\nHost", b"\\r\\nA: b\\r\\nHost")
    else: payload = payload.replace(b" 200 ", b" 503 ")
    send(head, payload)
"""
    with driven(python(tmp_path, body)) as driver:
        driver.give([request(1, b"body", "/x"), response(1)])
        asked, answer = driver.finish()
        assert (asked.method, asked.target, asked.payload[asked.head :]) == ("DELETE", "/all/x", b"body")
        assert (answer.status, answer.head, answer.kind) == (503, response(1).head, "response")


def test_some_are_dropped_and_some_become_several(tmp_path: Path):
    """What is not written back is taken away; what is written twice is one more, with the same two ends."""
    body = """
for kind, name, head, payload in lines():
    for _ in range(int(name, 16) % 3): send(head, payload)
"""
    made = [request(number) for number in range(90)]
    with driven(python(tmp_path, body)) as driver:
        driver.give(made)
        found = driver.finish()
        assert sorted(map(name_of, found)) == sorted(name_of(each) for each in made for _ in range(each.id % 3))
        assert all(each == made[each.id] for each in found)
        assert driver.chain.added == driver.chain.removed["removed"] <= 30


def test_order_is_the_programs(tmp_path: Path):
    """Asynchronous ones answer when they can; the place of a message is kept until it is safe."""
    body = """
kept = []
for each in lines():
    kept.append(each)
    if len(kept) == 10:
        for kind, name, head, payload in reversed(kept): send(head, payload)
        kept = []
"""
    made = [request(number) for number in range(40)]
    with driven(python(tmp_path, body)) as driver:
        driver.give(made[:15])
        driver.until(lambda: len(driver.found) == 10)
        assert driver.chain.oldest == 10
        driver.give(made[15:])
        found = driver.finish()
        assert [each.id for each in found] == [10 * ten + 9 - one for ten in range(4) for one in range(10)]


def test_a_program_may_have_a_last_word(tmp_path: Path):
    """When it sees the end of its input, with ids of its own: they are messages of nobody."""
    body = """
for kind, name, head, payload in lines(): pass
for number in range(3): send(b"1 made-up-%d 123 0" % number, b"GET /report HTTP/1.1\\r\\n\\r\\n")
"""
    with driven(python(tmp_path, body)) as driver:
        driver.give([request(1)])
        found = driver.finish()
        assert [(each.kind, each.target, str(each.src), each.sport, each.first_ns) for each in found] == [
            ("request", "/report", "0.0.0.0", 0, 123)
        ] * 3
        assert len({each.id for each in found}) == 3
        assert driver.put + driver.chain.added - sum(driver.chain.removed.values()) == 3


def test_what_is_kept_for_long_is_taken_away_and_may_still_come(tmp_path: Path):
    """The ring cannot keep it for ever; it is one more when it comes after all, and the sums close at any time."""
    body = """
first = None
for kind, name, head, payload in lines():
    if first is None: first = (head, payload)
    else: send(head, payload)
    if name.endswith(b"5"): send(*first)
"""
    with driven(python(tmp_path, body)) as driver:
        began_s = time.monotonic()
        driver.give([request(1), request(2)])
        driver.until(lambda: driver.chain.removed)
        assert time.monotonic() - began_s >= GRACE_S
        assert (driver.chain.removed, driver.chain.oldest, driver.closes) == ({"removed": 1}, None, True)
        driver.give([request(5)])
        found = driver.finish()
        assert found == [request(2), request(5), request(1)]
        assert (driver.chain.added, driver.chain.removed) == (1, {"removed": 1})


def test_a_program_that_swallows_everything_holds_nothing_up(tmp_path: Path):
    """A filter that lets one in a thousand through must not wait for the others."""
    made = [response(number, bytes(30_000)) for number in range(1000)]
    with driven(python(tmp_path, "for line in sys.stdin.buffer: pass\n")) as driver:
        began_s = time.monotonic()
        for at in range(0, len(made), 50):
            driver.give(made[at : at + 50])
            assert driver.middleware.bytes_inside <= MOST_BYTES + 2 * AHEAD_BYTES
        assert driver.finish() == []
        assert time.monotonic() - began_s < 20
        assert driver.chain.removed == {"removed": 1000}


def test_a_program_that_does_not_read_makes_messages_wait(tmp_path: Path):
    """What waits for it is bounded; at the end it is not waited for for ever, and what it has not read is lost."""
    made = [response(number, bytes(10_000)) for number in range(500)]
    with driven(python(tmp_path, "time.sleep(1000)\n"), quiet_s=0.3) as driver:
        for at, message in enumerate(made):
            driver.chain.put(message, at)
            driver.put += 1
            driver.turn()
            if driver.chain.waiting:
                break
        assert 20 < driver.put < 200
        assert len(driver.middleware.program.waiting) < AHEAD_BYTES + 50_000
        driver.chain.queue.clear()
        driver.put -= 1
        assert driver.finish() == []
        assert driver.chain.removed == {"undelivered": driver.put}
        assert driver.counts == {"failed_step": driver.put}


def test_a_program_that_is_stuck_is_started_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """It hangs once; what it had not read is given to the next, and all of it arrives."""
    body = f"""
mark = {str(tmp_path / "mark")!r}
if not os.path.exists(mark):
    open(mark, "w").close()
    time.sleep(1000)
{ECHO}"""
    made = [response(number, bytes(3000)) for number in range(100)]
    with driven(python(tmp_path, body), stuck_s=0.5) as driver:
        driver.give(made)
        driver.until(lambda: len(driver.found) == 100)
        assert driver.finish() == made
        assert driver.counts == {"restarts": 1}
    assert "neither reads nor writes: it was ended by SIGTERM; it is started again in 0.1 s" in caplog.text


def test_a_flood_is_taken_as_it_comes(tmp_path: Path):
    """A program that writes without being asked: each line is a message, nothing is held beyond a turn's worth."""
    body = """
for number in range(20_000): send(b"1 %d 1 1" % number, b"GET / HTTP/1.1\\r\\n\\r\\n")
for line in sys.stdin.buffer: pass
"""
    with driven(python(tmp_path, body)) as driver:
        driver.until(lambda: len(driver.found) >= 20_000)
        driver.give([request(1)])
        driver.finish()
        assert (len(driver.found), driver.chain.added, driver.chain.removed) == (20_000, 20_000, {"removed": 1})


def test_a_program_that_writes_while_nobody_reads_blocks_and_goes_on(tmp_path: Path):
    """Both pipes full at once: that is where others stop for ever."""
    body = """
for kind, name, head, payload in lines():
    for _ in range(4): send(head, payload)
"""
    made = [response(number, bytes(20_000)) for number in range(60)]
    with driven(python(tmp_path, body)) as driver:
        driver.give(made)
        assert len(driver.finish()) == 240


@pytest.mark.parametrize(
    "junk",
    ["hello world", "zz", "313", "", "4920", "31206162630a" * 2 + "x", "x" * 100_000],
)
def test_lines_that_are_no_messages_are_counted(tmp_path: Path, junk: str, caplog: pytest.LogCaptureFixture):
    """Somebody prints to standard output: the messages around it arrive."""
    body = f"""
for kind, name, head, payload in lines():
    print({junk!r}, flush=True)
    send(head, payload)
"""
    made = conversation(20)
    with driven(python(tmp_path, body)) as driver:
        driver.give(made)
        assert driver.finish() == made
        assert driver.counts == ({"garbled": 20} if junk else {})
    assert caplog.text.count("writes lines that are no messages") == bool(junk)


def test_a_line_without_end_does_not_take_the_memory(tmp_path: Path):
    """And what the program does afterwards counts again."""
    body = """
for _ in range(40): sys.stdout.write("3" * (1 << 20))
print(flush=True)
for kind, name, head, payload in lines(): send(head, payload)
"""
    with driven(python(tmp_path, body)) as driver:
        made = conversation(10)
        driver.give(made)
        assert driver.finish() == made
        assert driver.counts == {"garbled": 1}


def test_what_it_says_is_logged_within_bounds(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """A noisy program must not fill a disk, nor obey a terminal."""
    body = f"""
for number in range(500): sys.stderr.write("line %d \\x1b[31m\\n" % number)
sys.stderr.write("y" * 100_000 + "\\nlast without end")
sys.stderr.flush()
{ECHO}"""
    made = conversation(10)
    with driven(python(tmp_path, body)) as driver, caplog.at_level(logging.INFO):
        driver.give(made)
        assert driver.finish() == made
        driver.step.close()
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "output 0: middleware says: line 0 \N{REPLACEMENT CHARACTER}[31m"
    assert lines[-1] == "output 0: middleware says: … and 482 more lines"
    assert len(lines) == 21
    assert max(map(len, lines)) < 400


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("/no/such/program",), "cannot be started: no such file or directory"),
        (("/",), "cannot be started: permission denied"),
    ],
)
def test_a_program_that_is_not_there_is_a_failure(command: tuple[str, ...], why: str):
    """The output gives up: its messages must not go on as if nothing had happened."""
    driver = Driver(command)
    driver.step.start(1.0)
    assert driver.step.failure == f"output 0: middleware {why}"
    assert driver.step.descriptors() == {}
    driver.step.close()


def test_a_program_that_dies_at_once_again_and_again_is_a_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """It is tried with longer and longer pauses, and then given up."""
    with driven(("sh", "-c", "exit 3")) as driver:
        driver.give([request(1)])
        driver.until(lambda: driver.step.failure)
        assert driver.step.failure == f"output 0: middleware ended with status 3, {MOST_DEATHS + 1} times in a row"
        assert driver.counts["restarts"] == MOST_DEATHS + 1
        assert driver.chain.pending == 1
    pauses = [record.getMessage().rpartition(" in ")[2] for record in caplog.records if "again" in record.getMessage()]
    assert pauses == ["0.1 s", "0.2 s", "0.4 s", "0.8 s", "1.6 s"]


@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_program_that_dies_in_the_middle_loses_nothing(tmp_path: Path, at_the_end: bool):
    """What it had read and not answered is given to the next one, also if nothing more was to come."""
    body = f"""
mark = {str(tmp_path / "mark")!r}
for at, (kind, name, head, payload) in enumerate(lines()):
    if at == 7 and not os.path.exists(mark):
        open(mark, "w").close()
        os._exit(1)
    send(head, payload)
"""
    made = [request(number) for number in range(20)]
    with driven(python(tmp_path, body)) as driver:
        driver.give(made)
        driver.until(lambda: at_the_end or len(driver.found) == 20)
        found = driver.finish()
        assert [each.id for each in found] == [each.id for each in made]
        assert (driver.chain.added, driver.chain.removed, driver.counts) == (0, {}, {"restarts": 1})


def test_a_message_that_kills_the_program_twice_is_given_up(tmp_path: Path):
    """One bad message must not stop all others; it is lost, and counted as that."""
    body = """
for kind, name, head, payload in lines():
    if name.endswith(b"3"): os.abort()
    send(head, payload)
"""
    made = [request(number) for number in range(10)]
    with driven(python(tmp_path, body)) as driver:
        for message in made:
            driver.give([message])
            driver.until(lambda: not driver.chain.pending)
        found = driver.finish()
        assert [each.id for each in found] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
        assert driver.chain.removed == {"undelivered": 1}
        assert driver.counts == {"restarts": 2, "failed_step": 1}


def test_a_worker_that_leaves_takes_its_program_with_it(tmp_path: Path):
    """Whatever the program is doing, and with all that it has started."""
    ready = tmp_path / "ready"
    command = ("sh", "-c", f"trap '' TERM; sleep 1000 & sleep 1000 & echo $! > {ready}; cat > /dev/null; wait")
    driver = Driver(command)
    driver.step.start(1.0)
    driver.until(lambda: ready.exists() and ready.read_text().strip())
    grandchild = int(ready.read_text())
    driver.step.close()
    driver.step.close()
    driver.until(lambda: not Path(f"/proc/{grandchild}").exists())


# -- whole workers


def step_of(*command: str) -> Any:
    """Return the step of a program, as a worker is told of it."""
    return MiddlewareSpec(command, "it")


def test_a_worker_sleeps_while_its_program_has_more_than_the_output_takes(processes: Processes):
    """The program's output is readable all the time, and nobody can take it: a loop would burn a core."""
    made = [response(number, bytes(200_000)) for number in range(90)]
    ring = ring_of(made, 32 << 20)
    spec = OutputSpec("null", 0, limit=30.0, over_limit="wait", transforms=(step_of("cat"),))
    worker = processes.worker(ring, spec)
    wait_until(lambda: worker.counters["output0_delivered"] >= 10, "the first")
    began_s, before_s = time.monotonic(), worker.cpu_s()
    wait_until(lambda: worker.counters["output0_delivered"] >= 80, "most")
    took_s, used_s = time.monotonic() - began_s, worker.cpu_s() - before_s
    assert took_s > 1.5
    assert used_s < 0.5 * took_s
    assert worker.end() == 0
    assert worker.counters["output0_delivered"] == 90


@pytest.mark.parametrize("how", ["killed", "asked to leave"])
def test_a_successor_gives_its_own_program_what_was_inside(processes: Processes, tmp_path: Path, how: str):
    """At least once, and the sums close over both; neither program is left."""
    made = conversation(6000)
    ring = Ring.create(1 << 20)
    writer = put_all(ring, made)
    path = tmp_path / "m.jsonl"
    spec = OutputSpec("file", 0, path=str(path), transforms=(step_of(*python(tmp_path, ECHO)),))
    leave = Flag()
    first = processes.worker(ring, spec, leave=leave)
    wait_until(lambda: first.counters["messages_taken"] > 100, "some messages")
    if how == "killed":
        first.kill()
        second = processes.worker(ring, spec, counters=first.counters)
    else:
        after = Ended(first.process.pid)
        leave.raise_()
        second = processes.worker(ring, spec, after=after)
        assert first.end() == 0
    assert second.end() == 0
    writer.join()
    pages = [each.counters.as_dict() for each in ([second] if how == "killed" else [first, second])]
    assert sum(page["messages_taken"] for page in pages) == len(made)
    assert sum(page[f"output0_{name}"] for page in pages for name in OUTCOMES) == len(made)
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b'"}\n')]
    found = {(line["id"], line["kind"]) for line in read_lines(b"".join(lines))}
    assert found == {(message.id_hex, message.kind) for message in made}


def test_an_output_that_drops_does_not_wait_for_a_program(processes: Processes):
    """Live traffic goes on for the others, whatever the program does."""
    made = [response(number, bytes(20_000)) for number in range(400)]
    ring = Ring.create(1 << 20)
    writer = put_all(ring, made)
    stuck = OutputSpec("null", 0, policy="drop", transforms=(step_of("sleep", "1000"),))
    worker = processes.worker(ring, stuck, OutputSpec("null", 1))
    wait_until(lambda: worker.counters["output1_delivered"] >= 300, "the other output")
    assert worker.counters["output0_dropped"] > 0
    worker.kill()
    while writer.is_alive():  # it waits for room, and nobody reads any more
        consumer = Consumer(ring)
        consumer.release(consumer.head)
        writer.join(0.05)
