"""Target `decode`: an input is a sequence of frames of any link type, each with a time step, fed one by one.

In: one byte of set-up, then for each frame two bytes (link type and step, length) and the frame.  Out: an exception
when the books do not close.  The last frame ends where the input ends, at a red zone: reading behind it is seen.
"""

from typing import Final

from talks import audit

from assemble import MessageStream, Settings
from fuzz.wires import START_NS

LINKS: Final = (
    1, 113, 276, 0, 108, 101, 228, 229, 105, 127, 119, 163, 192, 9, 50, 51,
    100, 104, 107, 109, 117, 122, 138, 166, 204, 219, 239, 240, 258, 274, 12, 147,
)  # fmt: skip
STEPS_NS: Final = (1_000_000, 0, 50_000_000, 1_000_000_000, 10_000_000_000, 31_000_000_000, 61_000_000_000, -1_000_000)
REST: Final = 0xFF  # as a length: all that is left of the input
MOST_FRAMES: Final = 100

SETTINGS: Final = (
    Settings(),
    Settings(decapsulate=()),
    Settings(memory=3000, separate=("vlan", "tunnel")),
    Settings(checksums=True),
)


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
        now_ns += STEPS_NS[how >> 5]
        frames.append((now_ns, frame))
        messages += stream.feed(frames[-1:], LINKS[how & 31])
    messages += stream.finish()
    audit(stream.counters, frames, messages)
    assert all(m.payload for m in messages)
