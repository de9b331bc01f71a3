"""What a direction begins with: HTTP/1.x, a PROXY protocol header before it, or another protocol, told by its name.

In: the first bytes of a half, or of a tunnel.  Out: a half that frames HTTP, or is skipped under a name.  Invariant: a
half that was seen from its first byte and does not begin with HTTP is never searched for messages: it might speak of
HTTP, but does not speak it.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memmove

from assemble.collect cimport Origin
from assemble.exchange cimport Exchange
from assemble.flows cimport AT_START, IN_HEAD, Flow, Half
from assemble.framing cimport FOUND, LINE_EMPTY, MORE, NOT_HTTP, Verdict, find_head_end, may_start, parse_head
from assemble.protocols cimport NAME_MORE, name_protocol
from assemble.proxy cimport proxy_header
from assemble.tally cimport Tally, count


cdef enum:
    LF = 10
    CR = 13


cdef inline size_t blank_lines(const uint8_t* p, size_t n) noexcept nogil:
    """Return how many bytes of empty lines p begins with."""
    cdef size_t at = 0
    while at < n and (p[at] == LF or (p[at] == CR and at + 1 < n and p[at + 1] == LF)):
        at += 1 if p[at] == LF else 2
    return at


cdef class Opening(Exchange):
    """Names for what is not HTTP/1.x."""

    cdef size_t name(self, Flow* flow, int side, const uint8_t* p, size_t n, Origin origin) noexcept nogil:
        """Eat the first bytes of a half that may begin with something else (phase NAMING), and settle what it is."""
        cdef Half* half = &flow.half[side]
        cdef size_t before = half.held_size
        cdef size_t used = 0
        cdef Verdict verdict
        cdef Tally name
        if before == 0:
            self.begin(half, origin)
        self.touch(half, origin)
        if not self.hold(half, p, n):
            count(self.tally, Tally.skipped_not_http, n)    # the assembler raises
            return n
        if not flow.tunnel:
            verdict = proxy_header(half.held, half.held_size, &used)
            if verdict == MORE:
                return n
            if verdict == NOT_HTTP:
                used = blank_lines(half.held, half.held_size)
            if used > before or used and used == before:
                count(self.tally, Tally.skipped_proxy_header if verdict == FOUND else Tally.skipped_blank_lines, used)
                self.let_go(half)
                half.phase = AT_START
                return used - before
            if used:
                count(self.tally, Tally.skipped_blank_lines, used)
                half.held_size -= used
                before -= used
                memmove(half.held, half.held + used, half.held_size)
            verdict = parse_head(half.held, half.held_size, &half.head)
            if verdict == MORE and half.head.start_len == 0 or verdict != NOT_HTTP and fits_role(flow, half):
                self.reopen(half, before)
                return 0
        name = name_protocol(half.held, half.held_size, likely_kind(half))
        if <int>name != NAME_MORE:
            self.give_name(flow, half, name)
        return n

    cdef void reopen(self, Half* half, size_t before) noexcept nogil:
        """Go on with the head of a message, of which `before` bytes are held from earlier segments."""
        half.held_size = before
        half.phase = AT_START
        if before == 0:
            self.let_go(half)
            return
        half.phase = IN_HEAD
        half.overlong = 0
        half.head.start_len = 0
        half.line = LINE_EMPTY
        find_head_end(half.held, before, &half.line)

    cdef void give_name(self, Flow* flow, Half* half, Tally name) noexcept nogil:
        """Skip all of a half under its protocol's name: its own, that of the other direction, or none."""
        if name != Tally.skipped_not_http:
            flow.named = name
        elif flow.named:
            name = <Tally>flow.named
        elif flow.tunnel:
            name = Tally.skipped_tunnel
        self.skip_rest(half, name)

    cdef bint end_naming(self, Flow* flow, int side) noexcept nogil:
        """Settle at a hole or an end what has no name yet; False if it may have been the beginning of a message."""
        cdef Half* half = &flow.half[side]
        cdef size_t blank = blank_lines(half.held, half.held_size)
        if not flow.tunnel and (blank == half.held_size or may_start(half.held + blank, half.held_size - blank)):
            count(self.tally, Tally.skipped_blank_lines, blank)
            count(self.tally, Tally.skipped_cut_start, half.held_size - blank)
            self.let_go(half)
            half.phase = AT_START
            return False
        self.give_name(flow, half, Tally.skipped_not_http)
        return True
