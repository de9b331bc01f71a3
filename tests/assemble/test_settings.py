"""The settings of assembly: one place for their names and defaults."""

import math
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


@pytest.mark.parametrize("wrong", ["in", "", "Inbound", "both ", None])
def test_a_direction_that_does_not_exist_is_refused(wrong):
    """It would leave nothing out, or everything, and nobody would be told."""
    with pytest.raises(ValueError, match=r"direction: .* is none of both, inbound, outbound"):
        make_settings(direction=wrong)


@pytest.mark.parametrize("wrong", [0, 0.0, -1, 100.001, 1000, math.nan, math.inf, -math.inf])
def test_a_sample_that_is_no_percentage_is_refused(wrong):
    """Nothing at all, or a share mistaken for parts per thousand, is found out a day later."""
    with pytest.raises(ValueError, match=r"sample: .* is not above 0 and at most 100"):
        make_settings(sample=wrong)


@pytest.mark.parametrize("key", ["hosts", "ours", "exclude"])
@pytest.mark.parametrize("wrong", ["10.0.0.256", "10.0.0.1/8", "10.0.0.0/33", "2001:db8::/129", "localhost", "", "10"])
def test_what_is_no_address_is_refused_by_the_name_of_its_setting(key, wrong):
    """A misread network is another network: a name is not looked up here, and no bit is cut off in silence."""
    given = ((wrong, 80),) if key == "exclude" else ("192.0.2.1", wrong)
    with pytest.raises(ValueError, match=f"{key}: {wrong!r} is neither an address nor a network"):
        make_settings(**{key: given})


def test_what_can_be_selected_is_taken_as_it_is():
    """A check that refuses what is right stops a run for nothing."""
    for sample in (1e-9, 1, 33.3, 100, 100.0):
        assert make_settings(sample=sample).sample == sample
    hosts = ("10.0.0.0/8", "192.0.2.1", "::/0", "2001:db8::1")
    got = make_settings(hosts=hosts, ours=hosts, exclude=(("::1", 9000),), direction="outbound")
    assert (got.hosts, got.ours, got.exclude, got.direction) == (hosts, hosts, (("::1", 9000),), "outbound")


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
