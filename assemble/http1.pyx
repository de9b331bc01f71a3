"""The HTTP/1.x framer: eats the in-order bytes of each half and hands whole messages to the sink (DESIGN 4, 5).

In: bytes of one half at a time, holes, ends.  Out: messages.  Invariant: every byte taken is counted once, in a message
or under the reason why it is in none; what comes out does not depend on where the bytes were cut.
A message that lies in one segment is sent from where it is; longer ones are collected (assemble/collect.pyx).
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memmove

from assemble.collect cimport Origin
from assemble.flows cimport (
    AT_START, AWAITING_PEER, AWAITING_SWITCH, IN_BODY, IN_HEAD, LOOKING, NAMING, SKIPPING, Flow, Half,
)
from assemble.framing cimport (
    BAD_LENGTH, BODY_CHUNKED, BODY_CLOSE, BODY_LENGTH, BODY_NONE, CHUNK_DATA, CHUNK_DATA_END, FOUND, LINE_EMPTY, MORE,
    NOT_HTTP, TRAIT_CONNECT, TRAIT_UPGRADE, Verdict, find_head_end, may_start, parse_cut_head, parse_head, pass_body,
)
from assemble.opening cimport at_beginning, fits_role
from assemble.pairing cimport end_request, is_pending
from assemble.proxy cimport proxy_header
from assemble.records cimport REQUEST
from assemble.searching cimport Searching
from assemble.sink cimport MessageSink
from assemble.tally cimport Tally, count


cdef enum:
    LF = 10
    CR = 13
    LINE_MOST = 32          # of a broken chunk-size line that is searched: hexadecimal digits begin few methods
    PATIENT_BYTES = 512     # a start line longer than this is not looked at again with each segment


cdef class Http1Framer(Searching):
    """One for all flows: the state of each half lives in the flow."""

    def __init__(self, MessageSink sink not None, uint64_t max_message, uint64_t max_header, bint responses):
        super().__init__(sink, max_message, responses)
        self.max_header = min(max_header, max_message)   # what is held of a head is never cut

    cdef size_t take(self, Flow* flow, int side, const uint8_t* p, size_t n, Origin origin) noexcept nogil:
        """Eat the next bytes of a half; returns how many: fewer than n only if it now awaits the other direction."""
        cdef Half* half = &flow.half[side]
        cdef Origin here = origin
        cdef size_t done = 0
        cdef size_t used
        while done < n:
            here.seq = origin.seq + <uint32_t>done
            if half.phase == AT_START:
                used = self.start(flow, side, p + done, n - done, here)
            elif half.phase == IN_BODY:
                used = self.more_body(flow, side, p + done, n - done, here)
            elif half.phase == IN_HEAD:
                used = self.more_head(flow, side, p + done, n - done, here)
            elif half.phase == LOOKING:
                used = self.look(flow, side, p + done, n - done, here)
            elif half.phase == NAMING:
                used = self.name(flow, side, p + done, n - done, here)
            elif half.phase == SKIPPING:
                used = n - done
                count(self.tally, half.skip, used)
            else:
                break
            done += used
        return done

    cdef size_t start(self, Flow* flow, int side, const uint8_t* p, size_t n, Origin origin) noexcept nogil:
        """Begin a message: the common case reads it whole and sends it from where it lies."""
        cdef Half* half = &flow.half[side]
        cdef size_t used = 0
        cdef Verdict verdict = NOT_HTTP
        if at_beginning(half):
            verdict = proxy_header(p, n, &used)
            if verdict == MORE:
                half.phase = NAMING
                return 0
            if verdict == FOUND:
                count(self.tally, Tally.skipped_proxy_header, used)
                return used
        if p[0] == LF or (p[0] == CR and n > 1 and p[1] == LF):
            used = 1 if p[0] == LF else 2
            count(self.tally, Tally.skipped_blank_lines, used)
            return used
        self.begin(half, origin)
        verdict = parse_head(p, n, &half.head)
        if (verdict != MORE or half.head.start_len) and not fits_role(flow, half):
            verdict = NOT_HTTP
        if verdict == MORE:
            half.phase = IN_HEAD
            half.line = LINE_EMPTY
            half.overlong = 0
            return 0
        if verdict == NOT_HTTP and at_beginning(half):
            half.phase = NAMING
            return 0
        if verdict == NOT_HTTP:
            self.look_for_start(half, Tally.skipped_not_http if half.synced else Tally.skipped_no_start)
            self.skip_looking(half, p, 1)
            return 1
        if half.head.head_len > self.max_header:
            count(self.tally, Tally.skipped_long_header, half.head.head_len)
            self.look_for_start(half, Tally.skipped_no_start)
            return half.head.head_len
        if verdict == FOUND:
            verdict = self.decide(flow, side, False)
        if half.phase == SKIPPING:     # responses are not wanted
            return 0
        if verdict == BAD_LENGTH:
            count(self.tally, Tally.skipped_bad_length, half.head.head_len)
            self.look_for_start(half, Tally.skipped_no_start)
            return half.head.head_len
        if verdict == MORE:
            half.phase = AWAITING_PEER
            self.keep(half, p, half.head.head_len)
            return half.head.head_len
        verdict = pass_body(&half.body, p + half.head.head_len, n - half.head.head_len, &used)
        used += half.head.head_len
        if verdict == MORE:
            half.phase = IN_BODY
            self.keep(half, p, used)
        elif verdict == FOUND:
            self.dispatch(flow, side, p, used, True)
            self.after_message(flow, side)
        else:
            used -= half.body.line     # the line that is no chunk size may begin a message
            self.dispatch(flow, side, p, used, False)
            self.after_cut(flow, side)
        return used

    cdef size_t more_head(self, Flow* flow, int side, const uint8_t* p, size_t n, Origin origin) noexcept nogil:
        """Collect a head that does not lie in one segment."""
        cdef Half* half = &flow.half[side]
        cdef size_t end = find_head_end(p, n, &half.line)
        cdef size_t used = end if end else n
        cdef Verdict verdict
        if not half.overlong:
            if not self.hold(half, p, used):
                return n                        # the assembler raises
            if half.head.start_len == 0 and not self.start_line_holds(flow, half, used):
                half.held_size -= used
                self.give_up_head(half)
                return 0
        if half.overlong or half.held_size > self.max_header:
            count(self.tally, Tally.skipped_long_header, used if half.overlong else half.held_size)
            self.let_go(half)
            half.overlong = 1
            if end:
                self.look_for_start(half, Tally.skipped_no_start)
            return used
        self.touch(half, origin)
        if end == 0:
            return used
        if half.held_size <= 2:
            count(self.tally, Tally.skipped_blank_lines, half.held_size)
            self.let_go(half)
            half.phase = AT_START
            return used
        verdict = parse_head(half.held, half.held_size, &half.head)
        if not fits_role(flow, half):     # the other direction has told meanwhile who is the client
            count(self.tally, Tally.skipped_not_http, half.held_size)
            self.look_for_start(half, Tally.skipped_no_start)
            return used
        if verdict == FOUND:
            verdict = self.decide(flow, side, False)
        if half.phase == SKIPPING:
            count(self.tally, half.skip, half.held_size)
            self.let_go(half)
        elif verdict == MORE:
            half.phase = AWAITING_PEER
        else:
            self.head_ready(flow, side, verdict)
        return used

    cdef bint start_line_holds(self, Flow* flow, Half* half, size_t fresh) noexcept nogil:
        """Tell whether the bytes held, the last `fresh` of them new, are a start line, or may still become one."""
        if memchr(half.held + half.held_size - fresh, LF, fresh) == NULL:
            return PATIENT_BYTES < half.held_size <= self.max_header or may_start(half.held, half.held_size)
        if half.held_size <= 2 and half.held[0] == CR:
            return True
        return parse_cut_head(half.held, half.held_size, &half.head) and fits_role(flow, half)

    cdef void check_long_line(self, Half* half) noexcept nogil:
        """Look at a start line that was too long to be looked at with each segment, as no more of it will come."""
        if half.phase == IN_HEAD and half.head.start_len == 0 and PATIENT_BYTES < half.held_size <= self.max_header:
            if not may_start(half.held, half.held_size):
                self.give_up_head(half)

    cdef void give_up_head(self, Half* half) noexcept nogil:
        """What is held is no start line: look for one behind its first byte, or for its name."""
        if at_beginning(half):
            half.phase = NAMING
            return
        half.phase = LOOKING
        half.skip = Tally.skipped_not_http if half.synced else Tally.skipped_no_start
        half.synced = 0
        half.scanned = 0
        half.at_line = 1
        if half.held_size:
            self.skip_looking(half, half.held, 1)
            half.held_size -= 1
            memmove(half.held, half.held + 1, half.held_size)

    cdef void head_ready(self, Flow* flow, int side, Verdict verdict) noexcept nogil:
        """Go on behind a head that lies in `held` and is decided."""
        cdef Half* half = &flow.half[side]
        if verdict == BAD_LENGTH:
            count(self.tally, Tally.skipped_bad_length, half.held_size)
            self.look_for_start(half, Tally.skipped_no_start)
        elif half.body.kind == BODY_NONE:
            self.dispatch(flow, side, half.held, half.held_size, True)
            self.after_message(flow, side)
        else:
            half.phase = IN_BODY

    cdef size_t more_body(self, Flow* flow, int side, const uint8_t* p, size_t n, Origin origin) noexcept nogil:
        """Collect a body that does not lie in one segment."""
        cdef Half* half = &flow.half[side]
        cdef size_t used = 0
        cdef Verdict verdict = pass_body(&half.body, p, n, &used)
        if used:
            self.touch(half, origin)
            self.keep(half, p, used)
        if verdict == MORE:
            return used
        if verdict == BAD_LENGTH:
            self.break_body(flow, side, used)
            return used
        self.dispatch(flow, side, half.held, half.held_size, True)
        self.after_message(flow, side)
        return used

    cdef void break_body(self, Flow* flow, int side, size_t used) noexcept nogil:
        """End a message before a line that is no chunk size, and look for a start from that line on."""
        cdef Half* half = &flow.half[side]
        cdef uint8_t[LINE_MOST] line
        cdef size_t n = half.body.line
        if half.over or n > LINE_MOST or n > half.held_size - half.head.head_len:
            n = 0
        memcpy(line, half.held + half.held_size - n, n)
        self.dispatch(flow, side, half.held, half.held_size - n, False)
        self.after_cut(flow, side)
        if n and not self.hold(half, line, n):
            count(self.tally, half.skip, n)

    cdef void after_message(self, Flow* flow, int side) noexcept nogil:
        """Stand at the next message's start, unless this one was the last that is HTTP."""
        cdef Half* half = &flow.half[side]
        half.phase = AT_START
        if half.head.kind == REQUEST:
            end_request(flow, half.id, half.end_seq, False)
        if flow.tunnel and (half.head.kind == REQUEST or not half.head.status == 100):
            half.phase = NAMING
        elif (half.head.kind == REQUEST and half.head.traits & (TRAIT_CONNECT | TRAIT_UPGRADE) and self.responses
                and not flow.one_sided and is_pending(flow, half.id)):
            half.phase = AWAITING_SWITCH

    cdef bint resume(self, Flow* flow, int side, bint force) noexcept nogil:
        """Try again what awaited the other direction; True if the half can go on."""
        cdef Half* half = &flow.half[side]
        cdef Verdict verdict
        if half.phase == AWAITING_SWITCH and force:
            half.phase = AT_START
            return True
        if half.phase != AWAITING_PEER:
            return False
        if half.cut:
            if not force and self.request_may_come(flow, side):
                return False
            half.cut = 0
            self.cut_head(flow, side, 0)
            self.look_for_start(half, Tally.skipped_no_start)
            return True
        verdict = self.decide(flow, side, force)
        if verdict == MORE:
            return False
        self.head_ready(flow, side, verdict)
        return True

    cdef void pass_gap(self, Flow* flow, int side, uint64_t size) noexcept nogil:
        """Go on behind bytes that are lost: step over them inside a body of known length, else look for a start."""
        cdef Half* half = &flow.half[side]
        if half.phase == IN_BODY:
            self.pass_gap_in_body(flow, side, size)
            return
        self.check_long_line(half)
        if half.phase == IN_HEAD:
            self.cut_head(flow, side, size)
        elif half.phase == NAMING and self.end_naming(flow, side):
            return
        elif half.phase == LOOKING:
            count(self.tally, half.skip, half.held_size)
            self.let_go(half)
        if half.phase != SKIPPING and flow.tunnel:
            self.skip_rest(half, Tally.skipped_tunnel)
        elif half.phase != SKIPPING:
            self.look_for_start(half, Tally.skipped_no_start)

    cdef void pass_gap_in_body(self, Flow* flow, int side, uint64_t size) noexcept nogil:
        """Step over lost bytes as far as they are known to be the body's; behind its end messages may be lost."""
        cdef Half* half = &flow.half[side]
        cdef uint64_t inside
        if half.body.kind == BODY_CLOSE or half.body.kind == BODY_LENGTH and size < half.body.remain or \
                half.body.kind == BODY_CHUNKED and half.body.phase == CHUNK_DATA and size <= half.body.remain:
            half.missing += size
            if half.body.kind != BODY_CLOSE:
                half.body.remain -= size
            if half.body.kind == BODY_CHUNKED and half.body.remain == 0:
                half.body.phase = CHUNK_DATA_END
            return
        inside = half.body.remain if half.body.kind == BODY_LENGTH else size
        half.missing += inside
        self.dispatch(flow, side, half.held, half.held_size, False)
        if half.body.kind == BODY_LENGTH:
            self.after_message(flow, side)
            if inside < size:
                self.pass_gap(flow, side, size - inside)
        else:
            half.end_seq -= <uint32_t>size       # where the hole begins: behind that something else may be asked
            self.after_cut(flow, side)

    cdef void after_cut(self, Flow* flow, int side) noexcept nogil:
        """Look for the next message behind one whose end is not known."""
        cdef Half* half = &flow.half[side]
        if half.head.kind == REQUEST:
            end_request(flow, half.id, half.end_seq, False)
        self.look_for_start(half, Tally.skipped_no_start)

    cdef void cut_head(self, Flow* flow, int side, uint64_t missing) noexcept nogil:
        """Send a head that will never be whole as an incomplete message, if at least its start line is there."""
        cdef Half* half = &flow.half[side]
        cdef Verdict verdict = BAD_LENGTH
        if half.overlong:
            return
        if parse_cut_head(half.held, half.held_size, &half.head):
            verdict = self.decide(flow, side, True)
        if verdict == FOUND and half.phase != SKIPPING:
            half.missing += missing
            self.dispatch(flow, side, half.held, half.held_size, False)
            if half.head.kind == REQUEST:
                end_request(flow, half.id, half.end_seq, True)
        else:
            count(self.tally, half.skip if half.phase == SKIPPING else Tally.skipped_cut_start, half.held_size)
            self.let_go(half)

    cdef void finish(self, Flow* flow, int side, bint whole, uint64_t cut) noexcept nogil:
        """End a half: `whole` if every byte up to a FIN was delivered; `cut` bytes at its end are missing."""
        cdef Half* half = &flow.half[side]
        self.check_long_line(half)
        if half.phase == IN_BODY:
            half.missing += half.body.remain if half.body.kind == BODY_LENGTH else cut
            self.dispatch(flow, side, half.held, half.held_size,
                          whole and half.body.kind == BODY_CLOSE and half.missing == 0)
        elif half.phase == IN_HEAD:
            self.cut_head(flow, side, cut)
        elif half.phase == LOOKING:
            count(self.tally, half.skip, half.held_size)
        elif half.phase == NAMING:
            self.end_naming(flow, side)
        self.let_go(half)
        if half.phase != SKIPPING:
            self.skip_rest(half, Tally.skipped_after_close)
