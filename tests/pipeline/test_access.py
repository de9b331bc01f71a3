"""A door is open only if somebody said so, and keys that go together are there together."""

from typing import Any

import pytest

from capture.errors import ConfigError
from pipeline.settings import build

OPEN = "anybody who reaches it could send: write shared_key_file, or client_ca, or open_to_all = true"


def built(source: dict[str, Any], **output: Any) -> object:
    """Check a configuration."""
    return build({"input": {"type": "tcp", **source}, "output": [{"type": "tcp", "address": "h:1", **output}]}, "m")


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "127.example:1", "[2001:db8::1]:1"])
@pytest.mark.parametrize(
    ("more", "fine"),
    [
        ({}, False),
        ({"certificate": "a"}, False),  # it says who we are, not who they are
        ({"certificate": "a", "client_ca": "b"}, True),
        ({"shared_key_file": "a"}, True),
        ({"shared_key_env": "A"}, True),
        ({"open_to_all": True}, True),
    ],
)
def test_a_public_address_asks_who_is_there(listen: str, more: dict[str, Any], fine: bool):
    """Whoever forgets it would replay to production what anybody sends."""
    if fine:
        built({"listen": listen, **more})
        return
    with pytest.raises(ConfigError) as caught:
        built({"listen": listen, **more})
    assert str(caught.value) == f'm: input.listen: "{listen}" is not possible; {OPEN}'


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"])
def test_this_machine_is_let_in(listen: str):
    """Who is here already is somebody."""
    built({"listen": listen})


@pytest.mark.parametrize(
    ("source", "output", "said"),
    [
        ({"key": "a"}, {}, 'input.key: "a" is not possible; it needs a certificate'),
        ({"client_ca": "a"}, {}, 'input.client_ca: "a" is not possible; it needs a certificate'),
        ({"users_file": "a"}, {}, 'input.users_file: "a" is not possible; it needs a shared_key_file'),
        (
            {"shared_key_file": "a", "shared_key_env": "B"},
            {},
            'input.shared_key_env: "B" is not possible; shared_key_file is given too: write one of them',
        ),
        ({}, {"ca": "a"}, 'output.0.ca: "a" is not possible; there is no TLS: write tls = true, or leave this key out'),
        ({}, {"tls": True, "key": "a"}, 'output.0.key: "a" is not possible; it needs a certificate'),
        ({}, {"user": "a"}, 'output.0.user: "a" is not possible; it needs a shared_key_file'),
        ({}, {"user": "a", "shared_key_env": "B"}, 'output.0.user: "a" is not possible; it needs a password_file'),
        (
            {},
            {"password_env": "B", "shared_key_env": "B"},
            'output.0.password_env: "B" is not possible; it needs a user',
        ),
    ],
)
def test_half_of_a_pair_is_refused(source: dict[str, Any], output: dict[str, Any], said: str):
    """A key without an effect is a mistake, and here a dangerous one."""
    with pytest.raises(ConfigError) as caught:
        built(source, **output)
    assert str(caught.value) == f"m: {said}"


@pytest.mark.parametrize("key", ["input.shared_key", "output.0.shared_key", "output.0.password"])
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(key: str):
    """ps(1) would show it to everybody, and the error to whoever reads the log."""
    tables = {"input": {"type": "tcp"}, "output": [{"type": "tcp", "address": "h:1"}]}
    with pytest.raises(ConfigError) as caught:
        build(tables, "m", [f"{key}=hush-hush"])
    name = key.split(".")[-1]
    advice = f"a secret is not written here: write {name}_file, or {name}_env"
    assert str(caught.value) == f"--set: {key}: unknown key; {advice}"
