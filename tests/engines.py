"""The two assemblers under one call: the reference in Python, and the compiled one that the project ships.

In: frames.  Out: messages, the ids of both by the same hash.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import reference
from packets_files import Frame
from reference.assembly import address

from assemble import Message, MessageStream, message_id
from capture.records import BATCH_HEADER, FRAME_ENTRY

Engine = Callable[..., list[Message]]


def identity(client: bytes, cport: int, server: bytes, sport: int, ack: int, ordinal: int) -> int:
    """Compute an id as the project does, from addresses as 16 bytes."""
    return message_id(address(client), cport, address(server), sport, ack, ordinal)


def by_reference(frames: Sequence[Frame], *, link: int = 1, ports: Iterable[int] = (), batch: int = 0) -> list[Message]:
    """Assemble with the reference; it takes all frames at once, whatever the batch."""
    return reference.assemble(frames, link=link, ports=ports, identity=identity)


def by_compiled(
    frames: Sequence[Frame], *, link: int = 1, ports: Iterable[int] = (), batch: int = 2048, **settings: Any
) -> list[Message]:
    """Assemble with the compiled library, feeding batches of so many frames as capture lays them out."""
    stream = MessageStream(ports=ports, **settings)
    out: list[Message] = []
    for at in range(0, len(frames), batch):
        out += stream.feed_batch(batch_record(frames[at : at + batch], at + 1, link))
    return out + stream.finish()


def batch_record(frames: Sequence[Frame], first: int, link: int) -> bytes:
    """Lay frames out as a batch (capture.records), `first` being the number of the first one."""
    entries, at = [], 0
    for ts_ns, data in frames:
        entries.append(FRAME_ENTRY.pack(ts_ns, at, len(data), len(data), link, 0))
        at += len(data)
    return b"".join([BATCH_HEADER.pack(len(frames), 0, first), *entries, *(data for _, data in frames)])


ENGINES: Final[dict[str, Engine]] = {"reference": by_reference, "compiled": by_compiled}
