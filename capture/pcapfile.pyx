"""Reads a pcap file in large blocks and says where in them its frames lie, without touching them.

In: a descriptor of a regular file that stands at its beginning.  Out: blocks, and the metas of next_batch for them.
Invariant: every whole frame comes out once, in its order; the first place that is not whole raises Broken.

libpcap copies each frame twice on its way to Python, which for small frames is most of the work of reading a file.
Layout: pcap-savefile(5); the two magics of version 2.4, in both byte orders.  All other files are libpcap's.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy


cdef extern from "<unistd.h>" nogil:
    ssize_t read(int fd, void* into, size_t size)

cdef extern from "<errno.h>" nogil:
    int errno

cdef extern from *:
    uint32_t __builtin_bswap32(uint32_t n) noexcept nogil


cdef enum:
    FILE_HEADER_BYTES = 24
    RECORD_BYTES = 16
    BLOCK_BYTES = 1 << 20
    MOST_CAPLEN = 262144          # MAXIMUM_SNAPLEN of libpcap, which refuses longer frames

UNITS_NS = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1}


class Broken(Exception):
    """The file cannot be read on from here."""


def is_readable(bytes header not None):
    """Tell whether a file that begins with these bytes is one that `PcapFile` reads."""
    if len(header) < FILE_HEADER_BYTES:
        return False
    for order in ("little", "big"):
        version = int.from_bytes(header[4:6], order), int.from_bytes(header[6:8], order)
        if int.from_bytes(header[:4], order) in UNITS_NS:
            return version == (2, 4)
    return False


cdef class PcapFile:
    """One file; `read` until it returns None."""

    def __cinit__(self, int fd, bytes header not None):
        if not is_readable(header):
            raise ValueError("not a pcap file of version 2.4")
        native = int.from_bytes(header[:4], "little")
        self.swapped = native not in UNITS_NS
        self.unit_ns = UNITS_NS[int.from_bytes(header[:4], "big") if self.swapped else native]
        self.fd = fd
        self.block = b""
        self.position = os.lseek(fd, FILE_HEADER_BYTES, os.SEEK_SET)

    def __dealloc__(self):
        free(self.meta)

    def read(self, size_t most):
        """Return a block and the metas of up to `most` frames in it, None at the end; Broken where it is not whole."""
        cdef size_t count = self.walk(most)
        while count == 0:
            if not self.refill():
                return None
            count = self.walk(most)
        return self.block, PyBytes_FromStringAndSize(<char*>self.meta, count * sizeof(BatchMeta))

    cdef size_t walk(self, size_t most) except? 0:
        """Step over whole records of the block, `most` of them or all; return how many there were."""
        cdef const uint8_t* block = <const uint8_t*>PyBytes_AS_STRING(self.block)
        cdef BatchMeta* meta
        cdef uint32_t[4] head
        cdef size_t count = 0
        cdef int i
        if most > self.room:
            meta = <BatchMeta*>realloc(self.meta, most * sizeof(BatchMeta))
            if meta == NULL:
                raise MemoryError
            self.meta = meta
            self.room = most
        while count < most and self.filled - self.at >= RECORD_BYTES:
            memcpy(head, block + self.at, RECORD_BYTES)
            if self.swapped:
                for i in range(4):
                    head[i] = __builtin_bswap32(head[i])
            if head[2] > MOST_CAPLEN:
                if count:
                    break                        # those before it first
                raise Broken(f"the record at byte {self.position - (self.filled - self.at)} has {head[2]} bytes")
            if self.filled - self.at - RECORD_BYTES < head[2]:
                break
            self.at += RECORD_BYTES
            self.meta[count] = BatchMeta(head[0], head[1], <uint32_t>self.at, head[2])
            self.at += head[2]
            count += 1
        return count

    cdef bint refill(self) except -1:
        """Read the next block, which begins with what the last one left; False at the end of the file."""
        cdef size_t left = self.filled - self.at
        cdef bytes block = PyBytes_FromStringAndSize(NULL, BLOCK_BYTES)
        cdef char* room = PyBytes_AS_STRING(block) + left
        cdef ssize_t count
        memcpy(PyBytes_AS_STRING(block), PyBytes_AS_STRING(self.block) + self.at, left)
        with nogil:
            count = read(self.fd, room, BLOCK_BYTES - left)
        if count < 0:
            raise Broken(os.strerror(errno))
        if count == 0 and left:
            raise Broken(f"it ends inside the record at byte {self.position - left}")
        self.block = block
        self.at = 0
        self.filled = left + count
        self.position += count
        return count > 0
