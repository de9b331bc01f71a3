"""Collecting messages of many segments: their limit, their times, their memory."""

import pytest
from talks import CLIENT, SERVER, START_NS, STEP_NS, Talk, assembled

POST = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
GET = b"GET / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("size", [1, 100, 60_000], ids="cut={}".format)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_message_over_the_limit_is_cut_counted_and_followed_by_whole_ones(size, chunked):
    """One large download must not take the memory, nor the messages behind it."""
    head = POST % 3000
    body = bytes(3000)
    if chunked:
        head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        body = b"bb8\r\n" + body + b"\r\n0\r\n\r\n"
    got = assembled(Talk().open().say(CLIENT, head + body + GET, size).frames, max_message=1024)
    over = len(head + body) - 1024
    assert [(m.payload, m.complete, m.missing) for m in got.messages] == [
        ((head + body)[:1024], False, over), (GET, True, 0),
    ]  # fmt: skip
    assert got.counters["skipped_over_limit"] == over
    assert got.counters["bytes_held_peak"] < 8_000


def test_a_message_of_exactly_the_limit_is_whole():
    """Off by one here would mark ordinary messages as incomplete."""
    post = POST % (1024 - len(POST)) + bytes(1024 - len(POST))
    post = post[: post.index(b"\r\n\r\n") + 4] + bytes(1024 - len(POST))
    got = assembled(Talk().open().say(CLIENT, post, 100).frames, max_message=len(post))
    assert [(m.payload, m.complete) for m in got.messages] == [(post, True)]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]], ids=str)
def test_the_times_of_a_message_are_those_of_its_earliest_and_latest_packet(order):
    """Latencies are computed from them: segments that came early, or once more, must not move them."""
    data = POST % 50 + bytes(50)
    cuts = [0, 30, 60, len(data)]
    talk = Talk().open()
    for number in [*order, 1]:
        talk.put(CLIENT, data[cuts[number] : cuts[number + 1]], at=cuts[number])
    (message,) = assembled(talk.frames).messages
    assert (message.first_ns, message.last_ns) == (START_NS + 3 * STEP_NS, START_NS + 5 * STEP_NS)


def test_a_request_that_waits_for_its_answer_holds_nothing():
    """Memory is for what is unfinished: a thousand idle connections after a request are none of that."""
    talks = [Talk(cport=port).open().put(CLIENT, GET) for port in range(1000, 1100)]
    frames = [frame for talk in talks for frame in talk.frames]
    one = assembled(talks[0].frames).counters["bytes_held_peak"]
    assert assembled(frames).counters["bytes_held_peak"] == 100 * one


def test_memory_held_stays_within_its_bound_after_it_was_reached_once():
    """The least active flows are given up, each time, not only when a new peak is reached."""
    half = POST % 60_000 + bytes(30_000)
    frames = [
        frame
        for port in range(1000, 1060)
        for frame in Talk(cport=port).open().say(CLIENT, half, 1000).say(SERVER, b"x", 1).frames
    ]
    got = assembled(frames, memory=200_000)
    assert got.counters["bytes_held_peak"] < 200_000 + 60_000
    assert got.counters["flows_evicted"] >= 50
    assert len(got.messages) == 60
    assert not any(m.complete for m in got.messages)
