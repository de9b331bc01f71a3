"""A far output that nobody reads for a moment; scripts/torture does the same for minutes."""

import pytest

from tests.torture.pressure import POLICIES, torture


@pytest.mark.parametrize("policy", POLICIES)
def test_what_cannot_go_on_waits_or_is_counted_or_goes_to_the_disk(tmp_path, policy):
    """Every message once or in the ledger, from end to end; the output beside waits only where that was asked for."""
    result = torture(tmp_path, policy, [2.5])
    assert result.unread_bytes > 0, "the receiver does not read what its outputs do not take"
    assert (result.waited_s >= 2.4) == (policy == "block"), result
    assert result.waited_s < 1 or policy == "block", result
