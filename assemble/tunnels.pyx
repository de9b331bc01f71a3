"""Tunnels: from what one IP packet carries to the IP header of the packet inside.

In: a cursor behind an IP header, the protocol there, and which tunnels are unwrapped.  Out: the cursor at the inner IP
header, or the counter that says why there is none.  Invariant: what no wanted tunnel can be is `refused_not_tcp`, as if
there were no tunnels; only the broken header of a wanted one is `refused_tunnel`.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from assemble.cursor cimport Cursor, Realm, be16, be32, fold, take
from assemble.kinds cimport ETHERNET, IPV4, LEAST_ETHERTYPE, MPLS, NOT_IP, NSH, PPP, read_kind
from assemble.tally cimport Tally


cdef enum:                    # IANA protocol numbers
    PROTOCOL_IPIP = 4
    PROTOCOL_UDP = 17
    PROTOCOL_IPV6 = 41
    PROTOCOL_GRE = 47
    PROTOCOL_KA9Q_IPIP = 94
    PROTOCOL_MPLS = 137

cdef enum:                    # UDP destination ports; the source port only spreads the load
    PORT_GTPU = 2152
    PORT_VXLAN = 4789
    PORT_VXLAN_GPE = 4790
    PORT_GENEVE = 6081
    PORT_VXLAN_LINUX = 8472   # Linux, before there was a number for it

cdef enum:                    # bits of the first two bytes of GRE (RFC 2784, 2890; RFC 1701; RFC 2637 4.1)
    GRE_CHECKSUM = 0x8000
    GRE_ROUTING = 0x4000
    GRE_KEY = 0x2000
    GRE_SEQUENCE = 0x1000
    GRE_ACK = 0x0080
    GRE_VERSION = 0x0007

cdef enum:
    GRE_WCCP = 0x883E
    GRE_ERSPAN_2 = 0x88BE     # type II, or I without a header of its own
    GRE_ERSPAN_3 = 0x22EB
    GTPU_G_PDU = 255

cdef enum:                    # what an id in a realm is one of
    ID_GRE = 1
    ID_ERSPAN = 2
    ID_VXLAN = 3
    ID_GENEVE = 4
    ID_GTPU = 5
    ID_PPTP = 6


cdef bint may_unwrap(uint8_t protocol, uint32_t tunnels) noexcept nogil:
    """Tell whether this IP protocol can hold a wanted tunnel: whether its fragments are worth joining."""
    if protocol == PROTOCOL_UDP:
        return tunnels & (TUNNEL_VXLAN | TUNNEL_GENEVE | TUNNEL_GTPU) != 0
    if protocol == PROTOCOL_GRE:
        return tunnels & (TUNNEL_GRE | TUNNEL_ERSPAN) != 0
    return tunnels & TUNNEL_IPIP and (protocol == PROTOCOL_IPIP or protocol == PROTOCOL_IPV6
                                      or protocol == PROTOCOL_KA9Q_IPIP or protocol == PROTOCOL_MPLS)


cdef Tally unwrap(Cursor* c, uint8_t protocol, uint32_t tunnels, Realm* realm) noexcept nogil:
    """Step to the inner IP header: `frames_decoded`, else the refusal's counter."""
    if not may_unwrap(protocol, tunnels):
        return Tally.refused_not_tcp
    if protocol == PROTOCOL_UDP:
        return unwrap_udp(c, tunnels, realm)
    if protocol == PROTOCOL_GRE:
        return unwrap_gre(c, tunnels, realm)
    return read_kind(c, MPLS if protocol == PROTOCOL_MPLS else IPV4, realm)   # RFC 2003, 2473, 4023


cdef Tally unwrap_udp(Cursor* c, uint32_t tunnels, Realm* realm) noexcept nogil:
    """Read a UDP header (RFC 768) and the tunnel that belongs to its destination port."""
    cdef const uint8_t* p = take(c, 8)
    cdef uint16_t port, length
    if p == NULL:
        return Tally.refused_not_tcp
    port = be16(p + 2)
    length = be16(p + 4)
    if length >= 8 and length - <size_t>8 < c.left:   # 0: segmentation offload, or a jumbogram (RFC 2675 4)
        c.left = length - <size_t>8
    if port == PORT_VXLAN or port == PORT_VXLAN_LINUX or port == PORT_VXLAN_GPE:
        return unwrap_vxlan(c, port == PORT_VXLAN_GPE, realm) if tunnels & TUNNEL_VXLAN else Tally.refused_not_tcp
    if port == PORT_GENEVE:
        return unwrap_geneve(c, realm) if tunnels & TUNNEL_GENEVE else Tally.refused_not_tcp
    if port == PORT_GTPU:
        return unwrap_gtpu(c, realm) if tunnels & TUNNEL_GTPU else Tally.refused_not_tcp
    return Tally.refused_not_tcp


cdef inline void enter(uint64_t* state, uint64_t what, uint64_t ident) noexcept nogil:
    fold(state, what << 32 | ident)


cdef Tally unwrap_vxlan(Cursor* c, bint generic, Realm* realm) noexcept nogil:
    """Read a VXLAN header (RFC 7348 5), or one of the generic protocol extension (draft-ietf-nvo3-vxlan-gpe 3).

    Reserved bits are ignored, as the RFC wants: group policy, say, is in them.
    """
    cdef const uint8_t* p = take(c, 8)
    if p == NULL or not p[0] & 0x08:
        return Tally.refused_tunnel
    enter(&realm.tunnel, ID_VXLAN, be32(p + 4) >> 8)
    if not generic or not p[0] & 0x04:
        return read_kind(c, ETHERNET, realm)
    if p[0] & 0x01:                                # maintenance: a payload that is not traffic
        return Tally.refused_not_tcp
    if p[3] == 1 or p[3] == 2:
        return read_kind(c, IPV4, realm)
    if p[3] == 3:
        return read_kind(c, ETHERNET, realm)
    return read_kind(c, NSH if p[3] == 4 else MPLS if p[3] == 5 else NOT_IP, realm)


cdef Tally unwrap_geneve(Cursor* c, Realm* realm) noexcept nogil:
    """Read a Geneve header (RFC 8926 3.4); its options are counted in 4-byte words."""
    cdef const uint8_t* p = take(c, 8)
    if p == NULL or p[0] >> 6 or take(c, <size_t>(p[0] & 63) * 4) == NULL:
        return Tally.refused_tunnel
    if p[1] & 0x80:                                # a control packet
        return Tally.refused_not_tcp
    enter(&realm.tunnel, ID_GENEVE, be32(p + 4) >> 8)
    return read_payload(c, be16(p + 2), realm)


cdef inline Tally read_payload(Cursor* c, uint16_t ethertype, Realm* realm) noexcept nogil:
    """Read what a tunnel says is of this EtherType: there are no 802.3 lengths here."""
    return read_kind(c, NOT_IP if ethertype < LEAST_ETHERTYPE else <int>ethertype, realm)


cdef Tally unwrap_gtpu(Cursor* c, Realm* realm) noexcept nogil:
    """Read a GTP-U header with its extensions (3GPP TS 29.281 5.1, 5.2); only message type 255 carries a packet."""
    cdef const uint8_t* p = take(c, 8)
    cdef const uint8_t* extension
    cdef uint8_t following
    if p == NULL or p[0] >> 4 != 3:                # version 1, not GTP'
        return Tally.refused_tunnel
    if p[1] != GTPU_G_PDU:
        return Tally.refused_not_tcp
    if be16(p + 2) < c.left:
        c.left = be16(p + 2)
    enter(&realm.one_way, ID_GTPU, be32(p + 4))    # the receiver chose it: the other direction has another
    if p[0] & 7:                                   # E, S, PN: if one is set, the fields of all are there
        extension = take(c, 4)
        if extension == NULL:
            return Tally.refused_tunnel
        following = extension[3] if p[0] & 4 else 0
        while following:
            extension = take(c, 1)
            if extension == NULL or extension[0] == 0 or take(c, <size_t>extension[0] * 4 - 1) == NULL:
                return Tally.refused_tunnel
            following = extension[<size_t>extension[0] * 4 - 1]
    return read_kind(c, IPV4, realm)


cdef Tally unwrap_gre(Cursor* c, uint32_t tunnels, Realm* realm) noexcept nogil:
    """Read a GRE header of version 0; version 1 is PPTP's."""
    cdef const uint8_t* p = take(c, 4)
    cdef const uint8_t* key = NULL
    cdef uint16_t flags, ethertype
    if p == NULL:
        return Tally.refused_tunnel
    flags = be16(p)
    ethertype = be16(p + 2)
    if not tunnels & (TUNNEL_ERSPAN if ethertype == GRE_ERSPAN_2 or ethertype == GRE_ERSPAN_3 else TUNNEL_GRE):
        return Tally.refused_not_tcp
    if flags & GRE_VERSION == 1:
        return unwrap_pptp(c, flags, ethertype, realm)
    if flags & GRE_VERSION or (flags & (GRE_CHECKSUM | GRE_ROUTING) and take(c, 4) == NULL):
        return Tally.refused_tunnel
    if flags & GRE_KEY:
        key = take(c, 4)
        if key == NULL:
            return Tally.refused_tunnel
        enter(&realm.tunnel, ID_GRE, be32(key))
    if (flags & GRE_SEQUENCE and take(c, 4) == NULL) or (flags & GRE_ROUTING and not step_routing(c)):
        return Tally.refused_tunnel
    if ethertype == GRE_ERSPAN_2 and flags & GRE_SEQUENCE:
        return unwrap_erspan_2(c, realm)
    if ethertype == GRE_ERSPAN_2:
        return read_kind(c, ETHERNET, realm)
    if ethertype == GRE_ERSPAN_3:
        return unwrap_erspan_3(c, realm)
    if ethertype == GRE_WCCP:                      # version 2 puts 4 bytes before the packet
        if c.left and c.at[0] >> 4 != 4 and take(c, 4) == NULL:
            return Tally.refused_tunnel
        return read_kind(c, IPV4, realm)
    return read_payload(c, ethertype, realm)


cdef bint step_routing(Cursor* c) noexcept nogil:
    """Step over GRE's source routes (RFC 1701): address family, offset, length, route; an empty one is the last."""
    cdef const uint8_t* p
    while True:
        p = take(c, 4)
        if p == NULL or take(c, p[3]) == NULL:
            return False
        if be16(p) == 0 and p[3] == 0:
            return True


cdef Tally unwrap_pptp(Cursor* c, uint16_t flags, uint16_t ethertype, Realm* realm) noexcept nogil:
    """Read PPTP's GRE header (RFC 2637 4.1): payload length, the receiver's call, then numbers if they are there."""
    cdef const uint8_t* p = take(c, 4)
    if p == NULL or not flags & GRE_KEY or ethertype != PPP:
        return Tally.refused_tunnel
    if not flags & GRE_SEQUENCE:                   # an acknowledgement alone
        return Tally.refused_not_tcp
    if take(c, 8 if flags & GRE_ACK else 4) == NULL:
        return Tally.refused_tunnel
    enter(&realm.one_way, ID_PPTP, be16(p + 2))
    if be16(p) < c.left:
        c.left = be16(p)
    return read_kind(c, PPP, realm)


cdef Tally unwrap_erspan_2(Cursor* c, Realm* realm) noexcept nogil:
    """Read an ERSPAN type II header (draft-foschiano-erspan 4.2): version, VLAN, flags, session, index."""
    cdef const uint8_t* p = take(c, 8)
    if p == NULL or p[0] >> 4 != 1:
        return Tally.refused_tunnel
    enter_session(p, realm)
    return read_kind(c, ETHERNET, realm)


cdef Tally unwrap_erspan_3(Cursor* c, Realm* realm) noexcept nogil:
    """Read an ERSPAN type III header (draft-foschiano-erspan 4.3): its last bit says that a subheader follows."""
    cdef const uint8_t* p = take(c, 12)
    cdef uint32_t frame_type
    if p == NULL or p[0] >> 4 != 2 or (p[11] & 1 and take(c, 8) == NULL):
        return Tally.refused_tunnel
    enter_session(p, realm)
    frame_type = p[10] >> 2 & 31
    return read_kind(c, ETHERNET if frame_type == 0 else IPV4 if frame_type == 2 else NOT_IP, realm)


cdef inline void enter_session(const uint8_t* p, Realm* realm) noexcept nogil:
    """Fold the VLAN that the mirror took off, and its session."""
    if be16(p) & 0x0FFF:
        fold(&realm.vlan, be16(p) & 0x0FFF)
    enter(&realm.tunnel, ID_ERSPAN, be16(p + 2) & 0x03FF)
