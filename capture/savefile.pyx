"""Cuts a stream of capture-file bytes into pieces of whole records, each a capture file of its own.

In: bytes of a pcap or pcapng file as they come, a filter.  Out: pieces that libpcap reads like files, none
with half a frame.  Invariant: the pieces' frames, in order, are the stream's whole frames that pass the
filter, up to the stream's end or to the first broken record.

Nanosecond pcap is handed on under the microsecond magic, so that libpcap passes the fraction through
untouched (`unit_ns` is 1 then).  Nanosecond pcapng keeps microseconds only: libpcap divides, and pcapng has
no such back door.  Layouts: pcap-savefile(5) and draft-ietf-opsawg-pcapng, sections 3 and 4.

pcap header, 24 bytes   at 0 magic, 4; at 4 version, 2 + 2; at 16 snap length, 4; at 20 link type, 4
pcap record, 16 bytes   at 0 seconds, 4; at 4 fraction, 4; at 8 bytes present, 4; at 12 bytes on the wire, 4
pcapng block            at 0 type, 4; at 4 total length, 4; the total length again in the last 4 bytes
pcapng section header   at 8 byte-order magic, 4
pcapng interface        at 8 link type, 2
pcapng enhanced packet  at 20 bytes present, 4; at 24 bytes on the wire, 4; at 28 the packet; likewise type 2
pcapng simple packet    at 8 bytes on the wire, 4; at 12 the packet
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memmove

from capture.bpf cimport Program


cdef enum:
    MAGIC_US = 0xA1B2C3D4
    MAGIC_NS = 0xA1B23C4D
    MAGIC_PATCHED = 0xA1B2CD34    # Kuznetzov's libpcap: record headers have 8 bytes more
    FILE_HEADER_BYTES = 24
    RECORD_BYTES = 16
    RECORD_BYTES_PATCHED = 24
    MOST_CAPLEN = 262144          # MAXIMUM_SNAPLEN of libpcap, which refuses longer frames
    SECTION = 0x0A0D0D0A
    SECTION_ORDER = 0x1A2B3C4D
    INTERFACE = 1
    PACKET = 2                    # obsolete, still read
    SIMPLE_PACKET = 3
    ENHANCED_PACKET = 6
    BLOCK_BYTES = 12              # smallest block
    INTERFACE_BYTES = 20          # smallest interface description
    PACKET_HEAD = 28              # before the bytes of a packet
    SIMPLE_HEAD = 12
    TRAILER_BYTES = 4
    MOST_BLOCK = 16 << 20         # libpcap refuses longer ones too
    MOST_HEAD = 16 << 20          # so many bytes of interface descriptions are no capture

cdef inline uint32_t reversed32(uint32_t n) noexcept nogil:
    """Reverse the order of four bytes."""
    return (n >> 24) | ((n >> 8) & 0xFF00) | ((n << 8) & 0xFF0000) | (n << 24)


cdef inline uint32_t load32(const uint8_t* at, bint swapped) noexcept nogil:
    """Read four bytes in our byte order or the other one."""
    cdef uint32_t value
    memcpy(&value, at, 4)
    return reversed32(value) if swapped else value


cdef class Cutter:
    """One stream on its way into pieces: `feed` till it is `known`, `start`, `take` while there are `frames`.

    Once it is `broken` nothing more can be fed.
    """

    def __cinit__(self):
        self.buffer = bytearray()
        self.head = b""
        self.head_next = b""
        self.unit_ns = 1000

    def start(self, Program program):
        """Begin with the frames, those that the program accepts, or all of them if it is None."""
        self.program = program
        self.started = True
        self.walk()

    @property
    def left(self):
        """Bytes fed that belong to no whole record; at the end of the stream: what was cut off."""
        return len(self.buffer) - self.whole

    @property
    def position(self):
        """Where in the stream the whole records end."""
        return self.base + self.whole

    @property
    def header(self):
        """The capture file without frames: what `take` puts in front of the next piece, once `known`."""
        return self.head_next

    def feed(self, data):
        """Add the next bytes of the stream; those after a broken record are ignored."""
        if self.broken is not None:
            return
        if self.begins:
            del self.buffer[:self.begins]
            self.base += self.begins
            self.whole -= self.begins
            self.kept -= self.begins
            self.begins = 0
        self.buffer += data
        self.walk()

    def take(self):
        """Return the next piece, all whole records there are of one section, as a capture file."""
        cdef size_t head = len(self.head)
        cdef size_t body = self.kept - self.begins
        piece = PyBytes_FromStringAndSize(NULL, head + body)
        memcpy(PyBytes_AS_STRING(piece), PyBytes_AS_STRING(self.head), head)
        memcpy(PyBytes_AS_STRING(piece) + head, PyByteArray_AS_STRING(self.buffer) + self.begins, body)
        self.begins = self.kept = self.whole
        self.frames = 0
        self.head = self.head_next
        if self.section_next:
            self.section_next = False
            self.walk()
        return piece

    cdef uint32_t read32(self, size_t at):
        """Read four bytes of the buffer, which are there, in the stream's byte order."""
        return load32(<const uint8_t*>PyByteArray_AS_STRING(self.buffer) + at, self.swapped)

    cdef void walk(self):
        """Move `whole` over the records that are there."""
        cdef bint sound = True
        if not self.known and not self.blocks:
            self.begin()
        if self.broken is not None or self.section_next:
            return
        if self.blocks:
            self.walk_blocks()
        elif self.started:
            sound = self.walk_records(<uint8_t*>PyByteArray_AS_STRING(self.buffer), len(self.buffer))
        if not sound:
            self.broken = (
                f"the record at byte {self.position} says that it has {self.read32(self.whole + 8)} bytes"
            )

    cdef void begin(self):
        """Read what the stream begins with: the pcap header, or that it is pcapng."""
        cdef size_t there = len(self.buffer)
        cdef uint32_t magic
        if there < 4:
            return
        magic = self.read32(0)
        if magic == SECTION:
            self.blocks = True
            return
        if magic not in (MAGIC_US, MAGIC_NS, MAGIC_PATCHED):
            self.swapped = True
            magic = self.read32(0)
        if magic not in (MAGIC_US, MAGIC_NS, MAGIC_PATCHED):
            self.broken = "not a capture file"
            return
        if there < FILE_HEADER_BYTES:
            self.swapped = False
            return
        self.record_header = RECORD_BYTES_PATCHED if magic == MAGIC_PATCHED else RECORD_BYTES
        header = bytearray(self.buffer[:FILE_HEADER_BYTES])
        big = header[0] == 0xA1
        self.old = int.from_bytes(header[6:8], "big" if big else "little") < 4   # minor version
        if magic == MAGIC_NS:
            self.unit_ns = 1
            header[:4] = bytes.fromhex("a1b2c3d4" if big else "d4c3b2a1")   # MAGIC_US
        self.head = self.head_next = bytes(header)
        self.begins = self.kept = self.whole = FILE_HEADER_BYTES
        self.known = True

    cdef void keep(self, uint8_t* at, size_t size) noexcept nogil:
        """Keep the record of `size` bytes at `whole`: move it next to those kept.  `at` is the buffer."""
        if self.kept != self.whole:
            memmove(at + self.kept, at + self.whole, size)
        self.kept += size

    cdef bint walk_records(self, uint8_t* at, size_t there) noexcept nogil:
        """Step over whole pcap records of the buffer, `there` bytes at `at`; false at one that cannot be."""
        cdef uint32_t caplen, wirelen
        cdef size_t size
        cdef const uint8_t* packet
        while there - self.whole >= self.record_header:
            caplen = load32(at + self.whole + 8, self.swapped)
            wirelen = load32(at + self.whole + 12, self.swapped)
            if self.old and caplen > wirelen:
                caplen, wirelen = wirelen, caplen
            if caplen > MOST_CAPLEN:
                return False
            size = self.record_header + caplen
            if there - self.whole < size:
                break
            packet = at + self.whole + self.record_header
            if self.program is None or self.program.match(packet, caplen, wirelen):
                self.keep(at, size)
                self.frames += 1
            self.whole += size
        if not self.frames:   # records that nobody asks for do not pile up
            self.begins = self.kept = self.whole
        return True

    cdef void walk_blocks(self):
        """Step over whole pcapng blocks; stop before a new section while frames of the old one wait."""
        cdef size_t there = len(self.buffer)
        cdef uint32_t kind, length
        cdef uint8_t* at = <uint8_t*>PyByteArray_AS_STRING(self.buffer)
        while there - self.whole >= BLOCK_BYTES and (self.started or not self.known):
            kind = self.read32(self.whole)
            if kind == SECTION:
                if self.frames:
                    self.section_next = True
                    return
                if not self.enter_section():
                    return
            length = self.read32(self.whole + 4)
            if length < BLOCK_BYTES or length > MOST_BLOCK or len(self.head_next) > MOST_HEAD:
                self.broken = f"the block at byte {self.position} says that it has {length} bytes"
                break
            if there - self.whole < length:
                break
            if kind == SECTION:
                self.head_next = bytes(memoryview(self.buffer)[self.whole:self.whole + length])
            elif kind == INTERFACE and not self.enter_interface(length):
                break
            if kind not in (PACKET, SIMPLE_PACKET, ENHANCED_PACKET):
                self.keep(at, length)
            elif not self.known:
                self.broken = f"the packet at byte {self.position} comes before any interface"
                break
            elif self.passes(kind, length):
                self.keep(at, length)
                self.frames += 1
            self.whole += length
        if not self.frames:   # blocks that nobody asks for do not pile up
            self.begins = self.kept = self.whole
            self.head = self.head_next

    cdef bint enter_section(self):
        """Learn the byte order of the section at `whole`, and forget the one before; false if broken."""
        self.big = self.buffer[self.whole + 8] == 0x1A   # first byte of SECTION_ORDER
        self.swapped = False
        if self.read32(self.whole + 8) != SECTION_ORDER:
            self.swapped = True
            if self.read32(self.whole + 8) != SECTION_ORDER:
                self.broken = f"the section at byte {self.position} has no byte order"
                return False
        self.begins = self.kept = self.whole
        self.head = self.head_next = b""
        return True

    cdef bint enter_interface(self, size_t length):
        """Note the interface described at `whole`; false if its link type is not that of the first one."""
        cdef uint32_t link = self.read32(self.whole + 8)
        if length < INTERFACE_BYTES:
            self.broken = f"the interface at byte {self.position} has no link type"
            return False
        link = link >> 16 if self.big else link & 0xFFFF
        if self.known and link != self.link:
            self.broken = (
                f"the interface at byte {self.position} has link type {link}, the first one has {self.link}, "
                "and libpcap reads one at a time"
            )
            return False
        self.link = link
        self.known = True
        self.head_next += bytes(memoryview(self.buffer)[self.whole:self.whole + length])
        return True

    cdef bint passes(self, uint32_t kind, uint32_t length):
        """Whether the packet block at `whole` passes the filter; what is malformed is left to libpcap."""
        cdef const uint8_t* at = <const uint8_t*>PyByteArray_AS_STRING(self.buffer) + self.whole
        cdef uint32_t caplen, wirelen
        cdef size_t head = SIMPLE_HEAD if kind == SIMPLE_PACKET else PACKET_HEAD
        if self.program is None or length < head + TRAILER_BYTES:
            return True
        wirelen = load32(at + head - 4, self.swapped)
        caplen = wirelen if kind == SIMPLE_PACKET else load32(at + head - 8, self.swapped)
        return self.program.match(at + head, min(caplen, length - <uint32_t>head - TRAILER_BYTES), wirelen)
