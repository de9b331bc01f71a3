"""`pipeline replay`: the tables of a configuration, from files and the few options that people give with them.

In: paths, options.  Out: the maps that `pipeline.settings.build` checks.  A file's content says what input reads it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from capture.errors import ConfigError
from capture.inputs import STANDARD_INPUT
from capture.sources import expand
from emit.formats import by_content, is_capture, look


def tables(
    files: Sequence[str], ports: Sequence[int], output: Mapping[str, Any], parts: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the tables; keys of `output` and of `parts`, of the input, that are None or empty were not given.

    Without a speed or a rate requests are sent in the captured timing.
    """
    given = {key: value for key, value in output.items() if value is not None and value != []}
    if "rate" not in given:
        given.setdefault("speed", 1.0)
    wanted = {key: value for key, value in (parts or {}).items() if value is not None}
    return {"input": _input(files, ports, wanted), "output": [{"type": "http"} | given]}


def _input(files: Sequence[str], ports: Sequence[int], wanted: dict[str, Any]) -> dict[str, Any]:
    captures = [path == STANDARD_INPUT or _is_capture(look(path)) for path in expand(files)]
    if all(captures):
        for key in wanted:
            option = key.replace("_", "-")
            raise ConfigError(f"--{option}: not of captures; `pipeline convert` makes a recording of them first")
        return {"type": "pcap", "path": list(files), "ports": list(ports)}
    if any(captures):
        raise ConfigError("captures and files of messages do not mix: replay them one after the other")
    if ports:
        raise ConfigError("--port: this is for captures; for messages write --where, like --where 'dport == 80'")
    return {"type": "file", "path": list(files)} | wanted


def _is_capture(begin: bytes) -> bool:
    return not begin or is_capture(begin) or by_content(begin) is None


def times(loop: str | None) -> int | str | None:
    """Read "forever" or a number; what is neither is left for the check to refuse."""
    return int(loop) if loop is not None and loop.isascii() and loop.isdigit() else loop


def factor(speed: str | None) -> float | str | None:
    """Read "max" or a factor, like "2" or "2x"; what is neither is left for the check to refuse."""
    if speed is None:
        return None
    try:
        return float(speed.removesuffix("x"))
    except ValueError:
        return speed
