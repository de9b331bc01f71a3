"""Second opinions: h11 and httptools take each complete message for one, and it ends for them at its last byte.

Where a parser refuses what a tap must take, its complaint is listed with what must be true of the message then: a
complaint that is not listed, or without its reason, is a disagreement.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from engines import by_compiled
from hypothesis import given, settings
from opinions import Asked, ask_h11, ask_httptools, asked
from strategies_packets import Traffic, traffics

import assemble

Ask = Callable[[Asked], str | None]
Reason = Callable[[Asked], object]


def bare_lf(m: Asked) -> object:
    """A line of the head ends without CR (RFC 9112 2.2)."""
    return re.search(rb"(?<!\r)\n", m.payload[: m.head])


def bare_lf_in_chunks(m: Asked) -> object:
    """A chunk's line ends without CR: so do those of the head, as the strategies make messages."""
    return bare_lf(m) and m.values(b"transfer-encoding")


def codings(m: Asked) -> object:
    """Any transfer coding but `chunked` alone, or several lines of them (RFC 9112 6.1)."""
    return [value.lower() for value in m.values(b"transfer-encoding")] not in ([], [b"chunked"])


def extension(m: Asked) -> object:
    """A chunk extension without a name, or spaces around it (RFC 9112 7.1.1)."""
    return re.search(rb"(?m)^[0-9A-Fa-f]+(;\r?$| ;)", m.payload[m.head :]) and m.values(b"transfer-encoding")


def repeated_length(m: Asked) -> object:
    """The same Content-Length more than once, or beside chunked (RFC 9112 6.3, rules 3 and 5)."""
    return len(m.values(b"content-length")) > 1 or m.values(b"transfer-encoding")


def listed_length(m: Asked) -> object:
    """A Content-Length that is a list of the same number (RFC 9112 6.3, rule 5)."""
    return b"," in m.values(b"content-length")[0]


def beyond_ascii(m: Asked) -> object:
    """A target of bytes that should have been percent-encoded."""
    return m.kind == "request" and max(m.lines[0]) > 127


def unknown_method(m: Asked) -> object:
    """A method that llhttp has no number for; any token is a method (RFC 9110 9.1)."""
    return m.method in {"BASELINE-CONTROL", "get", "X", "a!#$%&'*+-.^_`|~9", "NOTAMETHODANYONEEVERREGISTERED", "1"}


H11: Final[list[tuple[str, Reason]]] = [
    ("Only Transfer-Encoding: chunked is supported|multiple Transfer-Encoding headers", codings),
    ("Found multiple Host: headers", lambda m: len(m.values(b"host")) > 1),
    ("illegal request line", beyond_ascii),
    ("illegal chunk header", lambda m: bare_lf_in_chunks(m) or extension(m)),
]
HTTPTOOLS: Final[list[tuple[str, Reason]]] = [
    ("Missing expected CR|Expected CRLF after version|Invalid response status", bare_lf),
    ("Invalid method encountered", unknown_method),
    ("Invalid char in url path", beyond_ascii),
    ("Invalid character in chunk (extensions|size)", extension),
    ("Duplicate Content-Length", repeated_length),
    ("Invalid character in Content-Length", listed_length),
    ("Pause on CONNECT/Upgrade", lambda m: m.status == 101),
]
PARSERS: Final = [pytest.param(ask_h11, H11, id="h11"), pytest.param(ask_httptools, HTTPTOOLS, id="httptools")]


def agrees(ask: Ask, reasons: list[tuple[str, Reason]], message: Asked) -> bool:
    """Tell whether a parser agrees; if it does not, hold that it is for a listed reason."""
    complaint = ask(message)
    if complaint is None:
        return True
    listed = [reason for text, reason in reasons if re.match(text, complaint)]
    assert any(reason(message) for reason in listed), (complaint, message)
    return False


def drawn(count: int) -> list[Traffic]:
    """Give so many undisturbed conversations, the same at each call."""
    out: list[Traffic] = []

    @settings(max_examples=count, derandomize=True, database=None)
    @given(traffics(disturbed=False))
    def collect(traffic: Traffic) -> None:
        out.append(traffic)

    collect()
    return out


@pytest.fixture(scope="module")
def generated() -> list[Asked]:
    """Give the complete messages of generated conversations."""
    return [message for traffic in drawn(250) for message in asked(by_compiled(traffic.frames()))]


@pytest.mark.parametrize(("ask", "reasons"), PARSERS)
def test_parsers_end_each_generated_message_at_its_last_byte(ask, reasons, generated):
    """A message of ours that another parser ends elsewhere is ours to mend, unless the RFC says otherwise."""
    agreed = [agrees(ask, reasons, message) for message in generated]
    assert sum(agreed) > 500, "too few were comparable to show anything"


@pytest.mark.parametrize(("ask", "reasons"), PARSERS)
def test_a_parser_that_is_shown_a_wrong_end_says_so(ask, reasons, generated):
    """An opinion that agrees with everything is none."""
    plain = [m for m in generated if not m.until_close and ask(m) is None]
    asked_once = {m.kind: m for m in plain if len(m.payload) > m.head and not m.bodyless}
    for message in asked_once.values():
        longer = Asked(message.kind, message.payload + b"x", message.head, message.method)
        shorter = Asked(message.kind, message.payload[:-1], message.head, message.method)
        assert ask(longer) is not None
        assert ask(shorter) is not None
    assert set(asked_once) == {"request", "response"}


ROOT: Final = Path(__file__).resolve().parents[2]
EXPECTED: Final = ROOT.parent / "shared" / "captures" / "expected.json"


def captures() -> list[Any]:
    """Give path and ports of each capture."""
    shop = pytest.param(ROOT / "examples" / "shop.pcap", [8080], id="shop")
    if not EXPECTED.exists():
        why = pytest.mark.skip(reason="../shared/captures is not there")
        return [shop, pytest.param(EXPECTED, [], id="captures", marks=why)]
    entries = json.loads(EXPECTED.read_text())
    return [shop, *(pytest.param(EXPECTED.parent / e["file"], e["ports"], id=e["file"]) for e in entries)]


@pytest.mark.parametrize(("ask", "reasons"), PARSERS)
@pytest.mark.parametrize(("path", "ports"), captures())
def test_parsers_end_each_message_of_a_real_capture_at_its_last_byte(path: Path, ports: Any, ask, reasons):
    """The same of traffic that nobody here made: there the parsers have nothing to refuse."""
    messages = asked(list(assemble.messages(str(path), ports=ports)))
    assert all(agrees(ask, reasons, message) for message in messages)
