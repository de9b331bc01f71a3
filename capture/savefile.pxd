"""C face of the cutter: where it stands in its buffer."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from capture.bpf cimport Program


cdef class Cutter:
    cdef bytearray buffer            # fed and not yet taken
    cdef size_t begins               # the next piece begins here
    cdef size_t kept                 # and ends here: records that pass the filter are moved together
    cdef size_t whole                # whole records end here
    cdef uint64_t base               # where the buffer begins in the stream
    cdef bint blocks                 # pcapng, not pcap
    cdef bint big                    # pcapng: byte order of the section
    cdef bint swapped                # byte order is not ours
    cdef bint old                    # pcap before 2.4: the two lengths may be exchanged
    cdef size_t record_header        # of pcap
    cdef bint section_next           # a section begins at `whole`; the frames before it are to be taken
    cdef bytes head                  # needed in front of a piece: file header, or section and interfaces
    cdef bytes head_next             # the same for the piece after it
    cdef uint32_t link               # of the first interface of pcapng; all others have to be like it
    cdef Program program             # the filter, or None
    cdef bint started                # frames may be walked over
    cdef readonly bint known         # the format is known; for pcapng also the first interface
    cdef readonly size_t frames      # frames ready to be taken
    cdef readonly uint32_t unit_ns   # what one fraction of the pieces' timestamps stands for
    cdef readonly object broken      # why nothing after `whole` can be used, or None
    cdef uint32_t read32(self, size_t at)
    cdef void begin(self)
    cdef void walk(self)
    cdef bint walk_records(self, uint8_t* at, size_t there) noexcept nogil
    cdef void walk_blocks(self)
    cdef bint enter_section(self)
    cdef bint enter_interface(self, size_t length)
    cdef bint passes(self, uint32_t kind, uint32_t length)
    cdef void keep(self, uint8_t* at, size_t size) noexcept nogil
