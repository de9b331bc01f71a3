"""How much memory each process may have: what it can honestly come to need fits in, whatever is configured."""

import logging
from collections.abc import Mapping
from typing import Final

import pytest

from pipeline.settings import parse
from pipeline.stages import wire

MIB: Final = 1 << 20
GIB: Final = 1 << 30
FILES: Final = '[input]\ntype = "pcap"\npath = "{place}/*.pcap"\nlanes = 2\n[assemble]\nmemory = "300MiB"\n{more}'
TCP: Final = '[input]\ntype = "tcp"\nlisten = "127.0.0.1:0"\nmax_connections = 4096\n{more}'
NULL: Final = '[[output]]\ntype = "null"\n'
HTTP: Final = '[[output]]\ntype = "http"\naddress = "http://127.0.0.1:1"\nqueue = "1GiB"\nconnections = 10\n'


@pytest.fixture
def limits(tmp_path):
    """Return the limit of each process, of a configuration."""
    for name in ("a.pcap", "b.pcap"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "hooks.py").write_text("def same(message):\n    return message\n")

    def of(source: str, more: str = NULL) -> Mapping[str, int | None]:
        config = parse(source.format(place=tmp_path, more=more), str(tmp_path / "m.toml")).beside(tmp_path)
        return {stage.name: stage.rights.data_bytes for stage in wire(config, logging.INFO).stages}

    return of


def test_an_assembler_may_have_twice_its_share_and_what_python_takes(limits):
    """The share is of bytes held; an allocator wastes some."""
    assert limits(FILES)["assembler 0"] == limits(FILES)["assembler 1"] == 2 * 150 * MIB + 256 * MIB


def test_a_receiver_may_have_what_it_may_hold(limits):
    """1 GiB of frames and parts; as Python's objects twice that, and each connection some."""
    assert limits(TCP)["receiver"] >= 2 * GIB + 4096 * 64 * 1024


def test_who_reads_many_files_may_have_something_for_each(limits):
    """All are open at a time, and merged."""
    source = '[input]\ntype = "file"\nformat = "jsonl"\npath = {paths}\nmax_message = "1GiB"\n{{more}}'
    one = limits(source.format(paths='"{place}/a.pcap"'))["reader"]
    two = limits(source.format(paths='["{place}/a.pcap", "{place}/b.pcap"]'))["reader"]
    assert two - one > 4 * GIB
    assert limits(FILES)["capture"] > GIB


def test_a_worker_may_have_what_its_queues_and_the_longest_message_take(limits):
    """A limit below would make it die of what it was configured for."""
    plain, larger = limits(FILES), limits(FILES, 'max_message = "1GiB"\n' + NULL)
    assert larger["worker 0"] - plain["worker 0"] == 10 * (GIB - 64 * MIB)
    http = limits(FILES, HTTP)
    assert http["worker 0"] >= plain["worker 0"] + 2 * GIB
    assert limits(FILES, HTTP + NULL)["worker 0"] > http["worker 0"]
    assert limits(TCP)["worker 0"] > GIB + 128 * MIB


def test_who_keeps_answers_may_have_what_all_connections_can_bring(limits):
    """Each answer is kept until it is whole."""
    plain = limits(FILES, HTTP + NULL)["worker 0"]
    for more in ("answers = true\n", "redirects = 1\n", 'cookies = "target"\n', 'middleware = ["cat"]\n'):
        assert limits(FILES, HTTP + more + NULL)["worker 0"] == plain + 10 * 64 * MIB


def test_functions_of_the_operator_may_have_whatever_there_is(limits):
    """Nobody but him knows what they need."""
    free = limits(FILES, NULL + NULL + 'python = "hooks:same"\n')
    assert {name for name, most in free.items() if most is None} == {"worker 0", "worker 1"}
