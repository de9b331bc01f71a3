"""Chunks in flight, with a model of what the far side may do."""

from hypothesis import given
from hypothesis import strategies as st

from emit.window import Chunk, Window


def chunk(number: int, first: int | None = None, messages: int = 1) -> Chunk:
    """Make a chunk of ten bytes."""
    return Chunk(b"%d" % number, bytes(10), number if first is None else first, messages, 5)


def send_all(window: Window, now_s: float = 0.0) -> list[bytes]:
    """Send everything that is queued."""
    sent = []
    while (each := window.next()) is not None:
        sent.append(each.name)
        window.was_sent(each, now_s)
    return sent


@given(st.lists(st.tuples(st.sampled_from(["add", "ack", "send", "break"]), st.integers(0, 30)), max_size=80))
def test_everything_is_delivered_once_and_the_ring_kept_until_then(steps: list[tuple[str, int]]):
    """Acks in any order, connections that break at any time: nothing is forgotten before it is acknowledged."""
    window = Window(1000, 10**6)
    open_chunks: set[bytes] = set()
    sent: list[bytes] = []
    number = 0
    for what, argument in steps:
        if what == "add":
            window.add(chunk(number), 0, 0)
            open_chunks.add(b"%d" % number)
            number += 1
        elif what == "send":
            sent += send_all(window)
        elif what == "break":
            assert window.rewind() == len(open_chunks & set(sent))
            assert [each.name for each in window.queue] == sorted(open_chunks, key=int)
        else:
            name = b"%d" % argument
            delivered = [each.name for each in window.acknowledge(name)]
            assert delivered == ([name] if name in open_chunks else [])
            open_chunks.discard(name)
        assert window.first == min(map(int, open_chunks), default=None)
        assert (window.slots, window.bytes) == (len(open_chunks), 10 * len(open_chunks))


def test_the_window_is_bounded_in_chunks_and_bytes():
    """Memory of the sender, and what a crash repeats."""
    window = Window(2, 1000)
    window.add(chunk(1), 0, 0)
    assert window.room
    window.add(chunk(2), 0, 0)
    assert not window.room
    window = Window(100, 15)
    window.add(chunk(1), 0, 0)
    window.add(chunk(2), 0, 0)
    assert not window.room


def test_a_message_in_parts_counts_as_one_and_is_never_held_up():
    """The receiver acknowledges nothing before the last part: a window that is full without it would wait for ever."""
    window = Window(1, 15)
    for part in range(5):
        assert window.room
        window.add(chunk(part, first=0, messages=part == 4), part, 5)
    assert not window.room
    assert window.slots == 1


def test_parts_are_kept_until_all_are_acknowledged():
    """A receiver that was killed has lost the parts it held: all of them go again, also those it had acknowledged."""
    window = Window(10, 1000)
    for part in range(3):
        window.add(chunk(part, first=0, messages=part == 2), part, 3)
    assert send_all(window) == [b"0", b"1", b"2"]
    assert window.acknowledge(b"2") == []
    assert window.acknowledge(b"0") == []
    assert window.first == 0
    assert window.rewind() == 3
    assert send_all(window) == [b"0", b"1", b"2"]
    assert [window.acknowledge(b"%d" % part) for part in range(2)] == [[], []]
    assert [each.name for each in window.acknowledge(b"2")] == [b"0", b"1", b"2"]
    assert (window.first, window.slots, window.bytes) == (None, 0, 0)


def test_parts_wait_for_their_acknowledgement_from_the_last_on():
    """Sending 64 MiB may take longer than an acknowledgement may."""
    window = Window(10, 1000)
    window.add(chunk(0), 0, 2)
    send_all(window, 1.0)
    assert window.waiting_since() is None
    window.add(chunk(1), 1, 2)
    send_all(window, 50.0)
    assert window.waiting_since() == 50.0


def test_what_is_abandoned_is_not_sent():
    """Policy "drop", or a producer that died: the last part will never come."""
    window = Window(10, 1000)
    window.add(chunk(0), 0, 0)
    window.add(chunk(1, messages=0), 0, 3)
    window.add(chunk(2, messages=0), 1, 3)
    window.abandon()
    window.add(chunk(3), 0, 0)
    assert send_all(window) == [b"0", b"3"]
    assert (window.slots, window.bytes) == (2, 20)


def test_clearing():
    """Giving up needs the number of messages."""
    window = Window(10, 1000)
    for number in range(3):
        window.add(chunk(number, messages=7), 0, 0)
    assert window.clear() == 21
    assert window.room
    assert window.next() is None


def test_no_more_are_on_their_way_than_the_window_is_wide():
    """What is sealed together may be more than there was room for: it waits."""
    window = Window(2, 1000)
    for number in range(4):
        window.add(chunk(number), 0, 0)
    assert send_all(window) == [b"0", b"1"]
    assert not window.sendable
    window.acknowledge(b"1")
    assert send_all(window) == [b"2"]
    assert window.rewind() == 2
    assert send_all(window) == [b"0", b"2"]


def test_what_connections_end_on_is_sent_alone_and_last():
    """It holds nothing up, and what is acknowledged before it shows that the receiver is well."""
    window = Window(10, 1000)
    for number in range(3):
        window.add(chunk(number), 0, 0)
    for _ in range(2):
        assert send_all(window) == [b"0", b"1", b"2"]
        assert [each.name for each in window.suspect()] == [b"0"]
        window.rewind()
    assert send_all(window) == [b"1", b"2"]
    window.acknowledge(b"1")
    assert not window.sendable
    window.acknowledge(b"2")
    assert send_all(window) == [b"0"]
    window.discard(window.suspect())
    assert (window.slots, window.bytes, window.flying) == (0, 0, 0)


def test_a_message_in_parts_is_suspected_as_a_whole_and_only_when_it_is_whole():
    """Its parts go together."""
    window = Window(10, 1000)
    window.add(chunk(0), 0, 2)
    send_all(window)
    assert window.suspect() == []
    window.add(chunk(1), 1, 2)
    window.rewind()
    send_all(window)
    assert [each.name for each in window.suspect()] == [b"0", b"1"]
