"""Reassembly: whatever the network does to the packets of a conversation, the same messages come out."""

from dataclasses import replace
from itertools import pairwise

import packets
import pytest
from engines import ENGINES, by_compiled, by_reference, identity
from hypothesis import given
from hypothesis import strategies as st
from packets_files import Frame
from strategies import PLAIN, Conversation, Expected, Turn, conversations
from strategies_packets import START_NS, Ends, Piece, Traffic, interleaved, mapped, summary, traffics
from talks import CLIENT, SERVER, Talk, assembled

from assemble import Message

both = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
batches = st.sampled_from([1, 2, 7, 64, 2048])

REQUEST = b"POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nabcdefghijklmnopqrst"
HEAD_BYTES = len(RESPONSE) - 20


def summaries(messages: list[Message]) -> list[tuple[object, ...]]:
    """Put messages into an order that does not depend on who found them first."""
    return sorted(map(summary, messages), key=repr)


def everything(messages: list[Message]) -> list[str]:
    """The same with all fields, times too."""
    return sorted(map(repr, messages))


def pair(pieces: list[Piece], ends: Ends | None = None) -> Traffic:
    """Make traffic of one exchange, whose packets are given by hand."""
    expected = [
        Expected(0, "request", REQUEST, len(REQUEST) - 10, method="POST", target="/form"),
        Expected(0, "response", RESPONSE, HEAD_BYTES, status=200),
    ]
    turns = [Turn(True, REQUEST, [0]), Turn(False, RESPONSE)]
    return Traffic(ends or Ends(), pieces, Conversation(turns, expected, "open"), {0: 0})


def ask(start: int = 0, stop: int | None = None) -> Piece:
    """Give a segment with these bytes of the request."""
    return Piece(True, start, 0, REQUEST[start:stop])


def answer(start: int = 0, stop: int | None = None) -> Piece:
    """Give a segment with these bytes of the response."""
    return Piece(False, start, len(REQUEST), RESPONSE[start:stop])


SYN = Piece(True, -1, None, b"", packets.SYN)
SYN_ACK = Piece(False, -1, 0, b"", packets.SYN)
END, OTHER_END = (mapped(Ends.client), Ends.cport), (mapped(Ends.server), Ends.sport)
OPEN = [SYN, SYN_ACK, Piece(True, 0, 0)]
FIN = Piece(False, len(RESPONSE), len(REQUEST), b"", packets.FIN)
FIN_BACK = Piece(True, len(REQUEST), len(RESPONSE) + 1, b"", packets.FIN)

HARMLESS = {
    "plain": [*OPEN, ask(), answer(), FIN, FIN_BACK],
    "handshake-reordered": [SYN_ACK, SYN, ask(), answer()],
    "no-handshake": [ask(), answer()],
    "answer-captured-first": [*OPEN, answer(), ask()],
    "one-byte-each": [*OPEN, *(ask(i, i + 1) for i in range(len(REQUEST))), answer()],
    "backwards": [*OPEN, *(ask(i, i + 1) for i in reversed(range(len(REQUEST)))), answer()],
    "everything-twice": [p for p in [*OPEN, ask(), answer(), FIN, FIN_BACK] for _ in range(2)],
    "retransmit-longer": [*OPEN, ask(0, 20), ask(0), answer(0, 5), answer(0)],
    "retransmit-shorter": [*OPEN, ask(), ask(0, 20), ask(30, 40), answer()],
    "overlap-left-and-right": [*OPEN, ask(10, 30), ask(25, 50), ask(0, 12), ask(40), answer()],
    "overlap-bridging-two": [*OPEN, ask(10, 20), ask(30, 40), ask(5, 45), ask(45), ask(0, 5), answer()],
    "hole-filled-late": [*OPEN, ask(), answer(0, 10), answer(20), answer(10, 20)],
    "fin-before-data": [*OPEN, ask(), FIN, answer()],
    "fin-on-data": [*OPEN, ask(), replace(answer(), flags=packets.FIN)],
    "keep-alive-probe": [*OPEN, ask(), Piece(True, len(REQUEST) - 1, 0, b"\0"), answer()],
    "keep-alive-probe-of-nothing": [*OPEN, ask(), Piece(True, len(REQUEST) - 1, 0), answer()],
    "keep-alive-probe-of-nothing-first": [*OPEN, Piece(True, -1, 0), ask(), answer()],
    "keep-alive-probe-before-data": [*OPEN, Piece(True, -1, 0, b"\0"), ask(), answer()],
    "window-probe-of-a-byte": [*OPEN, ask(0, 10), ask(10, 11), ask(10), answer()],
    "reset-after-all": [*OPEN, ask(), answer(), Piece(True, len(REQUEST), 0, b"", packets.RST)],
    "syn-retransmitted": [SYN, SYN, SYN_ACK, SYN, ask(), SYN_ACK, answer()],
    "rubbish-over-seen-bytes": [*OPEN, ask(), Piece(True, 0, 0, b"X" * len(REQUEST)), answer()],
    "rubbish-over-waiting-bytes": [*OPEN, ask(10), Piece(True, 10, 0, b"X" * 20), ask(0, 10), answer()],
    "data-after-fin": [*OPEN, ask(), answer(), FIN, Piece(False, len(RESPONSE) + 1, 0, RESPONSE)],
}  # fmt: skip


@both
@pytest.mark.parametrize("isn", [1000, 2**32 - 30, 2**32 - 1, 2**31 - 20], ids=lambda n: f"isn={n}")
@pytest.mark.parametrize("name", HARMLESS)
def test_an_accident_of_the_network_does_not_show(engine, name, isn):
    """One small case per accident, at first sequence numbers that wrap in the middle of it."""
    traffic = pair(HARMLESS[name], Ends(client_isn=isn, server_isn=isn - 7))
    assert summaries(engine(traffic.frames())) == sorted(traffic.expected(identity), key=repr)


@both
@pytest.mark.parametrize("link", packets.LINKS)
@pytest.mark.parametrize("family", [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")], ids=["v4", "v6"])
def test_every_link_type_and_family_gives_the_same(engine, link, family):
    """The link header is stripped, and the padding behind a short packet is not data."""
    pieces = [*OPEN, *(ask(i, i + 1) for i in range(len(REQUEST))), answer()]
    traffic = pair(pieces, Ends(client=family[0], server=family[1]))
    assert summaries(engine(traffic.frames(link), link=link)) == sorted(traffic.expected(identity), key=repr)


@both
def test_bytes_in_the_syn_count(engine):
    """TCP Fast Open: the request comes with the SYN, which acknowledges nothing."""
    syn = Piece(True, -1, None, REQUEST, packets.SYN)
    traffic = pair([syn, Piece(False, -1, len(REQUEST), b"", packets.SYN), answer()])
    traffic.acks[0] = None
    assert summaries(engine(traffic.frames())) == sorted(traffic.expected(identity), key=repr)


@both
@pytest.mark.parametrize("end", [[FIN, FIN_BACK], [Piece(True, len(REQUEST), 0, b"", packets.RST)]], ids=["fin", "rst"])
def test_a_port_used_again_is_another_connection(engine, end):
    """A client that reuses its port starts from another sequence number: nothing of the old one may stick."""
    first = pair([*OPEN, ask(), answer(), *end])
    second = pair([*OPEN, ask(), answer(), *end], Ends(client_isn=900_000, server_isn=77))
    frames = first.frames() + second.frames(start_ns=START_NS + 10**6)
    wanted = first.expected(identity) + second.expected(identity)
    assert summaries(engine(frames)) == sorted(wanted, key=repr)
    assert len({m.id for m in engine(frames)}) == 2


@both
def test_a_new_connection_without_a_close_is_told_by_its_sequence_number(engine):
    """The close of the old one may not have been captured."""
    first = pair([*OPEN, ask(), answer()])
    second = pair([*OPEN, ask(), answer()], Ends(client_isn=900_000, server_isn=2**31))
    frames = first.frames() + second.frames(start_ns=START_NS + 10**6)
    wanted = first.expected(identity) + second.expected(identity)
    assert summaries(engine(frames)) == sorted(wanted, key=repr)


@both
def test_a_syn_beyond_what_was_acknowledged_begins_another_connection(engine):
    """A straggler of the old one, whose client was not seen, must not keep the new one's SYN from its other half."""
    old = pair([Piece(False, len(RESPONSE), len(REQUEST), b"", packets.FIN)])
    new = pair([SYN, ask(), answer(0, 10), SYN_ACK, answer(10)], Ends(client_isn=900_000, server_isn=2**31))
    frames = old.frames() + new.frames(start_ns=START_NS + 10**6)
    assert summaries(engine(frames)) == sorted(new.expected(identity), key=repr)


@both
def test_a_fin_with_bytes_that_the_capture_cut_ends_where_it_ended(engine):
    """Taken for the end of what was captured, it would hide bytes that another copy has."""
    frames = pair([*OPEN, ask(), replace(answer(), flags=packets.FIN)]).frames()
    ts_ns, whole = frames[-1]
    got = engine([*frames[:-1], (ts_ns, whole[:-5]), (ts_ns + 1, whole)])
    assert [(m.complete, m.payload) for m in got] == [(True, REQUEST), (True, RESPONSE)]


@both
@pytest.mark.parametrize("only", ["client", "server"])
def test_one_direction_alone_gives_its_messages(engine, only):
    """A tap may see one side: the ids are what they would have been."""
    wanted = pair([]).expected(identity)[only == "server"]
    pieces = [p for p in [*OPEN, ask(), answer()] if p.from_client == (only == "client")]
    assert summaries(engine(pair(pieces).frames())) == [wanted]


@both
@pytest.mark.parametrize("handshake", [True, False])
def test_a_hole_in_a_body_of_known_length_is_stepped_over(engine, handshake):
    """The message is marked with what is missing, and the next one is found all the same."""
    size = len(RESPONSE)
    again = Piece(False, size, 2 * len(REQUEST), RESPONSE)
    pieces = [ask(), Piece(True, len(REQUEST), 0, REQUEST), answer(0, size - 15), answer(size - 8), again]
    got = [m for m in engine(pair([*OPEN * handshake, *pieces]).frames()) if m.kind == "response"]
    assert [(m.complete, m.missing, m.payload) for m in got] == [
        (False, 7, RESPONSE[: size - 15] + RESPONSE[size - 8 :]), (True, 0, RESPONSE),
    ]  # fmt: skip


@both
def test_a_hole_in_the_head_ends_the_message_and_the_next_one_is_found(engine):
    """Without the whole head nobody knows the length: the half goes on at the next start it recognises."""
    size = len(RESPONSE)
    pieces = [
        ask(),
        Piece(True, len(REQUEST), 0, REQUEST),
        answer(0, 20),
        answer(30),
        Piece(False, size, 0, RESPONSE),
    ]
    got = [m for m in engine(pair([*OPEN, *pieces]).frames()) if m.kind == "response"]
    assert [(m.complete, m.payload) for m in got] == [(False, RESPONSE[:20]), (True, RESPONSE)]
    assert got[0].missing == 10


@both
def test_a_reset_leaves_a_body_until_close_incomplete(engine):
    """After a reset nobody knows how much there would have been."""
    data = b"HTTP/1.1 200 OK\r\n\r\nabc"
    pieces = [*OPEN, ask(), Piece(False, 0, len(REQUEST), data), Piece(False, len(data), 0, b"", packets.RST)]
    got = engine(pair(pieces).frames())
    assert [(m.payload, m.complete) for m in got if m.kind == "response"] == [(data, False)]


def test_a_syn_far_below_what_was_joined_late_begins_another_connection():
    """No SYN is overtaken by so much; taken for the old one's it would leave a hole of 100 MB."""
    get = b"GET / HTTP/1.1\r\n\r\n"
    talk = Talk().put(CLIENT, get, at=100_000_000).put(CLIENT, at=-1, flags=packets.SYN).put(CLIENT, get, at=0)
    got = assembled(talk.frames)
    assert (len(got.requests), got.counters["flows"], got.counters["holes"]) == (2, 2, 0)


def test_a_reset_ahead_of_what_is_due_is_none_once_bytes_beyond_it_are_acknowledged():
    """The bytes may be captured later than the acknowledgement, and must not be taken for those of a closed half."""
    get = b"GET /%b HTTP/1.1\r\n\r\n" % (b"a" * 99)
    talk = Talk().open().put(CLIENT, at=50, flags=packets.RST)
    talk.sent[CLIENT] = 0
    talk.wait(4).put(SERVER, acked=len(get)).wait(1).put(CLIENT, get, at=0)
    got = assembled(talk.frames)
    assert [(m.complete, m.payload) for m in got.messages] == [(True, get)]


@both
def test_a_reset_in_the_middle_of_what_came_early_is_none(engine):
    """What was captured early lies beyond it: its sender went on."""
    size = len(RESPONSE)
    talk = Talk().open().say(CLIENT, REQUEST).put(SERVER, RESPONSE[9:], at=9)
    talk.put(SERVER, at=size - 5, flags=packets.RST).put(SERVER, RESPONSE[:9], at=0)
    assert [(m.complete, m.payload) for m in engine(talk.frames) if m.kind == "response"] == [(True, RESPONSE)]


@both
def test_both_sides_may_open_a_connection(engine):
    """RFC 9293 3.5, figure 7: whoever saw the other's SYN sends SYN and ACK; the first message tells who asks."""
    for flags in (packets.SYN, packets.SYN | packets.ACK):
        talk = Talk()
        for side in (SERVER, CLIENT):
            talk.put(side, at=-1, acked=0, flags=flags)
        got = engine(talk.say(CLIENT, REQUEST).say(SERVER, RESPONSE).frames)
        assert [m.payload for m in got] == [REQUEST, RESPONSE]


@both
@pytest.mark.parametrize("away", [1, 60_000])
def test_a_reset_ahead_of_what_is_due_does_not_outlast_a_fin(engine, away):
    """Only a RST at the very next number is one (RFC 9293 3.10.7.4); the FIN shows that nothing is missing."""
    talk = Talk().open().say(CLIENT, b"GET / HTTP/1.1\r\n\r\n").say(SERVER, b"HTTP/1.1 200 OK\r\n\r\nbody")
    end = talk.sent[SERVER]
    talk.put(SERVER, at=end + away, flags=packets.RST)
    talk.sent[SERVER] = end
    got = engine(talk.close(SERVER).frames)
    assert [(m.complete, m.missing) for m in got if m.kind == "response"] == [(True, 0)]


@both
@pytest.mark.parametrize("handshake", [True, False])
def test_behind_a_lost_response_the_next_one_is_paired_by_what_its_request_acknowledged(engine, handshake):
    """One lost response must not shift the pairing of all that follow."""
    size, asked = len(RESPONSE), len(REQUEST)
    second = [Piece(True, asked, size, REQUEST), Piece(False, size, 2 * asked, RESPONSE)]
    got = engine(pair([*OPEN * handshake, ask(), *second]).frames())
    requests = [m.id for m in got if m.kind == "request"]
    assert [m.id for m in got if m.kind == "response"] == requests[1:]


@both
def test_an_interim_response_leaves_a_request_with_a_hole_in_its_head_waiting(engine):
    """The request comes out incomplete; both of its responses still share its id."""
    size, hint = len(REQUEST), b"HTTP/1.1 103 Early Hints\r\n\r\n"
    lost = [ask(0, 30), Piece(True, size, 0, b"")]
    got = engine(pair([*OPEN, *lost, Piece(False, 0, size, hint + RESPONSE)]).frames())
    assert sorted((m.kind, m.status, m.complete) for m in got if m.status) == [
        ("response", 103, True), ("response", 200, True),
    ]  # fmt: skip
    assert [(m.method, m.complete) for m in got if m.kind == "request"] == [("POST", False)]
    assert len({m.id for m in got}) == 1


@both
@pytest.mark.parametrize("handshake", [True, False])
def test_a_tunnel_is_left_alone_in_a_connection_joined_late(engine, handshake):
    """Two answers in packets of their own, then CONNECT: what follows its 200 is not HTTP."""
    connect, fine = b"CONNECT h:1 HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 Fine\r\n\r\n"
    asked, size = len(REQUEST), len(RESPONSE)
    hint, inside = b"HTTP/1.1 103 Early Hints\r\n\r\n", b"GET /inside HTTP/1.1\r\n\r\n"
    size += len(hint)
    pieces = [
        ask(),
        Piece(False, 0, asked, hint),
        Piece(False, len(hint), asked, RESPONSE),
        Piece(True, asked, size, connect),
        Piece(False, size, asked + len(connect), fine),
        Piece(True, asked + len(connect), size + len(fine), inside),
    ]
    got = engine(pair([*OPEN * handshake, *pieces]).frames())
    assert sorted(m.payload for m in got) == sorted([REQUEST, hint, RESPONSE, connect, fine])


@both
def test_a_tunnel_begins_where_the_server_switched_if_the_request_for_it_has_no_end(engine):
    """What was found behind the hole came before the answer: that it is of the message with the hole, nobody knows."""
    asked = b"GET /a HTTP/1.1\r\nUpgrade: x\r\nTE: GET / HTTP/1.1\r\nX: y\r\n\r\n"
    switch, inside = b"HTTP/1.1 101 Fine\r\n\r\n", b"GET /inside HTTP/1.1\r\n\r\n"
    pieces = [
        Piece(True, 0, 0, asked[:20]),
        Piece(True, 30, 0, asked[30:]),
        Piece(False, 0, len(asked), switch),
        Piece(True, len(asked), len(switch), inside),
    ]
    got = engine(pair([*OPEN, *pieces]).frames())
    assert {m.payload for m in got} == {asked[:20], b"GET / HTTP/1.1\r\nX: y\r\n\r\n", switch}


@both
def test_what_is_found_late_answers_nothing_that_was_sent_before_its_line_was_whole(engine):
    """The last byte of a body stands before a method and cannot be told from it; what answered the body is not its."""
    hint, get = b"HTTP/1.1 103 Early Hints\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"
    asked, said = b"ET /1 HTTP/1.1\r\nContent-Length: 1\r\n\r\nA", hint + RESPONSE
    pieces = [
        Piece(True, 0, 0, asked),
        Piece(False, 0, len(asked), said),
        Piece(True, len(asked), len(said), get),
        Piece(False, len(said), len(asked + get), RESPONSE),
    ]
    got = engine(pair(pieces).frames())
    starts = [0, len(hint), len(said)]
    alone = [identity(*END, *OTHER_END, 5001 + at, 0) for at in starts]
    assert [m.id for m in got if m.kind == "response"] == alone


@both
@pytest.mark.parametrize("cuts", [[1], [1, 2], [1, 2, 3, 9], [1, 2, 3, 4, 5, 6, 7, 8, 9]], ids=repr)
def test_a_request_behind_letters_has_the_number_that_came_with_its_own_first_byte(engine, cuts):
    """The end of a body is held, as it may begin a method; what its segment acknowledged is not the number."""
    asked, get = b"a body that ends in A", b"GET /1 HTTP/1.1\r\n\r\n"
    pieces = [Piece(True, 0, 0, asked), Piece(False, 0, len(asked), RESPONSE)]
    for start, stop in pairwise([0, *cuts, len(get)]):
        pieces.append(Piece(True, len(asked) + start, len(RESPONSE), get[start:stop]))
    pieces.append(Piece(False, len(RESPONSE), len(asked + get), RESPONSE))
    got = engine(pair(pieces).frames())
    numbers = [5001, 5001 + len(RESPONSE)]
    first, second = (identity(*END, *OTHER_END, number, 0) for number in numbers)
    assert {(m.kind, m.id) for m in got} == {("response", first), ("request", second), ("response", second)}


@both
@pytest.mark.parametrize("ends", [("192.0.2.1", "192.0.2.2"), ("192.0.2.2", "192.0.2.1")], ids=["up", "down"])
def test_a_tunnel_begins_right_behind_a_hole_that_ends_the_request_for_it(engine, ends):
    """What the client sent behind the answer comes after it, whichever address is the lower one."""
    asked = b"GET /a HTTP/1.1\r\nUpgrade: x\r\n\r\n"
    switch, inside = b"HTTP/1.1 101 Fine\r\n\r\n", b"GET /inside HTTP/1.1\r\n\r\n"
    pieces = [
        Piece(True, 0, 0, asked[:-3]),
        Piece(False, 0, len(asked), switch),
        Piece(True, len(asked), len(switch), inside),
    ]
    got = engine(pair([*OPEN, *pieces], Ends(client=ends[0], server=ends[1])).frames())
    assert {m.payload for m in got} == {asked[:-3], switch}


@both
@pytest.mark.parametrize("before", [0, 1])
def test_a_tunnel_begins_where_the_server_switched_if_both_sides_have_a_hole(engine, before):
    """Neither hole is over when the capture ends; what the client sent behind the answer still comes after it."""
    asked = b"GET /a HTTP/1.1\r\nUpgrade: x\r\n\r\n"
    switch, inside = b"HTTP/1.1 101 Fine\r\n\r\n", b"GET /inside HTTP/1.1\r\n\r\n"
    at, size = len(REQUEST), len(RESPONSE)
    pieces = [
        ask(),
        answer(0, before),
        Piece(True, at, size, asked[:3]),
        Piece(True, at + 4, size, asked[4:]),
        Piece(False, size, at + len(asked), switch),
        Piece(True, at + len(asked), size + len(switch), inside),
    ]
    got = engine(pair([*OPEN, *pieces]).frames())
    assert {m.payload for m in got} == {REQUEST, switch}


@both
def test_a_tunnel_begins_where_the_server_switched_if_its_own_head_has_a_hole_too(engine):
    """Two holes of the client, then one in the head of the answer, which is cut there: what came before it is known."""
    asked, switch = b"GET /a HTTP/1.1\r\nUpgrade: x\r\n\r\n", b"HTTP/1.1 101 Fine\r\nA: b\r\n\r\n"
    at, size = len(REQUEST), len(RESPONSE)
    pieces = [
        ask(),
        answer(),
        Piece(True, at, size, asked[:2]),
        Piece(True, at + 3, size, asked[3:20]),
        Piece(True, at + 21, size, asked[21:]),
        Piece(False, size, at + len(asked), switch[:-5]),
        Piece(True, at + len(asked), size + len(switch), b"GET /inside HTTP/1.1\r\n\r\n"),
        Piece(False, size + len(switch), at + len(asked) + 24, b"\x16"),
    ]
    got = engine(pair([*OPEN, *pieces]).frames())
    assert {m.payload for m in got} == {REQUEST, RESPONSE, switch[:-5]}


@both
@pytest.mark.parametrize(("unseen", "paired"), [(1, True), (2, False)])
def test_one_byte_that_the_server_received_and_nobody_saw_hides_no_request(engine, unseen, paired):
    """Out of step a response is not that of the newest request if more may have been asked; one byte asks nothing."""
    asked, lost = b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 50
    pieces = [Piece(True, 0, 0, asked[:-unseen]), Piece(False, lost, len(asked), RESPONSE)]
    got = sorted(engine(pair([*OPEN, *pieces]).frames()), key=lambda m: m.kind)
    assert [(m.complete, m.kind) for m in got] == [(False, "request"), (True, "response")]
    assert (got[0].id == got[1].id) is paired


@both
def test_out_of_step_a_request_of_which_the_server_had_a_byte_counts_as_pipelined(engine):
    """Its head is whole only later; taken for the first of them, the request would get what a lost one was told."""
    lost, one, two = 50, b"GET /1 HTTP/1.1\r\n\r\n", b"GET /2 HTTP/1.1\r\n\r\n"
    asked = lost + len(one)
    pieces = [
        Piece(True, lost, 0, one + two[:1]),
        Piece(False, 0, asked + 1, 3 * RESPONSE),
        Piece(True, asked + 1, 3 * len(RESPONSE), two[1:]),
    ]
    got = engine(pair([*OPEN, *pieces]).frames())
    numbers = [5001 + i * len(RESPONSE) for i in range(3)]
    alone = [identity(*END, *OTHER_END, number, 0) for number in numbers]
    assert [m.id for m in got if m.kind == "response"] == alone


@both
def test_an_answer_to_the_beginning_of_a_request_is_its_own_whatever_is_lost_of_it_later(engine):
    """Out of step, too: when the server sent it, nothing else was asked."""
    asked, lost = b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2", 50
    hint = b"HTTP/1.1 100 Continue\r\n\r\n"
    pieces = [Piece(True, 0, 0, asked), Piece(False, lost, len(asked), hint)]
    pieces.append(Piece(True, len(asked) + 3, lost + len(hint), b"\n\r\n0\r\n\r\n"))
    got = engine(pair([*OPEN, *pieces]).frames())
    assert {(m.kind, m.complete) for m in got} == {("request", False), ("response", True)}
    assert len({m.id for m in got}) == 1


@both
def test_a_response_cut_in_its_head_is_that_of_a_request_behind_several_holes(engine):
    """What the client sent before its server went on is known first, whatever is missing of it."""
    lost, size = 3 * len(REQUEST), len(RESPONSE)
    pieces = [
        *OPEN,
        Piece(True, 5, 0, REQUEST[5:]),
        Piece(True, len(REQUEST) + 5, 0, REQUEST[5:]),
        Piece(True, 2 * len(REQUEST), 0, REQUEST),
        Piece(False, 0, lost, RESPONSE[:20]),
        Piece(False, size, lost, b"x"),
    ]
    got = engine(pair(pieces).frames())
    assert [(m.complete, m.kind) for m in got] == [(True, "request"), (False, "response")]
    assert len({m.id for m in got}) == 1


@both
@given(made=interleaved(), batch=batches)
def test_disturbed_connections_give_exactly_what_was_said(engine, made, batch):
    """Promise 2 of the design: cuts, order, repetition, overlap, wrap and batch do not show, ids included."""
    several, frames = made
    wanted = [x for one in several for x in one.expected(identity)]
    assert summaries(engine(frames, batch=batch)) == sorted(wanted, key=repr)


@given(made=interleaved(), batch=batches)
def test_the_compiled_assembler_gives_the_times_that_the_reference_gives(made, batch):
    """A message's times are those of the frames that brought its first and its last byte."""
    _, frames = made
    assert everything(by_compiled(frames, batch=batch)) == everything(by_reference(frames))


@given(traffic=traffics(), data=st.data(), batch=batches)
def test_with_frames_missing_the_compiled_assembler_agrees_with_the_reference(traffic, data, batch):
    """What a lost frame costs is decided by rules, not by luck."""
    frames = traffic.frames()
    lost = data.draw(st.sets(st.integers(0, len(frames) - 1), min_size=1, max_size=4))
    kept = [frame for i, frame in enumerate(frames) if i not in lost]
    assert summaries(by_compiled(kept, batch=batch)) == summaries(by_reference(kept))


@given(data=st.data(), batch=batches)
def test_from_mid_connection_the_compiled_assembler_agrees_with_the_reference(data, batch):
    """A capture may begin anywhere."""
    talk = data.draw(conversations(PLAIN))
    traffic = data.draw(traffics(disturbed=False, talk=talk))
    frames = traffic.frames()[data.draw(st.integers(2, 20)) :]
    assert summaries(by_compiled(frames, batch=batch)) == summaries(by_reference(frames))


@given(traffic=traffics(), data=st.data())
def test_damaged_frames_never_escape_as_an_exception(traffic, data):
    """Everything that parses bytes from a network fails on its own frame only."""
    frames: list[Frame] = []
    for ts_ns, frame in traffic.frames():
        if data.draw(st.booleans()):
            at = data.draw(st.integers(0, len(frame) - 1))
            frame = frame[:at] + data.draw(st.binary(max_size=8)) + frame[at + data.draw(st.integers(0, 9)) :]
        frames.append((ts_ns, frame))
    for m in by_compiled(frames, link=data.draw(st.sampled_from(list(packets.LINKS)))):
        assert m.payload


@given(frames=st.lists(st.tuples(st.integers(0, 2**60), st.binary(max_size=90)), max_size=8))
@pytest.mark.parametrize("link", packets.LINKS)
def test_rubbish_gives_no_message_and_no_exception(link, frames):
    """Nothing in a frame can make decode read outside it."""
    assert by_compiled(frames, link=link) == []
