"""C face of HTTP/1.x framing: what a message's head says, and where its body ends."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef enum Verdict:
    MORE          # cannot tell yet
    FOUND
    NOT_HTTP      # these bytes do not start a message
    BAD_LENGTH    # they do, but Content-Length, Transfer-Encoding or a chunk is invalid

cdef enum BodyKind:
    BODY_NONE
    BODY_LENGTH   # a number of bytes
    BODY_CHUNKED
    BODY_CLOSE    # until the connection closes
    BODY_INVALID  # no way to tell where it ends (RFC 9112 6.3, rule 4 for requests, rule 5)

cdef enum:        # traits of a request that its response's framing needs to know
    TRAIT_HEAD = 1
    TRAIT_CONNECT = 2
    TRAIT_UPGRADE = 4

cdef struct Head:             # one start line and header block; offsets count from the message's first byte
    uint8_t kind              # REQUEST or RESPONSE of assemble/records
    uint8_t traits            # of a request
    uint8_t has_length        # a valid Content-Length
    uint8_t bad_length        # an invalid one, or two that differ
    uint8_t has_encoding      # any Transfer-Encoding but `identity`
    uint8_t chunked           # ... whose last coding is chunked
    uint16_t status           # of a response
    uint32_t method_len
    uint32_t target_at
    uint32_t target_len
    uint32_t start_len        # with its line end
    uint32_t head_len         # with the blank line
    uint64_t length           # Content-Length

cdef enum ChunkPhase:
    CHUNK_SIZE_FIRST          # the first digit must come
    CHUNK_SIZE                # more digits, or what ends them
    CHUNK_SIZE_END            # spaces, before an extension or the line end
    CHUNK_SIZE_LF             # a CR came
    CHUNK_EXTENSION           # until the line ends
    CHUNK_DATA
    CHUNK_DATA_END            # CR LF or LF behind the data
    CHUNK_DATA_LF
    CHUNK_TRAILER_FIRST       # first byte of a trailer line, or of the blank line that ends the message
    CHUNK_TRAILER_LF          # a CR came first
    CHUNK_TRAILER

cdef struct Body:             # how far a body has come
    uint8_t kind              # BodyKind
    uint8_t phase             # ChunkPhase
    uint32_t line             # bytes of the chunk-size line under way, up to its extension
    uint64_t remain           # bytes of the body (BODY_LENGTH) or of the chunk (CHUNK_DATA) still to come

cdef enum LinePhase:          # where a head's byte stream stands, to find the blank line across segments
    LINE_EMPTY                # at the first byte of a line
    LINE_CR                   # a CR was its first byte
    LINE_CONTENT

cdef Verdict parse_head(const uint8_t* p, size_t n, Head* head) noexcept nogil
cdef bint parse_cut_head(const uint8_t* p, size_t n, Head* head) noexcept nogil
cdef size_t find_head_end(const uint8_t* p, size_t n, uint8_t* phase) noexcept nogil
cdef bint may_start(const uint8_t* p, size_t n) noexcept nogil
cdef void begin_body(const Head* head, uint8_t request_traits, Body* body) noexcept nogil
cdef Verdict pass_body(Body* body, const uint8_t* p, size_t n, size_t* used) noexcept nogil

cdef inline bint is_digit(uint8_t c) noexcept nogil:
    return 48 <= c <= 57
