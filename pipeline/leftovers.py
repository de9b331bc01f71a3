"""What processes that were killed for good have left, and nobody goes on with: put right, and counted as aborted.

In: stages whose processes have ended, with their counters as these were at that moment.  Out: counters that agree with
the rings, as a successor would have made them, and in them what lies in the rings.  Invariant: what is counted was
found there; only of what a killed process had in its hands, outside of any ring, the counters of both sides tell.
"""

from collections.abc import Sequence

import emit.worker
from assemble.assembler import count_frames
from assemble.process import AssembleSpec
from assemble.sink import RingSink
from capture.process import CaptureSpec
from capture.ring import Consumer, Producer, Ring
from emit.records import ReaderSpec, ReceiverSpec, WorkerSpec
from emit.walk import count_messages
from pipeline import ledger
from pipeline.wiring import Stage, Wiring


def settle(wiring: Wiring, killed: Sequence[Stage]) -> None:
    """Have the counters say what became of everything, now that nobody goes on with the work of these stages."""
    for stage in killed:
        _put_right(stage)
    for ring in wiring.rings.values():
        ends = [stage for stage in wiring.all_stages() if ring in stage.reads or ring in stage.writes]
        if any(stage is end for stage in killed for end in ends):
            _count_left(ring, ends)
    for stage in killed:
        if isinstance(stage.spec, CaptureSpec):
            _count_in_hand(stage, wiring)
        elif isinstance(stage.spec, ReaderSpec):
            _catch_up(stage, wiring)
    _count_answers_in_hand(wiring, killed)


def _put_right(stage: Stage) -> None:
    """Do what a successor does first: finish what was noted, and count what is lost with the process."""
    spec = stage.spec
    if isinstance(spec, AssembleSpec):
        RingSink(spec.outputs, spec.books, spec.counters).recover(Consumer(spec.ring))
    elif isinstance(spec, ReceiverSpec):
        spec.taken.recover([Producer(ring) for ring in spec.outputs], spec.counters)
    elif isinstance(spec, WorkerSpec):
        owed = emit.worker.recover(spec, Consumer(spec.ring))
        for output, messages in zip(spec.outputs, owed, strict=True):
            spec.counters.add(f"output{output.index}_aborted", messages)
    elif stage.assembled is not None:  # a capture that joins fragments: what it held is in its hands
        stage.assembled.set("fragments_held", 0)


def _count_left(ring: Ring, ends: Sequence[Stage]) -> None:
    """Count what lies in a ring: frames for who wrote them, messages for the latest who was to read them."""
    consumer = Consumer(ring)
    readers = [stage for stage in ends if ring in stage.reads]
    kind = type(readers[-1].spec) if readers else None
    if kind is AssembleSpec:
        writer = next(stage for stage in ends if ring in stage.writes)
        writer.counters.add("frames_aborted", count_frames(consumer))
    elif kind is WorkerSpec:
        messages, _size = count_messages(consumer, consumer.tail, consumer.head)
        readers[-1].counters.add("aborted", messages)


def _count_in_hand(capture: Stage, wiring: Wiring) -> None:
    """Count the frames that a capture had read, and put into no ring."""
    pages = [stage.counters.as_dict() for stage in wiring.stages if set(stage.reads) & set(capture.writes)]
    if capture.assembled is not None:
        pages.append(capture.assembled.as_dict())
    frames = ledger.frames(capture.counters.as_dict(), ledger.total(pages) or {})
    capture.counters.add("frames_aborted", max(frames.in_flight, 0))


def _catch_up(reader: Stage, wiring: Wiring) -> None:
    """Count the messages that a reader has written since it last showed how many there are."""
    from emit.reader import BOOK_EVERY  # here, as most runs have no reader

    tally = wiring.tally()
    behind = tally.worker("messages_taken") + tally.worker("aborted") - reader.counters["messages"]
    if 0 < behind < BOOK_EVERY:
        reader.counters.add("messages", behind)
        reader.counters.add("records", behind)


def _count_answers_in_hand(wiring: Wiring, killed: Sequence[Stage]) -> None:
    """Count the answers that workers had counted, and were about to write: one each, at most."""
    writers = [stage for stage in killed if isinstance(stage.spec, WorkerSpec) and stage.spec.answers is not None]
    readers = [stage for stage in wiring.workers() if stage.kind == "answer worker"]
    if writers and readers:
        answers = ledger.answers(wiring.tally())
        if 0 < answers.in_flight <= len(writers):
            readers[0].counters.add("aborted", answers.in_flight)
