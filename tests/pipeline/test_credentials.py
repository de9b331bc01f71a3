"""Secrets come from where only their owner can read them, and are seen nowhere afterwards."""

from pathlib import Path
from typing import Any

import pytest

from capture.errors import ConfigError
from pipeline.credentials import access, login, secret, users
from pipeline.inputs import TcpInput
from pipeline.outputs import TcpOutput


def file(path: Path, text: bytes, mode: int = 0o600) -> str:
    """Write a file."""
    path.write_bytes(text)
    path.chmod(mode)
    return str(path)


def test_secrets_are_read_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One line, without its end."""
    monkeypatch.setenv("HUSH", "from outside")
    key, listed = file(tmp_path / "k", b"hush key\n"), file(tmp_path / "u", b"a:hush a\n\nb:hush:b\r\n", 0o400)
    let_in = access(TcpInput(type="tcp", shared_key_file=key, users_file=listed))
    assert let_in is not None
    assert (let_in.key, let_in.users) == (b"hush key", ((b"a", b"hush a"), (b"b", b"hush:b")))
    given: dict[str, Any] = {"type": "tcp", "address": "h:1", "shared_key_file": key, "user": "ü"}
    ours = login(0, TcpOutput(**given, password_env="HUSH"))
    assert ours is not None
    assert (ours.key, ours.user, ours.password) == (b"hush key", "ü".encode(), b"from outside")
    assert "hush" not in repr(let_in) + repr(ours)
    assert access(TcpInput(type="tcp")) is None
    assert login(0, TcpOutput(type="tcp", address="h:1")) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666, 0o601])
def test_a_file_that_others_could_open_is_refused(tmp_path: Path, mode: int):
    """Read or changed by others, it is no secret; the line says what to type."""
    name = file(tmp_path / "k", b"hush", mode)
    with pytest.raises(ConfigError) as caught:
        secret("input.shared_key", name, None)
    assert str(caught.value) == f"input.shared_key_file: {name}: not only its owner can read it: chmod 600 {name}"
    with pytest.raises(ConfigError, match="chmod 600"):
        users("input.users_file", name)


@pytest.mark.parametrize("text", [b"", b"\n", b"hush\nhush", b"hu\0sh"])
def test_what_is_no_secret_is_refused_without_showing_it(tmp_path: Path, text: bytes):
    """An empty key would open the door to all."""
    name = file(tmp_path / "k", text)
    with pytest.raises(ConfigError) as caught:
        secret("output.0.password", name, None)
    assert str(caught.value) == f"output.0.password_file: {name}: it is to hold one line, and nothing else"
    with pytest.raises(ConfigError, match=r"^input.shared_key_env: NOT_THERE: it is to hold"):
        secret("input.shared_key", None, "NOT_THERE")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a:hush\nhush\n", "line 2: not like name:password"),
        (b"a:\n", "line 1: not like name:password"),
        (b":hush\n", "line 1: not like name:password"),
        (b"a:hush\na:hush\n", "line 2: a again"),
        (b"\n", "nobody is in it: write lines like name:password"),
        (b"a:" + bytes(70_000), "more than 65536 bytes: this is another file"),
    ],
)
def test_a_list_of_users_is_read_to_the_line(tmp_path: Path, text: bytes, said: str):
    """The number, and nothing of what is in it."""
    name = file(tmp_path / "u", text)
    with pytest.raises(ConfigError) as caught:
        users("input.users_file", name)
    assert str(caught.value) == f"input.users_file: {name}: {said}"


def test_a_file_that_is_not_there_is_said():
    """With its key."""
    with pytest.raises(ConfigError, match=r"^input.users_file: /no/such: cannot be read: no such file or directory$"):
        users("input.users_file", "/no/such")
