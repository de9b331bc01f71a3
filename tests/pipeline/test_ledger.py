"""The ledger's equations: they close when every thing is in one place, and say where they do not."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talks import CLIENT, SERVER, Talk, assembled

from assemble.tally import ASSEMBLE_COUNTERS
from capture.records import CAPTURE_COUNTERS
from emit.records import OUTCOMES, READER_COUNTERS, RECEIVER_COUNTERS, worker_counters
from pipeline import ledger
from pipeline.ledger import LOSSES, Tally

CAPTURE = dict.fromkeys(CAPTURE_COUNTERS, 0) | {"frames_captured": 100}
ASSEMBLE = dict.fromkeys(ASSEMBLE_COUNTERS, 0) | {
    "frames_decoded": 90, "refused_not_ip": 10, "segments_data": 60, "segments_control": 30,
    "segments_in_order": 55, "segments_duplicate": 5, "bytes_payload": 6000, "bytes_in_messages": 5000,
    "bytes_duplicate": 500, "skipped_tunnel": 500, "messages": 20, "messages_complete": 20,
}  # fmt: skip
WORKER = dict.fromkeys(worker_counters(2), 0) | {
    "messages_taken": 10, "output0_delivered": 10, "output1_delivered": 10,
}  # fmt: skip
RUN = Tally(CAPTURE, ASSEMBLE, None, (WORKER, WORKER), ("null", "file o.jsonl"))


def test_a_run_that_lost_nothing_closes():
    """Two workers and two outputs: every output has taken every message."""
    built = ledger.build(RUN)
    assert built.closed
    assert built.losses == {}
    assert [each.name for each in built.equations] == [
        "frames captured", "segments with data", "bytes of TCP payload", "messages",
        "messages assembled", "output 0: null", "output 1: file o.jsonl",
    ]  # fmt: skip


COUNTED = sorted({name for name in ASSEMBLE_COUNTERS if name.startswith(("refused_", "skipped_"))} | {
    "packets_aggregated", "frames_decoded", "frames_joined", "fragments_held",
    "segments_data", "segments_in_order", "bytes_payload", "bytes_in_messages",
    "bytes_duplicate", "messages", "messages_complete", "messages_incomplete",
})  # fmt: skip


@pytest.mark.parametrize("name", COUNTED)
def test_one_too_many_anywhere_in_the_assembler_opens_it(name):
    """Each counter stands in an equation, so a forgotten or doubled count shows."""
    assert not ledger.build(replace(RUN, assemble=ASSEMBLE | {name: ASSEMBLE[name] + 1})).closed


@pytest.mark.parametrize("name", ["messages_taken", "output1_added", *(f"output1_{outcome}" for outcome in OUTCOMES)])
def test_one_too_many_anywhere_in_a_worker_opens_it(name):
    """Each output is an equation of its own."""
    assert not ledger.build(replace(RUN, workers=(WORKER, WORKER | {name: WORKER[name] + 1}))).closed


def test_a_frame_that_nobody_counted_is_in_flight():
    """After a crash the row says how many."""
    built = ledger.build(replace(RUN, capture=CAPTURE | {"frames_captured": 107}))
    assert built.equations[0].in_flight == 7
    assert not built.closed


@pytest.mark.parametrize("name", sorted(set(LOSSES) & set(ASSEMBLE_COUNTERS)))
def test_every_loss_in_the_assembler_is_named(name):
    """--strict rests on this list."""
    assert LOSSES[name] in ledger.build(replace(RUN, assemble=ASSEMBLE | {name: 3})).losses


def test_the_list_of_losses_names_counters_that_exist():
    """A counter that was renamed would silently be no loss any more."""
    known = {*CAPTURE_COUNTERS, *ASSEMBLE_COUNTERS, *RECEIVER_COUNTERS, *READER_COUNTERS}
    assert set(LOSSES) <= known


def test_a_snap_length_that_hides_the_headers_is_a_loss():
    """Nothing comes out of such a capture, and nothing can say what was in it."""
    exchange = Talk().open().put(CLIENT, b"GET / HTTP/1.1\r\n\r\n").put(SERVER, b"HTTP/1.1 204 No\r\n\r\n")
    for size in range(13, 54):
        counters = assembled([(ts, frame[:size]) for ts, frame in exchange.frames]).counters
        captured = CAPTURE | {"frames_captured": len(exchange.frames)}
        built = ledger.build(Tally(captured, counters))
        assert built.closed
        assert sum(built.losses.values()) == len(exchange.frames), f"{size} bytes of each frame"


def test_messages_that_an_output_did_not_take_are_losses_that_close():
    """Dropping is allowed, silence is not; what is filtered was not wanted, and is no loss."""
    worker = WORKER | {
        "output1_delivered": 4, "output1_filtered": 3, "output1_dropped": 1, "output1_undelivered": 2,
    }  # fmt: skip
    built = ledger.build(replace(RUN, workers=(WORKER, worker)))
    assert built.closed
    assert built.losses == {
        "messages dropped at output 1: file o.jsonl": 1,
        "messages undelivered at output 1: file o.jsonl": 2,
    }


def test_what_an_abort_has_left_is_in_a_place_of_its_own_and_a_loss():
    """At the rings and at the output; one too many anywhere opens it, as ever."""
    capture = CAPTURE | {"frames_captured": 107, "frames_aborted": 7}
    worker = WORKER | {
        "messages_taken": 8, "aborted": 2, "output0_delivered": 8, "output1_delivered": 5, "output1_aborted": 3,
    }  # fmt: skip
    run = replace(RUN, capture=capture, workers=(WORKER, worker))
    built = ledger.build(run)
    assert built.closed
    assert built.losses == {
        "frames aborted": 7, "messages aborted": 2, "messages aborted at output 1: file o.jsonl": 3,
    }  # fmt: skip
    for name in ("aborted", "output1_aborted"):
        assert not ledger.build(replace(run, workers=(WORKER, worker | {name: worker[name] + 1}))).closed
    assert not ledger.build(replace(run, capture=capture | {"frames_aborted": 8})).closed


def test_what_a_disk_has_lost_is_undelivered_or_of_an_earlier_run():
    """What was spooled is there, delivered, or lost; what an earlier run had put there is in no row, and still lost."""
    worker = WORKER | {
        "output1_delivered": 4, "output1_spooled": 6, "output1_drained": 3, "output1_spool_refused": 2,
        "output1_spool_lost": 7,
    }  # fmt: skip
    built = ledger.build(replace(RUN, workers=(WORKER, worker)))
    assert built.closed
    assert built.equations[-1].right["spooled"] == 1
    assert built.losses == {
        "messages undelivered at output 1: file o.jsonl": 2,
        "messages of an earlier run lost on disk at output 1: file o.jsonl": 7,
    }


def test_what_steps_add_and_take_away_closes():
    """Messages taken and added are in one place each, and other outputs know nothing of it."""
    worker = WORKER | {
        "output1_delivered": 9, "output1_added": 3, "output1_removed": 4, "output1_undecoded": 2, "output1_withheld": 1,
    }  # fmt: skip
    built = ledger.build(replace(RUN, workers=(WORKER, worker)))
    assert built.closed
    assert [each.left for each in built.equations[-2:]] == [20, 23]
    assert built.losses == {
        "bodies that rules could not change at output 1: file o.jsonl": 2,
        "bodies left out by masks at output 1: file o.jsonl": 1,
    }


def test_a_receiver_has_records_in_place_of_frames():
    """The same ledger on the far side."""
    receiver = dict.fromkeys(RECEIVER_COUNTERS, 0) | {
        "records": 24,
        "records_refused": 1,
        "records_joined": 3,
        "messages": 20,
    }
    built = ledger.build(replace(RUN, capture=None, assemble=None, receiver=receiver))
    assert built.closed
    assert [each.name for each in built.equations][:2] == ["records received", "messages received"]
    assert built.losses == {"records refused": 1}


def test_a_library_run_has_no_outputs():
    """`inspect` starts no process, and still has a ledger."""
    built = ledger.build(Tally(CAPTURE, ASSEMBLE))
    assert built.closed
    assert len(built.equations) == 4


def test_the_json_form_holds_all_that_was_counted():
    """Other programs read it: plain maps, with the totals they would else have to add up."""
    form = json.loads(json.dumps(ledger.build(RUN).as_json()))
    assert form["closed"] is True
    assert form["equations"][0]["left"] == 100
    assert form["equations"][0]["right"]["refused: not ip"] == 10
    assert form["counters"]["assemble"]["frames_decoded"] == 90
    assert [each["messages_taken"] for each in form["counters"]["workers"]] == [10, 10]


def test_several_lanes_are_summed_and_the_json_form_has_the_parts():
    """The keys of a run with one lane stand for all lanes; what each did is there for who looks for it."""
    assert ledger.total([{"a": 1, "b": 2}, {"a": 10, "b": 20}]) == {"a": 11, "b": 22}
    assert ledger.total([]) is None
    assert "parts" not in ledger.build(RUN).as_json()["counters"]
    form = ledger.build(replace(RUN, parts={"assembler 0": {"a": 1}})).as_json()
    assert form["counters"]["parts"] == {"assembler 0": {"a": 1}}


@given(st.integers(0, 2**40), st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 2**40)))
def test_an_equation_closes_exactly_when_nothing_is_in_flight(left, right):
    """Totals up to any size; Python's integers do not wrap."""
    equation = ledger.Equation("x", left, right)
    assert equation.closes == (left == sum(right.values())) == (equation.in_flight == 0)


def test_recordings_have_records_in_place_of_frames():
    """What of a recording did not become a message is in a row, and a loss."""
    reader = dict.fromkeys(READER_COUNTERS, 0) | {
        "records": 27, "records_refused": 3, "records_joined": 4, "messages": 20,
        "recordings_cut": 1, "recording_bytes_lost": 9,
    }  # fmt: skip
    run = replace(RUN, capture=None, assemble=None, reader=reader)
    built = ledger.build(run)
    assert built.closed
    assert [each.name for each in built.equations[:2]] == ["records read", "messages read"]
    assert built.losses == {
        "files of messages that are cut": 1,
        "bytes of files of messages that cannot be read": 9,
        "records refused": 3,
    }
    assert built.as_json()["counters"]["reader"]["messages"] == 20
    for name in ("records", "records_refused", "records_joined", "messages"):
        assert not ledger.build(replace(run, reader=reader | {name: reader[name] + 1})).closed


ANSWERED = replace(
    RUN,
    workers=(WORKER | {"answers": 8, "answers_dropped": 1}, WORKER),
    answers=(
        dict.fromkeys(worker_counters([1]), 0) | {"messages_taken": 8, "output1_delivered": 5, "output1_filtered": 3},
    ),
)
"""A run in which output 0 replays."""


def test_answers_are_messages_of_the_outputs_that_take_them():
    """The sum is over both ways by which an output has messages; the one that sends has none of the second."""
    built = ledger.build(ANSWERED)
    assert built.closed
    rows = {each.name: each for each in built.equations}
    assert (rows["answers replayed"].left, rows["output 0: null"].left, rows["output 1: file o.jsonl"].left) == (
        9,
        20,
        28,
    )
    assert rows["output 1: file o.jsonl"].right["filtered"] == 3
    assert built.losses == {"answers dropped, as the answer ring was full": 1}
    assert json.loads(json.dumps(built.as_json()))["counters"]["answers"][0]["messages_taken"] == 8
    assert "answers" not in ledger.build(RUN).as_json()["counters"]


@pytest.mark.parametrize("name", ["messages_taken", "output1_delivered", "output1_dropped"])
def test_one_too_many_anywhere_in_a_worker_for_answers_opens_it(name):
    """Each of its counters stands in an equation, too."""
    page = ANSWERED.answers[0]
    assert not ledger.build(replace(ANSWERED, answers=({**page, name: page[name] + 1},))).closed


def test_answers_that_an_abort_has_left_are_a_loss():
    """They are no messages of the workers that read messages."""
    page = ANSWERED.answers[0] | {"aborted": 3}
    worker = WORKER | {"answers": 11, "answers_dropped": 1}
    built = ledger.build(replace(ANSWERED, workers=(worker, WORKER), answers=(page,)))
    assert built.closed
    assert built.losses["answers aborted"] == 3
    assert "messages aborted" not in built.losses


def test_an_answer_that_nobody_took_is_in_flight():
    """The worker for answers was killed."""
    assert not ledger.build(replace(ANSWERED, workers=(WORKER | {"answers": 9}, WORKER))).closed
