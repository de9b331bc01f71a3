"""When each request of a replay is due: the captured timing at any speed, or a fixed rate, on one absolute schedule.

In: captured times, in any order.  Out: times on the monotonic clock.  Invariant: all workers of an output share the
schedule, also one that goes on where another was killed: it is an anonymous memory file, handed over by descriptor.

The page, all fields 8 bytes, in native byte order:

at 0    begun_ns      monotonic time at which the schedule begins; 0: nobody has asked for a time yet
at 8    captured_ns   captured time of the request that is due then
at 16   requests      that have been given a time
at 24   reserved
"""

from multiprocessing import reduction

from libc.math cimport sqrt
from libc.stdint cimport int64_t, uint64_t

from capture.memory cimport Memory

from capture.memory import make_memory


cdef extern from *:
    """
    static inline int pace_claim(int64_t *at, int64_t value) {
        int64_t none = 0;
        return __atomic_compare_exchange_n(at, &none, value, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    }
    static inline int64_t pace_read(int64_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline uint64_t pace_next(uint64_t *at) { return __atomic_fetch_add(at, 1, __ATOMIC_RELAXED); }
    """
    bint pace_claim(int64_t* at, int64_t value) nogil
    int64_t pace_read(int64_t* at) nogil
    uint64_t pace_next(uint64_t* at) nogil

cdef enum:
    NS = 1_000_000_000


cdef class Pace:
    """The schedule, made by `Pace.create`; travels to a spawned child by descriptor.

    With a `rate` (requests per second) requests are due one after another; else with a `speed` they are due as they
    were captured, so many times as fast; with neither at once.  Both rise linearly from 0 over the first `ramp_s`.
    """

    def __cinit__(self, int memory_fd, double speed, double rate, double ramp_s):
        self.memory = Memory("pace", memory_fd, sizeof(Start), "a schedule")
        self.start = <Start*>self.memory.at
        self.speed = speed
        self.rate = rate
        self.ramp_s = ramp_s

    @staticmethod
    def create(double speed=0, double rate=0, double ramp_s=0):
        """Make a schedule that begins with the first request; 0 is no speed, no rate, no ramp."""
        return Pace(make_memory("pace", sizeof(Start)), speed, rate, ramp_s)

    def __reduce__(self):
        return _attach, (reduction.DupFd(self.memory.fd), self.speed, self.rate, self.ramp_s)

    @property
    def timed(self):
        """Whether requests have a time at all."""
        return self.speed > 0 or self.rate > 0

    cdef int64_t ramped(self, double steady_s) noexcept nogil:
        """Return when, in ns from the beginning, what would take `steady_s` at full speed has been done."""
        if self.ramp_s > 0:
            if steady_s < self.ramp_s / 2:
                steady_s = sqrt(2 * steady_s * self.ramp_s) if steady_s > 0 else steady_s
            else:
                steady_s += self.ramp_s / 2
        return <int64_t>(steady_s * NS)

    cdef int64_t due(self, int64_t captured_ns, int64_t now_ns) noexcept nogil:
        """Give a request its time; the first of all begins the schedule."""
        if self.rate <= 0 and self.speed <= 0:
            return now_ns
        # The captured time is claimed first: who sees that the schedule has begun sees both.
        if pace_read(&self.start.captured_ns) == 0:
            pace_claim(&self.start.captured_ns, captured_ns if captured_ns != 0 else 1)
        if pace_read(&self.start.begun_ns) == 0:
            pace_claim(&self.start.begun_ns, now_ns)
        if self.rate > 0:
            return self.start.begun_ns + self.ramped(pace_next(&self.start.requests) / self.rate)
        return self.start.begun_ns + self.ramped((captured_ns - self.start.captured_ns) / (self.speed * NS))

    def due_ns(self, int64_t captured_ns, int64_t now_ns):
        """Give a request its time; for those who ask from Python."""
        return self.due(captured_ns, now_ns)


def _attach(memory, speed, rate, ramp_s):
    return Pace(memory.detach(), speed, rate, ramp_s)
