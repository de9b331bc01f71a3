"""Interfaces of a network of our own: which ones there are, what a tap sees of them, and what it says if it cannot."""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import packets as p
import pcapy
import pytest

from capture import interfaces
from capture.errors import ConfigError, SourceError
from capture.filters import Wanted
from capture.interfaces import Manner, Missed, Tap, chosen, missing, own_addresses, present, up
from tests.capture.wires import numbered, send, sender, taken
from tests.namespace import Namespace, isolated, needs_root, pair

HERE = Path("/proc/thread-self")  # /proc/net is about the first thread
SMALL = Manner(buffer_bytes=2 << 20)
WEB = Wanted(ports=(80,))
ENDS = ("10.9.0.1/24", "10.9.0.2/24")


def tap_on(where: Namespace, manner: Manner = SMALL, wanted: Wanted = WEB, name: str | None = None) -> Tap:
    """Open a tap on one end of a pair, or on another interface there."""
    device = name or where.device
    return where.call(lambda: Tap(device, present().get(device, 0), manner, wanted))


@pytest.mark.parametrize(
    ("patterns", "expected", "lacking"),
    [
        (["lo"], ["lo"], []),
        (["veth*", "eth0"], ["eth0", "veth1", "veth2"], []),
        (["eth[1-9]", "wlan0", "ETH0"], [], ["eth[1-9]", "wlan0", "ETH0"]),
        (["veth?", "lo", "l*"], ["lo", "veth1", "veth2"], []),
        (["any"], ["any"], []),
        (["lo", "any", "nope"], ["any"], ["nope"]),
        ([], [], []),
    ],
)
def test_patterns_mean_the_interfaces_that_match(patterns, expected, lacking):
    """One too few is traffic that nobody sees."""
    names = ["lo", "eth0", "veth1", "veth2"]
    assert chosen(patterns, names) == expected
    assert missing(patterns, names) == lacking


def test_addresses_of_both_families_are_found(tmp_path):
    """`direction` is seen from them: one that is missing turns its connections round."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "fib_trie").write_text(
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n"
        "     |-- 10.0.0.7\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n"
        "     |-- 10.0.0.7\n        /32 host LOCAL\n"
    )
    assert own_addresses(tmp_path) == ("10.0.0.7",)  # a kernel without IPv6 has no other file
    (tmp_path / "net" / "if_inet6").write_text("20010db8000000000000000000000009 02 40 00 80     eth0\n")
    assert own_addresses(tmp_path) == ("10.0.0.7", "2001:db8::9")


@needs_root
def test_what_there_is_and_what_is_up():
    """An interface that is down gives nothing, and says nothing."""
    with pair("10.9.0.1/24", "fd00:9::2/64") as (a, b):
        assert a.call(present) == {"lo": 1, a.device: 2}
        assert a.call(lambda: own_addresses(HERE))[:2] == ("10.9.0.1", "127.0.0.1")
        assert "fd00:9::2" in b.call(lambda: own_addresses(HERE))
        assert a.call(lambda: [up(name) for name in ("lo", a.device, "any", "nope")]) == [True, True, True, False]
        a.run(["ip", "link", "set", a.device, "down"])
        assert not a.call(lambda: up(a.device))
    assert isolated(present) == {"lo": 1}


@needs_root
@pytest.mark.parametrize(
    "tags",
    [(), ((0x8100, 5),), ((0x8100, 5), (0x8100, 6)), ((0x88A8, 5), (0x8100, 6)), ((0x8100, 1),) * 3],
    ids=["plain", "VLAN", "two VLANs", "provider", "three"],
)
def test_a_tap_sees_the_wanted_frames_as_they_were_on_the_wire(tags):
    """At both ends: the kernel hides a tag in either direction, from the filter too, and libpcap has to put it back."""
    wanted = [p.ethernet(p.ip(p.Tcp(seq=at, data=b"x" * at)), vlans=tags) for at in range(200)]
    foreign = [p.ethernet(p.ip(p.Tcp(dport=443)), vlans=tags)]
    with pair(*ENDS) as (a, b), a.call(lambda: sender(a.device)) as out:
        taps = [tap_on(each) for each in (a, b)]
        for frame in wanted:
            send(out, [frame] + (foreign if len(tags) < 3 else []))
        for tap in taps:
            assert taken(tap, len(wanted)) == wanted
            assert (tap.link, tap.drops()) == (1, 0)
            tap.close()


@needs_root
def test_any_sees_every_interface():
    """The one name for machines of which nobody knows the interfaces."""
    with pair(*ENDS) as (a, b), a.call(lambda: sender(a.device)) as out, b.call(lambda: sender("lo")) as inner:
        tap = tap_on(b, name="any")
        send(out, numbered(3))
        got = taken(tap, 3)
        send(inner, numbered(2, first=3))
        got += taken(tap, 2)
        assert [each[16:] for each in got] == [each[14:] for each in numbered(5)]
        assert (tap.name, tap.link) == ("any", 113)
        tap.close()


@needs_root
def test_what_cannot_be_opened_is_one_line_that_says_what_to_do():
    """It is all that the operator gets."""
    with pair(*ENDS) as (a, _b):
        a.run(["ip", "link", "set", a.device, "down"])
        with pytest.raises(SourceError, match=r"^veth0: is down; `ip link set dev \S+ up`") as down:
            tap_on(a)
        with pytest.raises(SourceError, match=r"^nope: there is no such interface; `pipeline interfaces`") as none:
            tap_on(a, name="nope")
        with pytest.raises(ConfigError, match=r"^any: filter 'vlan 5' cannot be used: no VLAN support") as refused:
            tap_on(a, wanted=Wanted(filter="vlan 5"), name="any")
        for each in (down, none, refused):
            assert "\n" not in str(each.value)


@needs_root
def test_without_the_right_to_capture_it_says_how_to_get_it():
    """The first thing that goes wrong for everybody."""
    script = (
        "from capture.privileges import Rights, limit\n"
        "from capture.interfaces import Manner, Tap\nfrom capture.filters import Wanted\n"
        "limit(Rights())\ntry:\n    Tap('lo', 1, Manner(), Wanted())\nexcept Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("SourceError lo: the right to capture is missing: run it with sudo, or give it CAP_")
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


@needs_root
def test_what_the_kernel_had_no_room_for_is_counted():
    """Captured and dropped together are what was sent."""
    with pair(*ENDS) as (a, b), a.call(lambda: sender(a.device)) as out:
        tap = tap_on(b, Manner(buffer_bytes=1 << 19), Wanted(filter="tcp"))  # no other frame is counted
        send(out, numbered(5000, size=1000))
        got = len(taken(tap, 1))
        drops = tap.drops()
        assert drops > 0
        assert got + drops == 5000
        send(out, numbered(10))
        assert len(taken(tap, 10)) == 10
        assert tap.drops() == drops, "counted since it was opened, each once"
        tap.close()


@needs_root
def test_the_snap_length_cuts_and_the_default_does_not_cut_what_is_offloaded():
    """Frames of 64 KiB are ordinary where the card does the segmenting."""
    with pair(*ENDS) as (a, b):
        for each in (a, b):
            each.run(["ip", "link", "set", each.device, "mtu", "65535"])
        with a.call(lambda: sender(a.device)) as out:
            whole, cut = tap_on(b), tap_on(b, Manner(buffer_bytes=2 << 20, snap_bytes=64))
            frames = numbered(3, size=65_000)
            send(out, frames)
            assert taken(whole, 3) == frames
            assert taken(cut, 3) == [frame[:64] for frame in frames]
            for tap in (whole, cut):
                tap.close()


@needs_root
def test_taps_of_a_group_share_the_flows_and_each_sees_both_directions():
    """A lane that saw requests without their responses could pair nothing."""
    flows = [p.Tcp(sport=20_000 + at) for at in range(100)]
    with pair(*ENDS) as (a, b), a.call(lambda: sender(a.device)) as out:
        taps = [tap_on(b, Manner(buffer_bytes=2 << 20)) for _ in range(2)]
        group = taps[0].join(None)
        assert taps[1].join(group) == group
        for tap in taps:
            tap.listen()
        for turn in range(3):
            for flow in flows:
                send(out, [p.frame(flow), p.frame(flow.back(seq=turn))])
        seen = defaultdict(list)
        for number, tap in enumerate(taps):
            for frame in taken(tap, 1):
                seen[max(frame[34:36], frame[36:38])].append(number)
            tap.close()
        assert {len(numbers) for numbers in seen.values()} == {6}, "each frame once"
        assert all(len(set(numbers)) == 1 for numbers in seen.values())
        assert {numbers[0] for numbers in seen.values()} == {0, 1}
        assert len(seen) == 100


@needs_root
@pytest.mark.parametrize("count", [1, 5000])
def test_a_tap_that_is_hushed_keeps_what_it_has_and_gets_nothing_more(count):
    """At the end of a run, and when a lane leaves: libpcap's own filter would throw away what its buffer has."""
    with pair(*ENDS) as (a, b), a.call(lambda: sender(a.device)) as out:
        tap = tap_on(b)
        frames = numbered(count)
        send(out, frames)
        tap.hush()
        send(out, numbered(100, first=count))
        assert taken(tap, count) == frames
        tap.listen()
        send(out, numbered(100, first=9000))
        assert taken(tap, 100) == numbered(100, first=9000), "from then on everything again"
        tap.close()


@needs_root
def test_a_tap_of_a_group_is_hushed_at_first():
    """Before the other lanes have joined it would be given their flows."""
    with pair(*ENDS) as (a, b), a.call(lambda: sender(a.device)) as out:
        tap = tap_on(b, Manner(buffer_bytes=2 << 20))
        tap.join(None)
        send(out, numbered(10))
        assert taken(tap, 0) == []
        tap.listen()
        send(out, numbered(10, first=10))
        assert taken(tap, 10) == numbered(10, first=10)
        tap.close()


@needs_root
def test_what_nobody_else_wants_is_not_called_dropped():
    """The kernel counts frames of a VLAN that is not set up here as dropped by the interface, but we have seen them."""
    with pair(*ENDS) as (a, b), a.call(lambda: sender(a.device)) as out:
        tap = tap_on(b)
        tagged = [each[:12] + b"\x81\x00\x00\x07\x81\x00\x00\x08" + each[12:] for each in numbered(50)]
        send(out, tagged)
        assert len(taken(tap, 50)) == 50
        assert b.call(tap.drops) == 0
        tap.close()


@needs_root
def test_what_was_dropped_before_the_filter_was_set_is_no_loss(monkeypatch):
    """On a busy machine a socket is full of what nobody asked for before it has its buffer."""

    class Busy:
        """A handle whose kernel has dropped frames from the beginning."""

        dropped = 1119

        def __init__(self, name: str) -> None:
            self.handle = made(name)

        def stats(self) -> tuple[int, int, int]:
            return 0, self.dropped, 0

        def __getattr__(self, name: str):
            return getattr(self.handle, name)

    made = pcapy.create
    monkeypatch.setattr(pcapy, "create", Busy)
    with pair(*ENDS) as (a, _b):
        tap = tap_on(a)
        assert tap.drops() == 0
        Busy.dropped += 7
        assert tap.drops() == 7
        tap.listen()
        assert tap.drops() == 0, "nor is what came before it was hushed"
        tap.close()


def test_what_interfaces_have_no_room_for_is_counted_from_now_on(tmp_path, monkeypatch):
    """Their counts are as old as the machine; what was missed before is no loss of this run."""
    monkeypatch.setattr(interfaces, "SYS", tmp_path)
    monkeypatch.setattr(interfaces, "present", lambda: {"eth0": 2, "eth1": 3})
    counts = {}
    for name in ("eth0", "eth1"):
        (tmp_path / name / "statistics").mkdir(parents=True)
        counts[name] = tmp_path / name / "statistics/rx_missed_errors"
        counts[name].write_text("1000\n")
    one, every = Missed(), Missed()
    assert (one.look(["eth0"]), every.look(["any"])) == (0, 0)
    counts["eth0"].write_text("1007\n")
    counts["eth1"].write_text("1100\n")
    assert (one.look(["eth0", "eth0"]), every.look(["any"])) == (7, 107)
    counts["eth0"].unlink()
    assert (one.look(["eth0"]), every.look(["any", "eth1"])) == (0, 0)
    counts["eth0"].write_text("5\n")
    assert one.look(["eth0"]) == 0, "another card by its name"


@needs_root
def test_the_kernel_copies_a_loopback_frame_once():
    """It goes out and comes in; what is thrown away later should not cost the mirrored service a copy."""
    with pair(*ENDS) as (a, _b), a.call(lambda: sender("lo")) as out:
        tap = a.call(lambda: Tap("lo", 1, Manner(buffer_bytes=2 << 20), Wanted(filter="tcp")))
        send(out, numbered(100))
        assert len(taken(tap, 100)) == 100
        assert tap._handle.stats()[0] == 100
        tap.close()


@needs_root
def test_two_runs_have_two_groups_on_every_interface():
    """In one group each would get a part of the other's traffic."""
    with pair(*ENDS) as (a, _b):
        taps = [tap_on(a) for _ in range(8)]
        assert len({tap.join(None) for tap in taps}) == 8
        for tap in taps:
            tap.close()


@needs_root
def test_a_group_that_cannot_be_joined_is_one_line():
    """Another program may use the number in another manner."""
    with pair(*ENDS) as (a, _b):
        other, tap = tap_on(a), tap_on(a)
        other._handle.set_fanout(77, pcapy.PACKET_FANOUT_CPU)
        with pytest.raises(SourceError, match=r"^veth0: .*; this kernel cannot share .*write lanes = 1$"):
            tap.join(77)
        other.close()
        tap.close()


@needs_root
def test_an_interface_that_goes_gives_what_it_captured_and_then_says_so():
    """Frames from before it went are the ones that tell why."""
    with pair(*ENDS) as (a, b), a.call(lambda: sender(a.device)) as out:
        tap = tap_on(b)
        frames = numbered(3000)
        send(out, frames)
        b.run(["ip", "link", "delete", b.device])
        got, said = [], []
        while not said:
            try:
                got += taken(tap, len(frames) - len(got))
            except SourceError as error:
                said.append(str(error))
        assert said[0].startswith(f"{b.device}: ")
        tap.close()
