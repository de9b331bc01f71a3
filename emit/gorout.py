"""The file output in GoReplay's format, `.gor` (emit/gor.py).

In: records of a message ring.  Out: text files that GoReplay reads.  Invariant: a file ends with a separator, so that
every message in it is whole; what a killed worker left broken is cut off by whoever has the lock next.
"""

import errno
import os
import re
from collections.abc import Iterator
from typing import Final

from emit.gor import HEADER, HEADER_BYTES, SEPARATOR, is_complete, write_piece
from emit.recording import said_cut
from emit.tail import last_before
from emit.wholeout import WholeOutput

BEGUN: Final = re.compile(rb"[123]?(?: [!-~]{0,128}(?: -?\d{0,19}(?: -?\d{0,19})?)?)?")
"""A header that was cut."""
WITH_SEPARATOR: Final = "it has the three monkeys in it"
INCOMPLETE: Final = "that messages are not complete is not in the file"


class GorOutput(WholeOutput):
    """Appends messages to `spec.path`."""

    def compose(self, records: Iterator[bytes]) -> bytes:
        pieces = []
        for record in records:
            piece = write_piece(record)
            if piece is None:
                self.refuse(WITH_SEPARATOR)
                continue
            pieces.append(piece)
            if not is_complete(record):
                self.alter(INCOMPLETE)
        self.held = len(pieces)
        return b"".join(pieces)

    def write(self) -> bool:
        if self.regular and self.written == 0:
            self.mend()
        return super().write()

    def mend(self) -> None:
        size = os.fstat(self.fd).st_size
        if not size or os.pread(self.fd, len(SEPARATOR), max(size - len(SEPARATOR), 0)) == SEPARATOR:
            return
        begin = os.pread(self.fd, HEADER_BYTES, 0)
        line, end, _rest = begin.partition(b"\n")
        if not (HEADER if end else BEGUN).fullmatch(line):
            raise OSError(errno.EINVAL, "it is not a .gor file and stays as it is; write another name")
        found = last_before(self.fd, SEPARATOR, size)
        whole = 0 if found < 0 else found + len(SEPARATOR)
        os.ftruncate(self.fd, whole)
        said_cut(self.target.path, size - whole)
