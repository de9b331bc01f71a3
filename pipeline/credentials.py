"""Keys and passwords of senders and receivers: from where only their owner can read them.

In: names of files and of environment variables.  Out: secrets, in specs that do not show them; or a `ConfigError`.
Invariant: a secret stands in no configuration, on no command line and in no error.
"""

import os
import stat
from pathlib import Path
from typing import Final

from capture.errors import ConfigError
from emit.records import Access, Login
from pipeline.inputs import TcpInput
from pipeline.outputs import TcpOutput

MOST_BYTES: Final = 64 * 1024
"""Of a file of secrets."""
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def access(source: TcpInput) -> Access | None:
    """Return whom an input lets in; None: everybody."""
    key = secret("input.shared_key", source.shared_key_file, source.shared_key_env)
    if key is None:
        return None
    return Access(key, () if source.users_file is None else users("input.users_file", source.users_file))


def login(at: int, output: TcpOutput) -> Login | None:
    """Return what an output proves itself with, None if it has nothing."""
    key = secret(f"output.{at}.shared_key", output.shared_key_file, output.shared_key_env)
    if key is None:
        return None
    password = secret(f"output.{at}.password", output.password_file, output.password_env)
    return Login(key, (output.user or "").encode(), password or b"")


def secret(place: str, file: str | None, variable: str | None) -> bytes | None:
    """Return a secret, None if it is nowhere."""
    if file is not None:
        place, name, found = f"{place}_file", file, read_private(f"{place}_file", file).rstrip(b"\r\n")
    elif variable is not None:
        place, name, found = f"{place}_env", variable, os.environb.get(variable.encode(), b"")
    else:
        return None
    if not found or b"\n" in found or b"\0" in found:
        raise ConfigError(f"{place}: {name}: it is to hold one line, and nothing else")
    return found


def users(place: str, file: str) -> tuple[tuple[bytes, bytes], ...]:
    """Return the names and the passwords of a file."""
    found: dict[bytes, bytes] = {}
    for number, line in enumerate(read_private(place, file).splitlines(), 1):
        name, colon, password = line.partition(b":")
        if not line:
            continue
        if not (name and colon and password) or name in found:
            what = f"{name.decode('utf-8', 'replace')} again" if name in found else "not like name:password"
            raise ConfigError(f"{place}: {file}: line {number}: {what}")
        found[name] = password
    if not found:
        raise ConfigError(f"{place}: {file}: nobody is in it: write lines like name:password")
    return tuple(found.items())


def read_private(place: str, file: str) -> bytes:
    """Read a file that nobody else can read."""
    try:
        with Path(file).open("rb") as opened:
            refuse_if_shared(place, file, os.fstat(opened.fileno()))
            data = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{place}: {file}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    if len(data) > MOST_BYTES:
        raise ConfigError(f"{place}: {file}: more than {MOST_BYTES} bytes: this is another file")
    return data


def refuse_if_shared(place: str, file: str, found: os.stat_result) -> None:
    """Raise ConfigError for a file with a secret that group or others can read, or change."""
    if stat.S_ISREG(found.st_mode) and found.st_mode & OTHERS:
        raise ConfigError(f"{place}: {file}: not only its owner can read it: chmod 600 {file}")
