"""C face of the reader of pcap files: where it stands in its block."""

from libc.stdint cimport uint32_t, uint64_t

from capture.frames cimport BatchMeta


cdef class PcapFile:
    cdef int fd                      # borrowed: its owner closes it
    cdef bint swapped                # byte order is not ours
    cdef bytes block                 # part of the file, from the middle of nothing on
    cdef size_t at                   # where in it the next record begins
    cdef size_t filled               # bytes of it that were read
    cdef BatchMeta* meta             # owned: freed in __dealloc__; the frames of one chunk
    cdef size_t room                 # how many it holds
    cdef readonly uint64_t position  # bytes of the file read
    cdef readonly uint32_t unit_ns   # what one fraction of a time stands for
    cdef size_t walk(self, size_t most) except? 0
    cdef bint refill(self) except -1
