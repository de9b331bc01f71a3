"""The model itself: frozen, documented, complete."""

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from assemble.settings import REALMS, TUNNELS
from pipeline.combinations import check_combinations
from pipeline.config import Assemble, Config, Ring, Supervision, Workers
from pipeline.inputs import INPUTS
from pipeline.keys import Realm, Tunnel
from pipeline.outputs import OUTPUTS, Spool
from pipeline.table import CombinationError
from pipeline.template import default
from tests.pipeline.sending import sending

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
TABLES: list[type[BaseModel]] = [*INPUTS, Assemble, Workers, Ring, Supervision, Spool, *OUTPUTS]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_every_key_has_a_description(table):
    """It is the key's help in the template, in `docs` and for developers."""
    assert all(field.description for field in table.model_fields.values())


def test_a_configuration_is_frozen():
    """What was checked is what runs."""
    with pytest.raises(ValidationError, match="frozen"):
        Workers().count = 2  # type: ignore[misc]


def test_the_document_lists_every_key_with_its_default():
    """A table of keys that somebody keeps by hand would be wrong within a month."""
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", DOCUMENT.read_text(), re.MULTILINE)
    wanted = []
    for table in TABLES:
        for name, field in table.model_fields.items():
            shown = "required" if field.is_required() else "none" if field.default is None else f"`{default(field)}`"
            wanted.append((name, shown, field.description))
    assert sorted(rows) == sorted(wanted)


def test_the_tunnels_of_the_configuration_are_those_of_the_decoder():
    """A tunnel that only one of them knows could not be opened, or not be closed."""
    assert get_args(Tunnel) == TUNNELS
    assert get_args(Realm) == REALMS


def test_every_type_of_input_and_output_is_in_its_union():
    """`INPUTS` and `OUTPUTS` are what error lines list."""
    assert {str(each) for each in INPUTS} <= {str(each) for each in Config.model_fields["input"].annotation.__args__}


def test_answers_that_nobody_would_take_are_refused():
    """A key without an effect is a mistake; outputs that send do not send what others were answered."""
    text = '[input]\ntype = "tcp"\nlisten = "127.0.0.1:1"\n[[output]]\ntype = "null"\n'
    config = sending(text, False, True)
    check_combinations(config)
    assert config.wants_answers
    with pytest.raises(CombinationError, match="no other output is there to take them") as caught:
        check_combinations(config.model_copy(update={"output": config.output[:2]}))
    assert caught.value.key == "output.1.answers"
    assert not config.model_copy(update={"output": config.output[::2]}).wants_answers
