"""Target `configuration`: TOML, and `--set` options behind zero bytes, as a configuration.

In: text.  Out: an exception that is no ConfigError, or an error of more than a line.
"""

from typing import Final

from capture.errors import ConfigError
from pipeline.settings import parse

TRACED: Final = True


def run(data: bytes) -> None:
    """Read it."""
    text, *overrides = bytes(data).decode("utf-8", "replace").split("\0")
    try:
        config = parse(text, "fuzz.toml", overrides)
    except ConfigError as problem:
        said = str(problem)
        assert "\n" not in said, "an error is one line"
        return
    assert parse(text, "fuzz.toml", overrides) == config
