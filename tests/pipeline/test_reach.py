"""Names in a configuration that mean nothing here are found before a run is started."""

import os
import socket

import pytest

from pipeline.reach import named
from pipeline.settings import parse


def troubles(output: str, more: str = "") -> dict[str, str]:
    """What is said of each named thing, by what it is."""
    config = parse(f'[input]\ntype = "live"\n{more}\n[[output]]\n{output}\n', "m.toml")
    return {each.what: each.trouble for each in named(config)}


def test_a_receiver_whose_name_does_not_resolve_is_said(monkeypatch):
    """A typing error in a host name; nothing is sent to find out."""

    def resolve(host: str, port: int, **_options: object) -> list[object]:
        if host == "known":
            return []
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert troubles('type = "tcp"\naddress = "known:1"') == {"output 0": ""}
    assert troubles('type = "tcp"\naddress = "unknwon:1"') == {"output 0": "unknwon: Name or service not known"}
    assert troubles('type = "http"\naddress = "http://known"') == {"output 0": ""}
    assert troubles('type = "http"\naddress = "https://unknwon/"') == {"output 0": "unknwon: Name or service not known"}


def test_a_file_needs_a_directory(tmp_path):
    """A run would end at its first message; looking creates nothing."""
    assert troubles(f'type = "file"\npath = "{tmp_path}/m.jsonl"') == {"output 0": ""}
    said = troubles(f'type = "file"\npath = "{tmp_path}/no/m.jsonl"')["output 0"]
    assert said == f"{tmp_path}/no: no such directory"
    assert troubles(f'type = "file"\npath = "{tmp_path}"')["output 0"].endswith("cannot be written")
    assert not list(tmp_path.iterdir())


def test_what_may_not_be_written_is_said(tmp_path, monkeypatch):
    """Root may everything, so the answer is made up."""
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    assert troubles(f'type = "file"\npath = "{tmp_path}/m.jsonl"')["output 0"] == f"{tmp_path}: cannot be written"


@pytest.mark.parametrize(("user", "known"), [("root", True), ("no-such-user", False)])
def test_the_user_to_become_is_looked_up(user, known):
    """Found out at the start of a run otherwise."""
    assert (troubles('type = "null"', f'user = "{user}"')["user"] == "") is known
