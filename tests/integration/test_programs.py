"""Programs that misbehave in every way at once: each costs its own output, in bounded time, and is counted."""

import contextlib
import json
import os
import signal

from tests.emit.programs import python
from tests.integration.hardships import of_session
from tests.integration.jobs import (
    configuration,
    exchanges,
    finished,
    messages,
    processes_under,
    reading,
    start,
    wait_until,
    writing,
)
from tests.packets_files import write_pcap
from tests.torture.scenes import children

PAUSE = "\nimport signal\nwhile True: signal.pause()"
BAD = {
    "silent": "for line in sys.stdin.buffer: pass" + PAUSE,
    "half": """
for at, (kind, name, head, payload) in enumerate(lines()):
    send(head, payload, b"" if at == 99 else b"\\n")
    if at == 99: break
""" + PAUSE,
    "deaf": "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)" + PAUSE,
    "noisy": """
for kind, name, head, payload in lines():
    sys.stderr.write("noise " * 1000 + "\\n")
    send(head, payload)
""",
    "babbling": """
for kind, name, head, payload in lines():
    sys.stdout.buffer.write(b"debug: " + b"x" * 5000 + b"\\n")
    send(head, payload)
""",
}  # fmt: skip


def test_programs_that_misbehave_cost_their_own_messages_and_end(tmp_path):
    """Never answering, half an answer, not reading and not ending, floods: nothing is in flight for ever."""
    write_pcap(tmp_path / "shop.pcap", exchanges(200))
    outputs = [
        f"{writing(f'{name}.jsonl')}\nmiddleware = {list(python(tmp_path, body, f'{name}.py'))}"
        for name, body in BAD.items()
    ]
    config = configuration(tmp_path / "m.toml", reading("shop.pcap"), *outputs, writing("plain.jsonl"))
    job = start(tmp_path, "run", "--config", config, "--ledger", "ledger.json")
    wait_until(lambda: len(messages(tmp_path / "plain.jsonl")) == 400, "the output without a program")
    assert job.poll() is None, "which waits for none of them"
    done = finished(job, 60)
    assert done.returncode == 0, done.stderr
    assert not of_session(job.pid)
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 100_000
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    assert ledger["closed"]
    assert all(each["in_flight"] == 0 for each in ledger["equations"])
    counts = ledger["counters"]["workers"][0]

    def outcomes(name: str) -> dict[str, int]:
        at = list(BAD).index(name)
        kinds = ("delivered", "removed", "undelivered", "garbled", "failed_step", "restarts")
        return {kind: found for kind in kinds if (found := counts[f"output{at}_{kind}"])}

    assert outcomes("silent") == {"removed": 400}
    half = outcomes("half")
    assert half["delivered"] == 99
    assert half["removed"] + half.get("undelivered", 0) == 301
    assert half["garbled"] == 1, "half a line"
    assert outcomes("deaf") == {"undelivered": 400, "failed_step": 400}
    assert outcomes("noisy") == {"delivered": 400}
    assert outcomes("babbling") == {"delivered": 400, "garbled": 400}


def test_a_killed_worker_and_a_killed_run_leave_no_program(tmp_path):
    """Nor what a shell has started for it."""
    pipes = "\nmiddleware = ['sh', '-c', 'cat | cat']"
    deaf = f"\nmiddleware = {list(python(tmp_path, BAD['deaf']))}"
    config = configuration(
        tmp_path / "m.toml",
        'type = "tcp"\nlisten = "127.0.0.1:0"',
        writing("a.jsonl") + pipes,
        writing("b.jsonl") + deaf,
    )
    job = start(tmp_path, "run", "--config", config)

    def programs() -> list[int]:
        found = []
        for pid in processes_under(job.pid):
            with contextlib.suppress(ProcessLookupError):
                found += [pid] if os.getpgid(pid) != job.pid else []
        return found

    def started(before: list[int]) -> bool:
        now = programs()
        return len(now) == 4 and not set(now) & set(before)

    try:
        wait_until(lambda: started([]), "its programs")
        before = programs()
        [worker] = [pid for pid, name in children(job.pid).items() if name == "worker 0"]
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: started(before), "the programs of its successor")
        wait_until(lambda: set(of_session(job.pid)).isdisjoint(before), "the end of those before")
        job.kill()
        job.wait()
        wait_until(lambda: not of_session(job.pid), "the end of all")
    finally:
        job.kill()
        job.communicate()
