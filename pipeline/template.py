"""The configuration that `pipeline init` writes: every key there is, with its help, from the model itself.

In: the model.  Out: TOML text that is valid as it stands.  Defaults are comments: what is not one was chosen.
"""

from collections.abc import Iterator
from typing import Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config import Assemble, Ring, Workers
from pipeline.inputs import FileInput, LiveInput, PcapInput, TcpInput
from pipeline.outputs import FileOutput, HttpOutput, NullOutput, StdoutOutput, TcpOutput
from pipeline.problems import show
from pipeline.values import read_duration_s, read_size_bytes, write_duration, write_size

HEAD: Final = """\
# What to mirror, and where to.  `pipeline check --config FILE` explains it, `pipeline run` runs it.
# Keys behind a '#' show their defaults.  Paths are relative to the current directory.
"""
LAST: Final = (
    "policy", "where", "sample", "sample_from", "sample_by",
    "rewrite", "python", "middleware", "mask", "limit", "over_limit",
)  # fmt: skip
CHOSEN: Final = {"path": '"capture.pcap"', "ports": "[80, 8080]"}


def template() -> str:
    """Return the text of the file."""
    parts = [
        HEAD,
        *_table("[input]", PcapInput, CHOSEN),
        "",
        *_commented("[input]", LiveInput, {"interfaces": '["eth0"]', "ports": "[80, 8080]"}),
        "",
        *_commented("[input]", TcpInput),
        "",
        *_commented("[input]", FileInput),
        "",
        *_table("[assemble]", Assemble),
        "",
        *_table("[workers]", Workers),
        "",
        *_table("[ring]", Ring),
        "",
        *_table("[[output]]", FileOutput, {"path": '"messages.jsonl"'}),
    ]
    for other in (TcpOutput, HttpOutput, StdoutOutput, NullOutput):
        parts += ["", *_commented("[[output]]", other)]
    return "\n".join(parts) + "\n"


def _table(head: str, model: type[BaseModel], chosen: dict[str, str] | None = None) -> Iterator[str]:
    """Yield a table; keys that are required or chosen stand as they are, all others as comments."""
    yield f"# {(model.__doc__ or '').strip()}"
    yield head
    fields = model.model_fields
    for name in sorted(fields, key=lambda each: (each != "type", not fields[each].is_required(), each in LAST)):
        given = (chosen or {}).get(name)
        mark = "" if given or fields[name].is_required() else "# "
        line = f"{mark}{name} = {given or default(fields[name])}"
        yield f"{line:<40}# {fields[name].description}"


def _commented(head: str, model: type[BaseModel], chosen: dict[str, str] | None = None) -> Iterator[str]:
    for line in _table(head, model, chosen):
        yield line if line.startswith("# ") else f"# {line.replace('  #', '#', 1)}"


def default(field: FieldInfo) -> str:
    """Return a field's default, or where it has none an example, as it is written in TOML."""
    if field.examples and isinstance(field.examples[0], dict):
        return f"{{ {', '.join(f'{key} = {show(value)}' for key, value in field.examples[0].items())} }}"
    if field.examples:
        return show(field.examples[0])
    if field.is_required():
        return show(get_args(field.annotation)[0])  # a `type`: a Literal of one
    readers = [getattr(each, "func", None) for each in field.metadata]
    if read_duration_s in readers:
        return show(write_duration(field.default))
    if read_size_bytes in readers:
        return show(write_size(field.default))
    return show(field.default)
