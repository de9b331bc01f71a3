"""C face of what a direction begins with."""

from libc.stdint cimport uint8_t

from assemble.collect cimport Origin
from assemble.exchange cimport Exchange
from assemble.flows cimport ROLE_CLIENT, ROLE_UNKNOWN, Flow, Half
from assemble.records cimport REQUEST, RESPONSE
from assemble.tally cimport Tally


cdef class Opening(Exchange):
    cdef size_t name(self, Flow* flow, int side, const uint8_t* p, size_t n, Origin origin) noexcept nogil
    cdef bint end_naming(self, Flow* flow, int side) noexcept nogil

    cdef void reopen(self, Half* half, size_t before) noexcept nogil
    cdef void give_name(self, Flow* flow, Half* half, Tally name) noexcept nogil


cdef inline uint8_t likely_kind(const Half* half) noexcept nogil:
    """Return the kind that a half's sender would start, as far as its role is known; 0 for either."""
    if half.role == ROLE_UNKNOWN:
        return 0
    return REQUEST if half.role == ROLE_CLIENT else RESPONSE


cdef inline bint fits_role(const Flow* flow, const Half* half) noexcept nogil:
    """Tell whether a head is of the kind that this side sends: requests and responses never share a direction.

    Until a message was framed, who opened the connection is but a hint: both sides may have (RFC 9293 3.5).
    """
    cdef uint8_t kind = likely_kind(half) if flow.begun else 0
    return kind == 0 or half.head.kind == kind


cdef inline bint at_beginning(const Half* half) noexcept nogil:
    """Tell whether the next byte is the first that this half's sender ever sent, and was seen to be so."""
    return half.synced and not half.begun
