"""The sums of several workers."""

from emit.totals import EndpointTotals, Totals, merged


def endpoint(statuses: dict[tuple[int, int], int], **changes: object) -> EndpointTotals:
    """Make the sums of an endpoint."""
    made = EndpointTotals("GET /", statuses=statuses)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_changes_of_status_are_told_from_what_stayed():
    """A failure that was one before is no change."""
    made = endpoint({(200, 200): 5, (500, 500): 1, (200, 500): 2, (404, 200): 1})
    assert (made.same, made.changed) == (6, 3)


def test_merging_adds_and_leaves_the_parts_alone():
    """They may be shown by themselves."""
    one = Totals({"GET /": endpoint({(200, 500): 1}, requests=3, failed={"timeout": 2})}, unknown=1)
    other = Totals({"GET /": endpoint({(200, 500): 1, (200, 200): 4}, requests=5, failed={"timeout": 1, "closed": 1})})
    both = merged([one, other])
    assert both == merged([other, one])
    found = both.endpoints["GET /"]
    assert (found.requests, found.failed, found.failures) == (8, {"timeout": 3, "closed": 1}, 4)
    assert found.statuses == {(200, 500): 2, (200, 200): 4}
    assert (one.endpoints["GET /"].requests, both.unknown) == (3, 1)
    assert merged([]) == Totals()
