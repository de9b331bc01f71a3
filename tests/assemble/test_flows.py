"""Flows and ids: connections are kept apart, and an id is the same in every run, version and place."""

import packets
import pytest
from talks import CLIENT, SERVER, START_NS, Talk, assembled, renumbered

from assemble import message_id

GET = b"GET / HTTP/1.1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

IDS = [
    (("192.0.2.1", 40000, "192.0.2.2", 80, 5001, 0), 0x9F18BDC326778E06),
    (("192.0.2.1", 40000, "192.0.2.2", 80, 5001, 1), 0xE7434291629CC4EC),
    (("192.0.2.2", 80, "192.0.2.1", 40000, 5001, 0), 0x0CA209A7F92B1902),
    (("2001:db8::1", 65535, "2001:db8::2", 8080, 2**32 - 1, 0), 0x7B2C4D8A2DDFD3DE),
    (("0.0.0.0", 0, "0.0.0.0", 0, 0, 0), 0xFABC3AC138687F4C),
]


@pytest.mark.parametrize(("of", "known"), IDS, ids=str)
def test_an_id_is_what_it_always_was(of, known):
    """Two taps, or yesterday's recording and today's, are compared by id: the hash may never change unnoticed."""
    assert message_id(*of) == known


@pytest.mark.parametrize("family", [4, 6])
def test_the_ids_in_messages_are_those_that_anyone_can_compute(family):
    """The receiver of another project computes the id from the four-tuple alone."""
    ends = {"client": "2001:db8::1", "server": "2001:db8::2"} if family == 6 else {}
    talk = Talk(**ends).open().put(CLIENT, GET + GET).put(SERVER, OK + OK).put(CLIENT, GET)
    ack = talk.server_isn + 1
    where = (talk.client, talk.cport, talk.server, talk.sport)
    wanted = [message_id(*where, ack, 0), message_id(*where, ack, 1), message_id(*where, ack + 2 * len(OK), 0)]
    got = assembled(talk.frames)
    assert [m.id for m in got.requests] == wanted
    assert [m.id for m in got.responses] == wanted[:2]


def test_requests_keep_different_ids_when_one_is_sent_again_with_a_newer_acknowledgement():
    """Pipelined requests of which the middle one was lost: the first and the last share their number otherwise."""
    talk = Talk().open()
    talk.put(CLIENT, GET).lose(CLIENT, GET).put(CLIENT, GET)
    talk.put(SERVER, OK, acked=len(GET)).put(CLIENT, GET, at=len(GET))
    got = assembled(talk.frames)
    assert len({m.id for m in got.requests}) == 3


def test_twenty_thousand_connections_at_once_are_kept_apart():
    """The table grows five times here, and each entry has to be found again, and to be taken out again."""
    syn = packets.frame(packets.Tcp(flags=packets.SYN))
    asks = packets.ethernet(packets.ip(packets.Tcp(data=b"GET /00000 HTTP/1.1\r\n\r\n")), pad=False)
    fin = packets.frame(packets.Tcp(flags=packets.FIN | packets.ACK))
    ports, at = range(20_000, 40_000), asks.index(b"00000")
    steps = [
        [renumbered(syn, seq=7 * port, cport=port) for port in ports],
        [renumbered(asks[:at], seq=7 * port + 1, cport=port) + b"%d" % port + asks[at + 5 :] for port in ports],
        [renumbered(fin, seq=7 * port + 1 + len(asks) - 54, cport=port) for port in reversed(ports)],
    ]
    got = assembled([(START_NS, frame) for step in steps for frame in step])
    assert [(m.sport, m.target) for m in got.messages] == [(port, f"/{port}") for port in ports]
    assert len({m.id for m in got.messages}) == got.counters["flows"] == len(ports)


def test_a_port_used_again_after_a_close_nobody_saw_begin_is_another_connection():
    """A capture may begin with the end of one connection and go on with the next between the same ports."""
    old = Talk(client_isn=400_000, server_isn=900_000)
    old.sent = {CLIENT: 100, SERVER: 200}
    old.close()
    new = Talk(client_isn=500_000, server_isn=100, now_ns=old.now_ns).open().put(CLIENT, GET).put(SERVER, OK)
    got = assembled(old.frames + new.frames)
    assert [(m.kind, m.payload, m.complete) for m in got.messages] == [
        ("request", GET, True), ("response", OK, True),
    ]  # fmt: skip
    assert len({m.id for m in got.messages}) == 1
