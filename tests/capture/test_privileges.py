"""What a child is left with: read from the kernel's own account of it, and tried."""

import multiprocessing
import os
import select
import socket
import subprocess
import sys
import textwrap

import pytest

from capture.errors import ConfigError
from capture.privileges import Account, Capability, Rights, account, confined, effective, may_write, permitted

root = pytest.mark.skipif(os.geteuid() != 0, reason="gives up rights, which only root has")
DEADLINE_S = 30.0


def status() -> dict[str, str]:
    """What the kernel says of this process (proc(5))."""
    with open("/proc/self/status") as lines:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def capabilities(name: str) -> int:
    """One of its sets of capabilities."""
    return int(status()[name], 16)


def may_capture() -> bool:
    """Whether a packet socket can be opened."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except PermissionError:
        return False
    return True


def _nothing_is_left(_spec: object) -> None:
    for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
        assert capabilities(name) == 0, name
    assert status()["NoNewPrivs"] == "1"
    assert not may_capture()
    assert effective() == frozenset()
    assert os.geteuid() == 0
    after = subprocess.run(["cat", "/proc/self/status"], check=True, capture_output=True, text=True).stdout
    assert "CapEff:\t0000000000000000" in after, "exec gave root its rights back"
    with pytest.raises(PermissionError):
        os.setuid(1)


def _captures_as_nobody(_spec: object) -> None:
    assert effective() == {Capability.NET_RAW}
    assert capabilities("CapBnd") == 0
    assert os.getresuid() == (65534,) * 3
    assert os.getgroups() == list(account("nobody").groups)
    assert may_capture()
    "localhost".encode("idna")
    with pytest.raises(PermissionError):
        os.setuid(0)


def _run(rights: Rights, target) -> int | None:
    process = multiprocessing.get_context("spawn").Process(target=confined, args=(rights, target, None))
    process.start()
    process.join(DEADLINE_S)
    code = process.exitcode
    process.kill()
    return code


@root
def test_a_process_without_rights_has_none_and_gets_none_back():
    """Whoever takes over a worker by what it reads must find nothing there, though it is root's."""
    assert _run(Rights(), _nothing_is_left) == 0


@root
def test_the_right_to_capture_outlives_the_change_of_user():
    """Interfaces that come later are opened by a process that is nobody's."""
    assert _run(Rights(frozenset({Capability.NET_RAW}), account("nobody")), _captures_as_nobody) == 0


@root
def test_who_has_no_rights_keeps_none_without_a_word():
    """The usual start as a user: there is nothing to give up, and nothing to complain of."""
    program = """
        import os
        os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
        from capture.privileges import Capability, Rights, effective, limit
        limit(Rights(frozenset({Capability.NET_RAW})))
        assert effective() == frozenset()
        print("well")
    """
    done = subprocess.run(
        [sys.executable, "-c", "import capture.privileges, encodings.idna\n" + textwrap.dedent(program)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("well\n", "")


@root
def test_a_child_that_changed_its_user_still_dies_with_its_parent():
    """A change of credentials forgets the wish (prctl(2)): whoever sets it has to do so afterwards."""
    program = """
        import os, multiprocessing, signal, sys
        from capture.child import EventQueue, run_child
        from capture.privileges import Rights, account, confined
        def wait(queue):
            run_child(lambda: (print(os.getpid(), flush=True), signal.pause()), queue, os.getppid())
        if __name__ == "__main__":
            process = multiprocessing.get_context("fork").Process(
                target=confined, args=(Rights(user=account("nobody")), wait, EventQueue())
            )
            process.start()
            signal.pause()
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    held = os.pidfd_open(child)
    parent.kill()
    parent.wait()
    assert select.select([held], [], [], DEADLINE_S)[0], "it goes on without anybody"
    os.close(held)
    parent.stdout.close()


def test_users_are_found_by_name_and_by_number():
    """Containers often have the number alone."""
    assert account("root").uid == 0
    assert account("0") == account("root")
    assert 0 in account("root").groups
    for wrong in ("no-such-user", "4294967000", ""):
        with pytest.raises(ConfigError, match="does not exist here"):
            account(wrong)


def test_what_is_effective_is_what_the_kernel_says():
    """The doctor tells people what they may do."""
    held = capabilities("CapEff")
    assert effective() == {each for each in Capability if held >> each & 1}
    allowed = capabilities("CapPrm")
    assert permitted() == {each for each in Capability if allowed >> each & 1}


@root
def test_what_is_permitted_and_not_in_force_is_taken_up():
    """A file that grants it as "p" gives every other program of this interpreter nothing."""
    program = """
        from capture import privileges as p
        header, sets = p._Header(p.CAPABILITIES_V3, 0), (p._Set * 2)()
        bits = 1 << p.Capability.NET_RAW
        sets[0] = p._Set(0, bits, 0)
        p._call("capset", p.ctypes.byref(header), sets)
        assert p.effective() == frozenset() and p.permitted() == {p.Capability.NET_RAW}
        p.limit(p.Rights(frozenset({p.Capability.NET_RAW})))
        assert p.effective() == {p.Capability.NET_RAW}
        import socket
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
        print("well")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("well\n", "")


def test_who_may_write_a_file_is_told_by_its_mode_or_that_of_its_directory(tmp_path):
    """A reload as root would find out too late that the user it works for may not."""
    somebody = Account("somebody", 4321, 4321, (4321, 5432))
    directory, file = tmp_path / "d", tmp_path / "d" / "f"
    directory.mkdir()
    for mode, gid, expected in ((0o755, 0, False), (0o777, 0, True), (0o775, 5432, True), (0o765, 5432, False)):
        if os.geteuid() == 0:
            os.chown(directory, 0, gid)
        elif gid:
            continue
        directory.chmod(mode)
        assert may_write(file, somebody) == expected
    directory.chmod(0o755)
    file.touch()
    for mode, expected in ((0o644, False), (0o666, True)):
        file.chmod(mode)
        assert may_write(file, somebody) == expected
    assert may_write(file, None)
    assert not may_write(directory, None), "a directory is no file"
    assert not may_write(directory / "no" / "f", somebody)
