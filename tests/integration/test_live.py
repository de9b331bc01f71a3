"""Live runs in network namespaces: what servers and clients said to each other comes out, and nothing else does."""

import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.integration.jobs import COMMAND, LIMIT_S, errors, finished, processes_under, start, wait_until
from tests.integration.mirrors import PORT, fetch, mirroring, serving, until
from tests.namespace import Namespace, needs_root, pair

pytestmark = needs_root

WORKS = "capture works again"
OPENED = "capturing on"
PORTS = f"ports = [{PORT}]"
VETH = 'interfaces = ["{}"]\n' + PORTS
ADDRESSES = ("10.9.0.1/24", "10.9.0.2/24")


def veth(where: Namespace, more: str = "") -> str:
    """The input that watches one end of a pair."""
    return f"{VETH.format(where.device)}\n{more}"


def targets(count: int, what: str = "item") -> list[str]:
    """Request targets that tell the messages apart."""
    return [f"/{what}/{number}" for number in range(count)]


def test_everything_said_comes_out_once_and_the_ledger_closes(tmp_path):
    """The main job, live: requests, responses, order, exit code."""
    with pair(*ADDRESSES) as (client, server), serving(server):
        with mirroring(tmp_path, veth(server), where=server) as mirror:
            fetch(client, server.address, targets(50))
            until(mirror, lambda: len(mirror.messages()) == 100, "all messages")
            assert mirror.stop() == 0
        assert mirror.requests() == targets(50)
        assert mirror.ledger["closed"]
        assert mirror.ledger["loss"] == {}
        wire = next(each for each in mirror.ledger["equations"] if each["name"] == "frames on the wire")
        assert wire["left"] == mirror.counted("capture", "frames_captured") > 100


def test_a_capture_that_is_killed_is_followed_by_another_that_takes_up_the_interfaces(tmp_path):
    """Each time: traffic that comes later is seen, the sums close, and the time without a capture is said."""
    with pair(*ADDRESSES) as (client, server), serving(server):
        with mirroring(tmp_path, veth(server), where=server) as mirror:
            for at in range(3):
                fetch(client, server.address, targets(20, f"before{at}"))
                (pid,) = [each for each in processes_under(mirror.job.pid) if comm(each) == "capture"]
                os.kill(pid, signal.SIGKILL)
                until(mirror, lambda at=at: sum(WORKS in line for line in mirror.said) > at, WORKS)
                fetch(client, server.address, targets(20, f"after{at}"))
                until(mirror, lambda at=at: f"/after{at}/19" in mirror.requests(), "what came after")
            assert mirror.stop() == 3, "the loss shows under --strict"
        assert set(mirror.requests()) >= {each for at in range(3) for each in targets(20, f"after{at}")}
        assert len(set(mirror.requests())) == len(mirror.requests())
        assert mirror.ledger["closed"]
        assert mirror.ledger["restarts"] == {"capture": 3}
        assert 0 < mirror.counted("capture", "blind_ms") < 3 * 1500


def test_lanes_of_which_one_is_killed_begin_anew_together(tmp_path):
    """The kernel had its flows with the others at once; afterwards each flow is in the lane that it was in before."""
    connections: list[http.client.HTTPConnection] = []
    asked: list[str] = []

    def ask(what: str) -> list[str]:
        """One request on each of several connections, which stay."""
        for at in range(12):
            if len(connections) <= at:
                connections.append(http.client.HTTPConnection(server.address, PORT, timeout=LIMIT_S))
            connections[at].request("GET", f"/{what}/{at}")
            connections[at].getresponse().read()
        return targets(12, what)

    with pair(*ADDRESSES) as (client, server), serving(server):
        with mirroring(tmp_path, veth(server, "lanes = 3"), where=server) as mirror:
            asked.extend(client.call(lambda: ask("first")))
            for at in range(2):
                until(mirror, lambda: set(mirror.requests()) == set(asked), "what came before")
                victim = next(each for each in processes_under(mirror.job.pid) if comm(each) == f"capture {at}")
                os.kill(victim, signal.SIGKILL)
                until(mirror, lambda at=at: sum(OPENED in line for line in mirror.said) == 3 * (at + 2), OPENED)
                asked.extend(client.call(lambda at=at: ask(f"after{at}")))
            until(mirror, lambda: set(mirror.requests()) == set(asked), "what came after")
            for each in connections:
                each.close()
            assert mirror.stop() == 3, "the loss shows under --strict"
        assert sorted(mirror.requests()) == sorted(asked)
        assert mirror.ledger["closed"]
        assert mirror.ledger["restarts"] == {"capture 0": 2, "capture 1": 2, "capture 2": 2}
        assert mirror.counted("assemble", "flows") == len(connections)
        assert 0 < mirror.counted("capture", "blind_ms") < 2 * 3000


def comm(pid: int) -> str:
    """The name of a process; empty if it has gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


@pytest.mark.parametrize("lanes", [1, 2])
def test_large_bodies_come_whole_through_offloading(tmp_path, lanes):
    """GRO and TSO make frames of up to 64 KiB, of which a snap length from before them would cut most."""
    size = 3_000_000
    with pair(*ADDRESSES) as (client, server), serving(server):
        with mirroring(tmp_path, veth(server, f"lanes = {lanes}"), where=server) as mirror:
            for number in range(4):
                fetch(client, server.address, [f"/big/{number}"], size=size, body=b"y" * size)
            until(mirror, lambda: len(mirror.messages()) == 8, "all messages")
            assert mirror.stop() == 0
        assert all(len(each["payload"]) > size for each in mirror.messages())
        frames = mirror.counted("capture", "frames_captured")
        assert mirror.counted("capture", "bytes_captured") / frames > 1600, "nothing was offloaded: the test is void"
        assert mirror.counted("assemble", "bytes_missing") == 0


def test_ipv6_is_seen_like_ipv4(tmp_path):
    """Filters and hosts have both forms."""
    with pair("fd00:9::1/64", "fd00:9::2/64") as (client, server), serving(server, "fd00:9::2"):
        source = veth(server, 'hosts = ["fd00:9::/64"]\ndirection = "inbound"')
        with mirroring(tmp_path, source, where=server) as mirror:
            fetch(client, "fd00:9::2", targets(5))
            until(mirror, lambda: len(mirror.messages()) == 10, "all messages")
            assert mirror.stop() == 0


@pytest.mark.parametrize(("interfaces", "seen"), [(["any"], 2), (["lo"], 1), (["ve*", "lo"], 2)])
def test_the_interfaces_asked_for_are_the_ones_watched(tmp_path, interfaces, seen):
    """A service on loopback, one behind a cable, both."""
    with pair(*ADDRESSES) as (client, server), serving(server, "0.0.0.0"):
        with mirroring(tmp_path, f"interfaces = {json.dumps(interfaces)}\n{PORTS}", where=server) as mirror:
            if seen == 2:
                fetch(client, server.address, ["/cable"])
            fetch(server, "127.0.0.1", ["/loopback"])
            until(mirror, lambda: len(mirror.messages()) == 2 * seen, "all messages")
            assert mirror.stop() == 0
        assert sorted(mirror.requests()) == ["/cable", "/loopback"][2 - seen :]


NGINX = """
daemon off; worker_processes 1; pid {here}/nginx.pid; error_log {here}/error.log;
events {{}}
http {{
    access_log off; keepalive_requests 100000000;
    client_body_temp_path {here}/b; proxy_temp_path {here}/p; fastcgi_temp_path {here}/f;
    uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;
    server {{ listen {address}:{port}; location / {{ default_type text/plain; return 200 "a mug for tea\\n"; }} }}
    server {{ listen {address}:9; location / {{ stub_status; }} }}
}}
"""


@pytest.mark.skipif(not (shutil.which("nginx") and shutil.which("wrk")), reason="needs nginx (nginx-light) and wrk")
@pytest.mark.parametrize("lanes", [1, 2])
def test_what_nginx_served_to_wrk_is_what_came_out(tmp_path, lanes):
    """Real programs, as fast as they can: nginx's own count against ours; what is not there was counted as dropped."""
    with pair(*ADDRESSES) as (client, server):
        conf = tmp_path / "nginx.conf"
        conf.write_text(NGINX.format(here=tmp_path, address=server.address, port=PORT))
        nginx = server.popen(["nginx", "-e", "stderr", "-c", str(conf)], stderr=subprocess.DEVNULL)
        try:
            until_connected(client, server.address)
            source = f'interfaces = ["{server.device}"]\nports = [{PORT}]\nlanes = {lanes}'
            with mirroring(tmp_path, source, 'type = "null"', where=server) as mirror:
                url = f"http://{server.address}:{PORT}/item"
                said = client.run(["wrk", "-t1", "-c8", "-d2s", url]).stdout
                served = client.call(lambda: int(urlopen(f"http://{server.address}:9/").read().split()[9])) - 1
                code = mirror.stop()
        finally:
            nginx.terminate()
            nginx.wait(LIMIT_S)
    assert served >= int(re.search(r"(\d+) requests in", said)[1]) > 1000
    assert mirror.ledger["closed"]
    drops = [mirror.counted("capture", f"frames_dropped_{place}") for place in ("kernel", "interface", "ring")]
    if any(drops):
        assert code == 3
    else:
        assert mirror.counted("assemble", "messages_complete") == 2 * served


def until_connected(where: Namespace, host: str) -> None:
    """Wait until somebody listens."""

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((host, PORT)) == 0

    where.call(lambda: wait_until(listens, "a server"))


def test_requests_alone_come_with_a_narrower_filter(tmp_path):
    """Whoever does not want responses does not pay for them: their frames are not even captured."""
    with pair(*ADDRESSES) as (client, server), serving(server):
        with mirroring(tmp_path, veth(server), where=server, more="[assemble]\nresponses = false") as mirror:
            fetch(client, server.address, targets(5), size=100_000)
            until(mirror, lambda: len(mirror.messages()) == 5, "all messages")
            assert mirror.stop() == 0
        assert mirror.counted("capture", "bytes_captured") < 100_000


@pytest.mark.parametrize(
    ("direction", "seen"), [("inbound", ["/in"]), ("outbound", ["/out"]), ("both", ["/in", "/out"])]
)
def test_a_direction_is_about_who_opened_the_connection(tmp_path, direction, seen):
    """A host that serves and asks on the same port: the port alone cannot tell."""
    with pair(*ADDRESSES) as (other, here), serving(here), serving(other):
        with mirroring(tmp_path, veth(here, f'direction = "{direction}"'), where=here) as mirror:
            fetch(other, here.address, ["/in"])
            fetch(here, other.address, ["/out"])
            until(mirror, lambda: len(mirror.messages()) == 2 * len(seen), "all messages")
            fetch(other, here.address, ["/in"])
            assert mirror.stop() == 0
        assert set(mirror.requests()) == set(seen)


def test_a_mirror_does_not_feed_itself(tmp_path):
    """Its receiver listens on a watched port of the same host: what it sends would come back, and be sent again.

    The receiver stores what it gets; the bodies that pass hold HTTP messages, which a mirror that saw them would find.
    """
    with pair(*ADDRESSES) as (client, server), serving(server, "0.0.0.0"):
        receiver = server.popen(
            [str(COMMAND), "receive", "--listen", f"127.0.0.1:{PORT + 1}", "--to", "got.jsonl"],
            cwd=tmp_path, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert receiver.stderr is not None
            while b"listening" not in (line := receiver.stderr.readline()):
                assert line, "the receiver has ended"
            source = f'interfaces = ["any"]\nports = [{PORT}, {PORT + 1}]'
            output = f'type = "tcp"\naddress = "127.0.0.1:{PORT + 1}"'
            with mirroring(tmp_path, source, output, where=server) as mirror:
                for number in range(20):
                    fetch(client, server.address, [f"/{number}"])
                until(mirror, lambda: len(mirror.messages("got.jsonl")) >= 40, "all messages")
                assert mirror.stop() == 0
            assert mirror.counted("assemble", "messages") == 40
            assert mirror.counted("assemble", "refused_own") == 0, "the filter let its own traffic through"
        finally:
            receiver.terminate()
            receiver.communicate(timeout=LIMIT_S)
        assert len(mirror.messages("got.jsonl")) == 40


def test_interfaces_come_and_go_during_a_run(tmp_path):
    """Containers start and stop for weeks; what was captured before one went is still delivered."""
    with pair(*ADDRESSES) as (client, server), serving(server, "0.0.0.0"):
        with mirroring(tmp_path, f'interfaces = ["ve*", "extra*"]\n{PORTS}', where=server) as mirror:
            fetch(client, server.address, ["/before"])
            for number in range(24):
                address = f"10.10.{number}"
                server.run(
                    [
                        "ip",
                        "link",
                        "add",
                        f"extra{number}",
                        "type",
                        "veth",
                        "peer",
                        f"far{number}",
                        "netns",
                        client.name,
                    ]
                )
                server.run(["ip", "addr", "add", f"{address}.2/24", "dev", f"extra{number}"])
                client.run(["ip", "addr", "add", f"{address}.1/24", "dev", f"far{number}"])
                client.run(["ip", "link", "set", f"far{number}", "up"])
                server.run(["ip", "link", "set", f"extra{number}", "up"])
            for number in range(24):
                mirror.wait_for(f"capturing on extra{number}")
                fetch(client, f"10.10.{number}.2", [f"/extra{number}"])
            for number in range(12):
                server.run(["ip", "link", "del", f"extra{number}"])
            for number in range(12):
                mirror.wait_for(f"extra{number}: is gone")
            for number in range(12, 24):
                fetch(client, f"10.10.{number}.2", [f"/still{number}"])
            until(mirror, lambda: len(mirror.messages()) == 2 * 37, "all messages")
            assert mirror.stop() == 0
        assert mirror.ledger["closed"]
        assert len(set(mirror.requests())) == 37


def test_a_packet_seen_on_two_interfaces_is_one_message(tmp_path):
    """A bridge and its port both show it."""
    with pair(*ADDRESSES) as (client, server), serving(server, "0.0.0.0"):
        server.run(["ip", "link", "add", "br0", "type", "bridge"])
        server.run(["ip", "addr", "flush", "dev", server.device])
        server.run(["ip", "link", "set", server.device, "master", "br0"])
        server.run(["ip", "addr", "add", ADDRESSES[1], "dev", "br0"])
        server.run(["ip", "link", "set", "br0", "up"])
        source = f'interfaces = ["br0", "{server.device}"]\n{PORTS}'
        with mirroring(tmp_path, source, where=server) as mirror:
            fetch(client, server.address, targets(30))
            until(mirror, lambda: len(mirror.messages()) == 60, "all messages")
            assert mirror.stop() == 0
        assert mirror.requests() == targets(30)
        assert mirror.counted("assemble", "bytes_duplicate") == mirror.counted("assemble", "bytes_in_messages")


def test_a_flood_of_something_else_does_not_hide_the_messages(tmp_path):
    """Every TCP port is watched, and most of what goes by is a copy of a disk."""
    with pair(*ADDRESSES) as (client, server), serving(server):
        sink = server.call(lambda: socket.create_server((server.address, 9)))

        def swallow() -> None:
            connection, _address = sink.accept()
            with connection:
                while connection.recv(1 << 20):
                    pass

        noise = random.Random(7).randbytes(1 << 19)
        swallowing = threading.Thread(target=swallow)
        with mirroring(tmp_path, f'interfaces = ["{server.device}"]', where=server) as mirror:
            swallowing.start()
            with client.call(lambda: socket.create_connection((server.address, 9))) as out:
                for number in range(20):  # no more at a time than the rings hold: this is not about speed
                    for _ in range(10):
                        out.sendall(noise)
                    fetch(client, server.address, targets(200)[10 * number : 10 * number + 10])
                    until(mirror, lambda number=number: len(mirror.messages()) == 20 * (number + 1), "messages")  # type: ignore[misc]
            swallowing.join()
            sink.close()
            mirror.stop()
        assert mirror.requests() == targets(200)
        assert mirror.ledger["closed"]
        assert mirror.counted("assemble", "bytes_payload") >= 100 << 20, "the flood was not seen: the test is void"
        assert mirror.counted("assemble", "messages") == 400


@pytest.mark.skipif(shutil.which("tcpreplay") is None, reason="sends tagged frames with tcpreplay")
def test_vlan_tags_do_not_hide_what_is_watched(tmp_path):
    """One tag, two tags, and none, on the same cable."""
    from tests.integration.jobs import exchange
    from tests.packets_files import write_pcap

    frames = []
    for tags in range(3):
        for ts_ns, frame in exchange(tags, PORT):
            tag = b"".join(b"\x81\x00\x00" + bytes([7 + at]) for at in range(tags))
            frames.append((ts_ns, frame[:12] + tag + frame[12:]))
    capture = write_pcap(tmp_path / "vlan.pcap", frames)
    with pair(*ADDRESSES) as (sender, here):
        with mirroring(tmp_path, veth(here), where=here) as mirror:
            sender.run(["tcpreplay", "--quiet", "--topspeed", "-i", sender.device, str(capture)])
            until(mirror, lambda: len(mirror.messages()) == 6, "all messages")
            assert mirror.stop() == 0
        assert sorted(mirror.requests()) == targets(3)


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_reload_applies_ports_and_outputs_without_losing_a_message(tmp_path, lanes):
    """Requests go on all the time: every one is in one of the two files, and those of the new port from then on."""
    with pair(*ADDRESSES) as (client, server), serving(server), serving(server, port=PORT + 1):
        with mirroring(tmp_path, veth(server, f"lanes = {lanes}"), where=server) as mirror:
            sent = 0
            for step in range(8):
                fetch(client, server.address, [f"/{step}/{number}" for number in range(100)])
                sent += 100
                if step == 2:
                    text = mirror.config.read_text()
                    mirror.config.write_text(text.replace(f"[{PORT}]", f"[{PORT}, {PORT + 1}]").replace("out.", "new."))
                    told = server.run([str(COMMAND), "reload", "--config", str(mirror.config)])
                    assert told.stdout == "applied: input.ports, output\n"
            fetch(client, server.address, ["/other"], port=PORT + 1)
            until(mirror, lambda: "/other" in mirror.requests("new.jsonl"), "the other port")
            assert mirror.stop() == 0
        found = mirror.requests() + mirror.requests("new.jsonl")
        assert sorted(found) == sorted([f"/{step}/{number}" for step in range(8) for number in range(100)] + ["/other"])
        assert mirror.requests()
        assert mirror.ledger["closed"]
        assert len(mirror.messages()) + len(mirror.messages("new.jsonl")) == 2 * (sent + 1)
        assert mirror.counted("assemble", "bytes_duplicate") == 0


def test_a_sample_takes_whole_connections_and_counts_the_rest(tmp_path):
    """Both directions of each, before anything is paid for reassembly."""
    with pair(*ADDRESSES) as (client, server), serving(server):
        with mirroring(tmp_path, veth(server, "sample = 50"), where=server) as mirror:
            for number in range(60):
                fetch(client, server.address, [f"/{number}/a", f"/{number}/b"])
            taken = lambda: mirror.requests()  # noqa: E731
            until(mirror, lambda: len(taken()) > 20 and len(mirror.messages()) == 2 * len(taken()), "some messages")
            assert mirror.stop() == 0
        found = mirror.requests()
        assert 20 < len(found) < 100
        assert {each.rpartition("/")[0] for each in found if each.endswith("a")} == {
            each.rpartition("/")[0] for each in found if each.endswith("b")
        }
        refused = mirror.counted("assemble", "refused_sampled")
        assert refused > 0
        assert mirror.ledger["closed"]


def test_without_the_right_to_capture_there_is_one_line(tmp_path):
    """It says which right, and how to get it; nothing of it is a traceback."""
    with pair(*ADDRESSES) as (_client, server):
        config = tmp_path / "m.toml"
        config.write_text(f'[input]\ntype = "live"\n{veth(server)}\n[[output]]\ntype = "null"\n')
        command = [
            "setpriv",
            "--bounding-set",
            "-net_raw",
            "--inh-caps",
            "-net_raw",
            str(COMMAND),
            "run",
            "-c",
            str(config),
        ]
        done = subprocess.run(
            ["ip", "netns", "exec", server.name, *command], capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    assert done.returncode == 1
    (line,) = errors(done)
    assert "CAP_NET_RAW" in line
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("source", "says", "code"),
    [
        ('interfaces = ["nosuch0"]', "nosuch0: there is no such interface", 1),
        ('interfaces = ["lo"]\nfilter = "no such word"', "cannot be used: ", 2),
    ],
)
def test_what_cannot_be_captured_ends_the_run_with_one_line(tmp_path, source, says, code):
    """Before anybody believes that it is mirroring."""
    (tmp_path / "m.toml").write_text(f'[input]\ntype = "live"\n{source}\n[[output]]\ntype = "null"\n')
    done = finished(start(tmp_path, "run", "--config", "m.toml"))
    assert (done.returncode, len(errors(done))) == (code, 1)
    assert says in errors(done)[0]


def test_what_is_dropped_is_counted_and_explained(tmp_path):
    """A ring too small for a burst: the sums close all the same, the run says what helps, and `--strict` says 3."""
    with pair(*ADDRESSES) as (client, server), serving(server):
        small = '[ring]\nframes = "1MiB"\nmessages = "64KiB"\nbatch_frames = 64\nbatch_bytes = "64KiB"'
        stuck = 'type = "tcp"\naddress = "10.9.0.1:9"\nretry = "1h"\npolicy = "block"'
        with mirroring(tmp_path, veth(server), stuck, where=server, more=small) as mirror:
            for number in range(8):
                fetch(client, server.address, [f"/{number}"], size=1_000_000)
            mirror.wait_for("frames were dropped at the frame ring: the assembler waits for an output")
            mirror.job.terminate()
            mirror.wait_for("draining")
            mirror.job.terminate()
            mirror.job.wait(LIMIT_S)
        ledger = json.loads((tmp_path / "ledger.json").read_text())
        assert ledger["loss"]["frames dropped at the ring"] > 0


def test_no_rights_are_left_where_none_are_needed(tmp_path):
    """Every process but the supervisor: no capability that it does not use, and no way to get one back."""
    with (
        pair(*ADDRESSES) as (_client, server),
        mirroring(tmp_path, veth(server, 'lanes = 2\nuser = "nobody"'), 'type = "null"', where=server) as mirror,
    ):
        found = {}
        for pid in server.pids():
            status = dict(
                line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
            )
            if status["PPid"] == str(mirror.job.pid) or status["Name"].split()[0] in {
                "capture",
                "assembler",
                "worker",
            }:
                found[status["Name"]] = (int(status["CapEff"], 16), int(status["CapPrm"], 16), status)
        assert mirror.stop() == 0
    for name in ("capture 0", "capture 1", "assembler 0", "assembler 1", "worker 0", "worker 1"):
        effective, permitted, status = found[name]
        assert effective == permitted == (1 << 13 if name.startswith("capture") else 0), name
        assert (int(status["CapBnd"], 16), int(status["CapInh"], 16), int(status["CapAmb"], 16)) == (0, 0, 0)
        assert (status["NoNewPrivs"], status["Uid"].split()) == ("1", ["65534"] * 4)
