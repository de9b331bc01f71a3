"""Frames to TCP segments: each header is read once, and nothing in a frame can make us read outside it (DESIGN 4).

In: the bytes of a frame and its link type.  Out: a Packet, or the counter that says why not.
Invariant: a pointer moves only in `take`, which checks first.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

from assemble.tally cimport Tally

from assemble.records import REFUSALS
from assemble.tally import ASSEMBLE_COUNTERS
from capture.errors import MalformedTraffic


cdef enum:
    LINKTYPE_NULL = 0
    LINKTYPE_ETHERNET = 1
    LINKTYPE_RAW = 101
    LINKTYPE_LOOP = 108
    LINKTYPE_LINUX_SLL = 113
    LINKTYPE_IPV4 = 228
    LINKTYPE_IPV6 = 229
    LINKTYPE_LINUX_SLL2 = 276

cdef enum:
    ETHERTYPE_IPV4 = 0x0800
    ETHERTYPE_VLAN = 0x8100
    ETHERTYPE_IPV6 = 0x86DD
    ETHERTYPE_QINQ = 0x88A8
    ETHERTYPE_QINQ_OLD = 0x9100
    VLAN_DEPTH = 8             # tags deeper than this are not a network, they are an attack

cdef enum:
    PROTOCOL_HOP_BY_HOP = 0
    PROTOCOL_TCP = 6
    PROTOCOL_ROUTING = 43
    PROTOCOL_FRAGMENT = 44
    PROTOCOL_AH = 51
    PROTOCOL_DESTINATION = 60
    PROTOCOL_MOBILITY = 135
    PROTOCOL_HIP = 139
    PROTOCOL_SHIM6 = 140
    EXTENSION_DEPTH = 16


cdef Tally decode_frame(const uint8_t* frame, size_t caplen, uint16_t link, Packet* out) noexcept nogil:
    """Read one frame; `frames_decoded` fills everything in `out` but ts_ns, else it is the refusal's counter."""
    cdef Cursor c = Cursor(frame, caplen)
    cdef const uint8_t* p
    if link == LINKTYPE_ETHERNET:
        p = take(&c, 14)
        return Tally.refused_link_header if p == NULL else read_ethertype(&c, be16(p + 12), out)
    if link == LINKTYPE_LINUX_SLL:
        p = take(&c, 16)
        return Tally.refused_link_header if p == NULL else read_ethertype(&c, be16(p + 14), out)
    if link == LINKTYPE_LINUX_SLL2:
        p = take(&c, 20)
        return Tally.refused_link_header if p == NULL else read_ethertype(&c, be16(p), out)
    if link == LINKTYPE_NULL or link == LINKTYPE_LOOP:   # an address family number: which differs by system
        return Tally.refused_link_header if take(&c, 4) == NULL else read_ip(&c, out)
    if link == LINKTYPE_RAW or link == LINKTYPE_IPV4 or link == LINKTYPE_IPV6:
        return read_ip(&c, out)
    return Tally.refused_link_header


cdef Tally read_ethertype(Cursor* c, uint16_t ethertype, Packet* out) noexcept nogil:
    """Step over any stack of VLAN tags (IEEE 802.1Q) to the IP header."""
    cdef const uint8_t* p
    cdef int depth = 0
    while ethertype == ETHERTYPE_VLAN or ethertype == ETHERTYPE_QINQ or ethertype == ETHERTYPE_QINQ_OLD:
        p = take(c, 4)
        depth += 1
        if p == NULL or depth > VLAN_DEPTH:
            return Tally.refused_link_header
        ethertype = be16(p + 2)
    if ethertype == ETHERTYPE_IPV4 or ethertype == ETHERTYPE_IPV6:
        return read_ip(c, out)
    return Tally.refused_not_ip


cdef inline Tally read_ip(Cursor* c, Packet* out) noexcept nogil:
    """Tell the versions apart by the header's own first bits, not by what the link layer says."""
    if c.left == 0:
        return Tally.refused_ip_header
    if c.at[0] >> 4 == 4:
        return read_ipv4(c, out)
    if c.at[0] >> 4 == 6:
        return read_ipv6(c, out)
    return Tally.refused_not_ip


cdef inline bint bound(Cursor* c, size_t length, uint32_t* cut) noexcept nogil:
    """Let `length`, the IP layer's own, bound what is left: link padding is not data, a short capture is a cut."""
    if length > c.left:
        cut[0] = <uint32_t>(length - c.left)
        return True
    c.left = length
    cut[0] = 0
    return True


cdef Tally read_ipv4(Cursor* c, Packet* out) noexcept nogil:
    """Read an IPv4 header with its options (RFC 791 3.1); a total length of 0 is a TSO frame: all that is left."""
    cdef const uint8_t* p = take(c, 20)
    cdef size_t header, total
    if p == NULL:
        return Tally.refused_ip_header
    header = <size_t>(p[0] & 15) * 4
    total = be16(p + 2)
    if total == 0:
        total = c.left + 20
    if header < 20 or total < header or take(c, header - 20) == NULL:
        return Tally.refused_ip_header
    if be16(p + 6) & 0x3FFF:   # more fragments, or an offset
        return Tally.refused_ip_fragment
    if p[9] != PROTOCOL_TCP:
        return Tally.refused_not_tcp
    bound(c, total - header, &out.cut)
    memset(out.src, 0, 32)     # src and dst lie side by side
    memcpy(out.src, p + 12, 4)
    memcpy(out.dst, p + 16, 4)
    out.ipv6 = 0
    return read_tcp(c, out)


cdef Tally read_ipv6(Cursor* c, Packet* out) noexcept nogil:
    """Read an IPv6 header and its chain of extension headers (RFC 8200 4)."""
    cdef const uint8_t* p = take(c, 40)
    cdef const uint8_t* extension
    cdef uint8_t following
    cdef size_t length
    cdef int _depth
    if p == NULL:
        return Tally.refused_ip_header
    length = be16(p + 4)
    bound(c, length if length else c.left, &out.cut)   # 0: a TSO frame or a jumbogram
    memcpy(out.src, p + 8, 32)
    out.ipv6 = 1
    following = p[6]
    for _depth in range(EXTENSION_DEPTH):
        if following == PROTOCOL_TCP:
            return read_tcp(c, out)
        if following == PROTOCOL_FRAGMENT:
            extension = take(c, 8)
            if extension == NULL:
                return Tally.refused_ip_header
            if be16(extension + 2) & 0xFFF9:           # an offset, or more to come: not an atomic fragment (RFC 6946)
                return Tally.refused_ip_fragment
            following = extension[0]
            continue
        if not is_extension(following):
            return Tally.refused_not_tcp
        extension = take(c, 2)
        if extension == NULL:
            return Tally.refused_ip_header
        # AH counts 4-byte units less 2 (RFC 4302 2.2), the others 8-byte units less 1.
        length = (<size_t>extension[1] + 2) * 4 if following == PROTOCOL_AH else (<size_t>extension[1] + 1) * 8
        if take(c, length - 2) == NULL:
            return Tally.refused_ip_header
        following = extension[0]
    return Tally.refused_ip_header


cdef inline bint is_extension(uint8_t protocol) noexcept nogil:
    return (protocol == PROTOCOL_HOP_BY_HOP or protocol == PROTOCOL_ROUTING or protocol == PROTOCOL_AH
            or protocol == PROTOCOL_DESTINATION or protocol == PROTOCOL_MOBILITY
            or protocol == PROTOCOL_HIP or protocol == PROTOCOL_SHIM6)


cdef inline Tally read_tcp(Cursor* c, Packet* out) noexcept nogil:
    """Read a TCP header, stepping over its options (RFC 9293 3.1)."""
    cdef const uint8_t* p = take(c, 20)
    cdef size_t header
    if p == NULL:
        return Tally.refused_tcp_header
    header = <size_t>(p[12] >> 4) * 4
    if header < 20 or take(c, header - 20) == NULL:
        return Tally.refused_tcp_header
    out.sport = be16(p)
    out.dport = be16(p + 2)
    out.seq = be32(p + 4)
    out.flags = p[13]
    out.ack = be32(p + 8) if p[13] & TCP_ACK else 0
    out.payload = c.at
    out.size = <uint32_t>c.left
    return Tally.frames_decoded


def decode(const uint8_t[::1] frame not None, uint16_t link=LINKTYPE_ETHERNET):
    """Decode one frame of shape (caplen,) to a dict of its TCP segment: the compiled decoder, for people and tests.

    Raises MalformedTraffic with the refusal's reason.
    """
    cdef Packet packet
    cdef size_t size = frame.shape[0]
    cdef const uint8_t* at = NULL
    cdef Tally verdict
    if size:
        at = &frame[0]
    memset(&packet, 0, sizeof(Packet))
    with nogil:
        verdict = decode_frame(at, size, link, &packet)
    if verdict != Tally.frames_decoded:
        raise MalformedTraffic(REFUSALS[ASSEMBLE_COUNTERS[<int>verdict]], at=0)
    width = 16 if packet.ipv6 else 4
    return {
        "src": bytes(packet.src[:16])[:width],
        "dst": bytes(packet.dst[:16])[:width],
        "sport": packet.sport,
        "dport": packet.dport,
        "seq": packet.seq,
        "ack": packet.ack,
        "flags": packet.flags,
        "payload": bytes(frame[packet.payload - at:packet.payload - at + packet.size]),
        "cut": packet.cut,
    }
