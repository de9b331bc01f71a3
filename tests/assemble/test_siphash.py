"""The tables' hash is SipHash-1-3, of which it is known that nobody finds collisions without the key."""

import os
import struct
import subprocess
import sys

import pytest

from assemble.siphash import siphash13

DATA = [bytes(range(8 * words)) for words in range(9)] + [b"\xff" * 48, bytes(48)]


def key_of(seed: int) -> bytes:
    """Give the key that Python makes of PYTHONHASHSEED (Python/bootstrap_hash.c, lcg_urandom)."""
    state, out = seed, bytearray()
    for _ in range(16 if seed else 0):
        state = (state * 214013 + 2531011) % 2**32
        out.append(state >> 16 & 0xFF)
    return bytes(out).ljust(16, b"\0")


@pytest.mark.skipif(sys.hash_info.algorithm != "siphash13", reason="this Python hashes bytes by another function")
@pytest.mark.parametrize("seed", [0, 1, 4294967295])
def test_it_is_the_hash_that_python_has_for_bytes(seed):
    """Another implementation, with the same keys."""
    script = f"print([hash(each) for each in {DATA[1:]!r}])"
    environment = os.environ | {"PYTHONHASHSEED": str(seed)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    ours = [struct.unpack("<q", struct.pack("<Q", siphash13(key_of(seed), each)))[0] for each in DATA[1:]]
    assert str([-2 if each == -1 else each for each in ours]) == done.stdout.strip()


def test_the_key_is_all_that_is_secret():
    """Other keys, other places."""
    assert len({siphash13(bytes([at] * 16), each) for at in range(100) for each in DATA}) == 100 * len(DATA)
