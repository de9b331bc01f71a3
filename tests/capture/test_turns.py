"""Lanes that open and leave interfaces together: at any time a flow is one lane's."""

from capture.counters import Counters
from capture.turns import HUSHED, PAGE, SLOTS, Turns, ticket


def lanes(count: int) -> list[Turns]:
    """The views of so many lanes."""
    pages = tuple(Counters(PAGE) for _ in range(count))
    return [Turns(pages, lane) for lane in range(count)]


def test_one_lane_waits_for_nobody():
    """Nor does it need pages."""
    alone = Turns()
    alone.publish({1: 0}, [2])
    assert alone.group(1) is None
    assert alone.may_join(1)
    assert alone.may_listen(1)
    assert alone.may_leave(1)


def test_lanes_join_in_order_and_listen_when_all_have_joined():
    """One that listened alone would be given every flow, and then lose most of them."""
    first, second, third = lanes(3)
    eth0 = ticket(1, 2)
    assert [each.may_join(eth0) for each in (first, second, third)] == [True, False, False]
    first.publish({eth0: 65535}, [])
    assert [each.may_join(eth0) for each in (first, second, third)] == [True, True, False]
    assert (first.group(eth0), second.group(eth0), third.group(eth0)) == (None, 65535, 65535)
    second.publish({eth0: 65535}, [])
    assert third.may_join(eth0)
    assert not any(each.may_listen(eth0) for each in (first, second, third))
    third.publish({eth0: 65535}, [])
    assert all(each.may_listen(eth0) for each in (first, second, third))


def test_lanes_leave_when_none_listens():
    """One that left while another listens would leave its flows to it."""
    first, second = lanes(2)
    eth0, eth1 = ticket(1, 2), ticket(1, 3)
    for each in (first, second):
        each.publish({eth0: 1, eth1: 2}, [])
    first.publish({eth1: 2}, [eth0])
    assert not first.may_leave(eth0)
    second.publish({eth1: 2}, [])
    assert first.may_leave(eth0), "one that has left already listens no more"
    assert second.may_leave(eth0)
    assert not second.may_leave(eth1)


def test_tickets_tell_interfaces_and_orders_apart():
    """The same interface is opened anew for each order."""
    tickets = {ticket(order, index) for order in (1, 2, 2**31 - 1) for index in (0, 1, 2**32 - 1)}
    assert len(tickets) == 9
    assert not any(each & HUSHED for each in tickets)


def test_what_does_not_fit_on_a_page_is_not_joined_elsewhere():
    """A thousand interfaces are many; the next ones must not be captured by one lane alone."""
    first, second = lanes(2)
    first.publish({ticket(1, index): 3 for index in range(SLOTS + 5)}, [])
    assert second.may_join(ticket(1, SLOTS - 1))
    assert not second.may_join(ticket(1, SLOTS))


def test_what_a_lane_cannot_open_the_next_one_does_not_wait_for():
    """Else it would wait for ever."""
    first, second, third = lanes(3)
    eth0 = ticket(1, 2)
    first.publish({}, [], [eth0])
    assert [each.refused(eth0) for each in (first, second, third)] == [False, True, False]
    assert not second.may_join(eth0)
    assert not second.may_listen(eth0)
    first.publish({eth0: 5}, [])
    assert not second.refused(eth0)
    assert second.group(eth0) == 5
