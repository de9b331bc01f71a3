"""Values as people write them in a configuration: durations, sizes, shares, addresses, functions, commands.

In: what TOML gave (a number or a string).  Out: seconds, bytes, percent, (host, port).  A bad value raises
`ValueError` whose text says what to write instead; the caller, who knows them, adds key and value.
"""

import ipaddress
import re
import shlex
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NamedTuple
from urllib.parse import urlsplit

SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES: Final = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
LONGEST_S: Final = 366 * 86400.0
MOST_BYTES: Final = 2**46  # more than any machine this runs on can map
_PERCENT: Final = re.compile(r"(?P<percent>\d+(?:\.\d+)?)\s*%|(?P<part>\d{1,9})\s*/\s*(?P<of>\d{1,9})", re.ASCII)
_SECONDS: Final = re.compile(r"\d{1,10}(\.\d{1,9})?")
_QUANTITY: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")


def read_duration_s(value: object) -> float:
    """Read "2s", "500ms", "1m" or a number of seconds."""
    seconds = _quantity(value, SECONDS, 'a duration like "2s", "500ms" or "1m", or a number of seconds')
    if not 0 <= seconds <= LONGEST_S:
        raise ValueError("write a duration from 0 to 366 days")
    return seconds


def read_size_bytes(value: object) -> int:
    """Read "64MiB", "512MB" or a number of bytes."""
    size = _quantity(value, BYTES, 'a size like "64MiB" or "512MB", or a number of bytes')
    if not 0 <= size <= MOST_BYTES or size != int(size):
        raise ValueError('write a whole number of bytes, from 0 to "64TiB"')
    return int(size)


def read_percent(value: object) -> float:
    """Read "10%", "1/20" or a number of percent."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    found = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or (found["of"] and int(found["of"]) == 0):
        raise ValueError('write a share like "10%" or "1/20", or a number of percent')
    return float(found["percent"]) if found["percent"] else 100 * int(found["part"]) / int(found["of"])


def read_moment(value: object) -> tuple[int, bool]:
    """Read a time as (nanoseconds, False), since 1970, or (nanoseconds, True), after the first message."""
    wanted = 'write a time with its zone, like "2026-01-31T12:00:00Z", seconds since 1970, or "+10m"'
    if isinstance(value, str) and value.strip().startswith("+"):
        return round(read_duration_s(value.strip()[1:]) * 1e9), True
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip()) if not _SECONDS.fullmatch(value) else Decimal(value)
        except ValueError:
            raise ValueError(wanted) from None
    if isinstance(value, datetime) and value.tzinfo is not None:
        since = value - datetime(1970, 1, 1, tzinfo=UTC)
        return ((since.days * 86_400 + since.seconds) * 10**6 + since.microseconds) * 1000, False
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and 0 <= value < 2**33:
        return int(Decimal(str(value)) * 10**9), False
    raise ValueError(wanted)


def write_moment(moment: tuple[int, bool]) -> str:
    """Write a moment the way it is read."""
    ns, relative = moment
    if relative:
        return f"{write_duration(ns / 1e9)} after the first message"
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_function(value: str) -> str:
    """Check that "module:name" is a place of a function; whether there is one is not looked at."""
    module, colon, name = value.partition(":")
    parts = [*module.split("."), *name.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise ValueError('write "module:name", like "hooks:mask"')
    return value


def read_command(value: object) -> object:
    """Read a list of arguments, or a command as one would type it, of which no shell ever hears."""
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"{str(error).lower()}; write a command, or a list of its parts") from None
    if isinstance(value, list | tuple) and (not value or value[0] == ""):
        raise ValueError('write a command, like "./middleware.py --verbose"')
    return tuple(value) if isinstance(value, list) else value


def _quantity(value: object, units: dict[str, float] | dict[str, int], wanted: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    found = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"write {wanted}")
    number, unit = found.groups()
    by_lower = {name.lower(): size for name, size in units.items()}
    if unit.lower() not in by_lower:
        raise ValueError(f"the units are {', '.join(units)}; write {wanted}")
    return float(number) * by_lower[unit.lower()]


def read_address(value: str) -> tuple[str, int]:
    """Split "host:port" or "[ipv6]:port"; port 0 is allowed here."""
    wanted = 'write "host:port", like "127.0.0.1:24224" or "[::1]:24224"'
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit():
        raise ValueError(wanted)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(wanted) from None
    elif ":" in host or any(character.isspace() for character in host):
        raise ValueError(wanted)
    if int(port) > 65535:
        raise ValueError("a port is a number from 0 to 65535; " + wanted)
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether a host to listen at is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Url(NamedTuple):
    """Where an http output sends to."""

    tls: bool
    host: str
    port: int
    base: str  # path put before every target, without a slash at its end
    authority: str  # as in a Host header: without a port that is the scheme's own


def read_url(value: str) -> Url:
    """Take "http://host:port/base" or "https://…" apart."""
    wanted = 'write a URL like "http://127.0.0.1:8080" or "https://staging.example/base"'
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError(wanted) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not value.isascii() or not value.isprintable():
        raise ValueError(wanted)
    if port == 0:
        raise ValueError("port 0 cannot be connected to; " + wanted)
    if parts.query or parts.fragment or "?" in value or "#" in value or " " in value:
        raise ValueError("no query and no fragment; " + wanted)
    if parts.username is not None or parts.password is not None:
        raise ValueError("no user and no password: an Authorization header of the requests goes through as captured")
    tls = parts.scheme == "https"
    own = 443 if tls else 80
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    authority = name if port in {None, own} else f"{name}:{port}"
    return Url(tls, parts.hostname, port or own, parts.path.rstrip("/"), authority)


def write_address(host: str, port: int) -> str:
    """Join host and port the way `read_address` takes them apart."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def write_duration(seconds: float) -> str:
    """Write seconds the short way: "500ms", "2s", "1m"."""
    if seconds and seconds % 60 == 0:
        return f"{seconds / 60:g}m"
    return f"{seconds:g}s" if seconds >= 1 or not seconds else f"{seconds * 1000:g}ms"


def write_size(size: float) -> str:
    """Write a number of bytes the short way: "64MiB", "1.5GiB", "100B"."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size >= BYTES[unit]:
            return f"{size / BYTES[unit]:.4g}{unit}"
    return f"{size:g}B"
