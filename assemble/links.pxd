"""C face of the link types."""

from libc.stdint cimport uint16_t

from assemble.cursor cimport Cursor


cdef int step_link(Cursor* c, uint16_t link) noexcept nogil
