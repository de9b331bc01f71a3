"""What a configuration would do, in plain words, for `pipeline check`.

In: a checked `Config`.  Out: lines of text.  Opens nothing but the list of input files.
"""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from capture.filters import expression
from capture.interfaces import datalink
from capture.sources import expand
from emit.records import WHOLE_SAMPLE
from emit.rotation import Names
from emit.where import parse
from pipeline import live, rules
from pipeline.config import Config
from pipeline.inputs import FileInput, LiveInput, PcapInput, TcpInput
from pipeline.lanes import lanes
from pipeline.outputs import FileOutput, HttpOutput, Output, StdoutOutput, TcpOutput
from pipeline.trust import check_trust
from pipeline.values import is_loopback, read_address, write_address, write_duration, write_moment, write_size

UNVERIFIED = " its certificate is not verified: anybody could be it"
FORMATS = {"jsonl": "JSON Lines", "recording": "a recording", "gor": "GoReplay's .gor", "har": "an HTTP archive"}

PAYLOADS = {
    "binary": "",
    "base64": "payloads in base64 (for other collectors: our own receiver wants bytes), ",
    "text": "payloads as text, in which what is not UTF-8 is lost, ",
}


def explain(config: Config) -> Iterator[str]:
    """Yield what would be read, what is done with it, and where it would be sent."""
    check_trust(config)
    for at, output in enumerate(config.output):
        rules.steps(f"output.{at}", output.rewrite, output.mask)
    if isinstance(config.input, TcpInput):
        yield from _tcp_input(config.input)
    elif isinstance(config.input, FileInput):
        yield from _file_input(config.input)
    elif isinstance(config.input, LiveInput):
        yield from _live_input(config, config.input)
        yield from _assembly(config, config.input)
    else:
        yield from _pcap_input(config.input)
        yield from _assembly(config, config.input)
    count = config.workers.count
    processes = "1 process" if count == 1 else f"{count} processes"
    of_each = f" in each of {lanes(config)} lanes" if lanes(config) > 1 else ""
    yield f"workers  {processes}{of_each}, each with a ring of {write_size(config.ring.messages)}"
    for at, output in enumerate(config.output):
        yield f"output {at} {_output(output)}; {_policy(config.policy(output))}"
        yield from (f"         {line}" for line in _steps(config, output))
        if isinstance(output, HttpOutput) and output.answers:
            yield "         what it answers goes to all other outputs, as replayed messages"
    yield "The configuration is valid."


def _pcap_input(source: PcapInput) -> Iterator[str]:
    yield f"input    frames from {_files(expand(source.path))}"
    ports = ", ".join(map(str, source.ports)) if source.ports else "all"
    yield f"         TCP ports: {ports}" + (f"; and only what matches: {source.filter}" if source.filter else "")


def _files(paths: Sequence[str]) -> str:
    """Name the first few files, and say how many and how large they are."""
    named = "standard input" if paths == ("-",) else ", ".join(paths[:4]) + (", …" if len(paths) > 4 else "")
    size = sum(Path(path).stat().st_size for path in paths if path != "-")
    several = f" ({len(paths)} files, merged by time)" if len(paths) > 1 else ""
    return f"{named}{several}{f', {write_size(size)}' if size else ''}"


def _file_input(source: FileInput) -> Iterator[str]:
    what = "" if source.format == "auto" else f", as {source.format}"
    files = _files(expand(source.path))
    yield f"input    messages recorded in {files}{what}; up to {write_size(source.max_message)} each"
    wanted = [f"{word} {write_moment(each)}" for word, each in (("from", source.start), ("before", source.end)) if each]
    if source.loop != 1:
        wanted.append("again and again" if source.loop == "forever" else f"{source.loop} times")
    if source.longest_gap is not None:
        wanted.append(f"no longer than {write_duration(source.longest_gap)} without a message")
    if wanted:
        yield f"         {', '.join(wanted)}"


def _live_input(config: Config, source: LiveInput) -> Iterator[str]:
    how = "promiscuous, " if source.promiscuous else ""
    yield (
        f"input    frames that go by on {', '.join(source.interfaces)}; {how}up to {write_size(source.snap_length)} "
        f"of each, {write_size(source.buffer)} of buffer, at most {write_duration(source.timeout)} late"
    )
    ports = ", ".join(map(str, source.ports)) if source.ports else "all"
    hosts = f"; hosts: {', '.join(source.hosts)}" if source.hosts else ""
    yield f"         TCP ports: {ports}{hosts}"
    if source.direction != "both":
        yield f"         {_direction(source)}"
    if source.sample < 100:
        yield f"         {source.sample:g}% of the connections, chosen by their addresses and ports"
    chosen = live.select(config)
    assert chosen is not None
    for address, port in chosen.exclude:
        yield f"         left out: {write_address(address, port)}, where an output sends to"
    yield f"         filter: {expression(live.wanted(config, source, chosen), datalink(source.interfaces))}"
    if source.user is not None:
        yield f"         its processes run as {source.user}"


def _direction(source: LiveInput) -> str:
    ours = ", ".join(source.hosts) if source.hosts else "this machine"
    if source.direction == "inbound":
        return f"only connections that others opened, not those that {ours} opened to others"
    return f"only connections that {ours} opened, not those that others opened"


def _assembly(config: Config, source: PcapInput | LiveInput) -> Iterator[str]:
    yield f"         tunnels: {', '.join(source.decapsulate) if source.decapsulate else 'not looked into'}"
    settings = config.assemble
    if source.lanes != 1:
        yield f"         {_lanes(config, lanes(config), source.lanes == 'auto')}"
    yield (
        f"messages HTTP/1.x {'requests and responses' if settings.responses else 'requests only'}, "
        f"up to {write_size(settings.max_message)} each, {write_size(settings.memory)} held at most"
    )
    yield (
        f"         missing bytes are given up after {write_duration(settings.gap_timeout)}, "
        f"silent connections after {write_duration(settings.idle_timeout)}, in the packets' own time"
    )
    if settings.separate:
        yield f"         connections of different {' or '.join(settings.separate)} are kept apart"
    if settings.checksums:
        yield "         packets with a wrong checksum are refused"


def _lanes(config: Config, count: int, auto: bool) -> str:
    how = ", as many as this machine has cores for" if auto else ""
    if count == 1:
        return f"1 lane{how}"
    frames, memory = write_size(config.ring.frames), write_size(config.assemble.memory // count)
    return f"{count} lanes{how}; each takes whole connections, with a ring of {frames} and {memory} held at most"


def _tcp_input(source: TcpInput) -> Iterator[str]:
    yield f"input    messages over TCP at {source.listen}, up to {source.max_connections} connections"
    keyed = source.shared_key_file or source.shared_key_env
    if source.certificate is not None:
        yield "         with TLS" + (f"; senders show a certificate of {source.client_ca}" if source.client_ca else "")
    if keyed:
        yield f"         senders have the key in {keyed}" + (" and are a user" if source.users_file else "")
    if is_loopback(read_address(source.listen)[0]):
        return
    if not keyed and source.client_ca is None:
        yield "         open to the network, no key asked for: anybody who reaches it can send"
    if source.certificate is None:
        yield "         not encrypted: anybody on the way can read it"


def _output(output: Output) -> str:
    if isinstance(output, TcpOutput):
        how = PAYLOADS[output.payload] + (
            "compressed, acknowledged" if output.compression == "gzip" else "acknowledged"
        )
        tls = ("with TLS, " if output.verify else f"with TLS (but{UNVERIFIED}), ") if output.tls else ""
        return (
            f"over TCP to {output.address}, tagged {output.tag}.request and {output.tag}.response, {tls}{how}; "
            f"an error after {write_duration(output.retry)} without the receiver"
            if output.spool is None
            else f"over TCP to {output.address}, tagged {output.tag}.request and {output.tag}.response, {how}; "
            f"up to {write_size(output.spool.size)} in {output.spool.path} while the receiver does not take it"
        )
    if isinstance(output, HttpOutput):
        return _replay(output)
    if isinstance(output, FileOutput):
        return _file_output(output)
    return "JSON Lines on standard output" if isinstance(output, StdoutOutput) else "nowhere: messages are counted"


def _replay(output: HttpOutput) -> str:
    """Say what is sent to a server, when, and over what."""
    how = ["every request"]
    if output.methods:
        how = [f"requests with {', '.join(output.methods)} and no others"]
    if output.multiply > 1:
        how.append(f"{output.multiply} times")
    shared = "shared connections" if output.mode == "pool" else "one connection for each captured one"
    host = {"target": "Host set to the target", "captured": "Host as captured"}.get(output.host, f"Host {output.host}")
    when = "as fast as it answers"
    if output.rate is not None:
        when = f"{output.rate:g} in a second"
    elif output.speed != "max":
        when = f"at {output.speed:g} times the captured speed"
    trust = "" if output.verify else f";{UNVERIFIED}"
    return (
        f"to {output.address}: {' '.join(how)}, {when}, {host}, "
        f"over {shared}, at most {output.connections} per worker; "
        f"given up after {write_duration(output.retry)} without the target{trust}"
    )


def _file_output(output: FileOutput) -> str:
    verb = "appended to" if Path(output.path).exists() else "written to"
    parts = [f"{FORMATS[output.format]}, {verb} {output.path}"]
    if output.compression != "none":
        parts.append(output.compression)
    names = Names(output.path, output.rotate_every)
    if names.by_time:
        parts.append(f"another file each {write_duration(names.every_ns / 1e9)} of the messages' time (UTC)")
    if output.rotate_size is not None:
        parts.append(f"another file after {write_size(output.rotate_size)}")
    return ", ".join(parts)


def _steps(config: Config, output: Output) -> Iterator[str]:
    if output.where is not None:
        yield _wanted(output.where)
    if output.sample < WHOLE_SAMPLE:
        begin = f", from {output.sample_from:g}% on" if output.sample_from else ""
        all_ = "them" if output.where else "the messages"
        yield f"{output.sample:g}% of {all_}{begin}, chosen by {output.sample_by}"
    yield from rules.explain(output.rewrite, ())
    if output.python is not None:
        yield f"each goes through the Python function {output.python}"
    if output.middleware is not None:
        yield f"each goes through a program: {shlex.join(output.middleware)}{_several(config)}"
    yield from rules.explain((), output.mask)
    if output.limit is not None:
        more = "more wait" if config.over_limit(output) == "wait" else "more are dropped and counted"
        yield f"at most {output.limit:g} exchanges a second, shared by all workers; {more}"


def _several(config: Config) -> str:
    count = config.workers.count * lanes(config)
    return f"; one for each of {count} workers, which have connections of their own" if count > 1 else ""


def _wanted(where: str) -> str:
    if parse(where).by_message:
        return f"only each message of which this is true: {where}"
    return f"only requests of which this is true, and their responses: {where}"


def _policy(policy: str) -> str:
    if policy == "drop":
        return "when it cannot keep up, messages are dropped and counted"
    return "when it cannot keep up, everything waits"
