"""The keys of the tables in this process.

In: nothing.  Out: a key that nobody knows.  Invariant: no result depends on it, only where a table keeps what it has.
"""

from os import urandom

from libc.stdint cimport uint64_t
from libc.string cimport memcpy


cdef Secret new_secret():
    """Draw a key."""
    return made_of(urandom(sizeof(Secret)))


cdef Secret made_of(bytes key):
    cdef Secret secret
    memcpy(&secret, <const char*>key, sizeof(secret))
    return secret


def siphash13(bytes key not None, bytes data not None):
    """Return the hash of data of whole words under a key of 16 bytes, for tests."""
    cdef Secret secret
    cdef uint64_t[32] words
    cdef size_t size = len(data)
    if len(key) != 16 or size % 8 or size > sizeof(words):
        raise ValueError("a key of 16 bytes and at most 32 words are needed")
    secret = made_of(key)
    memcpy(words, <const char*>data, size)
    return siphash(&secret, words, size // 8)
