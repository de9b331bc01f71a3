"""`pipeline replay`: the tables of a configuration, from files and the few options that people give with them.

In: paths, options.  Out: the maps that `pipeline.settings.build` checks.  A file's content says what input reads it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from capture.errors import ConfigError
from capture.inputs import STANDARD_INPUT
from capture.sources import expand
from emit.recording import is_recording


def tables(files: Sequence[str], ports: Sequence[int], output: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables; keys of `output` that are None or empty were not given.

    Without a speed or a rate requests are sent in the captured timing.
    """
    given = {key: value for key, value in output.items() if value is not None and value != []}
    if "rate" not in given:
        given.setdefault("speed", 1.0)
    return {"input": _input(files, ports), "output": [{"type": "http"} | given]}


def _input(files: Sequence[str], ports: Sequence[int]) -> dict[str, Any]:
    recordings = [path != STANDARD_INPUT and is_recording(path) for path in expand(files)]
    if not any(recordings):
        return {"type": "pcap", "path": list(files), "ports": list(ports)}
    if not all(recordings):
        raise ConfigError("captures and recordings do not mix: replay them one after the other")
    if ports:
        raise ConfigError("--port: this is for captures; for recordings write --where, like --where 'dport == 80'")
    return {"type": "file", "path": list(files)}


def factor(speed: str | None) -> float | str | None:
    """Read "max" or a factor, like "2" or "2x"; what is neither is left for the check to refuse."""
    if speed is None:
        return None
    try:
        return float(speed.removesuffix("x"))
    except ValueError:
        return speed
