"""What a server may do wrong: scripts for a `Target`, one fault each, and certificates that are not to be trusted.

In: a connection, and the request that came on it.  Out: bytes, or none, or no more connection.
"""

import datetime
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import trustme

from tests.targets import OK, Arrival, Line, Script, usual

NAME: Final = "127.0.0.1"
HEAD: Final = b"HTTP/1.1 200 OK\r\n"
PAUSE_S: Final = 0.02
PIECES: Final = 10_000  # of what would have no end: a client that takes them all fails its test by its duration


def silent(line: Line, _request: Arrival) -> bool:
    """Never answer; the connection stays until the client ends it."""
    with suppress(OSError):
        line.reader.read(1)
    return False


def closing(line: Line, _request: Arrival) -> bool:
    """Close without an answer."""
    return False


def resetting(line: Line, _request: Arrival) -> bool:
    """Reset without an answer."""
    line.reset()
    return False


def cut(line: Line, _request: Arrival) -> bool:
    """Close in the middle of the answer: its length is too long."""
    line.send(HEAD + b"Content-Length: 1000\r\n\r\n" + bytes(100))
    return False


def cut_chunks(line: Line, _request: Arrival) -> bool:
    """Close in the middle of a chunked answer."""
    line.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    return False


def cut_head(line: Line, _request: Arrival) -> bool:
    """Close in the middle of the head."""
    line.send(HEAD + b"Content-Le")
    return False


def reset_within(line: Line, _request: Arrival) -> bool:
    """Reset in the middle of the answer, once that is on its way."""
    line.send(HEAD + b"Content-Length: 1000\r\n\r\n" + bytes(100))
    pause()
    line.reset()
    return False


def stalled_within(line: Line, request: Arrival) -> bool:
    """Fall silent in the middle of the answer."""
    line.send(HEAD + b"Content-Length: 1000\r\n\r\n" + bytes(100))
    return silent(line, request)


def garbage(line: Line, _request: Arrival) -> bool:
    """Answer what is no HTTP."""
    line.send(b"220 mail.example ESMTP\r\n" + bytes(range(256)))
    return True


def bad_length(line: Line, _request: Arrival) -> bool:
    """Answer with a length that is no number."""
    line.send(HEAD + b"Content-Length: many\r\n\r\nhello")
    return True


def bad_chunk(line: Line, _request: Arrival) -> bool:
    """Answer with a chunk whose size is no number."""
    line.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n")
    return True


def unending_head(line: Line, _request: Arrival) -> bool:
    """Send header lines for ever."""
    line.send(HEAD)
    return endless(line, b"X-More: " + b"x" * 8000 + b"\r\n")


def unending_interims(line: Line, _request: Arrival) -> bool:
    """Send interim answers for ever."""
    return endless(line, b"HTTP/1.1 102 Processing\r\n\r\n")


def unending_chunks(line: Line, _request: Arrival) -> bool:
    """Send small chunks for ever, never silent."""
    line.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    return endless(line, b"4\r\nmore\r\n", PAUSE_S)


def unending_size(line: Line, _request: Arrival) -> bool:
    """Send a chunk's size whose digits have no end."""
    line.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    return endless(line, b"0" * 8000)


def dripping(line: Line, _request: Arrival) -> bool:
    """Answer in full, a byte at a time."""
    for at in range(len(OK)):
        line.send(OK[at : at + 1])
        pause()
    return True


def closing_after(line: Line, request: Arrival) -> bool:
    """Answer, say that this was the last, and close."""
    line.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    return False


def closing_in_silence(line: Line, request: Arrival) -> bool:
    """Answer, promise to stay, and close."""
    usual(line, request)
    return False


def until_close(line: Line, _request: Arrival) -> bool:
    """Answer with a body that ends with the connection."""
    line.send(HEAD + b"\r\nall that there is")
    return False


def talking_on(line: Line, request: Arrival) -> bool:
    """Answer, and say more than the length allows."""
    line.send(OK + b"and another thing")
    return True


def twice(line: Line, _request: Arrival) -> bool:
    """Answer one request two times."""
    line.send(OK + OK)
    return True


def with_interims(line: Line, request: Arrival) -> bool:
    """Answer with a few interim answers first, as is allowed."""
    line.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" * 3)
    return usual(line, request)


def chunked(line: Line, _request: Arrival) -> bool:
    """Answer in chunks, with an extension and a trailer."""
    line.send(HEAD + b'Transfer-Encoding: chunked\r\n\r\n5;a="b"\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n')
    return True


def in_turn(*scripts: Script) -> Script:
    """Do one after another by the number of the request over all connections, from the first again after the last."""
    return lambda line, request: scripts[request.number % len(scripts)](line, request)


def at_first(times: int, fault: Script, then: Script = usual) -> Script:
    """Do one thing for so many requests, and another from then on."""
    return lambda line, request: (fault if request.number < times else then)(line, request)


def endless(line: Line, piece: bytes, pause_s: float = 0.0) -> bool:
    """Send something again and again, until the client has had enough."""
    with suppress(OSError):
        for _ in range(PIECES):
            line.send(piece)
            if pause_s:
                pause(pause_s)
    return False


def pause(seconds: float = PAUSE_S) -> None:
    """Let some time pass: being slow is what a script is for."""
    threading.Event().wait(seconds)


class Authority:
    """Makes certificates, good ones and others."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = trustme.CA()
        self.path = directory / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.path))

    def server(self, *names: str, expired: bool = False, asking: bool = False) -> ssl.SSLContext:
        """Return a server's context; `asking`: clients need a certificate of this authority too."""
        ended = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1) if expired else None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*(names or (NAME,)), not_after=ended).configure_cert(context)
        if asking:
            context.verify_mode = ssl.CERT_REQUIRED
            self.ca.configure_trust(context)
        return context

    def client(self) -> tuple[Path, Path]:
        """Return a client's certificate and key, as files."""
        made = self.ca.issue_cert("replay.example")
        certificate, key = self.directory / "client.pem", self.directory / "client.key"
        certificate.write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        return certificate, key


def stopping_handshake(line: Line) -> bool:
    """Take the client's hello, and say nothing more."""
    with suppress(OSError):
        line.socket.recv(1)
        while line.socket.recv(65536):
            pass
    return False


def plain_answer(line: Line) -> bool:
    """Answer a TLS hello in plain HTTP, as a server does whose port was mistaken."""
    line.socket.recv(1)
    line.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    return False


Greet = Callable[[Line], bool]
ANSWERED: Final[Sequence[Script]] = (
    usual, dripping, closing_after, closing_in_silence, until_close, with_interims, chunked,
)  # fmt: skip
"""After which a request is delivered."""
