"""The counters by name: the numbers that the compiled core counts by are those that everybody reads by name."""

import packets
from talks import CLIENT, SERVER, Talk, assembled

from assemble.tally import ASSEMBLE_COUNTERS, Tally


def test_each_name_is_at_its_number():
    """Off by one here, and every row of the ledger shows its neighbour."""
    assert [Tally[name].value for name in ASSEMBLE_COUNTERS] == list(range(int(Tally.TALLIES)))


def test_one_of_each_is_counted_under_its_name():
    """The first and the last counters, and some between, by what really happened."""
    talk = Talk().open().put(CLIENT, b"GET / HTTP/1.1\r\n\r\n").put(CLIENT, b"GET", at=0)
    talk.put(SERVER, b"HTTP/1.1 204 No\r\n\r\n\r\n").put(SERVER, b"\0ubbish")
    frames = [*talk.frames, (talk.now_ns, packets.ethernet(b"", ethertype=0x0806))]
    counters = assembled(frames).counters
    assert {name: n for name, n in counters.items() if n and not name.startswith(("bytes_", "messages"))} == {
        "frames_decoded": 7, "refused_not_ip": 1, "segments_data": 4, "segments_control": 3,
        "segments_in_order": 3, "segments_duplicate": 1, "skipped_blank_lines": 2, "skipped_not_http": 7,
        "requests": 1, "responses": 1, "flows": 1,
    }  # fmt: skip
    assert counters["bytes_held_peak"] > 0
