"""What the keys of inputs and outputs are: types whose values have been checked.

In: what TOML gives.  Out: values as the tables have them; a bad one raises `ValueError`, which says what to write.
"""

import ipaddress
import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from emit.rotation import Names
from emit.sampling import parse_by
from pipeline.table import SomeText, checked
from pipeline.values import (
    read_address,
    read_command,
    read_duration_s,
    read_function,
    read_moment,
    read_percent,
    read_size_bytes,
    read_url,
)

MOST_LANES: Final = 64
SLOWEST: Final = 0.1
FASTEST: Final = 1000
MOST_ROUNDS: Final = 1_000_000
_TOKEN: Final = re.compile(r"[A-Za-z0-9_.-]+")


def _check_target(value: str) -> str:
    if read_address(value)[1] == 0:
        raise ValueError("port 0 cannot be connected to; write the receiver's port")
    return value


def _check_host(value: str) -> str:
    if not value or not value.isprintable() or " " in value:
        raise ValueError('write "target", "captured", or the value of the header')
    return value


def _check_token(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError("write letters, digits and - _ . only")
    return value


def _check_method(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError('write a method, like "GET"; they are compared with upper and lower case')
    return value


def _check_network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise ValueError('write an address or a network, like "10.0.0.7" or "2001:db8::/32"') from None


def _check_interface(value: str) -> str:
    if not value.isprintable() or any(each in "/ \t" for each in value):
        raise ValueError('write the name of an interface or a pattern, like "eth0", "veth*" or "any"')
    return value


def _check_lanes(value: object) -> object:
    whole = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_LANES
    if not whole and value != "auto":
        raise ValueError(f'write a whole number from 1 to {MOST_LANES}, or "auto"')
    return value


def _check_speed(value: object) -> object:
    factor = isinstance(value, int | float) and not isinstance(value, bool) and SLOWEST <= value <= FASTEST
    if not factor and value != "max":
        raise ValueError(f'write "max", or a factor from {SLOWEST} to {FASTEST}')
    return value


def _check_loop(value: object) -> object:
    whole = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_ROUNDS
    if not whole and value != "forever":
        raise ValueError(f'write a whole number from 1 to {MOST_ROUNDS}, or "forever"')
    return value


Seconds = Annotated[float, BeforeValidator(read_duration_s)]
SomeSeconds = Annotated[Seconds, Field(gt=0)]
Size = Annotated[int, BeforeValidator(read_size_bytes)]
Percent = Annotated[float, BeforeValidator(read_percent), Field(gt=0, le=100)]
Function = Annotated[str, AfterValidator(read_function)]
Command = Annotated[tuple[str, ...], BeforeValidator(read_command), Field(strict=False)]
Port = Annotated[int, Field(ge=1, le=65535)]
Tunnel = Literal["vxlan", "geneve", "gre", "erspan", "ipip", "gtpu"]
Realm = Literal["vlan", "tunnel"]
Method = Annotated[str, AfterValidator(_check_method)]
Moment = Annotated[tuple[int, bool], BeforeValidator(read_moment), Field(strict=False)]  # ns; after the first message?
Loop = Annotated[int | Literal["forever"], BeforeValidator(_check_loop)]
Network = Annotated[str, AfterValidator(_check_network)]
Interface = Annotated[SomeText, AfterValidator(_check_interface)]
Speed = Annotated[float | Literal["max"], BeforeValidator(_check_speed)]
Lanes = Annotated[int | Literal["auto"], BeforeValidator(_check_lanes)]
Address = Annotated[str, checked(read_address)]
Receiver = Annotated[str, AfterValidator(_check_target)]
Url = Annotated[str, checked(read_url)]
Host = Annotated[str, AfterValidator(_check_host)]
Token = Annotated[str, AfterValidator(_check_token)]
FileNames = Annotated[SomeText, checked(Names)]
SampledBy = Annotated[str, checked(parse_by)]
