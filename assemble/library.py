"""The same work as a library: messages of a capture file, or of frames that the caller supplies.

In: paths or frames.  Out: Message objects.  Invariant: the same compiled core as in the pipeline, no process started.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from assemble.assembler import Assembler
from assemble.message import Message
from assemble.settings import Settings
from assemble.sink import BufferSink

if TYPE_CHECKING:
    from capture.frames import Merger


class MessageStream:
    """Feeds frames to an assembler and collects what comes out."""

    def __init__(self, settings: Settings | None = None, **changes: Any) -> None:
        """Take `Settings`, or single settings by name."""
        self._sink = BufferSink()
        self._assembler = Assembler(settings or make_settings(**changes), self._sink)

    def feed(self, frames: Iterable[tuple[int, bytes]], link: int = 1) -> list[Message]:
        """Take frames as (ts_ns, bytes) of one link type (LINKTYPE_ value); return the messages they complete."""
        for ts_ns, frame in frames:
            self._assembler.feed_frame(ts_ns, frame, link)
        return self._sink.take()

    def feed_batch(self, batch: bytes) -> list[Message]:
        """Take one batch in the layout of capture.records.BATCH_HEADER; return the messages it completes."""
        self._assembler.feed_batch(batch)
        return self._sink.take()

    def feed_merger(self, merger: "Merger") -> list[Message]:
        """Take what a `capture.frames.Merger` has gathered, without a copy; return the messages it completes."""
        self._assembler.feed_merger(merger)
        return self._sink.take()

    def finish(self) -> list[Message]:
        """End every flow; return the messages that were still under way, the cut ones as incomplete."""
        self._assembler.finish()
        return self._sink.take()

    @property
    def counters(self) -> dict[str, int]:
        """The assembler's counters by name (assemble/tally.pxd)."""
        return self._assembler.page.as_dict()


def make_settings(*, ports: Iterable[int] = (), **changes: Any) -> Settings:
    """Return Settings with single values changed."""
    for key in {"decapsulate", "separate"} & changes.keys():
        changes[key] = tuple(changes[key])
    return Settings(ports=tuple(ports), **changes)


def messages(
    paths: str | Sequence[str],
    *,
    ports: Iterable[int] = (),
    batch_frames: int = 2048,
    **changes: Any,
) -> Iterator[Message]:
    """Yield the messages of one or more capture files (paths or globs; several are merged by time).

    ports         TCP ports that are watched; none: every port
    batch_frames  how many frames are read at a time
    changes       any other field of Settings, by name
    Raises SourceError when a file cannot be read as a capture; what came before it has been yielded.
    """
    from capture.sources import FrameSource, expand  # here, as the assembler process has no use for libpcap

    stream = MessageStream(make_settings(ports=ports, **changes))
    with FrameSource(expand(paths if isinstance(paths, str) else list(paths)), batch_frames=batch_frames) as source:
        for batch in source.gathered():
            yield from stream.feed_merger(batch)
    yield from stream.finish()
