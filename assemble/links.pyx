"""Link types: from the first byte of a frame to the first header that says what is behind it.

In: a cursor at the start of a frame, and its LINKTYPE_ value.  Out: the cursor behind the link header, and the kind of
what is there.  Invariant: one step, over one header.  Source: pcap-linktype(7).
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

from assemble.cursor cimport Cursor, be16, be32, take
from assemble.kinds cimport (
    BROKEN, ETHERNET, IPV4, IPV6, LEAST_ETHERTYPE, LLC, MPLS, NOT_IP, PPP, PPPOE, SNAP, step_to_type)


cdef enum:
    LINKTYPE_NULL = 0
    LINKTYPE_ETHERNET = 1
    LINKTYPE_PPP = 9
    LINKTYPE_PPP_HDLC = 50
    LINKTYPE_PPP_ETHER = 51
    LINKTYPE_ATM_RFC1483 = 100
    LINKTYPE_RAW = 101
    LINKTYPE_C_HDLC = 104
    LINKTYPE_FRELAY = 107
    LINKTYPE_LOOP = 108
    LINKTYPE_ENC = 109
    LINKTYPE_LINUX_SLL = 113
    LINKTYPE_PFLOG = 117
    LINKTYPE_IP_OVER_FC = 122
    LINKTYPE_APPLE_IP_OVER_IEEE1394 = 138
    LINKTYPE_PPP_PPPD = 166
    LINKTYPE_PPP_WITH_DIR = 204
    LINKTYPE_MPLS = 219
    LINKTYPE_IPV4 = 228
    LINKTYPE_IPV6 = 229
    LINKTYPE_NFLOG = 239
    LINKTYPE_NETANALYZER = 240
    LINKTYPE_PKTAP = 258
    LINKTYPE_ETHERNET_MPACKET = 274
    LINKTYPE_LINUX_SLL2 = 276

cdef enum:
    NFLOG_PAYLOAD = 9          # NFULA_PAYLOAD of linux/netfilter/nfnetlink_log.h
    PFLOG_LEAST = 28           # of the oldest header, OpenBSD 3.4
    PREAMBLE_END = 0xD5        # start of frame delimiter (IEEE 802.3 3.2.2); others begin a part of a frame (802.3br)


cdef int step_link(Cursor* c, uint16_t link) noexcept nogil:
    """Step over the header of a link type; return the kind of what is behind it."""
    if link == LINKTYPE_PKTAP:
        link = step_pktap(c)
    if link == LINKTYPE_ETHERNET:
        return step_to_type(c, 14, 12)
    if link == LINKTYPE_LINUX_SLL:
        return step_cooked(c, 16, 14)
    if link == LINKTYPE_LINUX_SLL2:
        return step_cooked(c, 20, 0)
    if link == LINKTYPE_NULL or link == LINKTYPE_LOOP:
        return step_family(c)
    if link == LINKTYPE_RAW or link == LINKTYPE_IPV4 or link == LINKTYPE_IPV6:
        return IPV4
    if link == LINKTYPE_PPP or link == LINKTYPE_PPP_HDLC or link == LINKTYPE_PPP_PPPD:
        return step_hdlc(c)
    if link == LINKTYPE_PPP_WITH_DIR:
        return BROKEN if take(c, 1) == NULL else step_hdlc(c)
    if link == LINKTYPE_C_HDLC:
        return step_to_type(c, 4, 2)
    return step_rare_link(c, link)


cdef int step_rare_link(Cursor* c, uint16_t link) noexcept nogil:
    """Step over the header of a link type that few captures have; an unknown one is BROKEN."""
    if link == LINKTYPE_PPP_ETHER:
        return PPPOE
    if link == LINKTYPE_MPLS:
        return MPLS
    if link == LINKTYPE_ENC:                       # address family, SPI, flags
        return BROKEN if take(c, 12) == NULL else IPV4
    if link == LINKTYPE_PFLOG:
        return step_pflog(c)
    if link == LINKTYPE_NFLOG:
        return step_nflog(c)
    if link == LINKTYPE_FRELAY:
        return step_frame_relay(c)
    if link == LINKTYPE_ATM_RFC1483:
        return LLC
    if link == LINKTYPE_IP_OVER_FC:                # two addresses of 8 bytes (RFC 2625 3.1)
        return BROKEN if take(c, 16) == NULL else LLC
    if link == LINKTYPE_APPLE_IP_OVER_IEEE1394:    # two addresses of 8 bytes and an EtherType
        return step_to_type(c, 18, 16)
    if link == LINKTYPE_NETANALYZER:
        return BROKEN if take(c, 4) == NULL else ETHERNET
    if link == LINKTYPE_ETHERNET_MPACKET:
        return step_mpacket(c)
    return BROKEN


cdef int step_cooked(Cursor* c, size_t size, size_t at) noexcept nogil:
    """Step over a Linux cooked header; what is no EtherType in it is a number of linux/if_ether.h."""
    cdef int kind = step_to_type(c, size, at)
    if kind == 4:                                  # ETH_P_802_2
        return LLC
    if kind == 0:                                  # devices without a header of their own
        return IPV4
    return NOT_IP if 0 < kind < LEAST_ETHERTYPE else kind


cdef int step_family(Cursor* c) noexcept nogil:
    """Step over an address family number, which differs by system, in the byte order of who captured it."""
    cdef const uint8_t* p = take(c, 4)
    cdef uint32_t family
    if p == NULL:
        return BROKEN
    family = be32(p)
    if family >> 16:                               # the other byte order: families are small numbers
        family = (<uint32_t>p[3] << 24) | (<uint32_t>p[2] << 16) | (<uint32_t>p[1] << 8) | p[0]
    if family == 2:
        return IPV4
    # AF_INET6: Linux, Windows, NetBSD and OpenBSD, FreeBSD, Darwin
    return IPV6 if family == 10 or family == 23 or family == 24 or family == 28 or family == 30 else NOT_IP


cdef int step_hdlc(Cursor* c) noexcept nogil:
    """Step over HDLC framing before PPP (RFC 1662 3.1), which may be left out, or Cisco's, which has an EtherType."""
    if c.left >= 4 and (c.at[0] == 0x0F or c.at[0] == 0x8F) and c.at[1] == 0:
        return step_to_type(c, 4, 2)
    if c.left >= 2 and c.at[0] <= 1 and c.at[1] == 3:   # pppd puts the direction in the place of the address
        take(c, 2)
    return PPP


cdef int step_pflog(Cursor* c) noexcept nogil:
    """Step over the packet filter's log header: its first byte is its length, without what aligns it to 4 bytes."""
    if c.left == 0 or c.at[0] < PFLOG_LEAST or take(c, (<size_t>c.at[0] + 3) & ~<size_t>3) == NULL:
        return BROKEN
    return IPV4


cdef int step_nflog(Cursor* c) noexcept nogil:
    """Find the payload among the attributes of a netfilter log record; their numbers are in the host's byte order."""
    cdef uint16_t[2] head      # length with this header, type
    cdef const uint8_t* p = take(c, 4)
    if p == NULL:
        return BROKEN
    while True:
        p = take(c, 4)
        if p == NULL:
            return BROKEN
        memcpy(head, p, 4)
        if head[0] < 4:
            return BROKEN
        if head[1] & 0x7FFF == NFLOG_PAYLOAD:
            if head[0] - <size_t>4 < c.left:
                c.left = head[0] - <size_t>4
            return IPV4
        if take(c, ((<size_t>head[0] + 3) & ~<size_t>3) - 4) == NULL:
            return BROKEN


cdef int step_frame_relay(Cursor* c) noexcept nogil:
    """Step over a frame relay address (ITU-T Q.922 3.2), then RFC 2427's header, or Cisco's, which is an EtherType."""
    cdef const uint8_t* p = take(c, 2)
    cdef const uint8_t* q
    if p == NULL or p[0] & 1:
        return BROKEN
    if not p[1] & 1:                               # an address of three or four bytes: the last has its lowest bit set
        q = take(c, 1)
        if q != NULL and not q[0] & 1:
            q = take(c, 1)
        if q == NULL or not q[0] & 1:
            return BROKEN
    p = take(c, 2)
    if p == NULL:
        return BROKEN
    if p[0] != 3:
        if be16(p) < LEAST_ETHERTYPE:
            return NOT_IP
        return be16(p)
    if p[1] == 0:                                  # padding
        q = take(c, 1)
        if q == NULL:
            return BROKEN
        p = q - 1
    if p[1] == 0x80:
        return SNAP
    return IPV4 if p[1] == 0xCC or p[1] == 0x8E else NOT_IP


cdef uint16_t step_pktap(Cursor* c) noexcept nogil:
    """Step over Darwin's header, little-endian, in which at 0 is its length and at 8 the link type of the frame."""
    cdef const uint8_t* p = take(c, 12)
    cdef size_t size
    if p == NULL:
        return LINKTYPE_PKTAP
    size = p[0] | (<size_t>p[1] << 8)
    if p[2] or p[3] or size < 12 or take(c, size - 12) == NULL:
        return LINKTYPE_PKTAP
    return LINKTYPE_RAW if p[8] == 12 and p[9] == 0 else <uint16_t>(p[8] | (<uint32_t>p[9] << 8))


cdef int step_mpacket(Cursor* c) noexcept nogil:
    """Step over the preamble of a whole frame; a part of one (IEEE 802.3br) is refused."""
    cdef const uint8_t* p = take(c, 8)
    return BROKEN if p == NULL or p[7] != PREAMBLE_END else ETHERNET
