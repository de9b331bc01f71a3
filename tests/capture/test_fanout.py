"""Numbers of fanout groups: two runs that shared one would each miss half of the traffic."""

import pytest

from capture.errors import SourceError
from capture.fanout import RUNS, FanoutGroups
from capture.interfaces import FANOUT_INDEXES
from capture.taps import OTHER_GROUP
from tests.namespace import isolated, needs_root


@needs_root
def test_no_two_runs_share_a_number():
    """The kernel would give each of them a part of the other's frames."""

    def several() -> None:
        groups = [FanoutGroups() for _ in range(RUNS)]
        ranges = [set(range(each.first, each.first + FANOUT_INDEXES)) for each in groups]
        assert len(set.union(*ranges)) == RUNS * FANOUT_INDEXES
        assert max(map(max, ranges)) < OTHER_GROUP, "a new order's groups would be another run's"
        with pytest.raises(SourceError, match="lanes = 1"):
            FanoutGroups()
        groups[3].close()
        again = FanoutGroups()
        assert again.first == 3 * FANOUT_INDEXES, "what was given back can be had again"
        for each in (*groups, again):
            each.close()

    isolated(several)
