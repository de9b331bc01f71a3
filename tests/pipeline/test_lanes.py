"""How many lanes a run gets."""

import pytest

from pipeline.lanes import lanes
from pipeline.settings import parse


def configured(value: str, workers: int = 1) -> str:
    """A configuration with this number of lanes."""
    source = f'[input]\ntype = "pcap"\npath = "x"\nlanes = {value}\n'
    return f'{source}[workers]\ncount = {workers}\n[[output]]\ntype = "null"\n'


@pytest.mark.parametrize(
    ("cores", "workers", "expected"),
    [(1, 1, 1), (2, 1, 1), (4, 1, 1), (5, 1, 2), (8, 1, 3), (16, 3, 3), (64, 1, 31), (1000, 1, 64)],
)
def test_auto_gives_each_process_a_core(cores, workers, expected):
    """More processes than cores only take turns."""
    assert lanes(parse(configured('"auto"', workers), "m"), cores) == expected


def test_auto_looks_at_the_cores_of_this_process():
    """A container may use fewer than the machine has."""
    assert 1 <= lanes(parse(configured('"auto"'), "m")) <= 64


def test_a_number_is_taken_as_it_is():
    """Whoever writes one has a reason."""
    assert lanes(parse(configured("7"), "m"), 1) == 7


def test_a_receiver_has_one():
    """Its messages are whole: there is nothing to assemble."""
    assert lanes(parse('[input]\ntype = "tcp"\n[[output]]\ntype = "null"\n', "m"), 64) == 1
