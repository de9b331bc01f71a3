"""From configuration to stages: who reads and writes which ring, and that every setting arrives."""

import logging

import pytest

from capture.errors import SourceError
from emit.records import Sifting
from emit.selection import FOREVER, Moment, Selection
from pipeline.settings import parse
from pipeline.specs import labels
from pipeline.stages import answer_rings, wire, workers
from tests.integration.jobs import exchanges
from tests.packets_files import write_pcap
from tests.pipeline.sending import sending


@pytest.fixture
def reading(tmp_path):
    """A configuration that reads a capture, with values that are not the defaults."""
    path = write_pcap(tmp_path / "shop.pcap", exchanges(1))
    return (
        f'[input]\ntype = "pcap"\npath = "{path}"\nports = [81]\nfilter = "tcp"\n'
        '[assemble]\nresponses = false\ngap_timeout = "3s"\nidle_timeout = "4s"\nmax_header = 5000\n'
        'max_message = 6000\nmemory = "7MiB"\n[workers]\ncount = 2\n'
        '[ring]\nframes = "2MiB"\nmessages = "8MiB"\nbatch_frames = 9\nbatch_bytes = 10000\n'
        '[[output]]\ntype = "null"\n'
    )


def test_consumers_start_before_producers(reading):
    """Whoever writes finds its reader there."""
    wiring = wire(parse(reading, "m.toml"), logging.INFO)
    assert [each.name for each in wiring.stages] == ["worker 0", "worker 1", "assembler", "capture"]
    assert [each.source for each in wiring.stages] == [False, False, False, True]


def test_every_ring_has_one_writer_and_one_reader(reading):
    """The invariant of the ring itself."""
    wiring = wire(parse(reading, "m.toml"), logging.INFO)
    *workers, assembler, capture = wiring.stages
    assert capture.writes == (assembler.spec.ring,)
    assert assembler.writes == tuple(worker.spec.ring for worker in workers)
    assert set(wiring.rings) == {"frame ring", "message ring 0", "message ring 1"}
    assert wiring.rings["frame ring"].capacity >= 2 * 2**20
    assert wiring.rings["message ring 1"].capacity >= 8 * 2**20


def test_each_lane_has_its_own_rings_assembler_and_workers(reading):
    """Nothing between two lanes is shared, so nothing needs a lock; only the reader feeds them all."""
    wiring = wire(parse(reading.replace("ports", "lanes = 3\nports"), "m.toml"), logging.INFO)
    *rest, capture = wiring.stages
    workers, assemblers = rest[:6], rest[6:]
    assert [each.name for each in workers] == [f"worker {at}" for at in range(6)]
    assert [(each.spec.index, each.spec.workers) for each in workers] == [(at, 6) for at in range(6)]
    assert [each.name for each in assemblers] == ["assembler 0", "assembler 1", "assembler 2"]
    assert capture.writes == capture.spec.rings == tuple(each.spec.ring for each in assemblers)
    for lane, each in enumerate(assemblers):
        assert each.writes == tuple(worker.spec.ring for worker in workers[2 * lane : 2 * lane + 2])
        assert each.spec.settings.memory == 7 * 2**20 // 3
        assert each.spec.settings.ports == (81,)
    assert list(wiring.rings) == [f"frame ring {at}" for at in range(3)] + [f"message ring {at}" for at in range(6)]
    assert len({id(ring) for ring in wiring.rings.values()}) == 9
    assert capture.assembled is capture.spec.route.page
    assert capture.spec.route.settings.memory == 7 * 2**20


def test_every_stage_says_which_rings_it_reads(reading):
    """The supervisor asks who feeds whom."""
    for lanes in (1, 2):
        wiring = wire(parse(reading.replace("ports", f"lanes = {lanes}\nports"), "m.toml"), logging.INFO)
        read = [ring for each in wiring.stages for ring in each.reads]
        written = [ring for each in wiring.stages for ring in each.writes]
        assert len(read) == len(set(read)) == len(wiring.rings)
        assert set(read) == set(written) == set(wiring.rings.values())
        assert wiring.feeding(wiring.stages[0]) == [wiring.stages[2 * lanes], wiring.stages[-1]]


def test_every_setting_of_assembly_and_capture_arrives(reading):
    """A key that is accepted and not obeyed is worse than an unknown one."""
    *_, assembler, capture = wire(parse(reading, "m.toml"), logging.DEBUG).stages
    settings = assembler.spec.settings
    assert (settings.ports, settings.responses) == ((81,), False)
    assert (settings.gap_timeout_s, settings.idle_timeout_s) == (3.0, 4.0)
    assert (settings.max_header, settings.max_message, settings.memory) == (5000, 6000, 7 * 2**20)
    assert (capture.spec.batch_frames, capture.spec.batch_bytes, capture.spec.bpf) == (9, 10000, "tcp")
    assert capture.spec.level == logging.DEBUG


def test_every_setting_of_outputs_and_receiver_arrives():
    """The same for the other half."""
    text = (
        '[input]\ntype = "tcp"\nlisten = "[::1]:7"\nmax_connections = 3\n'
        '[[output]]\ntype = "tcp"\naddress = "h:1"\ntag = "t"\ncompression = "gzip"\nretry = "2s"\n'
        'connect_timeout = "3s"\nwrite_timeout = "4s"\nack_timeout = "6s"\nwindow_chunks = 7\n'
        'policy = "drop"\npayload = "text"\nchunk_bytes = 8000\nchunk_records = 9\nflush = "10ms"\n'
        '[[output]]\ntype = "file"\npath = "o"\nformat = "recording"\ncompression = "zstd"\n'
    )
    wiring = wire(parse(text, "m.toml"), logging.INFO)
    worker, receiver = wiring.stages
    tcp, file = worker.spec.outputs
    assert (tcp.index, tcp.type, tcp.address, tcp.tag, tcp.compression, tcp.policy) == (
        0,
        "tcp",
        "h:1",
        "t",
        "gzip",
        "drop",
    )
    assert (tcp.retry_s, tcp.connect_timeout_s, tcp.write_timeout_s, tcp.ack_timeout_s) == (
        2.0,
        3.0,
        4.0,
        6.0,
    )
    assert tcp.payload == "text"
    assert (tcp.window_chunks, tcp.chunk_bytes, tcp.chunk_records, tcp.flush_s) == (7, 8000, 9, 0.01)
    assert (file.index, file.path, file.format) == (1, "o", "recording")
    assert (file.compression, file.policy) == ("zstd", "block")
    assert (receiver.spec.host, receiver.spec.port, receiver.spec.connections) == ("::1", 7, 3)
    assert wiring.outputs == ("tcp h:1", "file o")


def test_chunks_that_are_kept_are_for_an_output_that_would_send_the_same():
    """A reload goes on with them, and in the middle of a message; elsewhere, or in another form, it may not."""
    text = '[input]\ntype = "tcp"\n[[output]]\ntype = "tcp"\naddress = "h:1"\n'
    before = wire(parse(text, "m.toml"), logging.INFO).workers()
    [kept] = [each.kept for each in before[0].spec.outputs]
    for change, same in (
        ('compression = "gzip"\n', True), ('payload = "binary"\n', True), ('payload = "base64"\n', False),
        ('tag = "other"\n', False), ('spool = { path = "s" }\n', False),
    ):  # fmt: skip
        after = workers(parse(text + change, "m.toml"), logging.INFO, (), (), before)
        [found] = [each.kept for each in after[0].spec.outputs]
        assert found is not None
        assert (found is kept) is same, change


def test_an_input_that_is_not_there_is_found_before_anything_starts():
    """Else four processes would start to say it."""
    with pytest.raises(SourceError, match="no such file"):
        wire(parse('[input]\ntype = "pcap"\npath = "/no/file"\n[[output]]\ntype = "null"\n', "m"), logging.INFO)


def test_every_setting_of_a_recording_arrives(tmp_path):
    """A pattern is looked up when the run begins."""
    for name in ("b.rec", "a.rec"):
        (tmp_path / name).touch()
    text = f'[input]\ntype = "file"\npath = "{tmp_path}/*.rec"\nmax_message = "2MiB"\n'
    text += 'format = "jsonl"\nstart = "+10s"\nend = 2026-01-31T12:00:00Z\nloop = "forever"\nlongest_gap = "2s"\n'
    text += '[[output]]\ntype = "null"\n'
    wiring = wire(parse(text, "m.toml"), logging.INFO)
    worker, reader = wiring.stages
    assert (reader.kind, reader.source, reader.writes) == ("reader", True, worker.reads)
    assert reader.spec.paths == (f"{tmp_path}/a.rec", f"{tmp_path}/b.rec")
    moments = Moment(10**10, True), Moment(1_769_860_800 * 10**9)
    assert reader.spec.selection == Selection("jsonl", *moments, FOREVER, 2 * 10**9, 2 * 2**20)
    assert (reader.spec.stdin, reader.spec.level) == (None, logging.INFO)
    assert wiring.tally().reader is not None


def test_answers_have_a_ring_and_a_worker_beside_each_worker(reading):
    """Their workers come first, as consumers do, and have all outputs but those that send."""
    wiring = wire(sending(reading, True, False), logging.INFO)
    readers, workers = wiring.stages[:2], wiring.stages[2:4]
    assert [each.name for each in wiring.stages] == [
        "answer worker 0", "answer worker 1", "worker 0", "worker 1", "assembler", "capture",
    ]  # fmt: skip
    for at, (reader, worker) in enumerate(zip(readers, workers, strict=True)):
        ring = wiring.rings[f"answer ring {at}"]
        assert worker.writes == reader.reads == (worker.spec.answers,) == (reader.spec.ring,) == (ring,)
        assert reader.spec.answers is None
        assert [(each.index, each.answers) for each in worker.spec.outputs] == [(0, True), (1, False), (2, False)]
        assert [each.index for each in reader.spec.outputs] == [2]
        assert wiring.feeding(reader) == [worker, *wiring.stages[4:]]
    for config in (sending(reading), sending(reading, False)):
        assert not any("answer" in name for name in [*wire(config, logging.INFO).rings])


def test_who_takes_answers_knows_of_requests_what_the_worker_noted(reading):
    """One note for all outputs of the same `where`, and none that two processes write."""
    where = "where = \"path == '/a'\"\n"
    text = reading + where + '[[output]]\ntype = "null"\n' + where + '[[output]]\ntype = "null"\n'
    reader, _other, worker, *_rest = wire(sending(text, True), logging.INFO).stages
    ((noted, memory),) = worker.spec.asked
    assert noted == Sifting("path == '/a'")
    assert [each.follows for each in reader.spec.outputs] == [memory, memory, None]
    assert [each.follows for each in worker.spec.outputs] == [None] * 4
    memories = [each.verdicts for spec in (reader.spec, worker.spec) for each in spec.outputs if each.verdicts]
    assert len({id(each) for each in [*memories, memory]}) == 5


def test_what_is_summed_up_of_a_replay_goes_on_with_its_output(reading):
    """A memory for each output that sends, of each worker; a reload keeps it, as long as the target is the same."""
    config = sending(reading, True, False)
    wiring = wire(config, logging.INFO)
    before = wiring.workers()
    made = [each.summary for stage in before for each in stage.spec.outputs]
    assert [each is not None for each in made] == [False, False, True, True, False, True, True, False]
    assert len({id(each) for each in made if each is not None}) == 4
    rings = answer_rings(config, 2, before)
    assert list(rings.values()) == [stage.writes[0] for stage in before[2:]]
    after = workers(config, logging.INFO, tuple(rings.values()), (), before)
    assert [each.summary for stage in after for each in stage.spec.outputs] == made
    for stage in before[2:]:
        stage.spec.outputs[0].summary.sent(stage.spec.index, b"GET", b"/", 0)
        stage.spec.outputs[1].summary.sent(stage.spec.index, b"PUT", b"/", 0)
    without = sending(reading, False)
    wiring.succeed(workers(without, logging.INFO, (), (), before), labels(without))
    url = "http http://127.0.0.1:9"
    expected = {f"output 0: {url}": {"GET /": 2}, f"output 1: {url}, before reload 1": {"PUT /": 2}}
    for _buried in range(2):
        found = {
            name: {each.name: each.requests for each in totals.endpoints.values()}
            for name, totals in wiring.replays().items()
        }
        assert found == expected
        wiring.bury()
