"""`pipeline init`: the file is valid as written, and so is every line in it that is a comment."""

import tomllib

from pipeline.inputs import INPUTS
from pipeline.outputs import OUTPUTS, FileOutput
from pipeline.settings import parse
from pipeline.template import template


def test_the_template_is_a_valid_configuration():
    """The first thing that a new user does is to run it."""
    config = parse(template(), "mirror.toml")
    assert isinstance(config.output[0], FileOutput)


def test_what_is_commented_out_is_valid_too():
    """Each default shown must be one that can stand there."""
    shown = template()
    sections: list[list[str]] = []
    for line in shown.splitlines():
        plain = line.removeprefix("# ")
        if plain.startswith("["):
            sections.append([])
        if sections and (plain.startswith("[") or " = " in plain):
            sections[-1].append(plain)
    tables = [tomllib.loads("\n".join(section)) for section in sections]
    outputs = [table["output"][0] for table in tables if "output" in table]
    inputs = [table["input"] for table in tables if "input" in table]
    assert {each["type"] for each in outputs} == {
        table.model_fields["type"].annotation.__args__[0] for table in OUTPUTS
    }
    assert [len(each) for each in inputs] == [len(table.model_fields) for table in INPUTS]
    for table, model in [(each, model) for each in outputs for model in OUTPUTS]:
        if model.model_fields["type"].annotation.__args__[0] == table["type"]:
            assert set(model.model_validate(table).model_fields_set) == set(model.model_fields)
