"""The command line: options in, exit code out; all work is done by the modules that the commands call."""

import contextlib
import logging
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, cast

import typer

from capture.errors import ConfigError, MirrorError, refused
from pipeline.terminal import Terminal, start_logging

USAGE_EXIT_CODE: Final = 2
USAGE_ERROR: Final = cast(type[Exception], typer.BadParameter.__base__)  # typer names only some of its children

app = typer.Typer(
    help="Mirror HTTP traffic, live or from capture files, with nothing lost in silence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class LogStyle(StrEnum):
    """How log lines look."""

    plain = "plain"
    json = "json"


ConfigPath = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The TOML configuration.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key, like output.0.address=[::1]:24224."),
]
LedgerPath = Annotated[
    Path | None,
    typer.Option("--ledger", metavar="FILE", help='Write the ledger as JSON; "-" is standard output.'),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 3 if anything was lost, counted or not.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong: no progress, no ledger.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also say what is of use to a developer.")]
Style = Annotated[LogStyle, typer.Option("--log-format", help="Log lines for people, or JSON objects.")]


@app.command()
def run(
    config: ConfigPath,
    set_: Overrides = None,
    ledger: LedgerPath = None,
    strict: Strict = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_format: Style = LogStyle.plain,
) -> None:
    """Run the main job: input, messages, outputs; prints the ledger at the end."""
    from pipeline.run import Origin, Telling
    from pipeline.run import run as run_job
    from pipeline.settings import load

    terminal = _terminal(quiet, verbose, log_format)
    job = load(config, set_ or ())
    origin = Origin(config, lambda: load(config, set_ or ()))
    raise typer.Exit(run_job(job, Telling(terminal, ledger, strict, quiet), origin))


@app.command()
def reload(config: ConfigPath) -> None:
    """Have the run of this configuration apply what was changed in the file; says what needs a restart."""
    from pipeline.control import ask

    lines, code = ask(config)
    for line in lines:
        typer.echo(line, err=code != 0)
    raise typer.Exit(code)


@app.command()
def check(config: ConfigPath, set_: Overrides = None) -> None:
    """Check a configuration, and say in plain words what would be captured and sent where."""
    from pipeline.explain import explain
    from pipeline.settings import load

    for line in explain(load(config, set_ or ())):
        typer.echo(line)


@app.command()
def interfaces(json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List the network interfaces, and what matters of them to a capture."""
    from pipeline.checkup import interfaces as describe

    typer.echo(describe(json))


@app.command()
def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="Also look at what this one needs.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say what is missing here for live traffic, and what would be better; exits with 1 if something is missing."""
    from pipeline.checkup import diagnose
    from pipeline.settings import load

    text, code = diagnose(None if config is None else load(config), json)
    typer.echo(text)
    raise typer.Exit(code)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("mirror.toml"),
) -> None:
    """Write a commented configuration; never overwrites a file."""
    from pipeline.run import private
    from pipeline.template import template

    try:
        with open(path, "x", encoding="utf-8", opener=private) as file:
            file.write(template())
    except FileExistsError as error:
        raise ConfigError(f"{path}: exists already and is left as it is; write another name") from error
    except OSError as error:
        raise MirrorError(f"{path}: cannot be written: {error.strerror}") from error
    typer.echo(f"{path} written; next: pipeline check --config {path}")


@app.command()
def receive(
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Port 0: any free port.")] = "127.0.0.1:24224",
    to: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.jsonl|URL|-|null", help="Where to; may be given several times."),
    ] = None,
    certificate: Annotated[str | None, typer.Option(metavar="FILE", help="Speak TLS, with this, PEM.")] = None,
    key: Annotated[str | None, typer.Option(metavar="FILE", help="Its key, if not in the same file.")] = None,
    client_ca: Annotated[
        str | None, typer.Option(metavar="FILE", help="Senders show a certificate of this authority.")
    ] = None,
    shared_key_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Senders have the key that is in it.")
    ] = None,
    users_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="And are users of it: lines name:password.")
    ] = None,
    open_to_all: Annotated[
        bool, typer.Option("--open-to-all", help="Anybody may send, at a public address, too.")
    ] = False,
    set_: Overrides = None,
    ledger: LedgerPath = None,
    strict: Strict = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_format: Style = LogStyle.plain,
) -> None:
    """Be the far side: take messages over TCP, and store or replay them, until Ctrl-C."""
    from pipeline.run import Telling
    from pipeline.run import run as run_job
    from pipeline.settings import build

    if not to:
        raise ConfigError('--to: missing; write a file name, a URL, "-" for standard output, or "null"')
    terminal = _terminal(quiet, verbose, log_format)
    wanted = {
        "certificate": certificate, "key": key, "client_ca": client_ca, "shared_key_file": shared_key_file,
        "users_file": users_file, "open_to_all": open_to_all or None,
    }  # fmt: skip
    source = {name: value for name, value in wanted.items() if value is not None}
    tables = {"input": {"type": "tcp", "listen": listen, **source}, "output": [_output(each) for each in to]}
    job = build(tables, "receive", set_ or ())
    raise typer.Exit(run_job(job, Telling(terminal, ledger, strict, quiet)))


def _output(to: str) -> dict[str, str]:
    if to in {"-", "null"}:
        return {"type": "stdout" if to == "-" else "null"}
    if "://" in to:
        return {"type": "http", "address": to}
    from emit.formats import by_ending

    return {"type": "file", "path": to, "format": by_ending(to) or "jsonl"}


class Kind(StrEnum):
    """Formats of messages."""

    recording = "recording"
    jsonl = "jsonl"
    gor = "gor"
    har = "har"


class Origin(StrEnum):
    """Formats of what can be converted."""

    recording = "recording"
    jsonl = "jsonl"
    gor = "gor"
    har = "har"
    pcap = "pcap"


class Compression(StrEnum):
    """Of a recording's blocks."""

    none = "none"
    gzip = "gzip"
    zstd = "zstd"


@app.command()
def convert(
    files: Annotated[
        list[str], typer.Argument(metavar="IN... OUT", help='Files to read, and the one to append to; "-": standard.')
    ],
    format_: Annotated[Kind | None, typer.Option("--format", help="Of OUT; default: by its name.")] = None,
    origin: Annotated[Origin | None, typer.Option("--from", help="Of IN; default: by content.")] = None,
    compression: Annotated[Compression | None, typer.Option(help="Of a recording's blocks.")] = None,
    start: Annotated[
        str | None, typer.Option(metavar="TIME", help="Messages from then on, like 2026-01-31T12:00:00Z or +10m.")
    ] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="Messages before then.")] = None,
    where: Annotated[str | None, typer.Option(metavar="EXPRESSION", help="Which messages; docs/filters.md.")] = None,
    port: Annotated[list[int] | None, typer.Option(help="TCP ports of the servers, in captures.")] = None,
    set_: Overrides = None,
    strict: Strict = False,
) -> None:
    """Bring messages from captures, recordings, JSON Lines, .gor and HAR files into one file of another format."""
    from pipeline.convert import Wish
    from pipeline.convert import convert as convert_files

    terminal = _terminal(True, False, LogStyle.plain)
    wish = Wish(format_, origin, compression, start, end, where, port or (), set_ or (), strict)
    raise typer.Exit(convert_files(files, wish, terminal))


@app.command()
def replay(
    files: Annotated[
        list[str], typer.Argument(help="Recordings, other files of messages, or captures; several are merged by time.")
    ],
    to: Annotated[str, typer.Option("--to", metavar="URL", help="The server, and a path to put before every target.")],
    speed: Annotated[str | None, typer.Option(metavar="FACTOR|max", help="Of the captured timing; default: 1.")] = None,
    rate: Annotated[float | None, typer.Option(help="Requests per second, instead of a speed.")] = None,
    ramp: Annotated[str | None, typer.Option(metavar="TIME", help="Speed or rate rise over this long.")] = None,
    loop: Annotated[str | None, typer.Option(metavar="N|forever", help="Replay all of it so often.")] = None,
    start: Annotated[str | None, typer.Option(metavar="TIME", help="From then on; a time, or like +10m.")] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="Before then.")] = None,
    longest_gap: Annotated[
        str | None, typer.Option(metavar="TIME", help="Shorten longer times without a message to that.")
    ] = None,
    multiply: Annotated[int | None, typer.Option(metavar="N", help="Send each request N times.")] = None,
    mode: Annotated[
        str | None, typer.Option(metavar="session|pool", help="Connections as captured, or shared.")
    ] = None,
    connections: Annotated[int | None, typer.Option(metavar="N", help="Most at a time.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Send only these; may be given several times.")] = None,
    host: Annotated[
        str | None, typer.Option(metavar="target|captured|NAME", help="What Host says; default: target.")
    ] = None,
    where: Annotated[str | None, typer.Option(metavar="FILTER", help="Send only these: docs/filters.md.")] = None,
    port: Annotated[list[int] | None, typer.Option(help="TCP ports of the servers in a capture; default: all.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Take any certificate of the server.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be sent, and send nothing.")] = False,
    set_: Overrides = None,
    ledger: LedgerPath = None,
    strict: Strict = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_format: Style = LogStyle.plain,
) -> None:
    """Send the requests of files of messages, or of captures, to a server, and say what it answered."""
    from pipeline.rehearsal import rehearse
    from pipeline.replay import factor, tables, times
    from pipeline.run import Telling
    from pipeline.run import run as run_job
    from pipeline.settings import build

    terminal = _terminal(quiet, verbose, log_format)
    output = {
        "address": to, "speed": factor(speed), "rate": rate, "ramp": ramp, "multiply": multiply, "mode": mode,
        "connections": connections, "methods": method, "host": host, "where": where,
        "verify": False if insecure else None,
    }  # fmt: skip
    parts = {"loop": times(loop), "start": start, "end": end, "longest_gap": longest_gap}
    job = build(tables(files, port or (), output, parts), "replay", set_ or ())
    if dry_run:
        for line in rehearse(job):
            typer.echo(line)
        return
    raise typer.Exit(run_job(job, Telling(terminal, ledger, strict, quiet)))


@app.command()
def inspect(
    file: Annotated[str, typer.Argument(help='A capture, or a file of messages; "-": a capture on standard input.')],
    port: Annotated[list[int] | None, typer.Option(help="TCP ports of the servers; default: all.")] = None,
    frame: Annotated[int | None, typer.Option(min=1, help="Explain this frame, counted from 1.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per message.")] = False,
) -> None:
    """List the messages of a capture or a file of messages, its flows and its ledger; or explain one frame."""
    from pipeline.dissection import explain_frame
    from pipeline.inspection import inspect as inspect_file

    terminal = _terminal(False, False, LogStyle.plain)
    if frame is not None:
        explain_frame(file, port or (), frame, sys.stdout)
    else:
        inspect_file(file, port or (), json, sys.stdout, terminal)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version as distribution_version

        typer.echo(f"ringtap {distribution_version('ringtap')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


def _terminal(quiet: bool, verbose: bool, style: LogStyle) -> Terminal:
    terminal = Terminal()
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    start_logging(terminal, style.value, level)
    return terminal


def run_command_line(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit; what went wrong is one line on standard error."""
    try:
        code = typer.main.get_command(app).main(
            args=None if arguments is None else list(arguments), prog_name="pipeline", standalone_mode=False
        )
    except MirrorError as error:
        code = _fail(str(error), error.exit_code)
    except USAGE_ERROR as error:
        code = _fail(getattr(error, "format_message", error.__str__)(), USAGE_EXIT_CODE)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone: nothing to say, and nobody to say it to
        code = 1
    except OSError as error:
        if (told := refused(error)) is None:
            raise
        code = _fail(told, 1)
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    sys.exit(code)


def _fail(text: str, code: int) -> int:
    for line in text.splitlines()[:1]:
        with contextlib.suppress(OSError):  # a full disk: the exit code says it, too
            sys.stderr.write(f"pipeline: error: {line}\n")
    return code
