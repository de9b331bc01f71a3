"""The record layouts, to the byte: what one process writes another reads, and tools outside may too."""

import re
import struct
from pathlib import Path

import pytest

from capture import records


@pytest.mark.parametrize("layout", ["RECORD_HEADER", "CLOCK", "BATCH_HEADER", "FRAME_ENTRY"])
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


def test_a_clock_holds_any_time_there_is():
    """Nanoseconds since the epoch, signed, little-endian: what the assembler compares with the frames' times."""
    assert records.CLOCK.pack(1_700_000_000_000_000_001) == bytes.fromhex("01002a36fe9c9717")
    assert all(records.CLOCK.unpack(records.CLOCK.pack(ts_ns)) == (ts_ns,) for ts_ns in (-(2**63), 0, 2**63 - 1))


def test_kinds_are_different():
    """A clock that is taken for frames would be a damaged record."""
    kinds = [value for name, value in vars(records).items() if name.startswith("KIND_")]
    assert len(set(kinds)) == len(kinds) >= 3
    assert 0 not in kinds  # that is padding


def test_counter_names_are_different():
    """Two rows of the ledger in one cell would close by accident."""
    assert len(set(records.CAPTURE_COUNTERS)) == len(records.CAPTURE_COUNTERS)
