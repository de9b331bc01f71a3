"""Whether a message's payload was sent: each byte at its place of the sender's stream, with holes where it says so.

In: a payload, how many bytes are missing from it, the segments of its sender.  Out: yes or no.  Invariant: a place at
which different bytes were sent allows any of them; which one is right is for other tests.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

MODULO: Final = 2**32

Places = dict[int, set[int]]


def was_sent(payload: bytes, missing: int, segments: Iterable[tuple[int, bytes]]) -> bool:
    """Tell whether a payload can have been read from segments (first sequence number, data) of one sender."""
    run, due = b"", -1
    places: Places = defaultdict(set)
    for seq, data in segments:
        run = run + data if seq == due else data
        due = (seq + len(data)) % MODULO
        if payload in run:  # most often it lies in segments that follow each other
            return True
        for at, byte in enumerate(data):
            places[(seq + at) % MODULO].add(byte)
    begins = [at for at, bytes_there in places.items() if payload[0] in bytes_there]
    return _walk(payload, missing, places, begins, eager=False) or _walk(payload, missing, places, begins, eager=True)


def _walk(payload: bytes, missing: int, places: Places, begins: list[int], *, eager: bool) -> bool:
    """Read on from every beginning; a hole is tried where nothing fits, with `eager` everywhere."""
    nothing: set[int] = set()
    reached = dict.fromkeys(begins, 0)  # place of the byte read last: fewest bytes lost on the way
    for byte in payload[1:]:
        further: dict[int, int] = {}
        for at, lost in reached.items():
            due = (at + 1) % MODULO
            fits = byte in places.get(due, nothing)
            if fits:
                further[due] = min(further.get(due, lost), lost)
            if lost < missing and (eager or not fits):
                for place, there in places.items():
                    hole = (place - due) % MODULO
                    if byte in there and 0 < hole <= missing - lost:
                        further[place] = min(further.get(place, lost + hole), lost + hole)
        reached = further
    return bool(reached)
