"""A bad network between two pipelines: nothing is lost, nothing comes twice, nothing is stuck, and the ledgers close.

Connections are cut at any byte, reset, stalled, delayed, refused, delivered after newer ones, delivered twice; bits of
what comes back are changed, and under TLS bits of what goes there, too.  Without TLS nobody sees a changed bit in a
payload, nor one that makes an acknowledgement that of another chunk in flight: Forward has no checksum, and TCP's has
passed when a proxy changes it.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.integration.jobs import configuration, exchanges, finished, reading, start, writing
from tests.integration.test_mirror import Receiver, big_exchange
from tests.packets_files import write_pcap
from tests.torture.wires import FAULTS, SECURED, Proxy

SOON = ("ack_timeout=6s", "write_timeout=500ms", "retry=60s", "chunk_records=20", "window_chunks=8")
"""A sender whose run has many connections; it gives up after 5 times `ack_timeout` without an acknowledgement."""

LONGEST_S = 600.0
"""One that takes longer is stuck."""


@dataclass(frozen=True)
class Disturbed:
    """What became of a run."""

    messages: int
    faults: dict[str, int]
    repeated: int  # chunks that came again, and were dropped by the receiver
    seconds: float


def torture(directory: Path, count: int, seed: int, tls: bool) -> Disturbed:
    """Mirror a capture over a bad network, and hold what arrives against what was sent."""
    large = big_exchange(os.urandom(2_000_000))
    write_pcap(directory / "shop.pcap", exchanges(count) + large)
    secure_far, secure_near = certificates(directory) if tls else ((), "")
    began_s = time.monotonic()
    far = Receiver(directory, more=secure_far)
    try:
        with Proxy(far.address, seed, SECURED if tls else FAULTS) as proxy:
            output = f'type = "tcp"\naddress = "{proxy.address}"\n{secure_near}'
            config = configuration(directory / "near.toml", reading("shop.pcap"), writing("sent.jsonl"), output)
            settings = [each for setting in SOON for each in ("--set", f"output.1.{setting}")]
            job = start(directory, "run", "--config", config, "--ledger", "sender.json", *settings)
            near = finished(job, LONGEST_S)
        code = far.stop()
    finally:
        far.end()
    what = f"seed {seed}, {dict(proxy.struck)}\n{near.stderr}\n{''.join(far.said)}"
    assert (near.returncode, code) == (0, 0), what
    ledgers = [json.loads((directory / name).read_text()) for name in ("sender.json", "receiver.json")]
    assert [each["closed"] for each in ledgers] == [True, True], what
    assert ledgers[0]["loss"] == {}, (ledgers[0]["loss"], what)
    sent, received = (sorted((directory / name).read_text().splitlines()) for name in ("sent.jsonl", "received.jsonl"))
    assert len(sent) == 2 * count + 2
    assert received == sent, f"{len(received)} of {len(sent)} messages, {what}"
    repeated = ledgers[1]["counters"]["receiver"]["chunks_repeated"]
    return Disturbed(len(sent), dict(proxy.struck), repeated, time.monotonic() - began_s)


def certificates(directory: Path) -> tuple[tuple[str, ...], str]:
    """Make a certificate for the receiver; return how it is told, and what the sender's table says of it."""
    authority, pem = trustme.CA(), directory / "far.pem"
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
    pem.chmod(0o600)
    return ("--set", "input.certificate=far.pem"), 'tls = true\nca = "ca.pem"'


def main(minutes: float) -> Iterator[str]:
    """Disturb runs for so long, without TLS and with it in turns; yields what each has shown."""
    end_s, seed = time.monotonic() + 60 * minutes, int(time.time())
    while time.monotonic() < end_s:
        tls = bool(seed % 2)
        with tempfile.TemporaryDirectory() as directory:
            result = torture(Path(directory), 1000, seed, tls)
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(result.faults.items()))
        what = f"{result.messages:,} messages once each, {result.repeated:,} repeated chunks dropped"
        yield f"seed {seed}{', TLS' if tls else ''}: {what}, {result.seconds:.0f} s; {faults}"
        seed += 1
