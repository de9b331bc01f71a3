"""C face of stepping over a PROXY protocol header."""

from libc.stdint cimport uint8_t

from assemble.framing cimport Verdict


cdef Verdict proxy_header(const uint8_t* p, size_t n, size_t* used) noexcept nogil
