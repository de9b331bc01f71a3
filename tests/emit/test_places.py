"""Places for connections: for all, for one address, and who gives way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emit.connection import Connection
from emit.joining import Budget, Joiner
from emit.places import Places, network_of

IDLE_S = 10.0
LATER_S = 2 * IDLE_S


def connection(at_s: float = 0.0) -> Connection:
    """Make a connection that came at that time."""
    made = Connection("peer", Joiner(Budget(1, 1), 1), 1000, 1000)
    made.heard_s = made.brought_s = at_s
    return made


def nobody(_connection: Connection) -> bool:
    """Nobody is owed anything."""
    return False


@given(st.lists(st.tuples(st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"]), st.booleans()), max_size=50))
def test_the_count_of_each_address_is_right(steps: list[tuple[str, bool]]):
    """Against a plain list: a count that drifts would lock an address out for ever."""
    places = Places(1000, 3, IDLE_S)
    held: list[tuple[Connection, str]] = []
    for host, comes in steps:
        same = [each for each in held if network_of(each[1]) == network_of(host)]
        if comes:
            assert (places.refusal(host) is None) == (len(same) < 3)
            if len(same) < 3:
                held.append((connection(), host))
                places.take(*held[-1])
        elif same:
            held.remove(same[0])
            places.leave(same[0][0])
    for made, _host in held:
        places.leave(made)
    assert not places.counts
    assert not places.networks


def test_one_site_of_ipv6_is_one_address():
    """It has 2**64 addresses, and could take a new one for each connection."""
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2")
    assert network_of("2001:db8::1") != network_of("2001:db8:0:1::1")
    assert network_of("fe80::1%eth0") == network_of("fe80::2")
    assert network_of("10.0.0.1") != network_of("10.0.0.2")


def test_the_one_that_has_brought_nothing_for_longest_gives_way():
    """And nobody who has brought something lately."""
    places = Places(3, 3, IDLE_S)
    made = [connection() for _ in range(3)]
    for each in made:
        places.take(each, "10.0.0.1")
    assert places.full
    assert places.idle(IDLE_S - 1, nobody) is None
    assert places.idle(LATER_S, nobody) is made[0]
    made[0].brought_s = LATER_S
    places.refresh(made[0])
    assert places.idle(LATER_S, nobody) is made[1]
    places.leave(made[1])
    assert not places.full


@pytest.mark.parametrize("what", ["owed", "outgoing"])
def test_who_is_owed_something_stays(what: str):
    """A sender waits for its acknowledgement in silence, as long as the outputs take."""
    places = Places(1, 1, IDLE_S)
    made = connection()
    places.take(made, "10.0.0.1")
    if what == "outgoing":
        made.outgoing += b"x"
    assert places.idle(LATER_S, lambda _connection: what == "owed") is None
