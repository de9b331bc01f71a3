"""Headers between link and IP: tags, labels, sessions and whatever else networks put before a packet.

In: a cursor, and the kind of what lies there.  Out: the cursor at an IP header, or the counter that says why there is
none.  Invariant: each step goes over one header, there are few of them, and their ids are folded into the realm.
"""

from libc.stdint cimport uint8_t, uint16_t

from assemble.cursor cimport Cursor, Realm, be16, be32, fold, take
from assemble.tally cimport Tally


cdef enum:                    # EtherTypes that only this module steps over
    ETHERTYPE_METADATA = 0x8909
    ETHERTYPE_FABRICPATH = 0x8903
    ETHERTYPE_HSR = 0x892F
    ETHERTYPE_JUMBO_LLC = 0x8870
    ETHERTYPE_ITAG = 0x88E7
    ETHERTYPE_ETAG = 0x893F
    ETHERTYPE_MACSEC = 0x88E5
    ETHERTYPE_MPLS_UPSTREAM = 0x8848
    ETHERTYPE_QINQ = 0x88A8
    ETHERTYPE_RTAG = 0xF1C1
    ETHERTYPE_TRILL = 0x22F3
    ETHERTYPE_VNTAG = 0x8926

cdef enum:
    MOST_802_3_LENGTH = 1500
    MOST_HEADERS = 8           # more headers in a row are not a network, they are an attack


cdef Tally read_kind(Cursor* c, int kind, Realm* realm) noexcept nogil:
    """Step from something of this kind to the IP header: `frames_decoded`, else the refusal's counter."""
    cdef int _step
    for _step in range(MOST_HEADERS + 1):
        if kind == IPV4 or kind == IPV6:
            return Tally.frames_decoded
        if kind == BROKEN:
            return Tally.refused_link_header
        if kind == NOT_IP:
            return Tally.refused_not_ip
        kind = step(c, kind, realm)
    return Tally.refused_link_header


cdef int step(Cursor* c, int kind, Realm* realm) noexcept nogil:
    """Step over one header of this kind; return the kind of what is behind it."""
    if is_vlan(kind):
        return step_vlan(c, realm)
    if kind == LLC or kind == ETHERTYPE_JUMBO_LLC:
        return step_llc(c)
    if kind == SNAP:
        return step_snap(c)
    if kind <= MOST_802_3_LENGTH:
        if <size_t>kind < c.left:
            c.left = kind
        return step_llc(c)
    if kind == MPLS or kind == ETHERTYPE_MPLS_UPSTREAM:
        return step_mpls(c)
    if kind == PPPOE:
        return step_pppoe(c, realm)
    if kind == PPP:
        return step_ppp(c)
    if kind == ETHERNET:
        return step_to_type(c, 14, 12)
    return step_rare(c, kind, realm)


cdef int step_rare(Cursor* c, int kind, Realm* realm) noexcept nogil:
    """Step over a header of data centres, provider bridges and rings."""
    cdef const uint8_t* p
    if kind == NSH:
        return step_nsh(c)
    if kind == ETHERTYPE_ITAG:                     # flags, 24 bits of service, two addresses, EtherType (802.1Q 9.7)
        p = take(c, 18)
        if p == NULL:
            return BROKEN
        fold(&realm.tunnel, be32(p) & 0xFFFFFF)
        return be16(p + 16)
    if kind == ETHERTYPE_VNTAG or kind == ETHERTYPE_HSR or kind == ETHERTYPE_RTAG:
        return step_to_type(c, 6, 4)
    if kind == ETHERTYPE_ETAG or kind == ETHERTYPE_METADATA:
        return step_to_type(c, 8, 6)
    if kind == ETHERTYPE_FABRICPATH:
        return BROKEN if take(c, 2) == NULL else ETHERNET
    if kind == ETHERTYPE_TRILL:                    # RFC 6325 3: options are counted in 4 bytes
        p = take(c, 6)
        return BROKEN if p == NULL or take(c, <size_t>(be16(p) >> 6 & 31) * 4) == NULL else ETHERNET
    if kind == ETHERTYPE_MACSEC:                   # IEEE 802.1AE 9: TCI bits SC 0x20, encrypted 0x08, changed 0x04
        p = take(c, 6)
        if p == NULL or (p[0] & 0x20 and take(c, 8) == NULL):
            return BROKEN
        return NOT_IP if p[0] & 0x0C else step_to_type(c, 2, 0)
    return NOT_IP


cdef inline bint is_vlan(int kind) noexcept nogil:
    """Tell whether a kind is a tag of IEEE 802.1Q, 802.1ad, or of what was used before there was a standard."""
    return kind == VLAN or kind == ETHERTYPE_QINQ or kind == 0x9100 or kind == 0x9200 or kind == 0x9300


cdef int step_vlan(Cursor* c, Realm* realm) noexcept nogil:
    cdef const uint8_t* p = take(c, 4)
    if p == NULL:
        return BROKEN
    if be16(p) & 0x0FFF:                           # 0 is a priority without a VLAN
        fold(&realm.vlan, be16(p) & 0x0FFF)
    return be16(p + 2)


cdef int step_llc(Cursor* c) noexcept nogil:
    """Step over an IEEE 802.2 header: IP's own address, or SNAP."""
    cdef const uint8_t* p = take(c, 3)
    if p == NULL:
        return BROKEN
    if p[0] == 0x06 and p[1] == 0x06 and p[2] == 3:
        return IPV4
    return step_snap(c) if p[0] == 0xAA and p[1] == 0xAA and p[2] == 3 else NOT_IP


cdef int step_snap(Cursor* c) noexcept nogil:
    """Step over a SNAP header (RFC 1042): organisation and type, an EtherType for organisations 0 and 0xF8."""
    cdef const uint8_t* p = take(c, 5)
    if p == NULL:
        return BROKEN
    if p[0] or p[1] or (p[2] and p[2] != 0xF8) or be16(p + 3) < LEAST_ETHERTYPE:
        return NOT_IP
    return be16(p + 3)


cdef int step_mpls(Cursor* c) noexcept nogil:
    """Step over a label stack (RFC 3032 2.1); what is behind its bottom, only its first bits can tell (RFC 4928 3).

    An Ethernet frame may follow, behind a control word (RFC 4385 3) or not: it is taken for one if it plainly is.
    """
    cdef const uint8_t* p = take(c, 4)
    while p != NULL and not p[2] & 1:
        p = take(c, 4)
    if p == NULL or c.left == 0:
        return BROKEN
    if holds_ip(c):
        return IPV4
    if c.at[0] >> 4 == 0 and holds_ethernet(c, 4):
        take(c, 4)
        return ETHERNET
    if holds_ethernet(c, 0):
        return ETHERNET
    return IPV4 if c.at[0] >> 4 == 4 or c.at[0] >> 4 == 6 else NOT_IP


cdef bint holds_ip(const Cursor* c) noexcept nogil:
    """Tell whether an IP header stands here whose lengths fit."""
    if c.left >= 20 and c.at[0] >> 4 == 4:
        return c.at[0] & 15 >= 5 and be16(c.at + 2) >= 20 and be16(c.at + 2) <= c.left
    return c.left >= 40 and c.at[0] >> 4 == 6 and be16(c.at + 4) <= c.left - 40


cdef bint holds_ethernet(const Cursor* c, size_t skip) noexcept nogil:
    """Tell whether an Ethernet frame with a VLAN tag or an IP header stands so many bytes further."""
    cdef int kind
    if c.left < skip + 15:
        return False
    kind = be16(c.at + skip + 12)
    if kind == IPV4 or kind == IPV6:
        return c.at[skip + 14] >> 4 == (4 if kind == IPV4 else 6)
    return is_vlan(kind)


cdef int step_pppoe(Cursor* c, Realm* realm) noexcept nogil:
    """Step over a PPPoE session header (RFC 2516 4); its length bounds what is left."""
    cdef const uint8_t* p = take(c, 6)
    if p == NULL or p[0] != 0x11 or p[1] != 0:
        return BROKEN
    fold(&realm.tunnel, be16(p + 2))
    if be16(p + 4) < c.left:
        c.left = be16(p + 4)
    return step_ppp(c)


cdef int step_ppp(Cursor* c) noexcept nogil:
    """Step over a PPP header: address and control may be left out, the protocol be one odd byte (RFC 1661 2, 6.5)."""
    cdef const uint8_t* p
    cdef uint16_t protocol
    if c.left >= 2 and c.at[0] == 0xFF and c.at[1] == 3:
        take(c, 2)
    p = take(c, 1)
    if p == NULL:
        return BROKEN
    protocol = p[0]
    if not protocol & 1:
        if take(c, 1) == NULL:
            return BROKEN
        protocol = be16(p)
    if protocol == 0x21 or protocol == 0x57:
        return IPV4
    return MPLS if protocol == 0x0281 or protocol == 0x0283 else NOT_IP


cdef int step_nsh(Cursor* c) noexcept nogil:
    """Step over a network service header (RFC 8300 2): its length is in 4-byte words and counts the first two."""
    cdef const uint8_t* p = take(c, 8)
    cdef size_t words
    if p == NULL:
        return BROKEN
    words = be16(p) & 63
    if p[0] >> 6 or words < 2 or take(c, words * 4 - 8) == NULL:
        return BROKEN
    if p[3] == 1 or p[3] == 2:
        return IPV4
    if p[3] == 3:
        return ETHERNET
    return NSH if p[3] == 4 else MPLS if p[3] == 5 else NOT_IP
