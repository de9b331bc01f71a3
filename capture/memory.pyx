"""Anonymous memory that processes share: it has no name in the file system, and ends with the last who holds it.

In: a size.  Out: a mapping.  Invariant: whoever holds a `Memory` may use all `size` bytes at `at`.
"""

import os

from capture.errors import MirrorError


cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* address, size_t length, int protection, int flags, int fd, long offset)
    int munmap(void* address, size_t length)
    int PROT_READ
    int PROT_WRITE
    int MAP_SHARED
    void* MAP_FAILED

cdef extern from "<unistd.h>" nogil:
    int close(int fd)


cdef class Memory:
    """The mapping of a memory file, whose descriptor is ours from here on; `name` is what errors call its holder.

    With a `size`, it has to have that many bytes, or is not `what` it should be; else it is taken as it is.  Raises
    MirrorError.
    """

    def __cinit__(self, str name not None, int fd, size_t size=0, str what=""):
        self.fd = fd
        self.size = os.fstat(fd).st_size
        if size and size != self.size:
            raise MirrorError(f"{name}: the descriptor does not hold {what}")
        cdef void* at = mmap(NULL, self.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if at == MAP_FAILED:
            raise MirrorError(f"{name}: cannot map {self.size} bytes of shared memory")
        self.at = at

    def __dealloc__(self):
        if self.at != NULL:
            munmap(self.at, self.size)
        if self.fd > 0:
            close(self.fd)


def make_memory(str name not None, size_t size):
    """Return the descriptor of a memory file of zeros; its pages take room when they are touched."""
    fd = os.memfd_create(f"ringtap-{name}", os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    return fd
