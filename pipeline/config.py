"""The configuration as a typed, frozen model: one field is one TOML key, its description is its help.

In: the maps that TOML gives.  Out: a `Config`, or pydantic's errors, which `pipeline.problems` words.
Invariant: a `Config` that exists has passed every check that needs no file, no socket and no privilege, but for those
between its keys (pipeline/combinations.py).
"""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from pipeline.inputs import Input
from pipeline.keys import Realm, Seconds, Size, SomeSeconds
from pipeline.outputs import HttpOutput, Output
from pipeline.table import SomeText, Table, as_tuple

SMALLEST_MESSAGE_RING: Final = 64 * 2**10  # longer messages pass in parts, cut to fit
LARGEST_RING: Final = 2**32


class Assemble(Table):
    """How frames become messages."""

    responses: bool = Field(default=True, description="false: requests only")
    gap_timeout: SomeSeconds = Field(
        default=2.0, description="missing bytes are given up after this long, in the packets' own time"
    )
    idle_timeout: SomeSeconds = Field(default=60.0, description="a silent connection is closed after this long")
    max_header: Annotated[Size, Field(ge=1024, le=2**30)] = Field(
        default=2**20, description="longest start line and headers of a message"
    )
    max_message: Annotated[Size, Field(ge=1024)] = Field(default=64 * 2**20, description="longest message kept whole")
    memory: Annotated[Size, Field(ge=2**20)] = Field(
        default=512 * 2**20, description="most bytes held for messages that are not whole yet"
    )
    separate: Annotated[tuple[Realm, ...], BeforeValidator(as_tuple), Field(strict=False)] = Field(
        default=(), description='what keeps connections with the same addresses apart: "vlan", "tunnel" or both'
    )
    checksums: bool = Field(
        default=False, description="true: packets with a wrong checksum are refused; not for captures at the sender"
    )


class Workers(Table):
    """The processes that serialise and send."""

    count: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="number of worker processes, of each lane if there are several"
    )


class Ring(Table):
    """Shared memory between the processes."""

    frames: Annotated[Size, Field(ge=2**20, le=LARGEST_RING)] = Field(
        default=32 * 2**20, description="between capture and each assembler"
    )
    messages: Annotated[Size, Field(ge=SMALLEST_MESSAGE_RING, le=LARGEST_RING)] = Field(
        default=16 * 2**20, description="between assembler and each worker"
    )
    batch_frames: Annotated[int, Field(ge=1, le=65536)] = Field(
        default=2048, description="most frames handed over at once"
    )
    batch_bytes: Annotated[Size, Field(ge=1024)] = Field(
        default=256 * 1024, description="a batch is handed over once it has this many bytes"
    )


class Supervision(Table):
    """What becomes of processes that die, hang, or cannot digest a message."""

    stall: Annotated[Seconds, Field(ge=1)] = Field(
        default=60.0, description="a process without a sign of life for this long is killed and started again"
    )
    kept: SomeText | None = Field(
        default=None,
        description="directory for copies of messages that processes died of; unless said otherwise "
        "`$STATE_DIRECTORY`, or `ringtap` in the user's state directory",
    )


class Config(Table):
    """The whole configuration of one run."""

    input: Input
    assemble: Assemble = Assemble()
    workers: Workers = Workers()
    ring: Ring = Ring()
    supervision: Supervision = Supervision()
    output: Annotated[tuple[Output, ...], BeforeValidator(as_tuple), Field(strict=False)] = ()
    _directory: Path = PrivateAttr(default=Path())

    @property
    def directory(self) -> Path:
        """Where the file is, beside which functions are looked for."""
        return self._directory

    def beside(self, directory: Path) -> "Config":
        """Say where the file is."""
        self._directory = directory
        return self

    def policy(self, output: Output) -> Literal["block", "drop"]:
        """Return what an output of this run does when it cannot keep up."""
        if output.policy is not None:
            return output.policy
        return "drop" if self.input.type == "live" and output.type != "file" else "block"

    def over_limit(self, output: Output) -> Literal["drop", "wait"]:
        """Return what becomes of messages that are too many for an output's limit."""
        if output.over_limit is not None:
            return output.over_limit
        return "wait" if self.policy(output) == "block" else "drop"

    @property
    def wants_answers(self) -> bool:
        """Whether the answers that an output gets are messages for the others."""
        return any(isinstance(output, HttpOutput) and output.answers for output in self.output)
