"""The settings of assembly: one place for their names and defaults."""

from dataclasses import FrozenInstanceError

import pytest
from talks import CLIENT, SERVER, Talk, assembled

from assemble import Settings
from assemble.library import make_settings


def test_settings_do_not_change_after_start():
    """What the configuration shows is what runs."""
    with pytest.raises(FrozenInstanceError):
        Settings().memory = 1  # type: ignore[misc]


@pytest.mark.parametrize("wrong", [{"decapsulate": ("vxlam",)}, {"separate": ["vlans"]}, {"decapsulate": "gre"}])
def test_a_name_that_nothing_answers_to_is_refused(wrong):
    """A tunnel that is misspelt would be a tunnel that stays closed, in silence."""
    with pytest.raises(ValueError, match=r"is none of (vxlan, geneve|vlan, tunnel)"):
        make_settings(**wrong)


@pytest.mark.parametrize(("gap_s", "found"), [(0.5, True), (5.0, False)])
def test_times_are_in_seconds_of_packet_time(gap_s, found):
    """A unit mistaken by a thousand would give up on holes that fill, or wait for those that never do."""
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n" + bytes(30)
    talk = Talk().open().put(CLIENT, b"GET / HTTP/1.1\r\n\r\n").put(SERVER, whole[:50])
    talk.lose(SERVER, 5).put(SERVER, whole[55:]).put(CLIENT)  # it has arrived: only the tap missed it
    talk.wait(1).put(SERVER).put(SERVER, whole[50:55], at=50)
    got = assembled(talk.frames, gap_timeout_s=gap_s)
    assert (got.counters["holes"] == 1) == found
    assert [m.complete for m in got.responses] == [not found]
