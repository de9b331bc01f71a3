"""How `pipeline reload` reaches a run: an abstract socket named after its configuration file.

In: one word from a process of the same user, or of root.  Out: lines for that user, and an exit code.  Invariant:
nothing is left in the file system, and nobody can hold a run up for more than a second.
"""

import contextlib
import hashlib
import json
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from capture.errors import MirrorError

MOST_BYTES: Final = 64 * 1024
ANSWER_S: Final = 30.0
CREDENTIALS: Final = struct.Struct("iII")  # struct ucred of unix(7): pid, uid, gid
BACKLOG: Final = 128
RELOAD: Final = b"reload"

SETTLE_S: Final = 10.0  # an answer waits at most so long for what it says to come true

Answer = tuple[list[str], int]  # lines, exit code


class Control:
    """The run's end; `fileno` is readable when somebody asks."""

    def __init__(self, config: Path) -> None:
        """Listen; raises OSError if another run of the same file does."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.bind(_name(config))
            self._socket.listen(BACKLOG)
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)
        self._asking: tuple[socket.socket, bytes, float] | None = None  # who waits for which answer, until when

    def fileno(self) -> int:
        """Return a descriptor to poll."""
        return self._socket.fileno()

    def attend(self, reload: Callable[[], Answer], settled: Callable[[], bool] = lambda: True) -> None:
        """Act for whoever asks, and answer once that has come into force; the next one waits until then."""
        for _ in range(BACKLOG):
            if self._asking is not None:
                break
            try:
                asking, _address = self._socket.accept()
            except OSError:
                break  # nobody is left
            if _uid(asking) in {0, os.geteuid()}:
                self._asking = asking, self._hear(asking, reload), time.monotonic() + SETTLE_S
            else:
                asking.close()  # who may not ask cannot keep us waiting either
        if self._asking is not None:
            asking, answer, until_s = self._asking
            if settled() or time.monotonic() >= until_s:
                self._asking = None
                with asking, contextlib.suppress(OSError):
                    asking.send(answer)

    def _hear(self, asking: socket.socket, reload: Callable[[], Answer]) -> bytes:
        """Read one request, act on it, and return the answer; b"" if it is none of ours."""
        try:
            asking.settimeout(1.0)
            word = asking.recv(64)
        except OSError:
            return b""
        if word != RELOAD:
            return b""
        lines, code = reload()
        return json.dumps({"lines": lines, "code": code}).encode()[:MOST_BYTES]

    def close(self) -> None:
        """Stop listening; who still waits is not answered."""
        if self._asking is not None:
            self._asking[0].close()
        self._socket.close()


def ask(config: Path) -> Answer:
    """Have the run of a configuration file reload it; raises MirrorError if there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.settimeout(ANSWER_S)
        try:
            asking.connect(_name(config))
            if (owner := _uid(asking)) not in {0, os.geteuid()}:
                raise MirrorError(f"{config}: the run belongs to another user, number {owner}")
            asking.send(RELOAD)
            said = asking.recv(MOST_BYTES)
        except ConnectionRefusedError as error:
            raise MirrorError(f"{config}: no run of this file is there to reload it") from error
        except (ConnectionResetError, BrokenPipeError):
            said = b""
        except OSError as error:
            raise MirrorError(f"{config}: the run does not answer: {error}") from error
    if not said:
        raise MirrorError(f"{config}: refused: the run belongs to another user, number {owner}")
    answer = json.loads(said)
    return answer["lines"], answer["code"]


def _uid(peer: socket.socket) -> int:
    """Return who is at the other end."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    return int(CREDENTIALS.unpack(credentials)[1])


def _name(config: Path) -> bytes:
    return b"\0ringtap-control-" + hashlib.sha256(os.fsencode(config.resolve())).hexdigest()[:32].encode()
