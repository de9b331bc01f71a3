"""The library: the same messages from files and from frames, as they come, no process needed."""

import pytest
from packets_files import write_pcap
from talks import CLIENT, SERVER, Talk, batches

import assemble
from assemble import MessageStream
from capture.errors import SourceError

GET = b"GET / HTTP/1.1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_a_file_a_stream_of_frames_and_batches_give_the_same(tmp_path):
    """Three ways in, one core."""
    frames = Talk().open().put(CLIENT, GET).put(SERVER, OK[:-1]).frames
    path = str(write_pcap(tmp_path / "a.pcap", frames))
    from_frames, from_batches = MessageStream(ports=[80]), MessageStream()
    wanted = list(assemble.messages(path, ports=[80]))
    assert [(m.kind, m.complete) for m in wanted] == [("request", True), ("response", False)]
    assert from_frames.feed(frames) + from_frames.finish() == wanted
    out = [m for record in batches(frames, 1) for m in from_batches.feed_batch(record)]
    assert out + from_batches.finish() == wanted


def test_a_message_is_given_as_soon_as_it_is_whole():
    """A live reader cannot wait for the end."""
    talk = Talk().open().put(CLIENT, GET)
    stream = MessageStream()
    assert stream.feed(talk.frames[:-1]) == []
    assert [m.payload for m in stream.feed(talk.frames[-1:])] == [GET]
    assert stream.finish() == []


def test_what_comes_before_a_damaged_place_in_a_file_has_been_given(tmp_path):
    """A capture of yesterday's incident is often cut short: its messages count, and the user is told."""
    path = write_pcap(tmp_path / "a.pcap", Talk().open().put(CLIENT, GET).frames)
    other = tmp_path / "b.txt"
    other.write_text("no capture at all, though long enough to be one")
    assert [m.payload for m in assemble.messages(str(path))] == [GET]
    with pytest.raises(SourceError):
        list(assemble.messages([str(path), str(other)]))


def test_an_unknown_setting_is_an_error():
    """A misspelt setting that is ignored would be found out in production."""
    with pytest.raises(TypeError, match="gap_timeout"):
        MessageStream(gap_timeout="2s")
