"""What can be set about assembly, with its defaults: one place for the configuration, the process and the library."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """How frames become messages; times are packet time.

    ports           TCP ports that are watched; none: every port
    responses       whether responses are wanted
    gap_timeout_s   how long missing bytes are waited for
    idle_timeout_s  how long a flow without packets is kept
    max_message     most bytes of one message; what is beyond is counted and the message incomplete
    max_header      most bytes of a start line and header block
    memory          most bytes held for reassembly and unfinished messages, all flows together
    """

    ports: tuple[int, ...] = ()
    responses: bool = True
    gap_timeout_s: float = 2.0
    idle_timeout_s: float = 60.0
    max_message: int = 64 << 20
    max_header: int = 1 << 20
    memory: int = 512 << 20
