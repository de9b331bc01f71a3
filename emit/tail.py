"""The end of a recording that is appended to: found, and freed of what a killed writer or a full disk left broken.

In: the descriptor of a regular file, locked by the caller.  Out: a file that ends with a whole block, and its key.
Invariant: nothing that is whole is cut off, and what is no recording is left as it is.
"""

import errno
import os
import zlib
from collections import deque
from typing import Final

from emit.blocks import BLOCK_HEADER, FILE_HEADER, VERSION, Span, begins_header, file_header, read_file_header, spans

STEP_BYTES: Final = 1024 * 1024
LOOKED_AT: Final = 64
"""So many blocks at the end have their bodies verified before the first is appended: a machine that lost its power may
have kept the length of a file, and not what was written last."""


class Tail:
    """Where the whole blocks of one file end, as far as it was looked at."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.end = 0  # of the whole blocks known; 0: not looked at
        self.key = b""

    def mend(self) -> int:
        """Begin an empty file; cut off what is broken at the end of another, and return its bytes.

        Raises OSError, also if this is no recording, or one of a version that is not ours.
        """
        size = os.fstat(self.fd).st_size
        if size < self.end:
            self.end = 0  # somebody made it shorter
        if size == self.end > 0:
            return 0
        first = self.end == 0
        if first and not self.begin():
            os.ftruncate(self.fd, 0)
            self.key = os.urandom(8)
            self.write(file_header(self.key))
            self.end = FILE_HEADER.size
            return size
        self.end = self.find_end(size, verified=first)
        if self.end < size:
            os.ftruncate(self.fd, self.end)
        return size - self.end

    def begin(self) -> bool:
        """Read the file header; False if there is none, or a piece of one."""
        head = self.read(0, FILE_HEADER.size)
        said = read_file_header(head)
        if said is None:
            if begins_header(head):
                return False
            raise OSError(errno.EINVAL, "it is not a recording and stays as it is; write another name")
        if said[0] != VERSION:
            raise OSError(errno.EINVAL, f"it is a recording of version {said[0]}, not {VERSION}; write another name")
        self.key = said[1]
        self.end = FILE_HEADER.size
        return True

    def find_end(self, size: int, verified: bool) -> int:
        """Return where the last whole block ends."""
        last: deque[Span] = deque(maxlen=LOOKED_AT)
        end = self.end
        for span in spans(self.read, end, size, self.key):
            if not span.lost:
                last.append(span)
        while verified and last and not self.whole(last[-1]):
            end = last.pop().at
        if last:
            self.key = last[-1].key
        return last[-1].end if last else end

    def whole(self, span: Span) -> bool:
        """Whether the body of a block is what was written."""
        if span.block is None:
            return True
        return zlib.crc32(self.read(span.at + BLOCK_HEADER.size, span.block.stored)) == span.block.body_crc

    def read(self, at: int, size: int) -> bytes:
        """Return that many bytes from a position, fewer only at the end."""
        data = os.pread(self.fd, size, at)
        while len(data) < size and (more := os.pread(self.fd, size - len(data), at + len(data))):
            data += more
        return data

    def write(self, data: bytes) -> None:
        """Append bytes."""
        while data:
            data = data[os.write(self.fd, data) :]


def last_before(fd: int, needle: bytes, end: int) -> int:
    """Return where the last occurrence is that ends at or before `end`; -1 if there is none."""
    while end > 0:
        begin = max(end - STEP_BYTES, 0)
        found = os.pread(fd, end - begin, begin).rfind(needle)
        if found >= 0:
            return begin + found
        end = begin + len(needle) - 1 if begin else 0
    return -1
