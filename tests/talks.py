"""Connections told step by step, and assembling them with the books audited.

In: who says what, what gets lost, how long nothing happens.  Out: frames; messages and counters of the
compiled assembler.  Every call of `assembled` holds the ledger's equations (DESIGN 6) against its counters.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import packets
from engines import batch_record
from packets_files import Frame

from assemble import Message, MessageStream

START_NS: Final = 1_700_000_000_000_000_000
STEP_NS: Final = 1_000_000
CLIENT: Final = True
SERVER: Final = False
SEGMENTS: Final = ("in_order", "reordered", "duplicate", "overlapping", "after_close", "out_of_window", "left_out")


@dataclass
class Talk:
    """One connection: each step appends the frames that a tap captures of it, a millisecond apart."""

    cport: int = 40000
    client: str = "192.0.2.1"
    server: str = "192.0.2.2"
    sport: int = 80
    client_isn: int = 1000
    server_isn: int = 5000
    now_ns: int = START_NS
    frames: list[Frame] = field(default_factory=list)
    sent: dict[bool, int] = field(default_factory=lambda: {CLIENT: 0, SERVER: 0})

    def put(
        self,
        side: bool,
        data: bytes = b"",
        *,
        at: int | None = None,
        acked: int | None = None,
        flags: int = 0,
    ) -> "Talk":
        """Capture one segment at an offset of its stream: by default the next, acknowledging all there is."""
        at = self.sent[side] if at is None else at
        self.sent[side] = max(self.sent[side], at + len(data))
        mine, other = (self.client_isn, self.server_isn) if side else (self.server_isn, self.client_isn)
        ends = [(self.client, self.cport), (self.server, self.sport)][:: 1 if side else -1]
        first = flags == packets.SYN
        ack = 0 if first else (other + 1 + (self.sent[not side] if acked is None else acked)) % 2**32
        flags |= 0 if first else packets.ACK
        tcp = packets.Tcp(*ends[0], *ends[1], (mine + 1 + at) % 2**32, ack, flags, data)
        self.frames.append((self.now_ns, packets.frame(tcp)))
        self.now_ns += STEP_NS
        return self

    def open(self) -> "Talk":
        """Capture the handshake."""
        self.put(CLIENT, at=-1, flags=packets.SYN)
        self.put(SERVER, at=-1, flags=packets.SYN | packets.ACK)
        return self.put(CLIENT)

    def say(self, side: bool, data: bytes, size: int = 1400) -> "Talk":
        """Capture all segments of what one side says."""
        for at in range(0, len(data), size):
            self.put(side, data[at : at + size])
        return self

    def lose(self, side: bool, data: bytes | int) -> "Talk":
        """Let one side say something that the tap does not see."""
        self.sent[side] += data if isinstance(data, int) else len(data)
        return self

    def close(self, side: bool = CLIENT) -> "Talk":
        """Capture both FINs."""
        self.put(side, flags=packets.FIN)
        self.sent[side] += 1
        self.put(not side, flags=packets.FIN)
        self.sent[not side] += 1
        return self

    def wait(self, seconds: float) -> "Talk":
        """Let packet time pass."""
        self.now_ns += round(seconds * 1e9)
        return self


def later(seconds: float, after: "Talk") -> Frame:
    """Give a frame of no interest, so that packet time is known to have passed."""
    arp = packets.ethernet(b"", ethertype=0x0806)
    return after.now_ns + round(seconds * 1e9), arp


@dataclass(frozen=True)
class Assembled:
    """What came out, and the counters at the end."""

    messages: list[Message]
    counters: dict[str, int]

    @property
    def requests(self) -> list[Message]:
        """The requests among the messages."""
        return [m for m in self.messages if m.kind == "request"]

    @property
    def responses(self) -> list[Message]:
        """The responses among the messages."""
        return [m for m in self.messages if m.kind == "response"]


def assembled(frames: Sequence[Frame], *, link: int = 1, batch: int = 2048, **settings: Any) -> Assembled:
    """Assemble frames to the end, audit the counters, and give both."""
    stream = MessageStream(**settings)
    out = [m for record in batches(frames, batch, link) for m in stream.feed_batch(record)]
    out += stream.finish()
    audit(stream.counters, frames, out)
    return Assembled(out, stream.counters)


def batches(frames: Sequence[Frame], batch: int = 2048, link: int = 1) -> Iterator[bytes]:
    """Lay frames out in batches of so many."""
    for at in range(0, len(frames), batch):
        yield batch_record(frames[at : at + batch], at + 1, link)


def audit(counters: dict[str, int], frames: Sequence[Frame], messages: Sequence[Message]) -> None:
    """Hold the ledger's equations against counters after the end."""
    c = counters
    close_books(c, len(frames))
    assert c["bytes_in_messages"] == sum(len(m.payload) for m in messages)
    assert c["messages"] == len(messages)
    assert c["messages_complete"] == sum(m.complete for m in messages)
    assert all(m.missing == 0 for m in messages if m.complete)


def close_books(counters: dict[str, int], frames: int) -> None:
    """Hold those that tell about so many frames alone."""
    c = counters
    skipped = sum(n for name, n in c.items() if name.startswith("skipped_"))
    refused = sum(n for name, n in c.items() if name.startswith("refused_"))
    assert c["frames_decoded"] + c["frames_joined"] + refused == frames + c["packets_aggregated"]
    assert c["fragments_held"] == 0
    assert c["segments_data"] + c["segments_control"] == c["frames_decoded"]
    assert c["segments_data"] == sum(c[f"segments_{kind}"] for kind in SEGMENTS)
    assert c["bytes_payload"] == c["bytes_in_messages"] + c["bytes_duplicate"] + skipped
    assert c["messages"] == c["messages_complete"] + c["messages_incomplete"]
    assert c["messages"] == c["requests"] + c["responses"]
    assert c["flows_now"] == c["bytes_held"] == 0
    assert max(c.values()) < 2**63, "a counter went below zero"


def renumbered(frame: bytes, *, seq: int, cport: int | None = None) -> bytes:
    """Change sequence number and client port of a client's Ethernet IPv4 frame, for tests of thousands."""
    port = frame[34:36] if cport is None else struct.pack("!H", cport)
    return frame[:34] + port + frame[36:38] + struct.pack("!I", seq % 2**32) + frame[42:]
