"""What a machine, or whoever starts us there, can lack: each gives one clear line or a run as ever, and never a hang.

Real processes, started by a shell that takes something away first.  A run reads a capture of a hundred messages into a
file; what came, what was said and what is left is looked at afterwards.
"""

import shlex
import signal
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.integration import jobs
from tests.integration.hardships import CLOSES, RUN, control_group, ended, possible, start
from tests.integration.jobs import configuration, errors, exchanges, messages, reading, writing
from tests.packets_files import write_pcap

COUNT: Final = 50
PYTHON: Final = shlex.quote(sys.executable)


needs_mounts: Final = pytest.mark.skipif(
    not possible("unshare -m mount -t tmpfs none /dev/shm"), reason="mount namespaces need CAP_SYS_ADMIN"
)
needs_network: Final = pytest.mark.skipif(
    not possible("unshare -n sysctl -qw net.ipv6.conf.all.disable_ipv6=1"),
    reason="network namespaces need CAP_SYS_ADMIN, and sysctl(8)",
)


@pytest.fixture
def place(tmp_path):
    """A directory with a capture, a configuration that reads it, and room for temporary files."""
    write_pcap(tmp_path / "a.pcap", exchanges(COUNT))
    configuration(tmp_path / "m.toml", reading("a.pcap"), writing("out.jsonl"))
    (tmp_path / "tmp").mkdir()
    return tmp_path


def as_ever(place: Path, before: str) -> None:
    """Hold that nothing is amiss."""
    done = ended(place, before)
    assert (done.returncode, errors(done)) == (0, [])
    assert CLOSES in done.stderr
    assert len(messages(place / "out.jsonl")) == 2 * COUNT


def refused(place: Path, before: str, *says: str) -> None:
    """Hold that one line says what is amiss, and that nothing else came of it."""
    done = ended(place, before)
    assert done.returncode == 1
    [line] = errors(done)
    assert all(each in line for each in says), line
    assert not messages(place / "out.jsonl")


IGNORED: Final = f"exec {PYTHON} -c 'import signal, os, sys; {{}}; os.execv(sys.argv[1], sys.argv[1:])' \"$@\""


@pytest.mark.parametrize(
    "before",
    [
        'exec "$@" <&-',
        'exec "$@" >&-',
        'trap "" INT TERM HUP PIPE USR1 ALRM; exec "$@"',
        IGNORED.format("signal.signal(signal.SIGCHLD, signal.SIG_IGN)"),
        IGNORED.format("signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())"),
        'LC_ALL=POSIX LANG=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 exec "$@"',
        "unset HOME TERM USER; PATH= exec \"$@\"",
        'ulimit -s 1024; exec "$@"',
        'umask 777; exec "$@"',
    ],
    ids=["no stdin", "no stdout", "signals ignored", "SIGCHLD ignored", "signals blocked", "locale", "environment",
         "stack", "umask"],
)  # fmt: skip
def test_what_a_careless_parent_hands_down_changes_nothing(place, before):
    """Service managers, cron, nohup and wrappers of other people."""
    as_ever(place, before)


@pytest.mark.parametrize("before", ['exec "$@" 2>&-', 'exec "$@" <&- >&- 2>&-'])
def test_without_standard_error_the_work_is_done_all_the_same(place, before):
    """Nobody hears of it: the exit code says it."""
    done = ended(place, before)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(messages(place / "out.jsonl")) == 2 * COUNT


def test_messages_for_a_standard_output_that_is_not_there_are_no_silent_loss(place):
    """Nor do they go into whatever was opened first, and got its number."""
    configuration(place / "m.toml", reading("a.pcap"), 'type = "stdout"')
    done = ended(place, 'exec "$@" >&-')
    assert done.returncode == 1
    [line] = errors(done)
    assert "standard output" in line
    assert f"{2 * COUNT} messages undelivered" in done.stderr


def test_a_blocked_sigterm_ends_a_run_all_the_same(place):
    """A signal mask is inherited; a service that can only be killed loses what it holds."""
    configuration(place / "m.toml", 'type = "tcp"\nlisten = "127.0.0.1:0"', writing("out.jsonl"))
    job = start(place, IGNORED.format("signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())"), *RUN)
    try:
        assert job.stderr
        while b"listening" not in (line := job.stderr.readline()):
            assert line, "it ended"
        job.terminate()
        done = jobs.finished(job)
        assert done.returncode == 0
        assert CLOSES in done.stderr
    finally:
        job.kill()


def test_a_directory_that_is_gone_is_told(place):
    """Where a deployment has moved everything away."""
    command = (*RUN[:-1], str(place / "m.toml"))
    done = ended(place, 'mkdir gone; cd gone; rmdir ../gone; exec "$@"', *command)
    assert done.returncode in {1, 2}
    [line] = errors(done)
    assert "directory" in line


@pytest.mark.parametrize("most", [8, 20, 32])
def test_too_few_descriptors_are_told_in_one_line(place, most):
    """Whichever of the many is the first that cannot be had."""
    refused(place, f'ulimit -n {most}; exec "$@"', "Too many open files", "ulimit -n")


@pytest.mark.parametrize("most", range(34, 50, 3))
def test_barely_enough_descriptors_are_enough_or_too_few_but_nothing_between(place, most):
    """A child that lacks the last one must not leave the others waiting for it."""
    done = ended(place, f'ulimit -n {most}; exec "$@"')
    came, said = len(messages(place / "out.jsonl")), errors(done)
    assert (done.returncode, came, said) == (0, 2 * COUNT, []) or (done.returncode, len(said)) == (1, 1), done.stderr


def test_too_little_address_space_is_told_in_one_line(place):
    """The rings are mapped first."""
    place.joinpath("m.toml").write_text(place.joinpath("m.toml").read_text() + '[ring]\nframes = "2GiB"\n')
    refused(place, 'ulimit -v 1000000; exec "$@"', "cannot map", "shared memory")


@pytest.mark.parametrize("most", [8_000, 30_000, *range(52_000, 64_000, 2_000)])
@pytest.mark.parametrize("workers", [1, 6])
def test_barely_enough_memory_is_enough_or_too_little_but_nothing_between(place, most, workers):
    """A thread that has none for its first step is waited for without an end, and SIGTERM only noted."""
    done = ended(place, f'ulimit -d {most}; exec "$@"', *RUN, "--set", f"workers.count={workers}")
    came, said = len(messages(place / "out.jsonl")), errors(done)
    assert (done.returncode, came, said) == (0, 2 * COUNT, []) or (done.returncode, len(said)) == (1, 1), done.stderr
    assert came or ("memory" in said[0] and "ulimit -" in said[0])


def test_files_that_may_not_be_large_enough_are_told_in_one_line(place):
    """Shared memory is a file, too."""
    refused(place, 'ulimit -f 10; exec "$@"', "File too large", "ulimit -f")


@pytest.mark.parametrize("most", [1, 2, 3, 5, 7])
def test_too_few_processes_are_told_in_one_line(place, most):
    """A process or a thread, at whichever point: none of those that were started stays behind."""
    with control_group("pids", most) as entering:
        refused(place, entering + 'exec "$@"', "allow this user more processes")


MOUNTED: Final = 'exec unshare -m bash -c \'{} exec "$@"\' bash "$@"'


@needs_mounts
@pytest.mark.parametrize(
    "mounts",
    [
        "mount -t tmpfs -o ro none /dev/shm;",
        "mount -t tmpfs none /dev; test ! -e /dev/shm || exit 9;",
        "mount -t tmpfs -o size=4k none /dev/shm; mount -t tmpfs -o size=4k none tmp;",
        "mount -o bind,ro tmp tmp; mount -t tmpfs -o ro none /dev/shm;",
        "umount -l /sys;",
    ],
    ids=["/dev/shm read-only", "no /dev/shm", "/dev/shm and TMPDIR full", "no room for temporary files", "no /sys"],
)
def test_shared_memory_needs_no_place_in_the_file_system(place, mounts):
    """Containers come with a small one, a read-only one, or none; a full one must not end anybody."""
    as_ever(place, MOUNTED.format(mounts))


@needs_mounts
def test_a_read_only_file_system_is_told_in_one_line(place):
    """What could not be written is counted."""
    done = ended(place, MOUNTED.format("mount -o bind,ro . .; cd .; cd $PWD;"))
    assert done.returncode == 1
    [line] = errors(done)
    assert "read-only file system" in line.lower()
    assert "out.jsonl" in line
    assert f"{2 * COUNT} messages undelivered" in done.stderr


@needs_mounts
def test_a_machine_without_proc_is_told_in_one_line(place):
    """libpcap is handed files by their name in there."""
    refused(place, MOUNTED.format("umount -l /proc;"), "a.pcap", "mount /proc")


NO_IPV6: Final = "ip link set lo up; sysctl -qw net.ipv6.conf.all.disable_ipv6=1;"


@needs_network
def test_without_ipv6_its_addresses_are_refused_in_one_line(place):
    """With the address, and the kernel's reason."""
    configuration(place / "m.toml", 'type = "tcp"\nlisten = "[::1]:0"', writing("out.jsonl"))
    before = MOUNTED.format(NO_IPV6).replace("unshare -m", "unshare -n")
    refused(place, before, "[::1]:0", "cannot assign requested address")


@needs_network
def test_without_ipv6_localhost_is_what_is_left_of_it(place):
    """Names that have addresses of both kinds are ordinary."""
    configuration(place / "m.toml", 'type = "tcp"\nlisten = "localhost:0"', writing("out.jsonl"))
    job = start(place, MOUNTED.format(NO_IPV6).replace("unshare -m", "unshare -n"), *RUN)
    try:
        assert job.stderr
        while b"listening on 127.0.0.1" not in (line := job.stderr.readline()):
            assert line, "it ended"
        job.send_signal(signal.SIGTERM)
        assert jobs.finished(job).returncode == 0
    finally:
        job.kill()
