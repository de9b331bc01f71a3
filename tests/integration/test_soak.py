"""Eight hours of mixed load, compressed to some seconds (tests/torture/soak.py): the same code, driven harder.

What fits: more faults than one an hour would bring, and some 4,000 exchanges, as many as a service with one every seven
seconds has in that time.  What does not fit is time itself: scripts/torture soak is for that.
"""

from tests.namespace import needs_root
from tests.torture.soak import Manner, soak

SECONDS = 10.0
HOURS = 8


@needs_root
def test_eight_hours_of_a_modest_service_leave_nothing_lost_and_nothing_larger(tmp_path):
    """Every message is there once, both ledgers close, no process has grown."""
    report = soak(tmp_path, Manner(SECONDS, look_s=1.0, fault_s=0.3, pause_s=0.008, rotate="2MiB"), 3)
    print(*report.lines(), sep="\n")
    assert report.faults.total() >= HOURS
    assert set(report.faults) == {"kills", "pauses", "cuts", "reloads"}
    assert report.exchanges > 500, "4,000 on a machine of one's own"
    assert report.rotated > 4
    assert report.latencies_s
    assert {"near supervisor", "far supervisor"} <= set(report.slopes()), "there was something to fit a line to"
