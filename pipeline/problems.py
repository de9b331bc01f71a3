"""What is wrong with a configuration, as one line: the key, the value, what to write instead.

In: pydantic's errors.  Out: one line of text.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.config import Config
from pipeline.inputs import INPUTS
from pipeline.outputs import OUTPUTS

ADVICE: Final = {
    "int_type": "write a whole number",
    "int_from_float": "write a whole number",
    "float_type": "write a number",
    "bool_type": "write true or false",
    "string_type": "write text in quotes",
    "string_too_short": "write some text",
    "too_short": "write at least one",
    "tuple_type": "write a list, like [80, 8080]",
}
UNIONS: Final = {"input": INPUTS, "output": OUTPUTS}
BARE: Final = re.compile("[A-Za-z0-9_-]+")
SHOWN: Final = 60  # characters of a bad value


def describe(error: ValidationError) -> tuple[str, str]:
    """Return the key of the first error, and the line about it without where it stands."""
    details = error.errors(include_url=False)
    # An unknown key is most often the cause of the key that is missing: say it first.
    first = min(details, key=lambda each: each["type"] != "extra_forbidden")
    key = ".".join(map(_written, _plain_location(first["loc"])))
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return key, f"{key}: {_say(first)}{more}"


def show(value: object) -> str:
    """Write a value as it could stand in the file, cut to a line's worth."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _written(part: int | str) -> str:
    """Write a part of a key as it stands in the file: in quotes if it is not bare."""
    return part if isinstance(part, str) and BARE.fullmatch(part) else show(part)


def _say(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    path = _plain_location(detail["loc"])
    if kind == "missing":
        return f"missing; {_example(detail['loc'])}"
    if kind == "extra_forbidden":
        return f"unknown key; {_nearest(detail['loc'])}"
    if kind == "union_tag_not_found":
        if isinstance(detail["input"], dict):
            return f"its type is missing; write type = {_types(path)}"
        return f"{show(detail['input'])} is not a table; write [{path[0]}] with type = {_types(path)}"
    if kind == "union_tag_invalid":
        return f"type {show(context['tag'])} does not exist; write type = {_types(path)}"
    return f"{show(detail['input'])} is not possible; {_wanted(kind, context, detail['msg'])}"


def _wanted(kind: str, context: dict[str, Any], message: str) -> str:
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return "write " + str(context["expected"]).replace("'", '"')
    for bound, words in (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than")):
        if bound in context:
            return f"write {words} {context[bound]:g}" if context[bound] < 1e6 else f"write {words} {context[bound]}"
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return "write a table"
    return ADVICE.get(kind, message)


def _plain_location(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Return the path as in the file: without the tag that pydantic puts behind a member of a union."""
    at = {"input": 1, "output": 2}.get(str(location[0]) if location else "")
    return location if at is None else location[:at] + location[at + 1 :]


def _types(path: tuple[int | str, ...]) -> str:
    tables = UNIONS[str(path[0])]
    return _choice(table.model_fields["type"].annotation.__args__[0] for table in tables)  # type: ignore[union-attr]


def _choice(values: Iterable[str]) -> str:
    quoted = [f'"{value}"' for value in values]
    return " or ".join(quoted) if len(quoted) < 3 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _table_at(location: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the model that the last part of a location is, or should be, a key of."""
    if len(location) < 2:
        return Config
    head = str(location[0])
    if head in UNIONS:
        tag = location[1] if head == "input" else location[2]
        table = next(each for each in UNIONS[head] if each.model_fields["type"].annotation.__args__[0] == tag)  # type: ignore[union-attr]
        return _inner(table, location[2 if head == "input" else 3 : -1])
    annotation = Config.model_fields[head].annotation
    assert isinstance(annotation, type)
    assert issubclass(annotation, BaseModel)
    return annotation


def _inner(table: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the model at the end of a path of keys, each of which holds a table, or a list of them."""
    for part in path:
        fields = {field.alias or name: field for name, field in table.model_fields.items()}
        if part in fields:
            table = next(_tables(fields[str(part)].annotation), table)
    return table


def _tables(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that an annotation is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _tables(each)


def _example(location: tuple[int | str, ...]) -> str:
    name = str(location[-1])
    if len(location) == 1:
        return f"add [{name}]"
    field = next(field for key, field in _table_at(location).model_fields.items() if (field.alias or key) == name)
    return f"write {name} = {show((field.examples or ['…'])[0])}"


def _nearest(location: tuple[int | str, ...]) -> str:
    name, table = str(location[-1]), _table_at(location)
    keys = [field.alias or key for key, field in table.model_fields.items()]
    if f"{name}_file" in keys and f"{name}_env" in keys:
        return f"a secret is not written here: write {name}_file, or {name}_env"
    near = difflib.get_close_matches(name, keys, n=1)
    if near:
        return f"did you mean {near[0]}?"
    for other in UNIONS.get(str(location[0]), ()):
        if name in other.model_fields:
            return f"it belongs to type {_choice(other.model_fields['type'].annotation.__args__)}"  # type: ignore[union-attr]
    return f"the keys here are {', '.join(keys)}"
