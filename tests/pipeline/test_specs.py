"""From the outputs of a configuration to what workers are given: every setting arrives, and memory is whose it is."""

import logging

import pytest

from emit.records import HttpSpec, TlsSpec
from pipeline.settings import parse
from pipeline.stages import wire, workers

WORKERS = '[input]\ntype = "tcp"\n[workers]\ncount = 2\n[[output]]\ntype = "null"\n'
HTTP = '[input]\ntype = "tcp"\n[[output]]\ntype = "http"\naddress = "https://shop:8443/base"\n'


def test_a_filter_arrives_with_a_memory_for_each_worker():
    """Two workers that wrote into one memory would spoil it."""
    wiring = wire(parse(WORKERS + "where = \"method == 'GET'\"\n", "m.toml"), logging.INFO)
    (one,), (other,) = (stage.spec.outputs for stage in wiring.workers())
    assert one.where == other.where == "method == 'GET'"
    assert one.verdicts is not other.verdicts
    (plain,) = wire(parse(WORKERS, "m.toml"), logging.INFO).workers()[0].spec.outputs
    assert (plain.where, plain.verdicts) == (None, None)


def test_every_setting_of_a_replay_arrives():
    """A key that is accepted and not obeyed is worse than an unknown one."""
    text = HTTP + (
        'mode = "pool"\nconnections = 3\nhost = "captured"\nspeed = 2.0\nramp = "3s"\nmultiply = 4\n'
        'copy_header = "X-N"\ncopy_parameter = "n"\nconnect_timeout = 1\ntimeout = 2\nlongest = 3\n'
        "idle_timeout = 4\nretry = 5\nretries = 6\n"
        'queue = "1MiB"\nredirects = 7\ncookies = "target"\nanswers = true\nmax_answer = "2KiB"\nverify = false\n'
        'server_name = "other"\n[[output]]\ntype = "null"\n'
    )
    (spec, _null) = wire(parse(text, "m.toml"), logging.INFO).workers()[-1].spec.outputs
    assert (spec.type, spec.address, spec.answers) == ("http", "https://shop:8443/base", True)
    assert spec.http == HttpSpec(
        host="shop", port=8443, base="/base", authority=None, pooled=True, connections=3, multiply=4,
        copy_header="X-N", copy_parameter="n", connect_timeout_s=1.0, timeout_s=2.0, longest_s=3.0, idle_s=4.0,
        retry_s=5.0, retries=6, queue_bytes=1 << 20, redirects=7, target_cookies=True, max_answer=2048,
        tls=TlsSpec("other", verify=False),
    )  # fmt: skip
    assert (spec.http.pace.speed, spec.http.pace.rate, spec.http.pace.ramp_s) == (2.0, 0.0, 3.0)


@pytest.mark.parametrize(
    ("host", "authority"), [("target", "shop:8443"), ("captured", None), ("a.example", "a.example")]
)
def test_host_is_whose_it_is_said_to_be(host, authority):
    """Virtual hosts at the target are told apart by it."""
    (spec,) = wire(parse(HTTP + f'host = "{host}"\n', "m.toml"), logging.INFO).workers()[0].spec.outputs
    assert spec.http.authority == authority
    assert spec.http.tls.server_name == "shop"


def test_methods_are_a_filter_beside_the_other():
    """Responses follow their requests through it."""
    text = HTTP + 'where = "path ~ \'/a\' or host == \'b\'"\nmethods = ["GET", "HEAD"]\n'
    (spec,) = wire(parse(text, "m.toml"), logging.INFO).workers()[0].spec.outputs
    assert spec.where == "(path ~ '/a' or host == 'b') and (method == 'GET' or method == 'HEAD')"
    assert spec.verdicts is not None


def test_all_workers_share_a_schedule_and_it_outlives_a_reload():
    """A second one would begin where the first has been for long."""
    config = parse(HTTP + "speed = 2.0\n[workers]\ncount = 2\n", "m.toml")
    before = wire(config, logging.INFO).workers()
    paces = [stage.spec.outputs[0].http.pace for stage in before]
    assert paces[0] is paces[1]
    same = workers(config, logging.INFO, (), (), before)
    assert all(stage.spec.outputs[0].http.pace is paces[0] for stage in same)
    other = parse(HTTP + "speed = 3.0\n[workers]\ncount = 2\n", "m.toml")
    assert all(
        stage.spec.outputs[0].http.pace is not paces[0] for stage in workers(other, logging.INFO, (), (), before)
    )


def test_each_worker_has_its_share_of_a_limit():
    """Two workers with 500 a second each would be 1000."""
    text = WORKERS + 'limit = 500\nsample = "1/20"\nsample_from = "1/2"\nsample_by = "flow"\n'
    specs = [stage.spec.outputs[0] for stage in wire(parse(text, "m.toml"), logging.INFO).workers()]
    assert [(each.limit, each.over_limit, each.sample, each.sample_from, each.sample_by) for each in specs] == [
        (250, "wait", 5, 50, "flow")
    ] * 2
    assert specs[0].verdicts is not None
    assert specs[0].verdicts is not specs[1].verdicts
