"""C face of the link types."""

from libc.stdint cimport uint16_t

from assemble.cursor cimport Cursor


cdef enum:
    LINK_ETHERNET = 1

cdef inline bint is_rare(uint16_t link) noexcept nogil:
    """Tell whether a link type is one of RARE in assemble/rare.py."""
    return link == 105 or link == 119 or link == 127 or link == 163 or link == 192

cdef int step_link(Cursor* c, uint16_t link) noexcept nogil
