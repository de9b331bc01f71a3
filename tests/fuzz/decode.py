"""Target `decode`: an input is a sequence of frames of any link type, each with a time step, fed one by one.

In: one byte of set-up, then for each frame two bytes (link type and step, length) and the frame.  Out: an exception
when the books do not close.  The last frame ends where the input ends, at a red zone: reading behind it is seen.
"""

from dataclasses import fields
from typing import Any, Final

from talks import audit

from assemble import MessageStream, Settings
from fuzz.wires import START_NS

LINKS: Final = (1, 113, 276, 0, 108, 101, 228, 229, 105, 127, 119, 163, 192, 9, 12, 147)
STEPS_NS: Final = (1_000_000, 0, 50_000_000, 1_000_000_000, 10_000_000_000, 31_000_000_000, 61_000_000_000, -1_000_000)
REST: Final = 0xFF  # as a length: all that is left of the input
MOST_FRAMES: Final = 100

KNOWN: Final = {field.name for field in fields(Settings)}


def presets() -> tuple[Settings, ...]:
    """Give the settings that an input can name, with those options that this build has."""
    tunnels = ("vxlan", "geneve", "gre", "erspan", "ipip", "gtpu")
    wanted: tuple[dict[str, Any], ...] = (
        {"decapsulate": tunnels},
        {},
        {"decapsulate": tunnels, "memory": 3000},
        {"decapsulate": tunnels, "checksums": True},
    )
    return tuple(Settings(**{name: value for name, value in each.items() if name in KNOWN}) for each in wanted)


SETTINGS: Final = presets()


def run(data: bytes) -> None:
    """Feed all frames and close the books."""
    if not data:
        return
    stream = MessageStream(SETTINGS[data[0] % len(SETTINGS)])
    at, now_ns, frames, messages = 1, START_NS, [], []
    while at + 2 <= len(data) and len(frames) < MOST_FRAMES:
        how, size = data[at], data[at + 1]
        at += 2
        frame = data[at:] if size == REST else data[at : at + size]
        at += len(frame)
        now_ns += STEPS_NS[how >> 4 & 7]
        frames.append((now_ns, frame))
        messages += stream.feed(frames[-1:], LINKS[how & 15])
    messages += stream.finish()
    audit(stream.counters, frames, messages)
    assert all(m.payload for m in messages)
