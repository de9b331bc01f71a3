"""The record layouts, to the byte: what one process writes another reads, and tools outside may too."""

import re
import struct
from pathlib import Path

import pytest

from capture import records


@pytest.mark.parametrize("layout", ["RECORD_HEADER", "BATCH_HEADER", "FRAME_ENTRY"])
def test_the_table_beside_a_layout_is_the_layout(layout):
    """A table that has gone stale sends the next reader astray."""
    text = Path(records.__file__).read_text().partition(f"\n{layout}: Final")[2]
    packed: struct.Struct = getattr(records, layout)
    end = 0
    for at, size in re.findall(r"^at (\d+), +(\d+) bytes? ", text.split('"""')[1], re.MULTILINE):
        assert int(at) == end
        end += int(size)
    assert end == packed.size
    assert packed.size % 8 == 0


def test_counter_names_are_different():
    """Two rows of the ledger in one cell would close by accident."""
    assert len(set(records.CAPTURE_COUNTERS)) == len(records.CAPTURE_COUNTERS)
