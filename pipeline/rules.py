"""Rules that change the messages of an output: `[[output.rewrite]]` and `[[output.mask]]` (docs/transforms.md).

In: the maps that TOML gives, and the files that hold keys.  Out: models; steps for workers; lines that say what is
changed.  Invariant: a rule that exists can work: its patterns, groups, pointers and names have been looked at.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from capture.errors import ConfigError
from emit.head import FRAMING, TOKEN
from emit.pointers import Pointers
from emit.records import OutputSpec
from emit.replacing import Replacement, check_pattern, check_template
from emit.transform import TransformSpec
from emit.verdicts import Verdicts
from emit.where import parse
from pipeline.table import CombinationError, SomeText, Table, as_tuple

if TYPE_CHECKING:
    from emit.masking import MaskRule
    from emit.rewriting import RewriteRule

SHORTEST_KEY: Final = 16


def _check_where(value: str) -> str:
    parse(value)
    return value


def _check_name(value: str) -> str:
    if not TOKEN.fullmatch(value):
        raise ValueError('write the name of a header field, like "X-Mirror"')
    if value.lower() in FRAMING:
        raise ValueError("it says how the body is to be read, and is put right with it: leave it out")
    return value


def _check_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("a header field is one line: leave control characters out")
    return value


def _check_part(value: str) -> str:
    if not value.isprintable() or any(each in " #" for each in value):
        raise ValueError("a target has no blanks: write %20 for one")
    return value


def _check_fields(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        _check_name(name)
        _check_line(text)
    return value


def _check_pointers(value: Any) -> Any:
    Pointers(list(value))
    return value


def _check_json(value: dict[str, Any]) -> dict[str, Any]:
    from emit.rewriting import as_json

    for each in _check_pointers(value).values():
        as_json(each)
    return value


Where = Annotated[str, AfterValidator(_check_where)]
Pattern = Annotated[SomeText, AfterValidator(check_pattern)]
Name = Annotated[SomeText, AfterValidator(_check_name)]
Names = Annotated[tuple[Name, ...], BeforeValidator(as_tuple), Field(strict=False)]
Texts = Annotated[tuple[SomeText, ...], BeforeValidator(as_tuple), Field(strict=False)]


class Exchange(Table):
    """A regular expression, and what is put in the place of all that it matches."""

    pattern: Pattern = Field(description="a regular expression, as RE2 takes it", examples=["^/v1/(.*)"])
    with_: str = Field(
        alias="with", description="what takes its place; \\1 or \\g<name> is a group", examples=["/v2/\\1"]
    )

    @field_validator("with_")
    @classmethod
    def check(cls, value: str, info: ValidationInfo) -> str:
        """Find groups that are not there."""
        if "pattern" in info.data:
            check_template(info.data["pattern"], value)
        return cls.check_text(value)

    @classmethod
    def check_text(cls, value: str) -> str:
        """Find what cannot stand where it would be put."""
        return value

    @property
    def replacement(self) -> Replacement:
        """The same for a worker."""
        return Replacement(self.pattern, self.with_)


class PathExchange(Exchange):
    """What is exchanged in a path."""

    @classmethod
    def check_text(cls, value: str) -> str:
        """Find what cannot stand in a path."""
        if "?" in value:
            raise ValueError("a path ends before the question mark: write what follows it under query")
        return _check_part(value)


class FieldExchange(Exchange):
    """What is exchanged in the values of a header field."""

    name: Name = Field(description="of the field, in any case", examples=["Referer"])

    @classmethod
    def check_text(cls, value: str) -> str:
        """Find what cannot stand in a field."""
        return _check_line(value)


class Query(Table):
    """What is changed in a query."""

    pattern: Pattern | None = Field(default=None, description="a regular expression, on the query as it is written")
    with_: str | None = Field(default=None, alias="with", description="what takes its place")
    set: dict[SomeText, str] = Field(default={}, description="parameters and their values, written without encoding")
    remove: Texts = Field(default=(), description="parameters")

    @field_validator("with_")
    @classmethod
    def check(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Find groups that are not there."""
        if value is not None and info.data.get("pattern") is not None:
            check_template(info.data["pattern"], value)
            _check_part(value)
        return value


class Rewrite(Table):
    """One rule that changes requests and responses."""

    where: Where | None = Field(default=None, description="which messages it changes; all, if it is not given")
    path: PathExchange | None = Field(default=None, description="exchanged in the path of requests")
    query: Query | None = Field(default=None, description="changed in the query of requests")
    set_headers: Annotated[dict[str, str], AfterValidator(_check_fields)] = Field(
        default={}, description="fields and their values: where they are, else at the end"
    )
    remove_headers: Names = Field(default=(), description="fields that are taken out")
    replace_headers: Annotated[tuple[FieldExchange, ...], BeforeValidator(as_tuple), Field(strict=False)] = Field(
        default=(), description="exchanged in the values of fields"
    )
    body: Exchange | None = Field(default=None, description="exchanged in the body, decoded")
    json_: Annotated[dict[str, Any], AfterValidator(_check_json)] = Field(
        default={}, alias="json", description="pointers, and the values that take the place of those there"
    )


class Mask(Table):
    """One rule that hides values."""

    where: Where | None = Field(default=None, description="in which messages; in all, if it is not given")
    headers: Names = Field(default=(), description="fields whose values are hidden")
    parameters: Texts = Field(default=(), description="of queries and forms")
    json_: Annotated[Texts, AfterValidator(_check_pointers)] = Field(
        default=(), alias="json", description="pointers to values in JSON; * is any name, ** any number of them"
    )
    how: Literal["replace", "hash"] = Field(default="replace", description="replace, or hash: the same of the same")
    with_: str | None = Field(default=None, alias="with", description='what takes their place; "***"')
    key_file: SomeText | None = Field(default=None, description="how = hash: the file that holds the key")
    key_env: SomeText | None = Field(default=None, description="or the environment variable that does")

    @field_validator("with_")
    @classmethod
    def check(cls, value: str | None) -> str | None:
        """Find what cannot stand in a field."""
        return None if value is None else _check_line(value)


def check_rules(place: str, rewrite: Sequence[Rewrite], mask: Sequence[Mask]) -> None:
    """Raise `CombinationError` for what is wrong between the keys of a rule."""
    for at, rule in enumerate(rewrite):
        _check_rewrite(f"{place}.rewrite.{at}", rule)
    for at, hidden in enumerate(mask):
        _check_mask(f"{place}.mask.{at}", hidden)


def _check_rewrite(place: str, rule: Rewrite) -> None:
    query = rule.query
    if query is not None and (query.pattern is None) != (query.with_ is None):
        raise CombinationError(f"{place}.query", None, "pattern and with go together: write both, or neither")
    if query is not None and query == Query():
        raise CombinationError(f"{place}.query", None, "it changes nothing: write pattern and with, set or remove")
    if not any(getattr(rule, key) for key in Rewrite.model_fields if key != "where"):
        raise CombinationError(place, None, f"the rule changes nothing: write one of {_keys(Rewrite, ('where',))}")


def _check_mask(place: str, rule: Mask) -> None:
    if not (rule.headers or rule.parameters or rule.json_):
        raise CombinationError(place, None, "the rule hides nothing: write one of headers, parameters, json")
    keys = [key for key in ("key_file", "key_env") if getattr(rule, key) is not None]
    if rule.how == "hash" and len(keys) != 1:
        raise CombinationError(f"{place}.how", rule.how, "it needs a key: write key_file or key_env, one of them")
    if rule.how == "hash" and rule.with_ is not None:
        raise CombinationError(f"{place}.with", rule.with_, 'the hash takes the place: leave this out, or how = "hash"')
    if rule.how == "replace" and keys:
        value = getattr(rule, keys[0])
        raise CombinationError(f"{place}.{keys[0]}", value, 'nothing is hashed: write how = "hash", or leave this out')


def _keys(model: type[Table], but: Sequence[str]) -> str:
    return ", ".join(field.alias or key for key, field in model.model_fields.items() if key not in but)


# -- for the workers


def judged(outputs: Iterable[OutputSpec]) -> list[tuple[str, Verdicts]]:
    """Return what rules of workers know of requests, by their `where`."""
    rules = (rule for each in outputs for step in each.transforms for rule in getattr(step, "rules", ()))
    return [(rule.where, rule.verdicts) for rule in rules if rule.verdicts is not None]


def steps(
    place: str, rewrite: Sequence[Rewrite], mask: Sequence[Mask], before: list[tuple[str, Verdicts]] | None = None
) -> tuple[TransformSpec, ...]:
    """Return the steps of an output; raises ConfigError for a key that cannot be read.

    What earlier rules of the same `where` know of requests goes on, and is taken off the list.
    """
    if not rewrite and not mask:
        return ()
    from emit.masking import MaskSpec  # here, as most runs have no use for them
    from emit.rewriting import RewriteSpec

    known = [] if before is None else before
    made: list[TransformSpec] = []
    if rewrite:
        made.append(RewriteSpec(tuple(_rewrite(rule, known) for rule in rewrite)))
    if mask:
        keys = [_key(f"{place}.mask.{at}", rule) for at, rule in enumerate(mask)]
        made.append(MaskSpec(tuple(_mask(rule, key, known) for rule, key in zip(mask, keys, strict=True))))
    return tuple(made)


def _rewrite(rule: Rewrite, before: list[tuple[str, Verdicts]]) -> "RewriteRule":
    query = rule.query or Query()
    exchanged = None
    if query.pattern is not None and query.with_ is not None:
        exchanged = Replacement(query.pattern, query.with_)
    from emit.rewriting import RewriteRule, as_json

    return RewriteRule(
        where=rule.where,
        path=None if rule.path is None else rule.path.replacement,
        query=exchanged,
        set_parameters=tuple(query.set.items()),
        remove_parameters=query.remove,
        remove_headers=rule.remove_headers,
        replace_headers=tuple((each.name, each.replacement) for each in rule.replace_headers),
        set_headers=tuple(rule.set_headers.items()),
        body=None if rule.body is None else rule.body.replacement,
        json=tuple((pointer, as_json(value)) for pointer, value in rule.json_.items()),
        verdicts=_verdicts(rule.where, before),
    )


def _mask(rule: Mask, key: bytes | None, before: list[tuple[str, Verdicts]]) -> "MaskRule":
    from emit.masking import MaskRule

    return MaskRule(
        where=rule.where, headers=rule.headers, parameters=rule.parameters, json=rule.json_,
        text="***" if rule.with_ is None else rule.with_, key=key, verdicts=_verdicts(rule.where, before),
    )  # fmt: skip


def _verdicts(where: str | None, before: list[tuple[str, Verdicts]]) -> Verdicts | None:
    if where is None:
        return None
    for at, (known, verdicts) in enumerate(before):
        if known == where:
            del before[at]
            return verdicts
    return Verdicts.create()


def _key(place: str, rule: Mask) -> bytes | None:
    """Return the key of a keyed hash."""
    if rule.key_file is not None:
        place, name = f"{place}.key_file", rule.key_file
        try:
            key = Path(name).read_bytes().strip()
        except OSError as error:
            raise ConfigError(f"{place}: {name}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    elif rule.key_env is not None:
        place, name = f"{place}.key_env", rule.key_env
        key = os.environb.get(name.encode(), b"")
    else:
        return None
    if len(key) < SHORTEST_KEY:
        raise ConfigError(f"{place}: {name}: a key of {len(key)} bytes: write at least {SHORTEST_KEY}")
    return key


# -- for people


def explain(rewrite: Sequence[Rewrite], mask: Sequence[Mask]) -> Iterator[str]:
    """Yield what the rules change, in plain words."""
    for rule in rewrite:
        yield f"changes {_when(rule.where)}: {'; '.join(_changes(rule))}"
    for hidden in mask:
        yield f"hides in {_when(hidden.where)}: {'; '.join(_hidden(hidden))}, {_how(hidden)}"


def _when(where: str | None) -> str:
    return "every message" if where is None else f"messages where {where}"


def _changes(rule: Rewrite) -> Iterator[str]:
    if rule.path is not None:
        yield f"path {_exchange(rule.path.pattern, rule.path.with_)}"
    query = rule.query or Query()
    if query.pattern is not None:
        yield f"query {_exchange(query.pattern, query.with_ or '')}"
    if query.set:
        yield f"parameters set: {', '.join(query.set)}"
    if query.remove:
        yield f"parameters removed: {', '.join(query.remove)}"
    if rule.remove_headers:
        yield f"headers removed: {', '.join(rule.remove_headers)}"
    for each in rule.replace_headers:
        yield f"header {each.name} {_exchange(each.pattern, each.with_)}"
    if rule.set_headers:
        yield f"headers set: {', '.join(rule.set_headers)}"
    if rule.body is not None:
        yield f"body {_exchange(rule.body.pattern, rule.body.with_)}"
    if rule.json_:
        yield f"JSON set: {', '.join(rule.json_)}"


def _exchange(pattern: str, text: str) -> str:
    return f"{pattern} -> {text or 'nothing'}"


def _hidden(rule: Mask) -> Iterator[str]:
    for what, names in (("headers", rule.headers), ("parameters", rule.parameters), ("JSON", rule.json_)):
        if names:
            yield f"{what} {', '.join(names)}"


def _how(rule: Mask) -> str:
    if rule.how == "hash":
        return f"by a hash with the key in {rule.key_file or f'the environment, {rule.key_env}'}"
    return f"by {'***' if rule.with_ is None else rule.with_ or 'nothing'}"
