"""Which packets are taken, by ports, hosts and sample, and which connections are wanted, by who opened them.

In: packets that are aimed (assemble/flows.pyx).  Out: `frames_decoded`, or the counter of why not.  Invariant: both
directions of a connection get the same answer, and what it is depends on the packet alone, not on what came before.
"""

from ipaddress import ip_network

from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from assemble.decode cimport TCP_ACK, TCP_SYN, Packet
from assemble.flows cimport flow_hash
from assemble.tally cimport Tally


cdef enum:
    BOTH
    INBOUND
    OUTBOUND

DIRECTIONS = {"both": BOTH, "inbound": INBOUND, "outbound": OUTBOUND}


cdef class Nets:
    """Some networks, or addresses, with a port each if there are only ends of connections meant."""

    def __cinit__(self, given):
        cdef size_t at = 0
        cdef size_t i
        self.count = len(given)
        self.nets = <Net*>calloc(max(1, self.count), sizeof(Net))
        if self.nets == NULL:
            raise MemoryError
        for text, port in given:
            net = ip_network(text)
            for i, byte in enumerate(net.network_address.packed):
                self.nets[at].address[i] = byte
            self.nets[at].bits = net.prefixlen
            self.nets[at].ipv6 = net.version == 6
            self.nets[at].port = port
            at += 1

    def __dealloc__(self):
        free(self.nets)

    cdef bint has(self, const uint8_t* address, uint8_t ipv6, uint16_t port) noexcept nogil:
        """Tell whether an address, or an end of a connection, is in one of them."""
        cdef size_t at
        cdef Net* net
        cdef uint8_t whole, rest
        for at in range(self.count):
            net = &self.nets[at]
            if net.ipv6 != ipv6 or net.port and net.port != port:
                continue
            whole = net.bits // 8
            rest = net.bits % 8
            if memcmp(net.address, address, whole) == 0 and (
                    not rest or (net.address[whole] ^ address[whole]) >> (8 - rest) == 0):
                return True
        return False


cdef class Selection:
    """What `Settings` asks for."""

    def __cinit__(self, settings):
        self.any_port = not settings.ports
        for port in settings.ports:
            self.watched[<uint16_t>port] = 1
        self.hosts = Nets([(each, 0) for each in settings.hosts])
        self.own = Nets(settings.exclude)
        self.ours = Nets([(each, 0) for each in settings.ours])
        self.direction = DIRECTIONS[settings.direction]
        if settings.sample < 100:
            self.threshold = max(1, int(settings.sample / 100 * 2**64))
        self.plain = not settings.hosts and not settings.exclude and self.threshold == 0

    cdef inline bint on_port(self, const Packet* packet) noexcept nogil:
        """Tell whether one of a packet's ports is watched; it need not be aimed."""
        return self.any_port or self.watched[packet.sport] or self.watched[packet.dport]

    cdef Tally judge(self, const Packet* packet) noexcept nogil:
        """Decide about a packet of a port that is watched."""
        cdef uint64_t state
        if self.plain:
            return Tally.frames_decoded
        if self.hosts.count and not (self.hosts.has(packet.src, packet.ipv6, 0)
                                     or self.hosts.has(packet.dst, packet.ipv6, 0)):
            return Tally.refused_host
        if self.own.count and (self.own.has(packet.src, packet.ipv6, packet.sport)
                               or self.own.has(packet.dst, packet.ipv6, packet.dport)):
            return Tally.refused_own
        if self.threshold:    # mixed once more, as lanes and workers are chosen by the same hash
            state = (flow_hash(packet) ^ <uint64_t>0xD6E8FEB86659FD93) * <uint64_t>0x9E3779B97F4A7C15
            state = (state ^ (state >> 32)) * <uint64_t>0xD6E8FEB86659FD93
            if state ^ (state >> 32) >= self.threshold:
                return Tally.refused_sampled
        return Tally.frames_decoded

    cdef bint leaves_out(self, const Packet* packet) noexcept nogil:
        """Tell whether the connection that a first packet belongs to is not wanted, for who opened it."""
        cdef bint from_ours, to_ours
        if self.direction == BOTH:
            return False
        from_ours = self.ours.has(packet.src, packet.ipv6, packet.sport)
        to_ours = self.ours.has(packet.dst, packet.ipv6, packet.dport)
        if not self.opens(packet):
            from_ours, to_ours = to_ours, from_ours
        return from_ours and not to_ours if self.direction == INBOUND else to_ours and not from_ours

    cdef bint opens(self, const Packet* packet) noexcept nogil:
        """Tell whether a packet comes from who opened its connection, as far as one packet can tell.

        By its SYN; else who speaks from a port that is watched is the server, else from the lower port.
        """
        if packet.flags & TCP_SYN:
            return not packet.flags & TCP_ACK
        if not self.any_port and self.watched[packet.sport] != self.watched[packet.dport]:
            return self.watched[packet.dport]
        return packet.sport >= packet.dport
