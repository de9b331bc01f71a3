"""How much memory of its own each process of a run may have: far more than it can come to need, but not all there is.

In: a checked `Config`, and a stage.  Out: bytes, as RLIMIT_DATA counts them: neither rings nor what the
kernel keeps of a capture.  A process that is beyond has met with something that we did not foresee, as a fault of ours;
it ends and is started again, before others on this machine come to harm.
"""

from typing import Final

from emit.records import MOST_JOINED, ReceiverSpec
from pipeline.config import Config
from pipeline.inputs import FileInput, LiveInput, PcapInput
from pipeline.lanes import lanes
from pipeline.outputs import HttpOutput
from pipeline.wiring import WORKERS, Stage

ASSEMBLER: Final = 256 << 20
"""Beside twice what it may hold, which is counted without the allocator's waste."""
OTHERS: Final = 1 << 30
CONNECTION: Final = 256 << 10
"""Of a receiver, with what TLS needs."""
FILE: Final = 4 << 20
"""One of several that are read at a time."""
COPIES: Final = 10
"""Of one message at most, at an output: as it came, joined, as text in a line or an entry, and what that is made of."""


def most_data(config: Config, stage: Stage) -> int | None:
    """Return the limit of the process of a stage; None: there is none."""
    source, spec = config.input, stage.spec
    if stage.kind in WORKERS:
        return _worker(config)
    if stage.kind == "assembler":
        return ASSEMBLER + 2 * (config.assemble.memory // lanes(config))
    if isinstance(spec, ReceiverSpec):
        return OTHERS + 2 * (spec.joining_bytes + spec.held_bytes) + spec.connections * CONNECTION
    longest = source.max_message if isinstance(source, FileInput) else 0
    return OTHERS + len(getattr(spec, "paths", ())) * (FILE + 4 * longest)


def _worker(config: Config) -> int | None:
    """Return that of a worker; none where functions of the operator's run in it, of which we know nothing."""
    if any(output.python is not None for output in config.output):
        return None
    longest = max(_longest(config), *(each.max_answer for each in config.output if isinstance(each, HttpOutput)), 0)
    most = OTHERS + len(config.output) * COPIES * longest
    for output in config.output:
        if isinstance(output, HttpOutput):
            most += 2 * output.queue
            if output.answers or output.redirects or output.cookies == "target" or output.middleware is not None:
                most += output.connections * output.max_answer  # answers are kept until they are whole
    return most


def _longest(config: Config) -> int:
    """Return the length of the longest message that comes in."""
    source = config.input
    if isinstance(source, PcapInput | LiveInput):
        return config.assemble.max_message
    return source.max_message if isinstance(source, FileInput) else MOST_JOINED
