"""Functions as steps: what they may return, and what goes wrong in them."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from assemble.message import Message
from emit.hooks import SAY_S, Hook, HookError, HookSpec, find
from tests.emit.builders import request, response

MODULE = """
import sys
calls = 0

def same(message):
    return message

def mask(message):
    return message.replace(payload=message.payload.replace(b"secret", b"xxx"))

def longer(message):
    return message.replace(payload=b"POST /new HTTP/1.1\\\\r\\\\nA: b\\\\r\\\\n\\\\r\\\\n" + b"body")

def twice(message):
    return [message, message.replace(id=message.id + 1)]

def nobody(message):
    return None

def none_of_it(message):
    return ()

def number(message):
    return 7

def mixed(message):
    return [message, "text"]

def generator(message):
    yield message

def raises(message):
    raise ValueError(f"cannot do with {message.payload!r}")

def leaves(message):
    sys.exit(3)

def deep(message):
    return deep(message)

def prints(message):
    print("hello")
    return message

class Counter:
    def __init__(self):
        self.seen = 0
    def __call__(self, message):
        self.seen += 1
        return message if self.seen % 2 else None
    def method(self, message):
        return message

counter = Counter()
nothing = None
""".replace("\\\\", "\\")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a module, and an import path that is put right afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    (tmp_path / "hook_under_test.py").write_text(MODULE)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("hook_under_test")]:
        del sys.modules[name]


def hook(directory: Path, name: str) -> Hook:
    """Make a step, started."""
    made = HookSpec(f"hook_under_test:{name}", (str(directory),), "output 0: python").make()
    assert isinstance(made, Hook)
    made.start(0.0)
    assert made.failure is None
    return made


def test_a_function_returns_a_message_several_or_none(directory: Path):
    """The four things that it may do."""
    made = request(1, b"secret body")
    (same,) = hook(directory, "same").apply(made, 0.0)
    assert same is made
    (masked,) = hook(directory, "mask").apply(made, 0.0)
    assert masked.payload == made.payload.replace(b"secret", b"xxx")
    assert [each.id for each in hook(directory, "twice").apply(made, 0.0)] == [1, 2]
    for name in ("nobody", "none_of_it"):
        step = hook(directory, name)
        assert (step.apply(made, 0.0), step.outcome, step.take_counts()) == ((), "removed", {}) or name == "none_of_it"


def test_fields_are_those_of_the_bytes_that_came_out(directory: Path):
    """Whoever changes the payload need not say what is in it."""
    (made,) = hook(directory, "longer").apply(request(1, b"", "/old"), 0.0)
    assert (made.method, made.target, made.head) == ("POST", "/new", len(made.payload) - 4)
    (kept,) = hook(directory, "mask").apply(response(1, b"secret", 404), 0.0)
    assert (kept.status, kept.head, kept.payload[kept.head :]) == (404, len(kept.payload) - 3, b"xxx")


@pytest.mark.parametrize("name", ["number", "mixed", "generator", "raises", "leaves", "deep"])
def test_what_goes_wrong_costs_one_message(directory: Path, name: str, caplog: pytest.LogCaptureFixture):
    """It is not sent, as the function may be there to take something out; counted, and the log quotes nothing of it."""
    step = hook(directory, name)
    made = request(1, b"secret")
    with caplog.at_level(logging.INFO):
        for now_s in (100.0, 100.1, 100.2, 101 + SAY_S, 102 + SAY_S):
            assert step.apply(made, now_s) == ()
            assert step.outcome == "undelivered"
    assert step.take_counts() == {"failed_step": 5}
    assert step.take_counts() == {}
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 2
    assert "output 0: python: " in caplog.text
    assert "4 messages so far" in caplog.text
    assert "secret" not in caplog.text
    expected = {"raises": "ValueError at hook_under_test.py:", "leaves": "SystemExit at hook_under_test.py:"}
    assert expected.get(name, "") in caplog.text
    if name in {"number", "mixed", "generator"}:
        assert "which is neither a message, several, nor None" in caplog.text


def test_an_object_that_can_be_called_has_a_state(directory: Path):
    """For those who count, or remember."""
    step = hook(directory, "counter")
    assert [len(step.apply(request(number), 0.0)) for number in range(4)] == [1, 0, 1, 0]
    assert len(hook(directory, "counter.method").apply(request(1), 0.0)) == 1


def test_what_a_function_prints_is_not_among_the_lines_of_an_output(directory: Path, capfd: pytest.CaptureFixture[str]):
    """Standard output may be JSON Lines."""
    hook(directory, "prints").apply(request(1), 0.0)
    print("from a test")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("function", "text", "error"),
    [
        ("hook_under_test_2:f", None, "there is no module hook_under_test_2 in DIR or on the import path"),
        ("hook_under_test_2.sub:f", None, "there is no module hook_under_test_2 in DIR or on the import path"),
        ("hook_under_test_2:f", "import no_such_thing\n", "there is no module no_such_thing"),
        ("hook_under_test_2:f", "x = 1\n", "hook_under_test_2 has no f"),
        ("hook_under_test_2:x", "x = 1\n", "x in hook_under_test_2 is no function"),
        ("hook_under_test_2:x.y", "x = 1\n", "hook_under_test_2 has no x.y"),
        (
            "hook_under_test_2:f", "def f(:\n",
            "importing hook_under_test_2 fails at hook_under_test_2.py:1: SyntaxError: ",
        ),
        (
            "hook_under_test_2:f", "\n1 / 0\n",
            "importing hook_under_test_2 fails at hook_under_test_2.py:2: ZeroDivisionError: division by zero",
        ),
        (
            "hook_under_test_2:f", "import os\nos.nothing\n",
            "importing hook_under_test_2 fails at hook_under_test_2.py:2: AttributeError: ",
        ),
        (
            "hook_under_test_2:f", "raise SystemExit\n",
            "importing hook_under_test_2 fails at hook_under_test_2.py:1: SystemExit",
        ),
    ],
)  # fmt: skip
def test_a_function_that_cannot_be_had_is_one_line(directory: Path, function: str, text: str | None, error: str):
    """What is wrong, and where: it is the operator's own code."""
    if text is not None:
        (directory / "hook_under_test_2.py").write_text(text)
    with pytest.raises(HookError) as caught:
        find(function, [str(directory)])
    said = str(caught.value)
    assert said.startswith(error.replace("DIR", str(directory)))
    assert "\n" not in said
    step = HookSpec(function, (str(directory),), "output 0: python").make()
    step.start(0.0)
    assert step.failure == f"output 0: python: {said}"


def test_nothing_of_ours_is_hidden_by_a_module_of_that_name(directory: Path):
    """A file called json.py beside the configuration must not break the worker."""
    (directory / "emit.py").write_text("1 / 0")
    find("hook_under_test:same", [str(directory)])
    assert sys.path[-1] == str(directory)
    assert sys.path.count(str(directory)) == 1
    assert isinstance(request(1), Message)
