"""Bounds: what one sender, or a million, do costs a bounded amount of memory, and everybody else is served as before.

Every case feeds a flood with an ordinary connection in between, and holds three things: the memory held and the
process's own growth are within the budget, the connection's messages are whole, the ledger says where the flood went.
"""

import ctypes
import itertools
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import packets
import pytest
from engines import batch_record
from packets_files import Frame
from talks import CLIENT, SERVER, START_NS, Talk, assembled, renumbered

from assemble import Message, MessageStream

MIB: Final = 1 << 20
GET: Final = b"GET / HTTP/1.1\r\n\r\n"
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PAGE_BYTES: Final = 4096
GROWTH_MOST: Final = 2
"""The process may grow by so many times the budget: tables and what an allocator adds are not counted in it."""
APART_MOST: Final = 48 * MIB
"""... and by this: batches, messages on their way out, and what the interpreter keeps."""


def resident() -> int:
    """Give the process's memory now, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


@dataclass
class Run:
    """What came out of a flood, and what it took."""

    counters: dict[str, int]
    messages: list[Message] = field(default_factory=list)
    rounds: int = 0
    flood: int = 0
    frames: int = 0
    growth: int = 0

    @property
    def bystander(self) -> list[Message]:
        """The messages of the connection that has nothing to do with it."""
        return [m for m in self.messages if 5999 in (m.sport, m.dport)]


def flooded(flood: Iterable[Frame], *, memory: int, over: int = MIB, every: int = 10_000, batch: int = 2000) -> Run:
    """Feed a flood, and after every so many frames a request and its response on one connection and on a new one."""
    stream = MessageStream(memory=memory)
    run = Run({})
    kept = Talk(cport=40001, client="198.51.100.1", sport=5999).open()
    ctypes.CDLL(None).malloc_trim(0)  # what other tests have given back hides nothing
    before = resident()
    flood = iter(flood)
    while piece := list(itertools.islice(flood, batch)):
        run.flood += len(piece)
        if run.flood // every > run.rounds:
            fresh = Talk(cport=41000 + run.rounds, client="198.51.100.2", sport=5999)
            fresh.open().put(CLIENT, GET).put(SERVER, OK).close()
            kept.put(CLIENT, GET).put(SERVER, OK)
            piece += [(piece[-1][0], frame) for _, frame in [*kept.frames, *fresh.frames]]
            kept.frames.clear()
            run.rounds += 1
        run.messages += stream.feed_batch(batch_record(piece, run.frames + 1, 1))
        run.frames += len(piece)
        run.growth = max(run.growth, resident() - before)
    run.messages += stream.finish()
    run.counters = stream.counters
    hold(run, memory, over)
    return run


def hold(run: Run, memory: int, over: int) -> None:
    """Hold what every flood has to leave as it was; the budget may be passed by `over` before it is noticed."""
    c = run.counters
    assert run.rounds >= 5
    assert [(m.status, m.complete) for m in run.bystander if m.status] == [(200, True)] * 2 * run.rounds
    assert [m.payload for m in run.bystander if not m.status] == [GET] * 2 * run.rounds
    assert c["frames_decoded"] == run.frames
    assert c["bytes_held_peak"] <= memory + over
    assert run.growth <= GROWTH_MOST * memory + APART_MOST
    assert c["flows_now"] == c["bytes_held"] == 0
    skipped = sum(n for name, n in c.items() if name.startswith("skipped_"))
    assert c["bytes_payload"] == c["bytes_in_messages"] + c["bytes_duplicate"] + skipped


def strangers(number: int, frame: bytes, step_ns: int) -> Iterator[Frame]:
    """Give one frame of each of so many connections: another client port for each, then another address."""
    head, rest = frame[:26], frame[30:34]
    behind = frame[36:]
    for each in range(number):
        host, port = divmod(each, 50_000)
        ends = struct.pack("!I", 0x0A000000 + host) + rest + struct.pack("!H", port)
        yield START_NS + each * step_ns, head + ends + behind


@pytest.mark.parametrize(
    ("data", "step_ns"),
    [(b"", 1000), (b"G", 1000), (b"G", 100_000)],
    ids=["SYN only, in a second", "one byte without SYN, in a second", "one byte without SYN, in 100 seconds"],
)
def test_a_million_half_open_connections_are_bounded(data, step_ns):
    """A port scan, a SYN flood, a tap that joins late: connections of which nothing more will come."""
    frame = packets.frame(packets.Tcp(seq=9, flags=packets.ACK if data else packets.SYN, data=data))[: 54 + len(data)]
    run = flooded(strangers(1_000_000, frame, step_ns), memory=32 * MIB)
    assert run.counters["flows"] >= 1_000_000
    ended = run.counters["flows_evicted"] + run.counters["flows_idle"]
    assert run.counters["flows_evicted"] > 0
    assert 800_000 < ended <= run.counters["flows"]
    skipped = sum(n for name, n in run.counters.items() if name.startswith("skipped_"))
    assert skipped == len(data) * 1_000_000


def endless(first: bytes, block: bytes, number: int) -> Iterator[Frame]:
    """Give one connection that begins so and then says the same for ever: only the sequence numbers change."""
    syn, ack, begin = (
        packets.frame(packets.Tcp(seq=999, flags=packets.SYN)),
        packets.frame(packets.Tcp().back(seq=4999, ack=1000, flags=packets.SYN | packets.ACK)),
        packets.frame(packets.Tcp(seq=1000, ack=5000, data=first)),
    )
    yield from ((START_NS, frame) for frame in (syn, ack, begin))
    like = packets.ethernet(packets.ip(packets.Tcp(ack=5000, data=block)), pad=False)
    for at in range(number):
        yield START_NS + (at + 1) * 10_000, renumbered(like, seq=1000 + len(first) + at * len(block))


BLOCK: Final = b"x-header: %b\r\n" % (b"y" * 59_986)
NUMBER: Final = 5000
"""Five thousand blocks of 60,000 bytes: 300 MB."""


def test_a_header_that_never_ends_is_bounded():
    """One connection may not collect for ever; what goes beyond max_header is counted, not kept."""
    run = flooded(endless(b"GET / HTTP/1.1\r\n", BLOCK, NUMBER), memory=32 * MIB, every=1000, batch=20)
    assert run.counters["skipped_long_header"] > 290_000_000
    assert run.counters["bytes_held_peak"] < 8 * MIB


def test_a_body_of_gigabytes_is_bounded():
    """Within `memory` though the message could be larger: what is kept of it is its begin, the rest is counted."""
    first = b"PUT / HTTP/1.1\r\nContent-Length: 10000000000\r\n\r\n"
    run = flooded(endless(first, bytes(60_000), NUMBER), memory=128 * MIB, every=1000, batch=20)
    [message] = [m for m in run.messages if m.method == "PUT"]
    assert (message.complete, len(message.payload)) == (False, 64 * MIB)
    assert run.counters["skipped_over_limit"] == len(first) + NUMBER * 60_000 - 64 * MIB


def test_a_body_beyond_the_memory_is_given_up_for_the_others():
    """The budget holds for one flow as for many; what is held when it is given up comes out as incomplete."""
    first = b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"ea58\r\n" + bytes(59_992) + b"\r\n"
    ahead = 2 * MIB  # a buffer that grows makes room ahead
    run = flooded(endless(first, chunk, NUMBER), memory=16 * MIB, over=ahead, every=1000, batch=20)
    assert run.counters["flows_evicted"] > 0
    assert not any(m.complete for m in run.messages if m.method == "PUT")
    assert run.counters["bytes_in_messages"] + sum(
        run.counters[name] for name in ("skipped_evicted", "skipped_no_start", "skipped_not_http", "skipped_over_limit")
    ) == run.counters["bytes_payload"]  # fmt: skip


def test_ten_thousand_segments_out_of_order_are_bounded_and_come_out_whole_when_they_can():
    """Behind one lost segment of a fast transfer the rest of a window piles up."""
    number = 10_000
    first = b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (number * 1400)
    syn, ack, begin, *rest = list(endless(first, b"z" * 1400, number))
    backwards = [(frame[0], late[1]) for frame, late in zip(rest, rest[::-1], strict=True)]
    frames = [syn, ack, *backwards, (backwards[-1][0], begin[1])]
    roomy = flooded(frames, memory=256 * MIB, every=2000, batch=20)
    [message] = [m for m in roomy.messages if m.method == "PUT"]
    assert message.complete
    tight = flooded(frames, memory=8 * MIB, every=2000, batch=20)
    assert not any(m.complete for m in tight.messages if m.method == "PUT")
    assert tight.counters["holes"] > 0 or tight.counters["flows_evicted"] > 0


BODY: Final = bytes(range(256)) * 20
PUT: Final = b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(BODY)


def interrupted(talk: Talk, flood: Iterable[Frame], **settings: int) -> list[Message]:
    """Have a connection send a message, with a flood in the middle of it, and give what comes of the connection."""
    talk.put(CLIENT, PUT + BODY[:1000])
    before = [*talk.frames]
    talk.frames.clear()
    talk.say(CLIENT, BODY[1000:]).put(SERVER, OK)
    got = assembled([*before, *flood, *talk.frames], **settings)
    assert got.counters["flows_evicted"] > 0
    return [m for m in got.messages if talk.client in (str(m.src), str(m.dst))]


def known() -> Talk:
    """Give a connection that has carried a request, which was acknowledged, and its response."""
    return Talk(cport=5998, client="198.51.100.1").open().put(CLIENT, GET).put(SERVER, OK).put(CLIENT)


@pytest.mark.parametrize("data", [b"", GET[:-2]], ids=["SYN only", "half a head"])
def test_a_flood_of_connections_makes_room_for_itself(data):
    """Who carries messages may be silent for longer than a flood takes to fill the memory several times."""
    frame = packets.frame(packets.Tcp(seq=9, flags=packets.ACK if data else packets.SYN, data=data))[: 54 + len(data)]
    flood = strangers(50_000, frame, 1000)
    assert [m.complete for m in interrupted(known(), flood, memory=4 * MIB)] == [True] * 4


def test_requests_that_nobody_acknowledges_make_room_for_themselves():
    """Whoever forges addresses can send whole requests, but his server never takes any."""
    frame = packets.frame(packets.Tcp(seq=9, flags=packets.SYN, data=GET))[: 54 + len(GET)]
    flood = strangers(50_000, frame, 1000)
    assert [m.complete for m in interrupted(known(), flood, memory=4 * MIB)] == [True] * 4


def test_few_connections_that_hold_much_make_room_for_themselves():
    """Nine bodies without end: neither who is known nor who is new has to go for them."""
    flood = []
    for number in range(9):
        first = b"PUT / HTTP/1.1\r\nContent-Length: 10000000000\r\n\r\n"
        talk = Talk(cport=7000 + number, client="10.0.0.1").open().put(CLIENT, first)
        flood += talk.say(CLIENT, bytes(1_200_000), 60_000).frames
    flood.sort(key=lambda frame: frame[0])
    assert [m.complete for m in interrupted(known(), flood, memory=8 * MIB)] == [True] * 4
    new = Talk(cport=5998, client="198.51.100.1").open()
    assert [m.complete for m in interrupted(new, flood, memory=8 * MIB)] == [True] * 2


def test_who_is_new_is_heard_out_when_those_that_are_known_fill_the_memory():
    """More connections kept alive than there is memory for: the oldest of them have to go."""
    flood = [frame for number in range(8000) for frame in renamed(known().frames, number)]
    new = Talk(cport=5998, client="198.51.100.1").open()
    assert [m.complete for m in interrupted(new, flood, memory=4 * MIB)] == [True] * 2


def renamed(frames: list[Frame], number: int) -> list[Frame]:
    """Give the frames of `known` another client."""
    address = packets.ip(packets.Tcp(src=f"10.0.{number >> 8}.{number & 255}"))[12:16]
    old = packets.ip(packets.Tcp(src="198.51.100.1"))[12:16]
    return [(ts_ns, data[:26] + data[26:34].replace(old, address) + data[34:]) for ts_ns, data in frames]


def test_what_single_early_bytes_take_is_counted():
    """A byte takes a hundred times its size: the budget is one of memory, not of payload."""
    like = packets.ethernet(packets.ip(packets.Tcp(data=b"x")), pad=False)
    flood = (
        (START_NS + at, renumbered(like, seq=1003 + 2 * (at * 7919 % 400_009), cport=2000 + at % 50))
        for at in range(1_000_000)
    )
    opened = [
        (START_NS, renumbered(packets.frame(packets.Tcp(flags=packets.SYN)), seq=1000, cport=2000 + at))
        for at in range(50)
    ]
    run = flooded(itertools.chain(opened, flood), memory=32 * MIB, every=100_000)
    assert run.counters["bytes_held_peak"] > 31 * MIB
    assert run.growth < 32 * MIB + 16 * MIB
