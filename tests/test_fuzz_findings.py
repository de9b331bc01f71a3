"""What fuzzing found, and what it starts from, through the same targets in the ordinary builds.

A finding is a file tests/fuzz/findings/TARGET-WHAT; scripts/fuzz looks for more.
"""

from importlib import import_module
from pathlib import Path
from typing import Final

import packets
import pytest
from fuzz import seeds
from fuzz.reassembly import FIRST_TOKEN, Program, check
from fuzz.sent import was_sent
from fuzz.tokens import TOKENS, WORDS, dictionary
from fuzz.wires import CLIENT_PORTS, Segment
from talks import CLIENT, SERVER, Talk, assembled

FOLDER: Final = Path(__file__).parent / "fuzz"
FINDINGS: Final = sorted((FOLDER / "findings").glob("*-*"))
TARGETS: Final = {name: import_module(f"fuzz.{name}").run for name in seeds.SEEDS}


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda path: path.name)
def test_what_was_found_once_stays_mended(finding):
    """Each of these inputs crashed, or broke a rule that its target holds."""
    TARGETS[finding.name.partition("-")[0]](memoryview(finding.read_bytes()))


def test_giving_up_ends_when_what_the_other_side_holds_cannot_move():
    """A request to switch waits, and the other side ended below bytes that it had sent early: this never returned."""
    talk = Talk().open()
    talk.put(CLIENT, b"GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n").put(CLIENT, b"GET /next HTTP/1.1\r\n\r\n")
    talk.put(SERVER, b"beyond", at=30).put(SERVER, b"early", at=0, flags=packets.FIN)
    assert [m.target for m in assembled(talk.frames).messages] == ["/", "/next"]


@pytest.mark.parametrize("target", seeds.SEEDS)
def test_seeds_run_clean(target):
    """A corpus that fails at its first input fuzzes nothing."""
    made = seeds.SEEDS[target]()
    assert made
    for seed in made:
        TARGETS[target](memoryview(seed))


def test_frames_of_the_fast_builder_are_those_of_the_slow_one():
    """A target whose frames were refused would fuzz the refusal."""
    for from_client, ends in (
        (True, ("192.0.2.1", 40000, "192.0.2.2", 80)),
        (False, ("192.0.2.2", 80, "192.0.2.1", 40000)),
    ):
        fast = Segment(0, CLIENT_PORTS[0], from_client, 7, 9, packets.ACK, b"x" * 30).frame()
        slow = packets.frame(packets.Tcp(*ends, 7, 9, packets.ACK, b"x" * 30))
        assert len(fast) == len(slow)
        checksums = {24, 25, 50, 51}
        assert {at for at in range(len(fast)) if fast[at] != slow[at]} <= checksums


def test_a_program_reaches_the_messages_it_describes():
    """Seeds of the reassembly target would be rubbish if programs were read otherwise than they are written."""
    get = FIRST_TOKEN + TOKENS.index(b"GET / HTTP/1.1\r\n\r\n")
    tape = Program(bytes([0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, get, 0, 0, 0, 3]) + b"abc").read()
    assert [(s.from_client, s.seq, s.ack, s.data) for s in tape.segments] == [
        (True, 1000, 0, b""),
        (False, 1000, 1001, b""),
        (True, 1001, 1001, b"GET / HTTP/1.1\r\n\r\n"),
        (True, 1019, 1001, b"abc"),
    ]


@pytest.mark.parametrize(
    ("payload", "missing", "sent"),
    [
        (b"abcdef", 0, True),
        (b"bcde", 0, True),
        (b"abXdef", 0, False),
        (b"abdef", 0, False),
        (b"abdef", 1, True),
        (b"abcf", 1, False),
        (b"abcgh", 3, False),
        (b"abcgh", 4, True),
    ],
)
def test_bytes_that_were_never_sent_are_told(payload, missing, sent):
    """The check that no message is invented must itself be able to fail."""
    segments = [(2**32 - 2, b"abc"), (1, b"def"), (5, b"gh")]
    assert was_sent(payload, missing, segments) == sent


def test_a_message_that_nobody_sent_is_told():
    """The same through the check of whole messages."""
    import assemble

    get = FIRST_TOKEN + TOKENS.index(b"GET / HTTP/1.1\r\n\r\n")
    tape = Program(bytes([0, 0, 2, 0, 0, 0, 0, 0, 0, get])).read()
    (message,) = assemble.MessageStream().feed(tape.frames()) or assemble.MessageStream().finish()
    check(message, tape, assemble.Settings())
    tape.segments[-1].data = b"GET / HTTP/1.1\r\n\n"
    with pytest.raises(AssertionError, match="never sent"):
        check(message, tape, assemble.Settings())


def test_the_dictionary_has_every_token():
    """libFuzzer refuses a dictionary with one bad line, and all its words with it."""
    lines = dictionary().splitlines()
    assert len(lines) == len(TOKENS + WORDS)
    assert eval("b" + lines[0]) == TOKENS[0]
