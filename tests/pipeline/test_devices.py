"""Interfaces as the kernel shows them: made-up ones for each kind, and those of a namespace."""

import json
import socket
import sys
from pathlib import Path

import pytest

from pipeline import devices
from pipeline.devices import Device
from tests.namespace import needs_root, pair


def place(root: Path, name: str, **files: str) -> Path:
    """Make an interface's folder under a made-up /sys/class/net."""
    folder = root / name
    folder.mkdir()
    for path, text in {"type": "1", "flags": "0x1003", "mtu": "1500", **files}.items():
        (folder / path).write_text(text + "\n")
    return folder


def looked_at(folder: Path) -> Device:
    """What is made of it; ethtool knows no such interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        return devices._device(folder, ("10.0.0.1/24",), asking)


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"type": "772"}, "loopback"),
        ({"uevent": "DEVTYPE=bridge\nINTERFACE=x"}, "bridge"),
        ({"uevent": "DEVTYPE=wlan"}, "wireless"),
        ({"uevent": "DEVTYPE=bond"}, "bond"),
        ({"uevent": "DEVTYPE=vxlan"}, "vxlan"),
        ({}, "virtual"),
    ],
)
def test_each_kind_is_told(tmp_path, files, kind):
    """A user looks for the card, or for the bridge, not for a name."""
    assert looked_at(place(tmp_path, "x0", **files)).kind == kind


def test_a_card_is_shown_with_what_it_is_part_of(tmp_path):
    """A bond and its cards show the same packets."""
    bond = place(tmp_path, "bond0", uevent="DEVTYPE=bond")
    card = place(tmp_path, "eth9", speed="10000", flags="0x1002")
    (card / "device").mkdir()
    (card / "master").symlink_to(bond)
    (card / "statistics").mkdir()
    (card / "statistics/rx_missed_errors").write_text("17\n")
    found = looked_at(card)
    assert (found.kind, found.up, found.speed_mbps, found.master) == ("ethernet", False, 10000, "bond0")
    assert (found.rx_missed, found.rx_packets, found.rx_ring) == (17, 0, None)
    assert found.offloads == {"gro": None, "gso": None, "tso": None, "lro": None}


def test_what_the_kernel_does_not_tell_is_not_guessed(tmp_path):
    """An interface that is down has no speed; a container shows less of /sys."""
    (tmp_path / "x0").mkdir()
    assert looked_at(tmp_path / "x0") == Device(
        "x0", "virtual", False, 0, ("10.0.0.1/24",), offloads={"gro": None, "gso": None, "tso": None, "lro": None}
    )
    assert looked_at(place(tmp_path, "x1", speed="-1")).speed_mbps is None


@needs_root
def test_the_interfaces_of_a_namespace_are_found_with_their_addresses_and_offloads():
    """ioctls and netlink for real."""
    with pair("10.9.0.1/24", "10.9.0.2/24") as (_a, b):
        b.run(["ip", "-6", "addr", "add", "fd00:9::2/64", "dev", b.device, "nodad"])
        b.run(["ip", "link", "set", b.device, "mtu", "9000"])
        code = "import json; from dataclasses import asdict; from pipeline.devices import devices; "
        code += "print(json.dumps([asdict(each) for each in devices()]))"
        found = {each["name"]: each for each in json.loads(b.run([sys.executable, "-c", code]).stdout)}
    cable = found[b.device]
    assert (cable["kind"], cable["up"], cable["mtu"]) == ("veth", True, 9000)
    assert {"10.9.0.2/24", "fd00:9::2/64"} <= set(cable["addresses"])
    assert cable["offloads"]["tso"] is True
    assert found["lo"]["kind"] == "loopback"
    assert "127.0.0.1/8" in found["lo"]["addresses"]


def test_interfaces_that_show_the_same_packets_are_told(tmp_path):
    """A vlan has no master, yet its packets pass the card below it."""
    vlan = place(tmp_path, "eth0.5", uevent="DEVTYPE=vlan")
    (vlan / "lower_eth0").symlink_to(place(tmp_path, "eth0"))
    assert (looked_at(vlan).over, looked_at(tmp_path / "eth0").over) == (("eth0",), ())


@pytest.mark.parametrize(("kind", "link"), [("1", "ETHERNET"), ("65534", "RAW"), ("280", None)])
def test_link_types_are_known_without_the_right_to_ask(tmp_path, kind, link):
    """A filter on Ethernet addresses makes no sense on a tunnel."""
    assert looked_at(place(tmp_path, "no-such-if", type=kind)).link == link


def test_a_service_that_may_not_use_netlink_sees_its_interfaces_without_addresses(monkeypatch):
    """RestrictAddressFamilies= of systemd.exec(5) is no reason for a traceback."""

    class Refusing(socket.socket):
        """A socket as such a service gets it."""

        def __init__(self, family: int = -1, *more: int, **options: object) -> None:
            if family == socket.AF_NETLINK:
                raise OSError(97, "Address family not supported by protocol")
            super().__init__(family, *more, **options)

    before = [each.name for each in devices.devices()]
    monkeypatch.setattr(socket, "socket", Refusing)
    found = devices.devices()
    assert ([each.name for each in found], {each.addresses for each in found}) == (before, {()})
