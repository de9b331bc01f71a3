"""C face of a BPF program: run it on one packet."""

from libc.stdint cimport uint8_t, uint32_t


cdef struct Instruction:     # struct bpf_insn
    uint32_t code
    uint32_t yes             # instructions to skip if a jump's condition holds, and if not
    uint32_t no
    uint32_t k

cdef struct Machine:
    uint32_t a
    uint32_t x
    uint32_t memory[16]


cdef class Program:
    cdef Instruction* steps  # owned: freed in __dealloc__
    cdef size_t count
    cdef bint match(self, const uint8_t* packet, uint32_t caplen, uint32_t wirelen) noexcept nogil
