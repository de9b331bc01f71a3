"""What the benchmark generates is what it says: every shape, small, through the assembler."""

import pytest

import assemble
from scripts.benchmark.shapes import catalogue, generated


@pytest.mark.parametrize("name", catalogue(quick=True))
def test_every_shape_holds_exactly_the_messages_that_its_note_counts(name, tmp_path):
    """A benchmark over traffic that is not what it seems measures something else."""
    path, note = generated(tmp_path, name, quick=True)
    settings = {}
    found = list(assemble.messages(str(path), ports=[note["port"]], **settings))
    assert len(found) == note["messages"]
    assert sum(m.complete for m in found) == note["complete"]
    if note["complete"]:
        assert sum(len(m.payload) for m in found) == note["payload"]
