"""Early bytes: kept until what is before them comes, the bytes first seen win, and it stays cheap."""

import random

import packets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets_files import Frame
from talks import CLIENT, START_NS, Talk, assembled, renumbered

BODY_BYTES = 40
HEAD = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n"

pieces = st.lists(
    st.tuples(st.integers(0, BODY_BYTES - 1), st.binary(min_size=1, max_size=12)), min_size=1, max_size=25
)


@given(pieces=pieces)
def test_the_bytes_first_seen_win_in_whatever_order_they_come(pieces):
    """Who sends other bytes at the same place wants to be seen as something that he is not."""
    head = HEAD % BODY_BYTES
    talk = Talk().open()
    kept: dict[int, int] = {}
    repeated = conflicting = 0
    for at, data in [*pieces, (0, bytes(BODY_BYTES))]:
        data = data[: BODY_BYTES - at]
        talk.put(CLIENT, data, at=len(head) + at)
        for place, byte in enumerate(data, at):
            repeated += place in kept
            conflicting += kept.setdefault(place, byte) != byte
    got = assembled(talk.put(CLIENT, head, at=0).frames)
    assert [m.payload for m in got.messages] == [head + bytes(kept[i] for i in range(BODY_BYTES))]
    assert got.counters["bytes_duplicate"] == repeated
    assert got.counters["bytes_conflicting"] == conflicting


def out_of_order(order: list[int], size: int) -> tuple[list[Frame], bytes]:
    """Give the segments of one request's body in this order, its head last."""
    body = random.Random(1).randbytes(size * len(order))
    head = HEAD % len(body)
    first = packets.frame(packets.Tcp(seq=999, flags=packets.SYN))
    like = packets.ethernet(packets.ip(packets.Tcp(data=bytes(size))), pad=False)[:-size]
    frames = [(START_NS, first)]
    for number in order:
        piece = renumbered(like, seq=1000 + len(head) + number * size) + body[number * size :][:size]
        frames.append((START_NS + len(frames), piece))
    frames.append((START_NS + len(frames), packets.frame(packets.Tcp(seq=1000, data=head))))
    return frames, head + body


ORDERS = {
    "backwards": lambda n: list(range(n))[::-1],
    "shuffled": lambda n: random.Random(2).sample(range(n), n),
    "evens, then odds": lambda n: [*range(0, n, 2), *range(1, n, 2)],
    "from the middle outwards": lambda n: sorted(range(n), key=lambda i: abs(2 * i - n)),
    "every tenth late by a thousand": lambda n: sorted(range(n), key=lambda i: i + (1000 if i % 10 == 0 else 0)),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_ten_thousand_early_segments_come_out_whole_and_the_memory_is_given_back(order):
    """A store that leaks, or loses its order when it grows, shows with numbers like these only."""
    frames, message = out_of_order(order(10_000), 3)
    got = assembled(frames)
    assert [m.payload for m in got.messages] == [message]
    assert got.counters["bytes_held"] == 0
    assert got.counters["bytes_held_peak"] > len(message)


def test_what_was_held_before_the_syn_came_moves_to_its_place():
    """Before the SYN, places count from the first segment seen; all of them have to be found again."""
    size, number = 5, 1000
    frames, message = out_of_order(ORDERS["shuffled"](number), size)
    syn, *pieces, head = frames
    late = [*pieces, (head[0], syn[1]), head]
    again = [(head[0] + 1, frame) for _, frame in pieces]
    got = assembled([*late[:-2], *again, *late[-2:]])
    assert [(m.payload, m.complete) for m in got.messages] == [(message, True)]
    assert got.counters["bytes_duplicate"] == size * number


@pytest.mark.parametrize("order", ["backwards", "shuffled", "from the middle outwards"])
@pytest.mark.timeout(20)
def test_a_quarter_of_a_million_early_segments_cost_no_more_each_than_ten(order):
    """Moving all that is held for every insertion takes minutes here, and seconds behind a fast bulk transfer."""
    frames, message = out_of_order(ORDERS[order](260_000), 1)
    assert [m.payload for m in assembled(frames).messages] == [message]
