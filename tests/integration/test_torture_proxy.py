"""A bad network between two pipelines, for seconds; scripts/torture does the same for minutes."""

import pytest

from tests.torture.proxy import torture


@pytest.mark.timeout(120)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_over_a_bad_network_every_message_arrives_once(tmp_path, tls):
    """Cut, reset, stalled, refused, late, twice, garbled: the far file is what was sent, and both ledgers close."""
    result = torture(tmp_path, 300, seed=3, tls=tls)
    assert sum(result.faults.values()) >= 3, result
