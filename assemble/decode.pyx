"""Frames to TCP segments: each header is read once, and nothing in a frame can make us read outside it (DESIGN 4).

In: the bytes of a frame and its link type.  Out: a Packet, or the counter that says why not.
Invariant: a pointer moves only in `take`, which checks first.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from assemble.checksum cimport add_words, is_right
from assemble.cursor cimport Cursor, Realm, be16, be32, fold, take
from assemble.fragments cimport LENT, Fragment, Fragments
from assemble.kinds cimport IPV4, read_kind
from assemble.links cimport step_link
from assemble.tally cimport Tally
from assemble.tunnels cimport may_unwrap, unwrap
from capture.counters cimport Counters

from assemble.records import REFUSALS
from assemble.settings import TUNNELS, Settings
from assemble.tally import ASSEMBLE_COUNTERS
from capture.errors import MalformedTraffic


cdef enum:
    LINKTYPE_ETHERNET = 1
    ETHERNET_BYTES = 14

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
    OPTION_JUMBO = 0xC2
    EXTENSION_DEPTH = 16
    TUNNEL_DEPTH = 8           # tunnels in tunnels

cdef enum:
    FRAGMENTS_MEMORY = 16 << 20    # at most, and at most an eighth of the whole


@cython.final
cdef class Decoder:
    """Reads frames; see `Settings` in assemble/settings.py for the parameters."""

    def __cinit__(self, settings, Counters counters=None):
        self.page = Counters(ASSEMBLE_COUNTERS) if counters is None else counters
        self.fragments = Fragments(min(FRAGMENTS_MEMORY, settings.memory // 8))
        self.fragments.tally = self.page.at
        for name in settings.decapsulate:
            self.tunnels |= 1 << TUNNELS.index(name)
        self.by_vlan = "vlan" in settings.separate
        self.by_tunnel = "tunnel" in settings.separate
        self.checksums = settings.checksums

    cdef Tally decode(self, const uint8_t* frame, size_t caplen, uint16_t link, Packet* out) noexcept nogil:
        """Read one frame; `frames_decoded` fills `out`, else it is the counter of what it is.

        The two times in `out` are set already.
        """
        cdef Cursor c = Cursor(frame, caplen)
        cdef Realm realm = Realm(0, 0, 0)
        cdef Layer layer
        cdef Tally verdict = Tally.frames_decoded
        cdef int _depth
        if self.fragments.rows[<int>LENT].head != NULL:
            self.fragments.begin_frame()
        if link == LINKTYPE_ETHERNET and caplen >= ETHERNET_BYTES and be16(frame + 12) == IPV4:
            take(&c, ETHERNET_BYTES)               # nearly every frame
        else:
            verdict = read_kind(&c, step_link(&c, link), &realm)
        for _depth in range(TUNNEL_DEPTH + 1):
            if verdict != Tally.frames_decoded:
                return verdict
            verdict = self.read_ip(&c, &realm, &layer, out)
            if verdict != Tally.frames_decoded:
                return verdict
            if layer.protocol == PROTOCOL_TCP:
                out.realm = self.chosen(&realm)
                return self.read_tcp(&c, &layer, out)
            verdict = unwrap(&c, layer.protocol, self.tunnels, &realm)
        return Tally.refused_tunnel if verdict == Tally.frames_decoded else verdict

    cdef uint64_t chosen(self, const Realm* realm) noexcept nogil:
        """Return what keeps a packet's flow apart from others with the same addresses, 0 for nothing."""
        cdef uint64_t state = realm.vlan if self.by_vlan else 0
        if self.by_tunnel and realm.tunnel:
            fold(&state, realm.tunnel)
        return state

    cdef inline Tally read_ip(self, Cursor* c, const Realm* realm, Layer* layer, Packet* out) noexcept nogil:
        """Tell the versions apart by the header's own first bits, not by what the link layer says."""
        if c.left == 0:
            return Tally.refused_ip_header
        if c.at[0] >> 4 == 4:
            return self.read_ipv4(c, realm, layer, out)
        if c.at[0] >> 4 == 6:
            return self.read_ipv6(c, realm, layer, out)
        return Tally.refused_not_ip

    cdef Tally read_ipv4(self, Cursor* c, const Realm* realm, Layer* layer, Packet* out) noexcept nogil:
        """Read an IPv4 header with its options (RFC 791 3.1); a total length of 0 is a TSO frame: all that is left."""
        cdef const uint8_t* p = take(c, 20)
        cdef Fragment piece
        cdef size_t header, total
        if p == NULL:
            return Tally.refused_ip_header
        header = <size_t>(p[0] & 15) * 4
        total = be16(p + 2)
        if total == 0:
            total = c.left + 20
        if header < 20 or total < header or take(c, header - 20) == NULL:
            return Tally.refused_ip_header
        if self.checksums and be16(p + 2) and not is_right(add_words(0, p, header)):
            return Tally.refused_checksum
        bound(c, total - header, &out.cut)
        layer.protocol = p[9]
        layer.sealed = out.cut == 0 and be16(p + 2) != 0
        memset(out.src, 0, 32)     # src and dst lie side by side
        memcpy(out.src, p + 12, 4)
        memcpy(out.dst, p + 16, 4)
        out.ipv6 = 0
        if be16(p + 6) & 0x3FFF == 0:
            return Tally.frames_decoded
        piece.ident = be16(p + 4)
        piece.offset = <uint32_t>(be16(p + 6) & 0x1FFF) * 8
        piece.more = be16(p + 6) & 0x2000 != 0
        return self.join(c, &piece, realm, layer, out)

    cdef Tally read_ipv6(self, Cursor* c, const Realm* realm, Layer* layer, Packet* out) noexcept nogil:
        """Read an IPv6 header and its chain of extension headers (RFC 8200 4)."""
        cdef const uint8_t* p = take(c, 40)
        cdef const uint8_t* extension
        cdef Fragment piece
        cdef Tally verdict
        cdef size_t length
        cdef int _depth
        if p == NULL:
            return Tally.refused_ip_header
        layer.protocol = p[6]
        length = be16(p + 4)
        if length == 0 and layer.protocol == PROTOCOL_HOP_BY_HOP:
            length = jumbo_length(c)
        bound(c, length if length else c.left, &out.cut)   # 0: a TSO frame
        layer.sealed = out.cut == 0 and length != 0
        memcpy(out.src, p + 8, 32)
        out.ipv6 = 1
        for _depth in range(EXTENSION_DEPTH):
            if layer.protocol == PROTOCOL_FRAGMENT:
                extension = take(c, 8)
                if extension == NULL:
                    return Tally.refused_ip_header
                layer.protocol = extension[0]
                if be16(extension + 2) & 0xFFF9 == 0:      # an atomic one (RFC 6946)
                    continue
                piece.ident = be32(extension + 4)
                piece.offset = be16(extension + 2) & 0xFFF8
                piece.more = extension[3] & 1
                verdict = self.join(c, &piece, realm, layer, out)
                if verdict != Tally.frames_decoded:
                    return verdict
            elif is_extension(layer.protocol):
                if not step_extension(c, layer):
                    return Tally.refused_ip_header
            else:
                return Tally.frames_decoded
        return Tally.refused_ip_header

    cdef Tally join(self, Cursor* c, Fragment* piece, const Realm* realm, Layer* layer, Packet* out) noexcept nogil:
        """Give a fragment to those that are held; `frames_decoded` once the cursor is at a whole datagram's payload."""
        cdef uint64_t apart = realm.vlan
        cdef size_t cut
        if layer.protocol != PROTOCOL_TCP and not (out.ipv6 and is_extension(layer.protocol)) and not may_unwrap(
                layer.protocol, self.tunnels):
            return Tally.refused_not_tcp           # whole or not
        fold(&apart, realm.tunnel)
        fold(&apart, realm.one_way)
        memcpy(piece.src, out.src, 32)
        piece.realm = apart
        piece.protocol = layer.protocol
        piece.ipv6 = out.ipv6
        piece.data = c.at
        piece.size = c.left
        piece.cut = out.cut
        piece.now_ns = out.now_ns
        if not self.fragments.take(piece, c, &layer.protocol, &cut):
            return Tally.fragments_held
        out.cut = <uint32_t>cut
        layer.sealed = cut == 0
        return Tally.frames_decoded

    cdef inline Tally read_tcp(self, Cursor* c, const Layer* layer, Packet* out) noexcept nogil:
        """Read a TCP header, stepping over its options (RFC 9293 3.1)."""
        cdef size_t length = c.left
        cdef const uint8_t* p = take(c, 20)
        cdef size_t header
        if p == NULL:
            return Tally.refused_tcp_header
        header = <size_t>(p[12] >> 4) * 4
        if header < 20 or take(c, header - 20) == NULL:
            return Tally.refused_tcp_header
        if self.checksums and layer.sealed and not is_right(
                add_words(add_words(PROTOCOL_TCP + (length >> 16) + (length & 0xFFFF), out.src, 32), p, length)):
            return Tally.refused_checksum
        out.sport = be16(p)
        out.dport = be16(p + 2)
        out.seq = be32(p + 4)
        out.flags = p[13]
        out.ack = be32(p + 8) if p[13] & TCP_ACK else 0
        out.payload = c.at
        out.size = <uint32_t>c.left
        return Tally.frames_decoded

    def read(self, const uint8_t[::1] frame not None, uint16_t link=LINKTYPE_ETHERNET, int64_t ts_ns=0):
        """Decode one frame of shape (caplen,) to a dict of its TCP segment.

        Raises MalformedTraffic with the refusal's reason.
        """
        cdef Packet packet
        cdef size_t size = frame.shape[0]
        cdef const uint8_t* at = NULL
        cdef Tally verdict
        packet.ts_ns = packet.now_ns = ts_ns
        if size:
            at = &frame[0]
        with nogil:
            verdict = self.decode(at, size, link, &packet)
        if verdict != Tally.frames_decoded:
            name = ASSEMBLE_COUNTERS[<int>verdict]
            raise MalformedTraffic(REFUSALS.get(name, "an IP fragment, held until the others come"), at=0)
        width = 16 if packet.ipv6 else 4
        return {
            "src": bytes(packet.src[:16])[:width],
            "dst": bytes(packet.dst[:16])[:width],
            "sport": packet.sport,
            "dport": packet.dport,
            "seq": packet.seq,
            "ack": packet.ack,
            "flags": packet.flags,
            "payload": packet.payload[:packet.size],
            "cut": packet.cut,
            "realm": packet.realm,
        }


cdef inline void bound(Cursor* c, size_t length, uint32_t* cut) noexcept nogil:
    """Let `length`, the IP layer's own, bound what is left: link padding is not data, a short capture is a cut."""
    cut[0] = 0
    if length > c.left:
        cut[0] = <uint32_t>(length - c.left)
    else:
        c.left = length


cdef size_t jumbo_length(const Cursor* c) noexcept nogil:
    """Find a jumbo payload length (RFC 2675 2) in the hop-by-hop options that lie here; 0 if there is none."""
    cdef size_t at = 2
    cdef size_t size
    if c.left < 2:
        return 0
    size = min(c.left, (<size_t>c.at[1] + 1) * 8)
    while at + 6 <= size:
        if c.at[at] == OPTION_JUMBO and c.at[at + 1] == 4:
            return be32(c.at + at + 2)
        at += 1 if c.at[at] == 0 else 2 + <size_t>c.at[at + 1]   # the option 0 is a single byte
    return 0


cdef inline bint is_extension(uint8_t protocol) noexcept nogil:
    return (protocol == PROTOCOL_HOP_BY_HOP or protocol == PROTOCOL_ROUTING or protocol == PROTOCOL_AH
            or protocol == PROTOCOL_DESTINATION or protocol == PROTOCOL_MOBILITY
            or protocol == PROTOCOL_HIP or protocol == PROTOCOL_SHIM6)


cdef bint step_extension(Cursor* c, Layer* layer) noexcept nogil:
    """Step over an extension header; False if it is cut short."""
    cdef const uint8_t* p = take(c, 8)
    cdef size_t length
    if p == NULL:
        return False
    # AH counts 4-byte units less 2 (RFC 4302 2.2), the others 8-byte units less 1.
    length = (<size_t>p[1] + 2) * 4 if layer.protocol == PROTOCOL_AH else (<size_t>p[1] + 1) * 8
    if length < 8 or take(c, length - 8) == NULL:
        return False
    # Checksums cover the last destination of a route, and the home address in a destination option (RFC 8200 8.1).
    if (layer.protocol == PROTOCOL_ROUTING and p[3]) or layer.protocol == PROTOCOL_DESTINATION:
        layer.sealed = 0
    layer.protocol = p[0]
    return True


def decode(const uint8_t[::1] frame not None, uint16_t link=LINKTYPE_ETHERNET, **settings):
    """Decode one frame by itself, with these `Settings`: see `Decoder.read`."""
    return Decoder(Settings(**settings)).read(frame, link)
