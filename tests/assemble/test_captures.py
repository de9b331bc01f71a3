"""Real captures from other projects: every message comes out byte for byte, paired, and nothing else does."""

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import reference
from engines import by_compiled, identity
from packets_files import read_pcap

import assemble
from assemble import Message

CAPTURES = Path(__file__).resolve().parents[2].parent / "shared" / "captures"
EXPECTED = CAPTURES / "expected.json"

needs_captures = pytest.mark.skipif(not EXPECTED.exists(), reason="../shared/captures is not there")


def cases() -> list[Any]:
    """Give the entries of expected.json, named by their files."""
    if not EXPECTED.exists():
        return []
    entries = json.loads(EXPECTED.read_text())
    return [pytest.param(e, id=e["file"]) for e in entries]


def from_library(entry: dict[str, Any]) -> list[Message]:
    """Read a capture with the library, as a user would."""
    return list(assemble.messages(str(CAPTURES / entry["file"]), ports=entry["ports"]))


def from_reference(entry: dict[str, Any]) -> list[Message]:
    """Read a capture with the reference."""
    path = CAPTURES / entry["file"]
    return reference.read_messages(path, ports=entry["ports"], identity=identity)


def described(m: Message) -> tuple[Any, ...]:
    """Say what expected.json says of a whole message."""
    what = m.method, m.target, m.status
    return m.kind, str(m.src), m.sport, str(m.dst), m.dport, *what, hashlib.sha256(m.payload).hexdigest()


def promised(x: dict[str, Any]) -> tuple[Any, ...]:
    """Put an entry of expected.json as `described` puts a message."""
    what = x.get("method"), x.get("target"), x.get("status")
    return x["kind"], x["src"], x["sport"], x["dst"], x["dport"], *what, x.get("sha256")


def check(entry: dict[str, Any], got: list[Message]) -> None:
    """Hold messages against an entry: all that must come, what may come, nothing else."""
    tiers: dict[str, list[Any]] = defaultdict(list)
    for x in entry["messages"]:
        tiers[x["tier"]].append(promised(x))
    whole = [described(m) for m in got if m.complete]
    allowed = tiers["optional"].copy()
    for one in tiers["must"]:
        assert one in whole, f"missing: {one}"
        whole.remove(one)
    extra = [one for one in whole if one not in allowed]
    assert not extra
    cut = [described(m)[:-1] for m in got if not m.complete]
    assert set(cut) <= {one[:-1] for one in tiers["incomplete"]}
    assert all(m.missing > 0 for m in got if not m.complete)


def check_pairs(entry: dict[str, Any], got: list[Message]) -> None:
    """Hold the ids against the pairs: one id on request and response, another on every other pair."""
    by_content: dict[Any, list[int]] = defaultdict(list)
    for m in got:
        by_content[described(m)].append(m.id)
    pairs: dict[str, list[set[int]]] = defaultdict(list)
    for x in entry["messages"]:
        if x["tier"] == "must" and x["pair"] is not None:
            pairs[x["pair"]].append(set(by_content[promised(x)]))
    for both in pairs.values():
        assert set.intersection(*both), "request and response do not share an id"
    requests = [m.id for m in got if m.kind == "request"]
    finals = [m.id for m in got if (m.kind == "response" and not 100 <= (m.status or 0) < 200) or m.status == 101]
    assert len(set(requests)) == len(requests)
    assert len(set(finals)) == len(finals)
    assert len({m.id for m in got}) == len(
        {x["pair"] or i for i, x in enumerate(entry["messages"]) if x["pair"] != "?"}
    )


@needs_captures
@pytest.mark.parametrize("entry", cases())
@pytest.mark.parametrize("read", [from_reference, from_library])
def test_every_message_of_a_real_capture_comes_out_and_nothing_else(read, entry):
    """The promise of the project, on traffic that nobody here made."""
    got = read(entry)
    check(entry, got)
    check_pairs(entry, got)


@needs_captures
@pytest.mark.parametrize("entry", cases())
def test_the_library_says_what_the_reference_says_of_a_real_capture(entry):
    """Ids, times, missing bytes: all fields, not only those that expected.json knows."""
    got, wanted = from_library(entry), from_reference(entry)
    assert sorted(got, key=repr) == sorted(wanted, key=repr)


@needs_captures
@pytest.mark.parametrize("batch", [1, 7, 100_000])
@pytest.mark.parametrize("entry", cases())
def test_batch_size_does_not_change_the_messages_of_a_real_capture(entry, batch):
    """How many frames come at once is the capture's business."""
    link, frames = read_pcap(CAPTURES / entry["file"])
    got = by_compiled(frames, link=link, ports=entry["ports"], batch=batch)
    assert sorted(got, key=repr) == sorted(from_library(entry), key=repr)


@needs_captures
@pytest.mark.parametrize("entry", [c for c in cases() if c.id in ("vxlan.pcap", "gre.pcap")])
def test_a_tunnel_that_is_not_named_stays_closed_and_is_counted(entry):
    """Who turns them off must find the packets in the ledger, not in silence."""
    link, frames = read_pcap(CAPTURES / entry["file"])
    assembler = assemble.MessageStream(ports=entry["ports"], decapsulate=())
    assert assembler.feed(frames, link=link) + assembler.finish() == []
    assert assembler.counters["refused_not_tcp"] > 0


@needs_captures
def test_a_capture_without_a_port_list_gives_all_http_in_it():
    """No ports means every port."""
    entry = next(c.values[0] for c in cases() if c.id == "multi-conn.pcap")
    check(entry, list(assemble.messages(str(CAPTURES / entry["file"]))))


@needs_captures
def test_several_captures_are_read_one_after_the_other():
    """A list of paths is one input."""
    paths = [str(CAPTURES / "get.pcap"), str(CAPTURES / "post.pcap")]
    assert [m.method for m in assemble.messages(paths) if m.method] == ["GET", "POST"]


SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop.pcap"


def test_the_recording_of_the_shop_comes_out_whole():
    """The demo's input, as examples/README.md counts it."""
    got = list(assemble.messages(str(SHOP), ports=[8080]))
    assert sorted(got, key=repr) == sorted(reference.read_messages(SHOP, identity=identity), key=repr)
    assert all(m.complete for m in got)
    requests = {m.id for m in got if m.kind == "request"}
    finals = [m.id for m in got if m.kind == "response" and m.status != 100]
    assert (len(got), len(requests), len(finals)) == (782, 390, 390)
    assert set(finals) == requests
