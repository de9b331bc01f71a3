"""TLS between sender and receiver: contexts, and a socket that is used like a plain one that does not block.

In: specs, which name PEM files.  Out: sockets.  Invariant: nothing older than TLS 1.2, no renegotiation, and nothing
that has come stays inside of the TLS layer, where poll(2) would not see it.
"""

import select
import socket
import ssl
from typing import Any, Final, cast

from emit.records import ServerTlsSpec, TlsSpec

RECORD_BYTES: Final = 16 * 1024
"""Most that one TLS record carries (RFC 8446 5.1): who reads that much leaves nothing of it behind."""

WORDS: Final = {
    "CERTIFICATE_REQUIRED": "the other side wants a certificate, and got none",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it has shown no certificate",
    "UNKNOWN_CA": "the other side does not know the authority of the certificate",
    "BAD_CERTIFICATE": "the other side does not accept the certificate",
    "CERTIFICATE_EXPIRED": "the other side says that the certificate has expired",
    "CERTIFICATE_UNKNOWN": "the other side does not accept the certificate",
    "UNSUPPORTED_PROTOCOL": "it speaks no version from TLS 1.2 on",
    "PROTOCOL_VERSION": "the two sides have no version of TLS in common",
    "WRONG_VERSION_NUMBER": "what comes is not TLS",
    "HTTP_REQUEST": "what comes is not TLS but HTTP",
    "RECORD_LAYER_FAILURE": "what comes is not TLS",
    "NO_SHARED_CIPHER": "the two sides have no cipher in common",
}
"""OpenSSL's reasons, for people; alerts of the other side end in the same words."""


class Secured(ssl.SSLSocket):
    """A connection with TLS; where it would have to wait, it raises BlockingIOError, as any socket does."""

    wish = 0  # poll event without which what was tried last does not go on

    def shake(self) -> bool:
        """Go on with the handshake; True at its end.  Raises OSError."""
        try:
            self.do_handshake()
        except ssl.SSLWantReadError:
            self.wish = select.POLLIN
            return False
        except ssl.SSLWantWriteError:
            self.wish = select.POLLOUT
            return False
        self.wish = 0
        return True

    def recv(self, buflen: int = RECORD_BYTES, flags: int = 0) -> bytes:
        """Read what one record holds; empty at the end."""
        try:
            data: bytes = super().recv(max(buflen, RECORD_BYTES), flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise self.blocked(error) from error
        self.wish = 0
        return data

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Read records as long as there is room for a whole one: `buffer` has room for one at least; 0 is the end."""
        room = memoryview(buffer)
        assert len(room) >= RECORD_BYTES
        count = 0
        while len(room) - count >= RECORD_BYTES:
            try:
                size = super().recv_into(room[count:], nbytes, flags)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                blocked = self.blocked(error)
                if not count:
                    raise blocked from error
                return count
            except OSError:
                if not count:
                    raise
                return count  # it comes again, when there is nothing before it
            if size == 0:
                break
            count += size
        self.wish = 0
        return count

    def send(self, data: Any, flags: int = 0) -> int:
        """Send what goes into one record."""
        try:
            return super().send(data, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error  # who has something to send waits for room anyway

    def blocked(self, error: ssl.SSLError) -> BlockingIOError:
        """Note what a read waits for, which may be room to write."""
        self.wish = select.POLLOUT if isinstance(error, ssl.SSLWantWriteError) else 0
        return BlockingIOError()

    def close(self) -> None:
        """Say that this is the end, if that can be said at once, and close."""
        try:
            if self.version() is not None:
                self.unwrap()
        except (OSError, ValueError):
            pass
        super().close()


def client_context(spec: TlsSpec) -> ssl.SSLContext:
    """Return how a receiver is spoken to; raises OSError where a file is not what it should be."""
    return _strict(context_for(spec))


def context_for(spec: TlsSpec) -> ssl.SSLContext:
    """Return what is trusted, and who we are, as the library has it otherwise; raises OSError as `client_context`."""
    context = ssl.create_default_context(cafile=spec.ca)
    if not spec.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if spec.certificate is not None:
        context.load_cert_chain(spec.certificate, spec.key, no_password)
    return context


def server_context(spec: ServerTlsSpec) -> ssl.SSLContext:
    """Return how senders are spoken to; raises OSError where a file is not what it should be."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(spec.certificate, spec.key, no_password)
    if spec.client_ca is not None:
        context.load_verify_locations(spec.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return _strict(context)


def _strict(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.sslsocket_class = Secured
    return context


def no_password() -> str:
    """Stand in for somebody who would type the password of a key."""
    raise ValueError("the key has a password, and nobody is there to give it")


def secure(context: ssl.SSLContext, connection: socket.socket, name: str | None) -> Secured:
    """Put TLS on a connection that is open: as the client of the server of that name, or as the server."""
    made = context.wrap_socket(
        connection, server_side=name is None, server_hostname=name, do_handshake_on_connect=False
    )  # fmt: skip
    return cast(Secured, made)


def explain(error: OSError) -> str:
    """Say in a few words what is wrong with TLS, or with the connection below it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: the certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "TLS: the other side closed the connection in the handshake"
    if isinstance(error, ssl.SSLError):
        code = error.reason or ""
        for name, words in WORDS.items():
            if code.endswith(name):
                return f"TLS: {words}"
        return f"TLS: {(code or str(error)).replace('_', ' ').lower()}"
    return (error.strerror or str(error)).lower()
