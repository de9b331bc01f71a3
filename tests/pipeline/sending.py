"""A configuration with outputs that replay, as far as their answers matter."""

from pipeline.config import Config
from pipeline.outputs import HttpOutput
from pipeline.settings import parse


def sending(text: str, *answers: bool) -> Config:
    """Read a configuration, and put before its outputs some that replay, whose answers others are to have or not."""
    config = parse(text, "m.toml")
    senders = tuple(HttpOutput(type="http", address="http://127.0.0.1:9", answers=wanted) for wanted in answers)
    return config.model_copy(update={"output": (*senders, *config.output)})
