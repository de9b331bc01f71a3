"""From a configuration file and `--set` options to a checked `Config`.

In: a path, or TOML text, and a list of KEY=VALUE.  Out: a `Config`; a fault is a `ConfigError` of one line.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from capture.errors import ConfigError
from pipeline.combinations import check_combinations
from pipeline.config import Config
from pipeline.problems import describe, show
from pipeline.steps import check_steps
from pipeline.table import CombinationError


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read and check a configuration file; paths inside are relative to the current directory."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; `pipeline init` writes one") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: not UTF-8 at byte {error.start}") from error
    return parse(text, str(path), overrides, path.parent)


def parse(text: str, origin: str, overrides: Sequence[str] = (), directory: Path | None = None) -> Config:
    """Read and check a configuration; `origin` is what error lines call it, `directory` where it is, if in a file."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{origin}: not valid TOML: {error}") from error
    return build(data, origin, overrides, directory)


def build(data: dict[str, Any], origin: str, overrides: Sequence[str] = (), directory: Path | None = None) -> Config:
    """Check a configuration given as maps; what it names outside of itself only if it is in a file."""
    changed = [_override(data, each) for each in overrides]
    if isinstance(data.get("output"), dict):
        raise ConfigError(f"{origin}: output: written as [output]; write [[output]], there may be several")
    try:
        config = Config.model_validate(data)
        check_combinations(config)
        if directory is not None:
            check_steps(config.beside(directory))
    except ValidationError as error:
        key, line = describe(error)
        raise ConfigError(f"{_origin(origin, key, changed)}: {line}") from error
    except CombinationError as error:
        value = "" if error.value is None else f"{show(error.value)} is not possible; "
        raise ConfigError(f"{_origin(origin, error.key, changed)}: {error.key}: {value}{error}") from error
    return config


def _origin(origin: str, key: str, changed: Sequence[str]) -> str:
    """Return where the value of a key came from: the file, or a `--set`."""
    return "--set" if any(key == each or key.startswith(each + ".") for each in changed) else origin


def _override(data: dict[str, Any], text: str) -> str:
    """Change one key of `data` in place and return its name."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key.isprintable() or not all(key.split(".")):
        text = text if text.isprintable() else show(text)
        raise ConfigError(f"--set {text}: write KEY=VALUE, like --set output.0.address=127.0.0.1:24224")
    *path, last = key.split(".")
    table: Any = data
    for part in path:
        table = _step(table, part, key, create=[] if part == "output" and table is data else {})
    if isinstance(table, list):
        _step(table, last, key, create=None)
        table[int(last)] = _value(value)
    elif isinstance(table, dict):
        table[last] = _value(value)
    else:
        raise ConfigError(f"--set {key}: {'.'.join(path)} is {show(table)}, which has no keys")
    return key


def _step(table: Any, part: str, key: str, create: object) -> Any:
    """Go one part of a dotted key down; a list may grow by one element at its end."""
    if isinstance(table, dict):
        return table.setdefault(part, create)
    if not isinstance(table, list):
        raise ConfigError(f"--set {key}: {part} is looked for in {show(table)}, which has no keys")
    if not (part.isascii() and part.isdigit()) or int(part) > len(table):
        raise ConfigError(f"--set {key}: {part} is not an index; write a number from 0 to {len(table)}")
    if int(part) == len(table):
        table.append(create)
    return table[int(part)]


def _value(text: str) -> Any:
    """Read a value as TOML; what is not TOML is text."""
    try:
        read = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return read["value"] if set(read) == {"value"} else text
