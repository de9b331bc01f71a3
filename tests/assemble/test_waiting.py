"""Waiting: what stands still goes on when its time is over, by the packets' clock, and not before."""

import pytest
from packets import FIN, RST, SYN
from talks import CLIENT, SERVER, START_NS, Talk, assembled, later

from assemble import Message, MessageStream

GET = b"GET / HTTP/1.1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfoobar"


def until(talk: Talk, seconds: float, **settings: float) -> tuple[list[Message], MessageStream]:
    """Assemble a talk, let packet time pass, and give what is out by then."""
    stream = MessageStream(**settings)
    return stream.feed([*talk.frames, later(seconds, talk)]), stream


def statuses(messages: list[Message]) -> list[int | None]:
    """Give what is out: a status for each response, None for each request."""
    return [m.status for m in messages]


@pytest.mark.parametrize(("seconds", "out"), [(1.9, [None]), (2.2, [None, 200])])
def test_a_hole_that_was_acknowledged_is_given_up_after_the_gap_timeout(seconds, out):
    """The receiver has the bytes, so nobody will send them again; a tap that is behind may still show them."""
    talk = Talk().open().put(CLIENT, GET).put(SERVER, OK[:40]).lose(SERVER, OK[40:42])
    talk.put(SERVER, OK[42:]).put(CLIENT)
    got, stream = until(talk, seconds)
    assert statuses(got) == out
    assert stream.counters["holes"] == len(out) - 1


def test_a_hole_that_its_receiver_misses_too_is_waited_for_longer():
    """It will be sent again: giving up would damage a message that is still to come."""
    talk = Talk().open().put(CLIENT, GET).put(SERVER, OK[:40]).lose(SERVER, OK[40:42]).put(SERVER, OK[42:])
    talk.put(CLIENT, acked=40).wait(20)
    got, stream = until(talk.put(SERVER, OK[40:42], at=40), 0)
    assert statuses(got) == [None, 200]
    assert got[1].complete
    assert stream.counters["holes"] == 0


def test_a_response_without_its_request_waits_and_then_comes_alone():
    """Only one direction may be captured; but a request that is captured late must not lose its response."""
    talk = Talk().put(SERVER, OK)
    got, stream = until(talk, 2.2)
    assert got == []
    assert stream.feed([later(4.6, talk)]) == []
    assert statuses(stream.feed([later(4.8, talk)])) == [200]


def test_a_connection_joined_late_begins_after_the_gap_timeout():
    """Bytes that were captured before a lower sequence number are not taken for the beginning."""
    talk = Talk().put(CLIENT, GET[5:], at=5).put(CLIENT, GET[:5], at=0)
    got, _ = until(talk, 2.2)
    assert [m.payload for m in got] == [GET]


def test_a_silent_flow_is_forgotten_after_the_idle_timeout():
    """Weeks of connections whose end nobody saw must not fill the memory."""
    talk = Talk().open().put(CLIENT, GET)
    _, before = until(talk, 9.9, idle_timeout_s=10)
    _, after = until(talk, 10.1, idle_timeout_s=10)
    assert (before.counters["flows_now"], after.counters["flows_now"]) == (1, 0)
    assert after.counters["flows_idle"] == 1


def test_the_clock_is_the_packets_and_a_step_back_harms_nothing():
    """Files are read at any speed, and merged captures of two machines disagree about the time."""
    talk = Talk().open().put(CLIENT, GET)
    talk.now_ns = START_NS - 5 * 10**9
    got, _ = until(talk.put(SERVER, OK), 0)
    assert statuses(got) == [None, 200]


@pytest.mark.parametrize(("seconds", "out"), [(99, 1), (101, 2)])
def test_a_wait_of_any_length_ends_at_its_time_whatever_else_goes_on(seconds, out):
    """Timers are looked at in turns of about a minute; a longer wait has to last through some of them."""
    talk = Talk().open().put(CLIENT, GET).put(SERVER, OK[:40]).lose(SERVER, OK[40:42])
    talk.put(SERVER, OK[42:]).put(CLIENT)
    stream = MessageStream(gap_timeout_s=100, idle_timeout_s=1000)
    got = stream.feed([*talk.frames, *(later(each / 4, talk) for each in range(4 * seconds))])
    assert len(got) == out


def test_a_lost_end_is_given_up_once_its_receiver_says_that_it_has_it():
    """An acknowledgement alone, without data on either side, makes a long wait a short one."""
    talk = Talk().open().put(CLIENT, GET).put(SERVER, OK[:40]).lose(SERVER, OK[40:]).put(SERVER, flags=FIN)
    talk.put(CLIENT, acked=40).wait(5)
    got, stream = until(talk, 0.2)
    assert statuses(got) == [None]
    assert statuses(stream.feed([*talk.put(CLIENT).frames[-1:], later(0.4, talk)])) == []
    assert statuses(stream.feed([later(2.1, talk)])) == [200]


def test_after_hours_of_silence_everything_is_due():
    """A capture may be paused; whatever waited then has waited for long enough."""
    talk = Talk().put(CLIENT, GET)
    _, stream = until(talk, 1)
    assert [m.payload for m in stream.feed([later(9 * 3600, talk)])] == [GET]


def test_the_wait_for_a_hole_begins_with_its_acknowledgement():
    """Until then it was to be sent again; the tap may see the acknowledgement before what it acknowledges."""
    talk = Talk().open().put(CLIENT, GET).put(SERVER, OK[20:], at=20, acked=len(GET)).wait(5).put(CLIENT)
    resent = Talk(now_ns=talk.now_ns).put(SERVER, OK[:20], at=0, acked=len(GET)).frames
    (response,) = assembled([*talk.frames, *resent]).responses
    assert (response.payload, response.complete) == (OK, True)
    late = later(2.1, talk)
    assert assembled([*talk.frames, late, (late[0], resent[0][1])]).counters["holes"] == 1


def test_tunnel_bytes_wait_for_an_answer_whose_beginning_is_late():
    """A client may send before the answer comes; without it, its bytes would be read as HTTP."""
    talk = Talk().open().put(CLIENT, b"GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n").put(CLIENT, b"GET /x HTTP/1.1\r\n\r\n")
    answer = b"HTTP/1.1 101 x\r\n\r\n"
    talk.wait(1.5).put(SERVER, answer[9:], at=9).wait(1.5).put(SERVER, answer[:9], at=0)
    got = assembled(talk.frames)
    assert [m.target for m in got.requests] == ["/"]
    assert [m.status for m in got.responses] == [101]


def test_tunnel_bytes_wait_for_a_server_that_has_not_received_the_request():
    """It cannot have answered: the request is sent again until it arrives, and its answer comes after that."""
    upgrade, inside = b"GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n", b"GET /x HTTP/1.1\r\n\r\n"
    talk = Talk().open().put(CLIENT, upgrade + inside).put(SERVER, acked=0)
    for _ in range(3):
        talk.wait(1.5).put(CLIENT, upgrade + inside, at=0)
    got = assembled(talk.put(SERVER, b"HTTP/1.1 101 x\r\n\r\n").frames)
    assert [m.target for m in got.requests] == ["/"]
    assert [m.status for m in got.responses] == [101]


def test_a_request_joined_late_is_there_for_its_response_when_both_waits_end_at_once():
    """A network may be silent for hours: what was there by then must not depend on which side is looked at first."""
    for client_first in (True, False):  # either side of the flow table's key
        ends = ("192.0.2.1", "192.0.2.2")[:: 1 if client_first else -1]
        talk = Talk(client=ends[0], server=ends[1]).put(SERVER, at=-1, flags=SYN).put(CLIENT, GET)
        talk.put(SERVER, b"HTTP/1.1 103 x\r\n\r\n" + OK)
        got, _ = until(talk, 3600)
        assert [(m.status, m.id == got[0].id) for m in got] == [(None, True), (103, True), (200, True)]


def test_a_reset_further_on_does_not_prove_that_bytes_are_missing():
    """Only an acknowledgement does; a forged one would else turn a cut message into a damaged one."""
    response = b"HTTP/1.1 200 OK\r\n\r\nbody"
    talk = Talk().open().put(CLIENT, b"GET / HTTP/1.1\r\n\r\n").put(SERVER, response)
    talk.put(SERVER, at=talk.sent[SERVER] + 1000, flags=RST)
    got = assembled([*talk.frames, later(3, talk)])
    (last,) = got.responses
    assert (last.complete, last.missing, last.payload) == (False, 0, response)
    assert got.counters["holes"] == 0


@pytest.mark.parametrize(("size", "missing"), [(1, 0), (2, 2), (500, 500)])
def test_bytes_up_to_a_reset_are_missing_when_they_were_acknowledged(size: int, missing: int):
    """Their receiver had them; a single one may be the number of a FIN."""
    request = b"GET / HTTP/1.1\r\nHost"
    talk = Talk().open().put(CLIENT, request).lose(CLIENT, size).put(SERVER).put(CLIENT, flags=RST)
    got = assembled([*talk.frames, later(3, talk)])
    (last,) = got.requests
    assert (last.complete, last.missing, last.payload) == (False, missing, request)
    assert got.counters["bytes_missing"] == missing
