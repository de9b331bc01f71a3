"""C face of the headers between link and IP."""

from assemble.cursor cimport Cursor, Realm, be16, take
from assemble.tally cimport Tally


cdef enum Kind:               # what lies at a cursor: an EtherType (IEEE 802), an 802.3 length up to 1500, or
    BROKEN = -1               # nothing: a header is cut short, or says what cannot be
    NOT_IP = -2               # what never holds IP, or only in ways that we do not know
    LLC = -3                  # an IEEE 802.2 header
    SNAP = -4                 # what may be behind it
    IPV4 = 0x0800             # either version: the header itself tells
    ETHERNET = 0x6558         # a whole Ethernet frame
    VLAN = 0x8100
    IPV6 = 0x86DD
    PPP = 0x880B
    MPLS = 0x8847
    PPPOE = 0x8864
    NSH = 0x894F

cdef enum:
    LEAST_ETHERTYPE = 0x0600

cdef Tally read_kind(Cursor* c, int kind, Realm* realm) noexcept nogil


cdef inline int step_to_type(Cursor* c, size_t size, size_t at) noexcept nogil:
    """Step over a header of fixed size that has an EtherType, or an 802.3 length, at `at`."""
    cdef const unsigned char* p = take(c, size)
    if p == NULL:              # no conditional expression: its type would be that of the EtherType, unsigned
        return BROKEN
    return be16(p + at)
