"""Progress in one line: share, counts, rates, time left."""

from pipeline.ledger import Tally
from pipeline.progress import describe


def reading(frames: int, read: int, messages: int, taken: int = 0, total: int = 1000) -> Tally:
    """An offline run at some moment."""
    capture = {"frames_captured": frames, "bytes_read": read, "bytes_total": total}
    return Tally(capture, {"messages": messages}, None, ({"messages_taken": taken},))


def test_a_file_of_known_size_has_a_share_and_an_end():
    """A quarter took ten seconds: thirty more."""
    line = describe(reading(5000, 250, 40), reading(3000, 150, 20), 2.0, 10.0)
    assert line == "25% of 1000B, 5,000 frames (1,000/s), 40 messages (10/s), 0:30 left"


def test_standard_input_has_no_end_in_sight():
    """Nothing is claimed that is not known."""
    line = describe(reading(5, 2048, 4, total=0), Tally(), 1.0, 1.0)
    assert line == "2KiB read, 5 frames (5/s), 4 messages (4/s)"


def test_what_is_read_but_not_out_is_said():
    """At 100 % the far side may still be busy."""
    line = describe(reading(5, 1000, 40, taken=10), Tally(), 1.0, 1.0)
    assert line.startswith("100% of 1000B")
    assert line.endswith("30 on their way out")


def test_nothing_yet_divides_by_nothing():
    """The first tick may come before the first frame."""
    assert describe(reading(0, 0, 0), reading(0, 0, 0), 0.0, 0.0) == "0 frames (0/s), 0 messages (0/s)"


def test_a_receiver_tells_its_rates():
    """There is no end to show."""
    before, now = ({"messages": count, "bytes_in": count * 1024} for count in (10_000, 50_000))
    line = describe(Tally(receiver=now), Tally(receiver=before), 2.0, 60.0)
    assert line == "50,000 messages (20.0k/s, 19.53MiB/s)"


def test_a_live_run_shows_its_rings_and_what_it_lost():
    """There is no share of a file to show; what matters is whether it keeps up."""
    counts = {"frames_captured": 10, "interfaces_opened": 1, "frames_dropped_kernel": 3, "frames_dropped_ring": 4}
    quiet = Tally({"frames_captured": 10, "interfaces_opened": 1}, {"messages": 2})
    assert describe(quiet, Tally(), 1.0, 1.0, 0.126) == "10 frames (10/s), 2 messages (2/s), rings 13% full"
    lossy = Tally(counts, {"messages": 2}, workers=({"output0_dropped": 5},), outputs=("null",))
    assert describe(lossy, Tally(), 1.0, 1.0).endswith("7 frames dropped, 5 messages dropped at outputs")


def test_recordings_have_a_share_and_an_end():
    """As capture files do, without frames."""
    before, now = ({"messages": at, "bytes_read": at, "bytes_total": 1000} for at in (150, 250))
    line = describe(Tally(reader=now), Tally(reader=before), 2.0, 10.0)
    assert line == "25% of 1000B, 250 messages (50/s), 0:30 left"
    line = describe(Tally(reader=now | {"bytes_read": 1000}), Tally(reader=before), 2.0, 10.0)
    assert line == "100% of 1000B, 250 messages (50/s), 250 on their way out"
