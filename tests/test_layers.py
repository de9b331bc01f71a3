"""The layers of STYLE 1 and DESIGN 1, read from the imports: who may know whom, who may touch the world.

Python files are parsed; of Cython files the import and cimport lines are read.
"""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("capture", "assemble", "emit", "pipeline")

MAY_IMPORT: Final = {
    "capture": {"capture"},
    "assemble": {"assemble", "capture"},
    "emit": {"emit", "assemble", "capture"},
    "pipeline": set(PACKAGES),
}
"""The packages that each package may import at all."""

DOORS: Final = {
    ("assemble", "capture"): {
        "records",
        "frames",
        "ring",
        "counters",
        "errors",
        "child",
        "lanes",
        "orders",
        "route",
        "memory",
    },
    ("emit", "capture"): {
        "records",
        "ring",
        "counters",
        "errors",
        "child",
        "limits",
        "streams",
        "memory",
        "descriptor",
        "marks",
    },
    ("emit", "assemble"): {"records", "message"},  # message: for what changes whole messages
}
"""The modules of an earlier stage that a later one sees; everything else there is its own affair."""

LIBRARY: Final = {
    ("assemble.library", "capture.sources"),
    ("emit.building", "assemble.message"),
    ("emit.library", "assemble.message"),
}
"""The library puts frames in and takes messages out without a process: it alone opens capture files; and it gives the
messages of files as the same objects."""

WORLD: Final = {"socket", "select", "selectors", "multiprocessing", "subprocess", "time", "os"}
"""Imports that make a module more than bytes in, records out."""

TOUCHES_THE_WORLD: Final = {
    "assemble.books": "shared memory, and how it travels to a child",
    "assemble.siphash": "random bytes",
    "capture.child": "process set-up: signals, death of the parent",
    "capture.counters": "shared memory, and how it travels to a child",
    "capture.inputs": "opens capture files and standard input",
    "capture.descriptor": "descriptors, and how they travel to a child",
    "capture.filters": "asks for the addresses of a name",
    "capture.interfaces": "asks the kernel for its interfaces",
    "capture.live": "waits for interfaces, and has the clock for a silent wire",
    "capture.memory": "shared memory",
    "capture.orders": "shared memory, and how it travels to a child",
    "capture.privileges": "users and capabilities of this process",
    "capture.pcapfile": "reads a file by descriptor",
    "capture.process": "has the clock for how long nobody captured",
    "capture.readers": "memory files for libpcap, positions in files",
    "capture.ring": "shared memory and eventfds, and how they travel to a child",
    "capture.sources": "finds files, hands them to libpcap",
    "capture.taps": "how long the kernel may keep what it captured",
    "capture.streams": "reads streams as they come",
    "emit.addresses": "asks the resolver, and has the clock for how old its answer is",
    "emit.admission": "puts TLS on sockets that were accepted",
    "emit.blockout": "random bytes",
    "emit.channel": "sends and receives on sockets to a target",
    "emit.connections": "polls its sockets",
    "emit.file": "opens, locks and appends to files",
    "emit.gorout": "cuts a file's broken end off",
    "emit.harout": "writes the end of a file anew",
    "emit.kept": "shared memory, and how it travels to a child",
    "emit.library": "has the clock for an output, and waits for its lock",
    "emit.listening": "the listening socket",
    "emit.link": "one TCP connection to a receiver",
    "emit.http": "poll events, and the limit of descriptors",
    "emit.pace": "shared memory, and how it travels to a child",
    "emit.program": "a program beside a worker, and the pipes to it",
    "emit.receiver": "polls its connections, reads from them and sends",
    "emit.recording": "opens recordings by path",
    "emit.sealing": "which counters it has",
    "emit.secured": "sends and receives on sockets with TLS",
    "emit.source": "opens files of messages",
    "emit.spool": "files of chunks",
    "emit.stdout": "standard output",
    "emit.taken": "shared memory, and how it travels to a child",
    "emit.succession": "descriptors by which one process waits for another",
    "emit.summary": "shared memory, and how it travels to a child",
    "emit.tail": "reads, cuts and appends to a file by descriptor",
    "emit.upstream": "sockets to a target, and its addresses",
    "emit.verdicts": "shared memory, and how it travels to a child",
    "emit.worker": "waits for rings and sockets, and has the clock for its outputs",
    "pipeline.confinement": "the user that runs this",
    "pipeline.control": "the socket that `pipeline reload` asks at",
    "pipeline.convert": "whether two names are of one file",
    "pipeline.credentials": "reads secrets, and who else could",
    "pipeline.devices": "asks the kernel for its interfaces",
    "pipeline.inherited": "signals and standard streams that this process was started with",
    "pipeline.lanes": "the cores that this process may use",
    "pipeline.machine": "looks at rights, cores, memory and clock",
    "pipeline.notify": "the service manager's socket",
    "pipeline.reach": "whether names resolve and files could be written",
    "pipeline.reload": "whether a file could be written",
    "pipeline.rules": "keys in the environment",
    "pipeline.run": "one whole run: clock and standard output",
    "pipeline.stages": "this process's number, for its children",
    "pipeline.steps": "imports the operator's functions, in a process of their own",
    "pipeline.processes": "starts processes",
    "pipeline.supervisor": "processes, signals, deadlines",
    "pipeline.terminal": "standard error, local time",
}

NO_TEST_OF_ITS_OWN: Final = {
    "pipeline.__main__": "three lines; every whole run in tests/integration goes through it",
}


def source_files() -> list[Path]:
    """Return every source file of the packages, relative to the root."""
    found = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if "__pycache__" not in path.parts]
    return sorted(path.relative_to(ROOT) for path in found if path.suffix in {".py", ".pyx", ".pxd"})


def module_name(path: Path) -> str:
    """Return the dotted name of a source file; that of a package for its __init__."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Return the dotted names that a source file imports; `from a import b` is a.b if that is a module."""
    text = (ROOT / path).read_text(encoding="utf-8")
    pairs = _parsed(text) if path.suffix == ".py" else _scanned(text)
    names = set()
    for origin, name in pairs:
        inner = f"{origin}.{name}" if name else origin
        is_module = any(
            (ROOT / inner.replace(".", "/")).with_suffix(suffix).exists() for suffix in (".py", ".pyx", ".pxd")
        )
        names.add(inner if is_module else origin)
    return names


def _parsed(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer"
            found += [(node.module or "", alias.name) for alias in node.names]
    return found


LINE: Final = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import\s+(\([^)]*\)|[^#\n]+)|c?import\s+([^#\n]+))", re.MULTILINE)


def _scanned(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for origin, names, whole in LINE.findall(text):
        for each in (names or whole).strip("()\n ").split(","):
            name = each.split(" as ")[0].strip()
            if name:
                found.append((origin, name) if origin else (name, ""))
    return found


FILES: Final = source_files()


def test_the_scan_sees_what_is_there():
    """A scan that finds nothing would let everything pass."""
    assert Path("capture/ring.pyx") in FILES
    assert {"os", "multiprocessing", "capture.errors", "capture.records", "libc.stdint"} <= imports_of(
        Path("capture/ring.pyx")
    )
    assert {"capture.child", "capture.ring", "typing"} <= imports_of(Path("pipeline/wiring.py"))
    assert _scanned("from a.b cimport (\n    c, d as e,\n    f)\ncimport g.h as i\nimport j, k  # l\n") == [
        ("a.b", "c"), ("a.b", "d"), ("a.b", "f"), ("g.h", ""), ("j", ""), ("k", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_stage_imports_only_what_is_before_it(path):
    """A stage that knew the next one, or the insides of the one before, could not be changed alone."""
    package, module = path.parts[0], module_name(path)
    for imported in imports_of(path):
        other, _, rest = imported.partition(".")
        if other not in PACKAGES or (module, imported) in LIBRARY:
            continue
        assert other in MAY_IMPORT[package], f"{path} imports {imported}"
        door = DOORS.get((package, other))
        assert door is None or rest.split(".")[0] in door, (
            f"{path} imports {imported}, which is not one of {sorted(door or ())}"
        )


@pytest.mark.parametrize("path", FILES, ids=str)
def test_only_listed_modules_touch_the_world(path):
    """Decisions are sans-IO: what is not listed can be tested with bytes and a timestamp."""
    touched = {name.split(".")[0] for name in imports_of(path)} & WORLD
    assert not touched or module_name(path) in TOUCHES_THE_WORLD, f"{path} imports {sorted(touched)}"


def test_the_list_of_exceptions_is_not_longer_than_needed():
    """An entry that is true no more would allow what nobody decided."""
    modules = {module_name(path): path for path in FILES if path.suffix != ".pxd"}
    for name in TOUCHES_THE_WORLD:
        assert {each.split(".")[0] for each in imports_of(modules[name])} & WORLD, f"{name} needs no exception"
    assert set(NO_TEST_OF_ITS_OWN) <= set(modules)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_nothing_unpickles(path):
    """DESIGN 12.  multiprocessing itself pickles what a child is started with: our own process wrote that."""
    names = imports_of(path)
    assert not (names | {name.split(".")[0] for name in names}) & {
        "pickle",
        "marshal",
        "shelve",
        "dill",
        "cloudpickle",
        "joblib",
        "multiprocessing.managers",
    }


@pytest.mark.parametrize("path", [each for each in FILES if each.suffix == ".py"], ids=str)
def test_nothing_uses_the_queues_that_pickle(path):
    """What comes out of a queue, a pipe or a manager of multiprocessing has been unpickled."""
    pickling = {"Queue", "SimpleQueue", "JoinableQueue", "Pipe", "Manager", "Pool", "Listener", "Client"}
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "multiprocessing":
            assert not {alias.name for alias in node.names} & pickling, path
        if isinstance(node, ast.Attribute) and node.attr in pickling:
            assert isinstance(node.value, ast.Name), path
            assert node.value.id == "faster_fifo", path


@pytest.mark.parametrize(
    "module",
    sorted({module_name(path) for path in FILES if path.suffix != ".pxd" and path.stem != "__init__"}),
)
def test_every_module_has_its_test_file(module):
    """STYLE 7: whoever changes a module knows where its claims are."""
    package, _, name = module.partition(".")
    exists = (ROOT / "tests" / package / f"test_{name}.py").exists()
    assert exists != (module in NO_TEST_OF_ITS_OWN), f"tests/{package}/test_{name}.py"
