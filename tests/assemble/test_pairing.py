"""Pairing: a response has the id of its request, whatever the order they come in and whatever is missing."""

import packets
import pytest
from talks import CLIENT, SERVER, Talk, assembled, later

from assemble import MessageStream

HINT = b"HTTP/1.1 103 Early Hints\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(number: int) -> bytes:
    """Give a small request with a target of its own."""
    return b"GET /%d HTTP/1.1\r\n\r\n" % number


def paired(talk: Talk) -> list[tuple[str | None, int | None]]:
    """Give target and number of its response's status for each request, in order; None where there is none."""
    got = assembled(talk.frames)
    answers = {m.id: m.status for m in got.responses}
    assert len(answers) == len(got.responses)
    return [(m.target, answers.get(m.id)) for m in got.requests]


def ok(status: int) -> bytes:
    """Give a response with this status."""
    return OK.replace(b"200", b"%d" % status)


def test_pipelined_requests_get_their_responses_in_order():
    """All of them were sent with the same acknowledgement number: the order alone tells."""
    talk = Talk().open().put(CLIENT, get(1) + get(2) + get(3)).put(SERVER, ok(201) + ok(202)).put(SERVER, ok(203))
    assert paired(talk) == [("/1", 201), ("/2", 202), ("/3", 203)]


def test_behind_a_lost_response_the_next_one_finds_its_own_request():
    """The wrong request would be worse than none: everything behind the hole would be shifted by one."""
    talk = Talk().open()
    for number in range(1, 5):
        talk.put(CLIENT, get(number))
        if number == 2:
            talk.lose(SERVER, ok(202))
        else:
            talk.put(SERVER, ok(200 + number))
    assert paired(talk) == [("/1", 201), ("/2", None), ("/3", 203), ("/4", 204)]


def test_behind_a_lost_request_its_response_does_not_take_the_next_one():
    """A request that was sent after this response had come cannot be the one it answers."""
    talk = Talk().open().put(CLIENT, get(1)).put(SERVER, ok(201))
    talk.lose(CLIENT, get(2)).put(SERVER, ok(202))
    talk.put(CLIENT, get(3)).put(SERVER, ok(203))
    got = assembled(talk.frames)
    assert paired(talk) == [("/1", 201), ("/3", 203)]
    assert [m.status for m in got.responses] == [201, 202, 203]
    assert got.counters["responses_unpaired"] == 1


def test_a_response_to_a_lost_request_does_not_take_one_whose_body_was_lost_too():
    """Where a request ends is known from its Content-Length, though nothing was captured behind its first segment."""
    talk = Talk().put(CLIENT, at=-1, flags=packets.SYN)
    talk.put(CLIENT, b"POST /1 HTTP/1.1\r\nContent-Length: 2000\r\n\r\n" + b"x" * 500)
    talk.lose(CLIENT, 1500).lose(SERVER, ok(201)).lose(CLIENT, get(2)).put(SERVER, ok(202))
    got = assembled([talk.frames.pop(), *talk.frames])
    assert [m.target for m in got.requests] == ["/1"]
    assert [m.status for m in got.responses] == [202]
    assert got.responses[0].id != got.requests[0].id


def test_many_interim_responses_leave_the_request_to_the_final_one():
    """A server may send as many 1xx as it likes."""
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    talk = Talk().open().put(CLIENT, get(1)).put(SERVER, interim * 5 + OK).put(CLIENT, get(2)).put(SERVER, OK)
    got = assembled(talk.frames)
    assert [m.id for m in got.responses] == [got.requests[0].id] * 6 + [got.requests[1].id]
    assert got.counters["responses_interim"] == 5


def test_a_response_alone_has_the_id_that_its_request_would_have():
    """Two taps that see one direction each can be joined by id."""
    both = Talk().open().put(CLIENT, get(1)).put(SERVER, OK)
    one = [frame for frame in both.frames if frame[1][34:36] == b"\x00\x50"]
    got = assembled([*one, later(10, both)])
    assert [m.id for m in got.messages] == [assembled(both.frames).requests[0].id]
    assert got.counters["responses_unpaired"] == 1


def test_a_fast_open_request_is_paired_although_it_acknowledges_nothing():
    """RFC 7413: its acknowledgement number is 0, and says nothing about where the response starts."""
    talk = Talk().put(CLIENT, b"", at=-1).lose(CLIENT, 0)
    talk.frames.clear()
    syn = packets.Tcp(seq=talk.client_isn, flags=packets.SYN, data=get(1))
    talk.frames.append((talk.now_ns, packets.frame(syn)))
    talk.lose(CLIENT, get(1)).put(SERVER, at=-1, flags=packets.SYN | packets.ACK)
    talk.put(SERVER, ok(201)).put(CLIENT, get(2)).put(SERVER, ok(202))
    assert paired(talk) == [("/1", 201), ("/2", 202)]


def test_a_response_captured_before_its_request_waits_for_it():
    """Taps on several queues reorder; framing a response to HEAD without knowing of it eats what follows."""
    head = b"HEAD / HTTP/1.1\r\n\r\n"
    talk = Talk().open().lose(CLIENT, head).put(SERVER, OK[:-2]).put(CLIENT, head, at=0, acked=0)
    talk.put(CLIENT, get(2)).put(SERVER, ok(202))
    assert paired(talk) == [("/", 200), ("/2", 202)]


def test_a_response_joined_late_is_not_that_of_a_fast_open_request():
    """The first byte seen of the responses is not their first: several requests may have come before it."""
    talk = Talk()
    syn = packets.Tcp(seq=talk.client_isn, flags=packets.SYN, data=get(1))
    talk.frames.append((talk.now_ns, packets.frame(syn)))
    talk.lose(CLIENT, get(1) + get(2)).lose(SERVER, ok(201)).put(SERVER, ok(202))
    assert paired(talk) == [("/1", None)]


def test_behind_a_response_to_an_unknown_request_the_next_one_does_not_take_the_oldest():
    """The first may have answered what still waits: that nothing is lost between the two tells nothing then."""
    talk = Talk().open().put(CLIENT, get(1)[:-2] + b"A: b").lose(CLIENT, b"\r\n\r\n").lose(SERVER, ok(201))
    talk.lose(CLIENT, get(2)).put(SERVER, ok(202)).lose(CLIENT, get(3)).put(SERVER, ok(203))
    assert paired(talk) == [("/1", None)]


def test_a_response_cut_in_its_head_waits_for_its_request_too():
    """It has the id of its request, whichever of the two is captured first."""
    talk = Talk().open().put(CLIENT, get(1)).put(SERVER, ok(201)).lose(CLIENT, get(2))
    talk.put(SERVER, ok(202)[:20], flags=packets.FIN).put(CLIENT, get(2), at=len(get(1)), acked=0)
    assert paired(talk) == [("/1", 201), ("/2", 202)]


def test_a_response_cut_in_its_head_whose_request_never_comes_comes_alone():
    """Waiting must end, or the connection would never be sent."""
    talk = Talk().open().lose(CLIENT, get(1)).put(SERVER, ok(201)[:20], flags=packets.FIN)
    got = assembled([*talk.frames, later(10, talk)])
    assert [(m.status, m.complete) for m in got.messages] == [(201, False)]


@pytest.mark.parametrize("cut", [1, 10, 17, 18])
def test_a_response_that_came_before_the_head_of_its_request_was_whole_is_its_own(cut):
    """RFC 9112 9.2: a server need not read all of a request; the next response is the next request's."""
    talk = Talk().open().put(CLIENT, get(1)[:cut]).put(SERVER, HINT + ok(201)).put(CLIENT, get(1)[cut:])
    talk.put(CLIENT, get(2)).put(SERVER, ok(202))
    got = assembled(talk.frames)
    one, two = (m.id for m in got.requests)
    assert [(m.id, m.status) for m in got.responses] == [(one, 103), (one, 201), (two, 202)]
    assert got.counters["responses_unpaired"] == 0


def test_a_response_to_a_head_that_is_never_whole_comes_alone_and_the_next_one_is_no_others():
    """It does not wait for ever; a head that goes on after that may be of the request that was answered."""
    talk = Talk().open().put(CLIENT, get(1)[:9]).put(SERVER, ok(201)).wait(3).put(CLIENT, get(1)[9:])
    talk.put(CLIENT, get(2)).put(SERVER, ok(202))
    got = assembled(talk.frames)
    two = got.requests[1].id
    assert [m.status for m in got.responses] == [201, 202]
    assert got.responses[1].id == two
    assert got.counters["responses_unpaired"] == 1


def test_a_response_does_not_wait_for_a_head_when_another_request_waits_for_it():
    """Of pipelined requests the last one's head is often cut; what answers the first one is told by that."""
    talk = Talk().open().put(CLIENT, get(1) + get(2)[:9]).put(SERVER, ok(201))
    talk.put(CLIENT, get(2)[9:]).put(SERVER, ok(202))
    assert [m.status for m in MessageStream().feed(talk.frames[:5])] == [None, 201]
    assert paired(talk) == [("/1", 201), ("/2", 202)]


def test_hundreds_of_requests_that_wait_get_their_responses():
    """That only some of those that wait are looked at is for responses out of step alone."""
    talk = Talk().open()
    talk.say(CLIENT, b"".join(map(get, range(600)))).say(SERVER, b"".join(ok(400 + n % 100) for n in range(600)))
    assert paired(talk) == [(f"/{n}", 400 + n % 100) for n in range(600)]


def test_a_response_behind_hundreds_that_were_lost_finds_its_own_request():
    """The newest are looked at: who waits for longest is the least likely to be answered."""
    talk = Talk().open()
    for number in range(600):
        talk.put(CLIENT, get(number)).lose(SERVER, ok(200))
    talk.put(CLIENT, get(600)).put(SERVER, ok(299))
    assert paired(talk)[-2:] == [("/599", None), ("/600", 299)]
