"""What the assembler writes into a message ring, to the byte.

In: nothing.  Out: the layouts, which the compiled modules check at import against their own.
"""

import struct
from typing import Final

REQUEST: Final = 1
RESPONSE: Final = 2
REPLAYED: Final = 3  # what the target of a replay answered to the request of the same id

FLAG_COMPLETE: Final = 1  # every byte of the message is in the payload
FLAG_INTERIM: Final = 2  # a 1xx response: the final one follows under the same id
FLAG_OPENS: Final = 8  # the first request of a connection whose beginning was seen
FLAG_IPV6: Final = 4  # the addresses are IPv6; else IPv4 in the first 4 bytes, the rest 0

MESSAGE_HEADER: Final = struct.Struct("<Qqq16s16sHHBBHIIIIQQQQII")
"""Start of a KIND_MESSAGE payload; `size` bytes of the message's wire bytes follow, beginning at byte `offset` of it.

at 0,   8 bytes   id           the same on a request, its response, and what a replay of it was answered
at 8,   8 bytes   first_ns     packet time of the first byte, nanoseconds since the epoch
at 16,  8 bytes   last_ns      packet time of the last byte
at 24,  16 bytes  src          sender, network byte order
at 40,  16 bytes  dst          receiver
at 56,  2 bytes   sport        sender's port
at 58,  2 bytes   dport        receiver's port
at 60,  1 byte    kind         1 request, 2 response, 3 replayed
at 61,  1 byte    flags        FLAG_ bits
at 62,  2 bytes   status       of a response or an answer replayed; 0 in a request, and where no answer came
at 64,  4 bytes   method_len   of a request: it is message[0:method_len]; 0 in a response
at 68,  4 bytes   target_at    of a request: where the target begins in the message
at 72,  4 bytes   target_len
at 76,  4 bytes   start_len    length of the start line with its line end
at 80,  8 bytes   head_len     length of start line, headers and blank line
at 88,  8 bytes   total        bytes of the whole message that are present, over all parts
at 96,  8 bytes   missing      bytes known to be missing from it
at 104, 8 bytes   offset       of this part in the message; 0 in the first part
at 112, 4 bytes   part         number of this part, from 0; parts follow each other in one ring, nothing between
at 116, 4 bytes   parts        their number; 1 for all but large messages

Of an answer replayed, src is the target's end and dst ours, and the times are those of our clock: when the request was
sent, and when the last byte of the answer was there.
"""

PART_BYTES: Final = 1_048_560
"""Most payload of one record.  Parts but the last are multiples of 24: of 3, so that base64 of the parts is the base64
of the message, and of 8, so that they fill their record without padding."""

AT_ID, AT_FIRST_NS, AT_LAST_NS, AT_KIND, AT_FLAGS = 0, 1, 2, 7, 8
AT_TARGET, AT_TARGET_LEN, AT_START_LEN, AT_TOTAL = 11, 12, 13, 15
AT_OFFSET, AT_PART, AT_PARTS = 17, 18, 19
"""Places in MESSAGE_HEADER, when it is unpacked."""


def part_bytes(largest: int) -> int:
    """Return how long the parts of a message are in a ring whose records have at most `largest` bytes of payload.

    A quarter of that keeps who writes and who reads from taking turns; 24, so that a part is a multiple of 3 (see
    PART_BYTES) and of 8: without padding, its size can be told from its record.
    """
    return min(PART_BYTES, max(24, (largest - MESSAGE_HEADER.size) // 4 // 24 * 24))


REFUSALS: Final = {
    "refused_link_header": "the frame is too short for its link layer, or the link type is unknown",
    "refused_not_ip": "neither IPv4 nor IPv6",
    "refused_ip_header": "an IP header with impossible lengths",
    "refused_ip_fragment": "an IP fragment",
    "refused_not_tcp": "not TCP, nor a tunnel that is unwrapped",
    "refused_tunnel": "a tunnel with an impossible header, or in too many others",
    "refused_checksum": "a wrong checksum: its receiver drops it too",
    "refused_tcp_header": "a TCP header with an impossible length",
    "refused_port": "neither port is watched",
    "refused_host": "neither address is wanted",
    "refused_own": "what the run itself sends to an output",
    "refused_sampled": "of a connection that the sample leaves out",
}
"""Why a frame is refused, in words, by the name of its counter."""
