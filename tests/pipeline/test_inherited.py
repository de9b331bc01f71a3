"""What a careless parent leaves behind is put right, and nothing else is touched."""

import json
import subprocess
import sys

import pytest

SHOW = """
import json, os, signal, sys
{before}
from pipeline.inherited import put_right
put_right()
said = {{
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "child": signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL,
    "hangup": signal.getsignal(signal.SIGHUP) is signal.SIG_IGN,
    "streams": [os.get_inheritable(fd) for fd in range(3)],
}}
sys.stderr.write("to nobody")
try:
    os.write(1, b"x")
    said["written"] = True
except OSError:
    said["written"] = False
os.write(int(sys.argv[1]), json.dumps(said).encode())
"""


def shown(before: str, shell: str = "") -> dict[str, object]:
    """What a process sees of itself that was started so."""
    command = f'exec 9>&1 >/dev/null {shell}; exec "$@" 9'
    program = SHOW.format(before=before)
    done = subprocess.run(
        ["bash", "-c", command, "bash", sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("shell", ["", "<&-", "2>&-", "<&- 2>&-"])
@pytest.mark.parametrize(
    "before",
    ["", "signal.signal(signal.SIGCHLD, signal.SIG_IGN)", "signal.pthread_sigmask(0, signal.valid_signals())"],
)
def test_signals_come_and_streams_are_open(before, shell):
    """Whatever was wrong: the same process comes of it, and an ignored SIGHUP stays ignored (nohup)."""
    before += "\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)"
    expected = {"blocked": [], "child": True, "hangup": True, "streams": [True] * 3, "written": True}
    assert shown(before, shell) == expected


def test_a_standard_output_that_was_not_there_cannot_be_written_to():
    """Else messages would vanish, or land in a file of ours."""
    assert shown("", ">&-")["written"] is False


def test_what_a_full_disk_does_not_take_of_the_log_is_not_tried_again():
    """It stayed in a buffer, and whoever flushed that next failed: the start of a process, or the interpreter's end."""
    program = (
        "import sys\nfrom pipeline.inherited import put_right\nput_right()\n"
        "try: sys.stderr.write('gone\\n')\nexcept OSError: print('told')\nsys.stderr.flush()"
    )
    command = 'unset PYTHONUNBUFFERED; exec "$@" 2> /dev/full'
    done = subprocess.run(
        ["bash", "-c", command, "bash", sys.executable, "-c", program], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "told\n")


@pytest.mark.parametrize("most", ["-d 30000", "-v 40000"])
def test_who_has_too_little_memory_is_told_before_anything_else(most):
    """In the middle of an import it may be a SyntaxError, or a traceback of somebody else's module."""
    program = "from pipeline.inherited import check_room\ntry: check_room()\nexcept MemoryError: print('too little')"
    command = f'ulimit {most}; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", command, "bash", sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "too little\n"
