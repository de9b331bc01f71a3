"""Names and specifications that other packages build on."""

import dataclasses

import pytest

from emit.records import OUTPUT_COUNTERS, WORKER_COUNTERS, OutputSpec, worker_counters


def test_counter_names_are_one_set_per_output():
    """The ledger finds them by name."""
    names = worker_counters(2)
    assert len(set(names)) == len(names) == len(WORKER_COUNTERS) + 2 * len(OUTPUT_COUNTERS)
    assert {"messages_taken", "output0_delivered", "output1_undelivered"} <= set(names)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (OutputSpec("tcp", 0, address="[::1]:24224"), "output 0 (tcp [::1]:24224)"),
        (OutputSpec("file", 1, path="a.jsonl"), "output 1 (file a.jsonl)"),
        (OutputSpec("null", 2), "output 2 (null)"),
    ],
)
def test_an_output_is_called_what_the_operator_wrote(spec: OutputSpec, name: str):
    """It is what error messages begin with."""
    assert spec.name == name


def test_specifications_do_not_change_after_start():
    """What runs is what was checked."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        OutputSpec("null", 0).index = 1  # type: ignore[misc]
