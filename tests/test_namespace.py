"""The namespaces that other tests run in: networks apart from ours, and gone afterwards."""

import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.namespace import Namespace, isolated, needs_root, pair

pytestmark = needs_root


def names() -> list[str]:
    """Return the namespaces that have a name."""
    listed = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    return [line.split()[0] for line in listed.splitlines()]


def test_an_isolated_function_sees_a_loopback_and_nothing_else():
    """A test that sent its packets on this machine's network would be no test."""

    def look() -> tuple[list[tuple[int, str]], bytes]:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            client.sendall(b"up")
            peer, _ = server.accept()
            with peer:
                return socket.if_nameindex(), peer.recv(2)

    before = socket.if_nameindex()
    assert isolated(look) == ([(1, "lo")], b"up")
    assert socket.if_nameindex() == before
    with pytest.raises(ZeroDivisionError):
        isolated(lambda: 1 // 0)


def listening(where: Namespace) -> socket.socket:
    """Listen on a namespace's address."""
    return where.call(lambda: socket.create_server((where.address, 8080)))


def test_two_namespaces_reach_each_other_and_only_each_other():
    """Traffic between them goes over the cable that a test watches."""
    with pair("10.9.0.1/24", "10.9.0.2/24") as (a, b), listening(b) as server:
        with a.call(lambda: socket.create_connection((b.address, 8080), 10)) as client:
            assert client.getsockname()[0] == a.address
            server.accept()[0].close()
        with pytest.raises(OSError, match="unreachable"):
            a.call(lambda: socket.create_connection(("192.0.2.1", 80), 10))
        assert f"{a.address}/24" in a.run(["ip", "-o", "address", "show", "dev", a.device]).stdout


def left(fails: bool) -> tuple[list[str], int]:
    """Make namespaces with processes and leave them; return the names, and a process that has lost its parent."""
    with pair("fd00::1/64", "fd00::2/64") as (a, b):
        shell = a.popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
        with shell:
            child = int(shell.stdout.readline())
            assert set(a.pids()) == {shell.pid, child}
            shell.kill()
        made = [a.name, b.name]
        assert set(made) <= set(names())
        if fails:
            raise AssertionError(made, child)
        return made, child


@pytest.mark.parametrize("fails", [False, True])
def test_namespaces_and_what_runs_there_are_gone_afterwards(fails):
    """The next test, and whoever owns this machine, must not find anything of ours."""
    if fails:
        with pytest.raises(AssertionError) as error:
            left(fails)
        made, child = error.value.args
    else:
        made, child = left(fails)
    assert not set(made) & set(names())
    deadline_s = time.monotonic() + 20
    while runs(child):
        assert time.monotonic() < deadline_s


def runs(pid: int) -> bool:
    """Tell whether a process is there that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
