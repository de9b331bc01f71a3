"""How many lanes a run gets."""

import pytest

from pipeline.lanes import by_kernel, cores_of, lanes
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


@pytest.mark.parametrize("source", ['type = "tcp"', 'type = "file"\npath = "a.rec"'])
def test_what_brings_whole_messages_has_one(source):
    """There is nothing to assemble."""
    assert lanes(parse(f'[input]\n{source}\n[[output]]\ntype = "null"\n', "m"), 64) == 1


LIVE = '[input]\ntype = "live"\nlanes = {lanes}\n{more}\n[workers]\ncount = {workers}\n[[output]]\ntype = "null"\n'


@pytest.mark.parametrize(("cores", "workers", "expected"), [(1, 1, 1), (3, 1, 1), (6, 1, 2), (16, 2, 4), (1000, 1, 64)])
def test_auto_counts_the_capture_of_each_live_lane(cores, workers, expected):
    """The kernel splits the flows, so each lane has a capture of its own."""
    assert lanes(parse(LIVE.format(lanes='"auto"', workers=workers, more=""), "m"), cores) == expected


def test_the_kernel_splits_flows_but_not_inside_tunnels():
    """Its hash is of the outer addresses, which may be other ones for the way back."""
    assert by_kernel(parse(LIVE.format(lanes=2, workers=1, more=""), "m"))
    assert not by_kernel(parse(LIVE.format(lanes=2, workers=1, more='decapsulate = ["vxlan"]'), "m"))
    assert not by_kernel(parse(configured("2"), "m"))


@pytest.mark.parametrize(
    ("usable", "count", "expected"),
    [
        ({0, 1, 2, 3}, 2, [(0, 1), (2, 3)]),
        ({4, 5}, 1, [(4, 5)]),
        ({0, 1}, 3, [(0,), (1,), (0,)]),
        (set(range(7)), 2, [(0, 1, 2), (3, 4, 5, 6)]),
    ],
)
def test_lanes_share_the_cores_out(monkeypatch, usable, count, expected):
    """Only those that this process may use, and none twice while there are enough."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: usable)
    assert [cores_of(lane, count) for lane in range(count)] == expected
