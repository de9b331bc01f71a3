"""What both directions tell about each other: ids, whom a response answers, and when that can be told."""

import packets
import pytest
from packets_files import Frame
from talks import CLIENT, SERVER, Assembled, Talk, assembled, later

from assemble import MessageStream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = b"HEAD / HTTP/1.1\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nlate"


def get(number: int) -> bytes:
    """Give a small request with a target of its own."""
    return b"GET /%d HTTP/1.1\r\n\r\n" % number


def ok(status: int) -> bytes:
    """Give a response with this status."""
    return OK.replace(b"200", b"%d" % status)


def pairs(got: Assembled) -> dict[str | None, list[int | None]]:
    """Give the statuses of the responses that have a request's id, by its target; those that have none under None."""
    targets = {m.id: m.target for m in got.requests}
    assert len(targets) == len(got.requests), "two requests with the same id"
    found: dict[str | None, list[int | None]] = {target: [] for target in targets.values()}
    for m in got.responses:
        found.setdefault(targets.get(m.id), []).append(m.status)
    assert got.counters["responses_unpaired"] == len(found.get(None, []))
    return found


def sent_by(side: bool, talk: Talk) -> list[Frame]:
    """Give the frames of one direction."""
    port = talk.cport if side is CLIENT else talk.sport
    return [(ts, frame) for ts, frame in talk.frames if frame[34:36] == port.to_bytes(2, "big")]


def conversation() -> Talk:
    """Give four exchanges, the last two of which are pipelined."""
    talk = Talk().open()
    for number in (1, 2):
        talk.put(CLIENT, get(number)).put(SERVER, ok(200 + number))
    return talk.put(CLIENT, get(3) + get(4)).put(SERVER, ok(203)).put(SERVER, ok(204)[:-2])


def test_ids_are_the_same_wherever_the_tap_is():
    """Two machines that see the same traffic, whole, in part or from its middle on, can be joined by id."""
    talk = conversation()
    want = {m.target: m.id for m in assembled(talk.frames).requests}
    assert len(set(want.values())) == 4
    late = assembled(talk.frames[5:]).requests
    clients = assembled([*sent_by(CLIENT, talk), later(10, talk)]).requests
    assert {m.target: m.id for m in clients} == want
    assert {m.target: m.id for m in late} == {target: want[target] for target in ("/2", "/3", "/4")}


def test_ids_do_not_depend_on_the_order_of_capture():
    """One direction may be captured a moment later than the other, as from another queue of the card."""
    talk = conversation()
    want = pairs(assembled(talk.frames)), {m.id for m in assembled(talk.frames).messages}
    for first in (CLIENT, SERVER):
        delayed = sorted([*sent_by(first, talk), *((ts + 5_000_000, frame) for ts, frame in sent_by(not first, talk))])
        got = assembled(delayed)
        assert (pairs(got), {m.id for m in got.messages}) == want


def test_another_connection_between_the_same_ports_has_other_ids():
    """The sequence numbers of a connection are its own; ids are unique within a run."""
    talk = Talk().open().put(CLIENT, get(1)).put(SERVER, ok(201)).close()
    again = Talk(client_isn=90_000, server_isn=70_000, now_ns=talk.now_ns).open()
    again.put(CLIENT, get(2)).put(SERVER, ok(202)).close()
    assert pairs(assembled([*talk.frames, *again.frames])) == {"/1": [201], "/2": [202]}


def test_a_request_captured_with_an_older_acknowledgement_repeats_no_id():
    """Its bytes may come first in a copy that was sent earlier than those of the request before it."""
    talk = Talk().open().put(CLIENT, get(1), acked=0).put(SERVER, ok(201)).put(CLIENT, get(2))
    talk.put(CLIENT, get(3), acked=0).put(CLIENT, get(4))
    assert len({m.id for m in assembled(talk.frames).requests}) == 4


def test_a_request_in_the_syn_and_one_that_acknowledges_number_zero_have_ids_of_their_own():
    """What acknowledges nothing counts as number 0, which a server's first byte may have."""
    talk = Talk(server_isn=2**32 - 1).put(CLIENT, get(1), at=-1, flags=packets.SYN)
    talk.sent[CLIENT] = len(get(1))
    talk.put(SERVER, at=-1, flags=packets.SYN).put(CLIENT, get(2), acked=0)
    assert len({m.id for m in assembled(talk.frames).requests}) == 2


@pytest.mark.parametrize("crossed", [False, True], ids=["before the request", "captured after it"])
def test_an_answer_to_no_request_takes_none(crossed):
    """A server that closes an idle connection says 408 to nobody, nor to the request that crosses it."""
    talk = Talk().open().put(CLIENT, HEAD).put(SERVER, OK[:-2])
    if crossed:
        talk.put(CLIENT, HEAD, acked=len(OK) - 2).put(SERVER, TIMEOUT, acked=len(HEAD))
    else:
        talk.put(SERVER, TIMEOUT).put(CLIENT, HEAD, acked=len(OK) - 2)
    got = assembled(talk.close(SERVER).frames)
    assert [(m.status, m.payload) for m in got.responses] == [(200, OK[:-2]), (408, TIMEOUT)]
    assert got.counters["responses_unpaired"] == 1


def test_interim_responses_have_the_id_of_the_request_that_they_precede():
    """RFC 9110 15.2: any number of them, then the one that counts; with pipelining each belongs to the oldest."""
    talk = Talk().open().put(CLIENT, get(1) + get(2))
    talk.put(SERVER, INTERIM + INTERIM + ok(201)).put(SERVER, INTERIM).put(SERVER, ok(202))
    assert pairs(assembled(talk.frames)) == {"/1": [103, 103, 201], "/2": [103, 202]}


def test_of_pipelined_requests_none_gets_an_answer_that_may_be_anothers():
    """All have the same acknowledgement number: behind a hole nothing tells which of them was answered."""
    talk = Talk().open().put(CLIENT, get(1) + get(2) + get(3) + get(4))
    talk.put(SERVER, ok(201)).lose(SERVER, ok(202)).put(SERVER, ok(203)).put(SERVER, ok(204))
    got = pairs(assembled(talk.frames))
    assert got == {"/1": [201], "/2": [], "/3": [], "/4": [], None: [203, 204]}


def test_a_request_sent_while_others_waited_does_not_get_their_answer():
    """Its client pipelines, so that the newest request is the least likely to be answered next."""
    talk = Talk().open().put(CLIENT, get(1) + get(2)).lose(SERVER, ok(201)).put(CLIENT, get(3), acked=10)
    got = pairs(assembled(talk.put(SERVER, ok(202)).frames))
    assert got == {"/1": [], "/2": [], "/3": [], None: [202]}


def test_of_pipelined_requests_behind_a_lost_one_none_is_in_step():
    """The first answer starts where all of them say, and is the lost one's: those behind it must not be shifted."""
    talk = Talk().open().put(CLIENT, get(1)).put(SERVER, ok(201)).lose(CLIENT, get(2)).put(CLIENT, get(3) + get(4))
    got = assembled(talk.put(SERVER, ok(202)).put(SERVER, ok(203)).put(SERVER, ok(204)).frames)
    assert got.counters["responses_unpaired"] == 3
    assert got.requests[-1].id not in {m.id for m in got.responses}


def test_an_answer_that_could_not_be_told_does_not_bring_the_next_one_in_step():
    """The first request waits for an answer that is lost: nothing that comes later is for it."""
    talk = Talk().open().put(CLIENT, get(1)).lose(SERVER, ok(201)).lose(CLIENT, get(2)).put(SERVER, ok(202))
    talk.put(CLIENT, get(3)).put(SERVER, ok(203)).put(CLIENT, get(4)).put(SERVER, ok(204))
    assert pairs(assembled(talk.frames)) == {"/1": [], "/3": [203], "/4": [204], None: [202]}


def test_behind_a_hole_the_next_exchange_is_in_step_again():
    """A request that was sent when the lost answer had come is told by its acknowledgement number."""
    talk = Talk().open().put(CLIENT, get(1) + get(2)).lose(SERVER, ok(201) + ok(202))
    talk.put(CLIENT, get(3)).put(SERVER, ok(203)).put(CLIENT, get(4)).put(SERVER, ok(204))
    assert pairs(assembled(talk.frames)) == {"/1": [], "/2": [], "/3": [203], "/4": [204]}


def test_an_answer_to_a_request_that_nobody_saw_takes_no_other():
    """The server says by its acknowledgement that it had more than the request that is known."""
    talk = Talk().open().put(CLIENT, get(1)).lose(SERVER, ok(201)).lose(CLIENT, get(2)).put(SERVER, ok(202))
    assert pairs(assembled(talk.frames)) == {"/1": [], None: [202]}


def test_an_answer_to_a_request_that_was_cut_is_not_guessed():
    """Where a request ended is not known: what the server had of it, or behind it, neither."""
    talk = Talk().open().put(CLIENT, get(1)[:-2]).lose(CLIENT, b"\r\n" + get(2))
    talk.lose(SERVER, ok(201)).put(SERVER, ok(202))
    assert pairs(assembled(talk.frames)) == {"/1": [], None: [202]}


def test_the_answer_to_a_request_that_nobody_saw_has_the_id_that_it_would_have_had():
    """Another tap that has the request can be asked for it."""
    whole = Talk().open().put(CLIENT, get(1)).put(SERVER, ok(201)).put(CLIENT, get(2)).put(SERVER, ok(202))
    holed = Talk().open().put(CLIENT, get(1)).put(SERVER, ok(201)).lose(CLIENT, get(2)).put(SERVER, ok(202))
    want = {m.status: m.id for m in assembled(whole.frames).responses}
    assert {m.status: m.id for m in assembled(holed.frames).responses} == want


def test_an_acknowledgement_below_the_clients_first_byte_is_made_up():
    """Some balancers' captures have nonsense there; a response that answers nothing would be worse."""
    talk = Talk().open().put(CLIENT, get(1)).put(SERVER, ok(201), acked=-5000)
    assert pairs(assembled(talk.frames)) == {"/1": [201]}


@pytest.mark.parametrize("finish", [False, True], ids=["open", "closed"])
def test_a_response_waits_for_a_request_that_is_captured_after_it(finish):
    """How its body is delimited depends on the request: without it, HEAD's answer eats the next one."""
    talk = Talk().open().lose(CLIENT, HEAD).put(SERVER, OK[:-2])
    if finish:
        talk.put(SERVER, flags=packets.FIN)
    got = assembled(talk.put(CLIENT, HEAD, at=0, acked=0).frames)
    assert pairs(got) == {"/": [200]}
    assert all(m.complete for m in got.messages)


def test_a_response_cut_by_the_end_waits_for_its_request_too():
    """Else it would have an id of its own, and one of two messages would look unanswered."""
    talk = Talk().open().lose(CLIENT, get(1) + get(2)).put(SERVER, ok(201)).put(SERVER, ok(202)[:20])
    talk.put(SERVER, flags=packets.FIN).put(CLIENT, get(1) + get(2), at=0, acked=0)
    assert pairs(assembled(talk.frames)) == {"/1": [201], "/2": [202]}


def test_a_response_does_not_wait_for_ever():
    """When the request is lost to the tap, the response comes out after gap_timeout and a quarter, on its own."""
    talk = Talk().open().lose(CLIENT, get(1)).put(SERVER, ok(201))
    for seconds, many in ((2.4, 0), (2.7, 1)):
        assert decided_before_the_end([*talk.frames, later(seconds, talk)]) == many


def decided_before_the_end(frames: list[Frame]) -> int:
    """Give how many messages come out while packets still come."""
    return len(MessageStream().feed(frames))


def test_where_requests_never_come_nobody_waits_for_them():
    """A tap of one direction: the second response comes out at once."""
    talk = Talk().open().lose(CLIENT, get(1)).put(SERVER, ok(201)).wait(5)
    frames = sent_by(SERVER, talk)
    frames.append(later(0, talk))
    more = sent_by(SERVER, talk.lose(CLIENT, get(2)).put(SERVER, ok(202)))[-1:]
    assert decided_before_the_end([*frames, *more]) == 2


def test_a_direction_sends_requests_or_responses():
    """A start line of the other kind is somebody's data, as in a proxy's error page behind its own length."""
    talk = Talk().open().put(CLIENT, get(1)).put(SERVER, ok(201) + get(9)).put(CLIENT, ok(299) + get(2))
    got = assembled(talk.put(SERVER, ok(202)).frames)
    assert pairs(got) == {"/1": [201], "/2": [202]}
    assert got.counters["skipped_not_http"] == len(get(9) + ok(299))


@pytest.mark.parametrize("body", [b"Content-Length: x", b"Content-Length: 1, 2", b"Transfer-Encoding: gzip"], ids=repr)
def test_a_request_without_a_valid_length_is_none_and_waits_for_no_answer(body):
    """RFC 9112 6.3, rules 4 and 5: its server says 400; the next request is found and gets its own answer."""
    bad = b"POST /bad HTTP/1.1\r\n" + body + b"\r\n\r\n"
    talk = Talk().open().put(CLIENT, get(1)).put(SERVER, ok(201)).put(CLIENT, bad).put(SERVER, ok(400))
    got = assembled(talk.put(CLIENT, get(2)).put(SERVER, ok(202)).frames)
    assert got.counters["skipped_bad_length"] == len(bad)
    assert pairs(got) == {"/1": [201], "/2": [202], None: [400]}
