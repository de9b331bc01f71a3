"""A page of named counters in shared memory: one process writes, any may read, nobody locks (DESIGN 6)."""

from multiprocessing import reduction

from libc.stdint cimport uint64_t

from capture.memory cimport Memory

from capture.memory import make_memory


cdef enum:
    PAGE_BYTES = 16384

MOST = PAGE_BYTES // 8
"""Most counters that one page holds."""


cdef class Counters:
    """Named 64-bit counters; travels to a spawned child by descriptor, as it is.  A successor adds on."""

    def __cinit__(self, names, int fd=-1):
        self.names = tuple(names)
        self.index = {name: at for at, name in enumerate(self.names)}
        if len(self.index) != len(self.names) or len(self.names) > MOST:
            count, different = len(self.names), len(self.index)
            raise ValueError(f"counters: {count} names, of which {different} differ; at most {MOST}")
        if fd < 0:
            fd = make_memory("counters", PAGE_BYTES)
        self.memory = Memory("counters", fd, PAGE_BYTES, "a page of counters")
        self.at = <uint64_t*>self.memory.at

    @property
    def fd(self):
        """The descriptor of the page."""
        return self.memory.fd

    def __reduce__(self):
        return _attach, (self.names, reduction.DupFd(self.memory.fd))

    def add(self, name, uint64_t amount=1):
        """Add to one counter; the writing process alone may do so."""
        cdef size_t at = self.index[name]
        self.at[at] += amount

    def set(self, name, uint64_t value):
        """Set one counter to a level; the writing process alone may do so."""
        cdef size_t at = self.index[name]
        self.at[at] = value

    def __getitem__(self, name):
        cdef size_t at = self.index[name]
        return self.at[at]

    def as_dict(self):
        """Return every counter by name, each read once."""
        return {name: self.at[<size_t>at] for at, name in enumerate(self.names)}


def _attach(names, fd):
    return Counters(names, fd.detach())
