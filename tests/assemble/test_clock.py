"""Packet time goes on when the clock of the machine that captures is set back, and shows nothing else of it."""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Final

import packets
import pytest
from engines import by_compiled, by_reference
from hypothesis import given
from hypothesis import strategies as st
from packets_files import Frame
from reference.clock import Clock
from strategies import pick
from strategies_packets import interleaved, summary
from talks import CLIENT, SERVER, START_NS, Talk, assembled, batches, close_books
from test_envelopes import enveloped, in_fragments, ip_packet, plain_case

from assemble import Message, MessageStream
from assemble.assembler import Assembler
from assemble.clock import times
from assemble.settings import Settings
from capture.records import CLOCK, KIND_CLOCK, KIND_FRAMES
from capture.ring import Consumer, Producer, Ring

S: Final = 10**9
HOUR: Final = 3600 * S
SET_TO: Final = (0, -HOUR, -40 * S, -(2**60), -90 * 24 * HOUR)
"""Where the clock stands that was right at first: fewer places than are kept in mind, further apart than frames are."""

GET: Final = b"GET / HTTP/1.1\r\n\r\n"
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfoobar"


def elapsed(*stamps: int) -> list[int]:
    """Give the time for timers at each frame, from the first one on; the times of the frames are, too."""
    return [now_ns - START_NS for now_ns, _ in times(START_NS + each for each in stamps)]


def stepped(frames: Iterable[Frame], places: Sequence[int]) -> list[Frame]:
    """Have the clock set before each frame to the place that is given for it."""
    return [(ts_ns + place, frame) for (ts_ns, frame), place in zip(frames, places, strict=True)]


def summaries(messages: Iterable[Message]) -> list[str]:
    """Put messages, without their times, into an order of their own."""
    return sorted(map(repr, map(summary, messages)))


def ticking(after: Talk, seconds: float, set_ns: int = 0, every_s: float = 1.0) -> list[Frame]:
    """Give frames of no interest until so many seconds after a talk, by a clock that was set by so much."""
    arp = packets.ethernet(b"", ethertype=0x0806)
    return [(after.now_ns + set_ns + round(at * every_s * S), arp) for at in range(1 + round(seconds / every_s))]


@given(start_ns=pick(0, 1, START_NS, 2**62, -(2**63)), data=st.data())
def test_the_time_for_timers_is_that_of_the_reference(start_ns, data):
    """Steps of every size, back and forth, and whatever else a file may hold in a field of 64 bits."""
    steps = st.one_of(
        pick(0, 1, S, 9 * S, 10 * S, -S, -9 * S, -10 * S, 60 * S, 599 * S, 600 * S, HOUR, -HOUR, 2**60, -(2**60)),
        st.integers(-20 * S, 20 * S),
        st.integers(-(2**64), 2**64),
    )
    stamps = [start_ns]
    for step in data.draw(st.lists(steps, max_size=40)):
        stamps.append(min(max(stamps[-1] + step, -(2**63)), 2**63 - 1))
        stamps += data.draw(st.lists(st.sampled_from(stamps), max_size=1))
    clock = Clock()
    assert times(stamps) == [(clock.take(ts_ns), clock.due) for ts_ns in stamps]


@given(gaps=st.lists(pick(0, 10**6, 49_999_999, S, 59 * S, HOUR, 10**17), max_size=40), data=st.data())
def test_frames_that_are_only_late_have_their_own_time(gaps, data):
    """Nothing is added where no clock was set: what timers do with ordinary traffic is what they always did."""
    now_ns, stamps = START_NS, []
    for gap_ns in gaps:
        now_ns += gap_ns
        stamps.append(now_ns - data.draw(pick(0, 0, 0, 10**6, S, 9 * S)))
    next_ns, wanted = 0, []
    for ts_ns in stamps:
        wanted.append((ts_ns, ts_ns >= next_ns))
        next_ns = max(next_ns, ts_ns + 50_000_000) if ts_ns >= next_ns else next_ns
    assert times(stamps) == wanted


def test_time_goes_on_from_where_it_was_when_the_clock_is_set_back():
    """By as much as the frames say, from then on."""
    back = -HOUR
    assert elapsed(0, back, back + S, back + 21 * S, back + 80 * S) == [0, 0, S, 21 * S, 80 * S]


def test_no_time_passes_when_a_clock_is_set_right_again():
    """An hour that only the clock made would end every connection that is under way."""
    assert elapsed(0, -HOUR, S - HOUR, 2 * S, 3 * S, 4 * S - HOUR) == [0, 0, S, 2 * S, 3 * S, 4 * S]


def test_two_clocks_that_disagree_are_one_time():
    """Interfaces with clocks of their own: one may count the leap seconds, another not."""
    stamps = [at * S - 37 * S * (at % 2) for at in range(100)]
    assert elapsed(*stamps)[2:] == [at * S - S * (at % 2) for at in range(2, 100)]


def test_as_many_clocks_as_are_kept_in_mind_are_one_time():
    """A capture may be of several machines, merged; with more of them silences are seen that are none."""
    offsets = [-11 * S * at * at for at in range(9)]
    stamps = [at * S + offsets[at % 9] for at in range(90)]
    late = [now_ns - at * S for at, now_ns in enumerate(elapsed(*stamps))]
    assert late[9:] == late[:9] * 9
    assert -9 * S < min(late) <= max(late) == 0


def test_a_frame_of_another_age_is_passed_once_and_time_goes_on_behind_it():
    """A single absurd time is a silence of that length; it must not be the end of all timers."""
    ages = 2 * 10**18
    assert elapsed(0, ages, S, 2 * S, ages + S, 3 * S) == [0, ages, ages, ages + S, ages + S, ages + 2 * S]


def test_a_frame_without_a_time_is_of_no_consequence():
    """Some tools write 0."""
    assert elapsed(0, -START_NS, S, -START_NS, 2 * S) == [0, 0, S, 0, 2 * S]


def test_a_step_forward_where_the_clock_was_set_before_is_a_silence_if_it_is_short():
    """It may be either; who waits for a day more loses nothing, and who is ended too early does."""
    assert elapsed(0, -9 * HOUR, 500 * S - 9 * HOUR) == [0, 0, 500 * S]
    assert elapsed(0, -9 * HOUR, -5 * HOUR, S - 5 * HOUR) == [0, 0, 0, S]
    assert elapsed(0, -9 * HOUR, HOUR, HOUR + S) == [0, 0, HOUR, HOUR + S]


def holed() -> Talk:
    """Tell a response of which the tap has missed two bytes that its receiver has."""
    talk = Talk().open().put(CLIENT, GET).put(SERVER, OK[:40]).lose(SERVER, OK[40:42])
    return talk.put(SERVER, OK[42:]).put(CLIENT)


@pytest.mark.parametrize("set_ns", SET_TO)
@pytest.mark.parametrize("every_s", [0.1, 1, 20])
def test_a_hole_is_given_up_in_time_when_the_clock_was_set_back(set_ns, every_s):
    """Everything behind it would be held back until time is where it was."""
    talk, stream = holed(), MessageStream()
    assert [m.kind for m in stream.feed([*talk.frames, *ticking(talk, 1.9, set_ns, 0.1)])] == ["request"]
    [response] = stream.feed(ticking(talk, 20, set_ns, every_s))
    assert (response.missing, response.last_ns) == (2, talk.frames[-2][0])
    assert stream.counters["holes"] == 1


def test_a_hole_that_begins_after_the_clock_was_set_back_is_given_up_in_time_too():
    """What waits is told by the same time as what ends it."""
    other = Talk(cport=1).open()
    talk = Talk(now_ns=START_NS - HOUR).open().put(CLIENT, GET).put(SERVER, OK[:40]).lose(SERVER, OK[40:42])
    talk.put(SERVER, OK[42:]).put(CLIENT)
    stream = MessageStream()
    assert len(stream.feed([*other.frames, *talk.frames, *ticking(talk, 1.9, 0, 0.1)])) == 1
    [response] = stream.feed(ticking(talk, 2.2, 0, 0.1))
    assert (response.missing, response.first_ns < START_NS - HOUR + S) == (2, True)


@pytest.mark.parametrize("set_ns", SET_TO)
@pytest.mark.parametrize("every_s", [1, 30])
def test_an_idle_flow_ends_in_time_when_the_clock_was_set_back(set_ns, every_s):
    """Its memory comes back, and a response that runs until close goes out."""
    talk = Talk().open().put(CLIENT, GET).put(SERVER, b"HTTP/1.1 200 OK\r\n\r\nuntil close")
    stream = MessageStream()
    assert len(stream.feed([*talk.frames, *ticking(talk, 59, set_ns)])) == 1
    assert stream.counters["flows_now"] == 1
    assert len(stream.feed(ticking(talk, 120, set_ns, every_s)[1:])) == 1
    assert (stream.counters["flows_now"], stream.counters["flows_idle"]) == (0, 1)


@pytest.mark.parametrize("set_ns", SET_TO)
def test_fragments_are_given_up_in_time_when_the_clock_was_set_back(set_ns):
    """Pieces of what was sent again since then would be mixed with them."""
    request = Talk().put(CLIENT, bytes(1200)).frames[0][1]
    pieces = in_fragments(ip_packet(request), Random(1), 7)[1:]
    frames = [(START_NS, packets.ethernet(piece)) for piece in pieces]
    stream, talk = MessageStream(), Talk()
    stream.feed([*frames, *ticking(talk, 29, set_ns)])
    assert stream.counters["fragments_held"] == len(pieces)
    stream.feed(ticking(talk, 32, set_ns))
    assert (stream.counters["fragments_held"], stream.counters["refused_ip_fragment"]) == (0, len(pieces))


def test_a_time_that_a_silent_source_tells_is_never_a_clock_that_was_set_back():
    """It may be from before what is in the ring already; and after a step, of the clock as it was."""
    ring = Ring.create(1 << 20)
    producer, consumer, assembler = Producer(ring), Consumer(ring), Assembler(Settings())
    talk = holed()

    def told(*stamps: int) -> int:
        for ts_ns in stamps:
            producer.put(KIND_CLOCK, CLOCK.pack(ts_ns))
        assembler.feed_ring(consumer, consumer.tail)
        return sum(m.kind == "response" for m in assembler.sink.take())

    for record in batches([*talk.frames, *ticking(talk, 0, -HOUR)]):
        producer.put(KIND_FRAMES, record)
    here = talk.now_ns - HOUR
    assert told(here, here - 5 * S, here - HOUR, 0, -1, -(2**63), here + S) == 0
    assert told(talk.now_ns + S, here + 19 * S // 10) == 0  # by the clock as it was, and as it is
    assert told(here + 22 * S // 10) == 1


@given(made=interleaved(), data=st.data(), batch=pick(1, 7, 2048))
def test_a_clock_that_steps_between_frames_shows_in_their_times_alone(made, data, batch):
    """The reference has no timers; those of the core must not end what is under way."""
    _, frames = made
    places = [0, *data.draw(st.lists(pick(*SET_TO), min_size=len(frames) - 1, max_size=len(frames) - 1))]
    got = by_compiled(stepped(frames, places), batch=batch)
    assert sorted(map(repr, got)) == sorted(map(repr, by_reference(stepped(frames, places))))
    assert summaries(got) == summaries(by_compiled(frames))


@pytest.mark.parametrize("seed", range(41, 49))
def test_a_clock_that_steps_between_fragments_shows_as_little(seed):
    """A datagram waits for its pieces by the same time."""
    rng = Random(seed)
    frames = enveloped(plain_case(seed).bytes_of(), rng)
    places = [0, *(rng.choice(SET_TO) for _ in frames[1:])]
    got = assembled(stepped(frames, places))
    assert summaries(got.messages) == summaries(by_compiled(frames)) == summaries(by_reference(stepped(frames, places)))


@given(made=interleaved(most=2), data=st.data(), set_ns=pick(*SET_TO))
def test_what_a_timer_ends_comes_out_when_it_would_have_without_a_step(made, data, set_ns):
    """Frames are missing, and the clock steps back and forth: half a second after each timer's end all is as ever."""
    _, frames = made
    kept = [frame for frame in frames if data.draw(pick(True, True, True, False))]
    places = [0, *data.draw(st.lists(pick(*SET_TO), min_size=len(kept), max_size=len(kept)))][: len(kept)]
    end = Talk(now_ns=frames[-1][0])
    plain, told = MessageStream(idle_timeout_s=40), MessageStream(idle_timeout_s=40)
    wanted = plain.feed([*kept, *ticking(end, 0)])
    got = told.feed([*stepped(kept, places), *ticking(end, 0, set_ns if kept else 0)])
    assert summaries(got) == summaries(wanted)
    for after_s in (0.5, 1.5, 2.8, 3.3, 29.5, 31.2, 39.5, 40.8):
        arp = ticking(end, 0)[0][1]
        at_ns = end.now_ns + round(after_s * S)
        wanted += plain.feed([(at_ns, arp)])
        got += told.feed([(at_ns + (set_ns if kept else 0), arp)])
        assert summaries(got) == summaries(wanted)
    assert told.counters == plain.counters
    assert told.counters["flows_now"] == 0


@given(data=st.data())
def test_the_books_close_whatever_the_times_are(data):
    """A file may hold anything: no sum of times leaves 64 bits, and no flow is lost on the way."""
    stamps = st.integers(-(2**63), 2**63 - 1)
    talk = Talk().open().put(CLIENT, GET).put(SERVER, OK[:40]).lose(SERVER, 2).put(SERVER, OK[42:])
    talk.put(CLIENT).put(CLIENT, GET).put(SERVER, OK).put(CLIENT).close()
    frames = [(data.draw(stamps), frame) for _, frame in talk.frames]
    close_books(assembled(frames).counters, len(frames))
