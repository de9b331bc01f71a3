"""Packet time goes on when the clock of the capturing machine is set back.

In: the times of all frames, in their order.  Out: the time that timers run on.  Invariant: it is the frames' own until
one lies more than STEP_NS behind, and never goes back by more than that; no time that a file may hold overflows.

- Set back: the shift grows so that time goes on from where timers were looked at last.
- Clocks that are set are set right again, and two sources may each have their own: a frame that one of the last shifts
  puts near the time that it is has that shift, and no time has passed.
- Any other step forward is a silence, as without a shift.  With one it may be another clock as well: if it is longer
  than LEAP_NS, time passes only as far as the frame's own time has come.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport llabs
from libc.string cimport memset


cdef int64_t LEAP_NS = 600_000_000_000
cdef int64_t LAST_NS = <int64_t>1 << 62     # the year 2116: later times are taken for this one, and negative ones for 0


cdef void set_shift(Clock* clock, int64_t shift_ns) noexcept nogil:
    """Have another shift from now on; the one before is the first of the known ones."""
    cdef int64_t moved_ns = clock.shift_ns
    cdef int64_t next_ns
    cdef int i
    if shift_ns == moved_ns:
        return
    clock.shift_ns = shift_ns
    for i in range(KNOWN):
        next_ns = clock.known[i]
        clock.known[i] = moved_ns
        moved_ns = next_ns
        if moved_ns == shift_ns:
            break


cdef int64_t come_to(Clock* clock, int64_t ts_ns) noexcept nogil:
    """Return the time for timers of a frame that is not quiet: it is due, or another shift is needed."""
    cdef int64_t own_ns = min(max(ts_ns, 0), LAST_NS)
    cdef int64_t shift_ns = clock.shift_ns
    cdef int64_t ahead_ns = own_ns + shift_ns - clock.tick_ns
    cdef int64_t step_ns = STEP_NS
    cdef int64_t most_ns = step_ns if ahead_ns < 0 else LEAP_NS
    cdef int64_t other_ns
    cdef int i
    if clock.led or -step_ns < ahead_ns < step_ns:
        return own_ns + shift_ns
    for i in range(KNOWN):
        other_ns = own_ns + clock.known[i] - clock.tick_ns
        if other_ns > -step_ns and (ahead_ns <= -step_ns or llabs(other_ns) < llabs(ahead_ns)):
            ahead_ns = other_ns
            shift_ns = clock.known[i]
    if not -step_ns < ahead_ns < most_ns:
        shift_ns = max(clock.tick_ns - TICK_NS - own_ns, 0)
    set_shift(clock, min(shift_ns, <int64_t>SHIFT_MOST_NS))
    return own_ns + clock.shift_ns


def times(stamps):
    """Return for each frame by its time the time that timers run on, and whether it has them looked at; for tests."""
    cdef Clock clock
    cdef int64_t now_ns
    cdef bint due
    out = []
    memset(&clock, 0, sizeof(clock))
    for ts_ns in stamps:
        now_ns = time_of(&clock, ts_ns)
        due = False
        if not is_quiet(&clock, now_ns):
            now_ns = come_to(&clock, ts_ns)
            due = is_due(&clock, now_ns)
        out.append((now_ns, due))
    return out
