"""A socket on its way to a target, or there: bytes out, bytes in, never waiting; with TLS or without.

In: a socket that does not block.  Out: how many bytes went, LATER, or NEVER.  Invariant: none of a plain socket's
bytes makes a Python object.
"""

import os
import socket
import ssl

from cpython.bytes cimport PyBytes_AS_STRING
from libc.errno cimport EAGAIN, ECONNREFUSED, EINTR, errno
from libc.stdint cimport uint8_t

from emit.upstream import itself


cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_send "send"(int fd, const void* data, size_t size, int flags)
    ssize_t c_recv "recv"(int fd, void* data, size_t size, int flags)
    int MSG_NOSIGNAL
    int MSG_PEEK


cdef class Channel:
    """One socket; its descriptor is closed by whoever closes the socket."""

    def __init__(self, connection):
        self.fd = connection.fileno()
        self.secured(connection)

    def secured(self, connection):
        """Go on with a socket of the same descriptor, which may have TLS by now."""
        self.socket = connection
        self.tls = isinstance(connection, ssl.SSLSocket)

    cdef bint arrived(self) except -1:
        """Look at the end of the attempt to connect, which poll(2) has announced; raises OSError if it failed."""
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0 and itself(self.socket):
            code = ECONNREFUSED
        if code:
            raise OSError(code, os.strerror(code))
        return True

    def shake(self):
        """Go on with the TLS handshake; return "read" or "write" for what it waits for, None at its end."""
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            return "read"
        except ssl.SSLWantWriteError:
            return "write"

    cdef ssize_t write(self, bytes data, size_t start, size_t end) except? -3:
        """Send data[start:end], or the beginning of it."""
        cdef ssize_t size
        if self.tls:
            return self.attempt(self.socket.send, memoryview(data)[start:end])
        while True:
            size = c_send(self.fd, PyBytes_AS_STRING(data) + start, end - start, MSG_NOSIGNAL)
            if size >= 0:
                return size
            if errno != EINTR:
                return LATER if errno == EAGAIN else NEVER

    cdef ssize_t read(self, uint8_t* room, size_t size) except? -3:
        """Read up to `size` bytes; 0 is the end."""
        cdef ssize_t count
        if self.tls:
            return self.attempt(self.socket.recv_into, <uint8_t[:size]>room)
        while True:
            count = c_recv(self.fd, room, size, 0)
            if count >= 0:
                return count
            if errno != EINTR:
                return LATER if errno == EAGAIN else NEVER

    def attempt(self, act, data):
        """Send or receive with TLS."""
        try:
            return act(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return LATER
        except ssl.SSLEOFError:
            return 0 if act == self.socket.recv_into else NEVER
        except OSError:
            return NEVER

    cdef bint stirs(self) noexcept:
        """Tell whether there is something to read, which may be the end."""
        cdef uint8_t peeked
        return c_recv(self.fd, &peeked, 1, MSG_PEEK) >= 0
