"""Runs a BPF program, as libpcap compiles it, over packets in memory.

In: the instructions that pcapy.compile gives, and packets.  Out: whether a packet passes.  Invariant:
whatever the program and the packet are, nothing outside the packet is read, and the run ends.

Why not libpcap's own: a stream is read through many short-lived handles, and pcapy-ng's setfilter does not
free the program it compiles, so that memory would grow with the stream.  Source: McCanne and Jacobson, The
BSD Packet Filter, 1993, section 3.3; linux/filter.h.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef enum:
    CLASS = 0x07           # low bits of a code: what it is about
    LOAD = 0
    LOAD_X = 1
    STORE = 2
    STORE_X = 3
    ARITHMETIC = 4
    JUMP = 5
    RETURN = 6
    MOVE = 7
    SIZE = 0x18            # of a load
    WORD = 0x00
    HALF = 0x08
    BYTE = 0x10
    MODE = 0xE0
    IMMEDIATE = 0x00
    ABSOLUTE = 0x20
    INDIRECT = 0x40
    MEMORY = 0x60
    LENGTH = 0x80
    HEADER_LENGTH = 0xA0   # 4 * (packet[k] & 15)
    OPERATION = 0xF0
    BY_X = 0x08            # the second operand is x, not k
    RETURN_A = 0x10
    A_FROM_X = 0x80
    CELLS = 16


cdef bint load(const Instruction* step, Machine* m, const uint8_t* packet, uint32_t caplen, uint32_t wirelen,
               uint32_t* value) noexcept nogil:
    """Fetch what a load names; false if that lies outside the packet, or is no load at all."""
    cdef uint32_t mode = step.code & MODE
    cdef uint32_t size = step.code & SIZE
    cdef size_t at = step.k
    cdef size_t width = 1
    if mode == IMMEDIATE or mode == MEMORY or mode == LENGTH:
        value[0] = step.k if mode == IMMEDIATE else wirelen if mode == LENGTH else m.memory[step.k % CELLS]
        return True
    if mode == INDIRECT:
        at += m.x
    if mode != HEADER_LENGTH and size != BYTE:
        width = 2 if size == HALF else 4
    if at + width > caplen:
        return False
    packet += at
    if width == 4:
        value[0] = (<uint32_t>packet[0] << 24 | <uint32_t>packet[1] << 16
                    | <uint32_t>packet[2] << 8 | packet[3])
    elif width == 2:
        value[0] = <uint32_t>packet[0] << 8 | packet[1]
    else:
        value[0] = 4 * (packet[0] & 15) if mode == HEADER_LENGTH else packet[0]
    return True


cdef bint compute(const Instruction* step, Machine* m) noexcept nogil:
    """Do one arithmetic step on a; false for a division by zero or an operation that there is not."""
    cdef uint32_t by = m.x if step.code & BY_X else step.k
    cdef uint32_t operation = step.code & OPERATION
    if operation == 0x00:
        m.a += by
    elif operation == 0x10:
        m.a -= by
    elif operation == 0x20:
        m.a *= by
    elif operation == 0x30 and by:
        m.a //= by
    elif operation == 0x40:
        m.a |= by
    elif operation == 0x50:
        m.a &= by
    elif operation == 0x60:
        m.a = m.a << by if by < 32 else 0
    elif operation == 0x70:
        m.a = m.a >> by if by < 32 else 0
    elif operation == 0x80:
        m.a = 0 - m.a
    elif operation == 0x90 and by:
        m.a %= by
    elif operation == 0xA0:
        m.a ^= by
    else:
        return False
    return True


cdef uint32_t jump(const Instruction* step, const Machine* m) noexcept nogil:
    """Return how many instructions to skip."""
    cdef uint32_t by = m.x if step.code & BY_X else step.k
    cdef uint32_t operation = step.code & OPERATION
    if operation == 0x00:
        return step.k
    if operation == 0x10:
        return step.yes if m.a == by else step.no
    if operation == 0x20:
        return step.yes if m.a > by else step.no
    if operation == 0x30:
        return step.yes if m.a >= by else step.no
    return step.yes if m.a & by else step.no


cdef class Program:
    """One filter, from the (code, jt, jf, k) tuples of a pcapy program's get_bpf()."""

    def __cinit__(self, instructions):
        cdef size_t at = 0
        self.count = len(instructions)
        self.steps = <Instruction*>calloc(max(1, self.count), sizeof(Instruction))
        if self.steps == NULL:
            raise MemoryError("no memory for a filter")
        for code, yes, no, k in instructions:
            self.steps[at] = Instruction(code, yes, no, k)
            at += 1

    def __dealloc__(self):
        free(self.steps)

    def matches(self, const uint8_t[::1] packet not None, uint32_t wirelen):
        """Whether a packet, cut to the bytes given and `wirelen` bytes long on the wire, passes."""
        cdef const uint8_t* at = &packet[0] if packet.shape[0] else NULL
        return self.match(at, <uint32_t>packet.shape[0], wirelen)

    cdef bint match(self, const uint8_t* packet, uint32_t caplen, uint32_t wirelen) noexcept nogil:
        """Whether a packet passes.  Jumps go forward, so it ends; one that leaves the program refuses."""
        cdef Machine m
        cdef const Instruction* step
        cdef uint32_t kind
        cdef size_t at = 0
        memset(&m, 0, sizeof(m))
        while at < self.count:
            step = &self.steps[at]
            kind = step.code & CLASS
            at += 1
            if kind == LOAD or kind == LOAD_X:
                if not load(step, &m, packet, caplen, wirelen, &m.a if kind == LOAD else &m.x):
                    return False
            elif kind == STORE or kind == STORE_X:
                m.memory[step.k % CELLS] = m.a if kind == STORE else m.x
            elif kind == ARITHMETIC:
                if not compute(step, &m):
                    return False
            elif kind == JUMP:
                at += jump(step, &m)
            elif kind == RETURN:
                return (m.a if step.code & RETURN_A else step.k) != 0
            elif step.code & A_FROM_X:
                m.a = m.x
            else:
                m.x = m.a
        return False
