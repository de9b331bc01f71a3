"""How far a run has come, as one line of text.

In: the counters at two moments, with the time between.  Out: text.  No clock and no terminal in here.
"""

from pipeline.ledger import Counts, Tally
from pipeline.values import write_size


def describe(now: Tally, before: Tally, elapsed_s: float, since_start_s: float, fullest: float | None = None) -> str:
    """Say what was done so far, the rates since `before`, and what is left if that is known.

    `fullest` is how full the fullest ring is now, from 0 to 1; said of a live run.
    """
    if now.receiver is not None:
        return _receiving(now, before, elapsed_s)
    if now.reader is not None:
        return ", ".join(_reading(now, before, elapsed_s, since_start_s))
    capture, assemble = now.capture or {}, now.assemble or {}
    frames = _rate(capture, before.capture or {}, "frames_captured", elapsed_s)
    messages = _rate(assemble, before.assemble or {}, "messages", elapsed_s)
    parts = [
        f"{capture.get('frames_captured', 0):,} frames ({frames}/s)",
        f"{assemble.get('messages', 0):,} messages ({messages}/s)",
    ]
    if capture.get("interfaces_opened", 0):
        rings = [] if fullest is None else [f"rings {100 * fullest:.0f}% full"]
        return ", ".join([*parts, *rings, *_drops(now)])
    read, total = capture.get("bytes_read", 0), capture.get("bytes_total", 0)
    if total and read:
        parts = _share(read, total, parts, since_start_s)
    elif read:
        parts.insert(0, f"{write_size(read)} read")
    waiting = assemble.get("messages", 0) - now.worker("messages_taken")
    if total and read >= total and waiting > 0:
        parts.append(f"{waiting:,} on their way out")
    return ", ".join(parts)


def _share(read: int, total: int, parts: list[str], since_start_s: float) -> list[str]:
    """Put between what was read of the input and how long the rest will take."""
    left = [f"{_clock((total - read) * since_start_s / read)} left"] if read < total else []
    return [f"{min(100, 100 * read // total)}% of {write_size(total)}", *parts, *left]


def _reading(now: Tally, before: Tally, elapsed_s: float, since_start_s: float) -> list[str]:
    """Say how far recordings are read."""
    reader = now.reader or {}
    messages = reader.get("messages", 0)
    parts = [f"{messages:,} messages ({_rate(reader, before.reader or {}, 'messages', elapsed_s)}/s)"]
    read, total = reader.get("bytes_read", 0), reader.get("bytes_total", 0)
    if total and read:
        parts = _share(read, total, parts, since_start_s)
    waiting = messages - now.worker("messages_taken")
    if total and read >= total and waiting > 0:
        parts.append(f"{waiting:,} on their way out")
    return parts


def _drops(now: Tally) -> list[str]:
    """Say what a live run has lost so far, nothing if that is nothing."""
    capture = now.capture or {}
    dropped = sum(capture.get(f"frames_dropped_{place}", 0) for place in ("kernel", "interface", "ring"))
    at_output = sum(now.output(at, "dropped") for at in range(len(now.outputs)))
    frames = [f"{dropped:,} frames dropped"] if dropped else []
    return frames + ([f"{at_output:,} messages dropped at outputs"] if at_output else [])


def _receiving(now: Tally, before: Tally, elapsed_s: float) -> str:
    assert now.receiver is not None
    earlier = before.receiver or {}
    messages = _rate(now.receiver, earlier, "messages", elapsed_s)
    size = (now.receiver.get("bytes_in", 0) - earlier.get("bytes_in", 0)) / max(elapsed_s, 1e-3)
    return f"{now.receiver.get('messages', 0):,} messages ({messages}/s, {write_size(round(size))}/s)"


def _rate(now: Counts, before: Counts, name: str, elapsed_s: float) -> str:
    rate = (now.get(name, 0) - before.get(name, 0)) / max(elapsed_s, 1e-3)
    return f"{rate / 1e6:.2f}M" if rate >= 1e6 else f"{rate / 1e3:.1f}k" if rate >= 1e4 else f"{rate:,.0f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
