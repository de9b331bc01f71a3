"""C face of the tunnels."""

from libc.stdint cimport uint8_t, uint32_t

from assemble.cursor cimport Cursor, Realm
from assemble.tally cimport Tally


cdef enum:                    # which tunnels are unwrapped; the order is that of TUNNELS in assemble/settings.py
    TUNNEL_VXLAN = 1
    TUNNEL_GENEVE = 2
    TUNNEL_GRE = 4
    TUNNEL_ERSPAN = 8
    TUNNEL_IPIP = 16
    TUNNEL_GTPU = 32

cdef bint may_unwrap(uint8_t protocol, uint32_t tunnels) noexcept nogil
cdef Tally unwrap(Cursor* c, uint8_t protocol, uint32_t tunnels, Realm* realm) noexcept nogil
