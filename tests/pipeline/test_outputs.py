"""Outputs: what others ask of a table beyond its keys."""

import pytest

from pipeline.outputs import FileOutput, HttpOutput, NullOutput, TcpOutput, replays


def test_a_far_side_has_an_address_and_a_file_has_none():
    """The capture leaves this traffic out; a mirror that mirrors itself would never end."""
    assert TcpOutput(type="tcp", address="10.0.0.7:24224").end == ("10.0.0.7", 24224)
    assert HttpOutput(type="http", address="http://staging").end == ("staging", 80)
    assert HttpOutput(type="http", address="https://[::1]:8443").end == ("::1", 8443)
    assert FileOutput(type="file", path="o.rec").end is None


@pytest.mark.parametrize(
    ("keys", "pace"),
    [({}, (0.0, 0.0, 0.0)), ({"speed": 2}, (2.0, 0.0, 0.0)), ({"rate": 50, "ramp": "5s"}, (0.0, 50.0, 5.0))],
)
def test_how_fast_requests_are_sent_is_a_speed_a_rate_or_as_fast_as_allowed(keys, pace):
    """Zero stands for neither: the output then goes as fast as the target allows."""
    assert HttpOutput(type="http", address="http://h", **keys).pace == pace


def test_only_http_outputs_replay():
    """They alone have answers, a target and a schedule."""
    assert replays(HttpOutput(type="http", address="http://h"))
    assert not replays(NullOutput(type="null"))
