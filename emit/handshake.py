"""The handshake of Forward v1 (WIRE.md): HELO, PING and PONG, as either side has it; bytes only, no sockets.

In: what the other side sends.  Out: what to answer, and whether the other side knows the shared key.  Invariant: keys
and passwords are in no text that leaves this module, and what proves them is compared in constant time.
"""

import hashlib
import hmac
import secrets
from typing import Any, Final

import msgpack

from capture.errors import MalformedTraffic, MirrorError
from emit.records import Access, Login

MOST_BYTES: Final = 4096
"""Of one message of the handshake."""
MOST_FIELD_BYTES: Final = 1024
NONCE_BYTES: Final = 16
NO_USER: Final = b""


class Refused(MirrorError):
    """The handshake has failed, by what the other side said or by what it could not prove."""


def digest(salt: bytes, host: bytes, nonce: bytes, key: bytes) -> bytes:
    """Return what only somebody with the key can say about a nonce and a salt."""
    return hashlib.sha512(salt + host + nonce + key).hexdigest().encode()


def password_digest(auth: bytes, user: bytes, password: bytes) -> bytes:
    """Return what only somebody with the password can say about the receiver's `auth`."""
    return hashlib.sha512(auth + user + password).hexdigest().encode()


class Hearing:
    """Puts one message of the handshake together: a short list, or the map in one."""

    def __init__(self) -> None:
        self.unpacker = msgpack.Unpacker(
            raw=True, strict_map_key=False, max_buffer_size=MOST_BYTES, max_array_len=6, max_map_len=8,
            max_str_len=MOST_FIELD_BYTES, max_bin_len=MOST_FIELD_BYTES, max_ext_len=0,
        )  # fmt: skip
        self.taken = 0
        self.fed = 0

    @property
    def room(self) -> int:
        """How many bytes more a message that has begun may have."""
        return MOST_BYTES - (self.fed - self.taken)

    def feed(self, data: bytes) -> list[Any] | None:
        """Return the next message, None if it is not whole; raises MalformedTraffic if it can be none."""
        self.fed += len(data)
        try:
            self.unpacker.feed(data)
            found = self.unpacker.unpack()
        except msgpack.OutOfData:
            if self.room > 0:
                return None
            raise MalformedTraffic("too much for a message of the handshake", at=self.fed) from None
        except (TypeError, ValueError, msgpack.UnpackException) as error:  # TypeError: a map with a list for a key
            raise MalformedTraffic("not a message of the handshake", at=self.fed) from error
        self.taken = self.unpacker.tell()
        if not isinstance(found, list) or not found:
            raise MalformedTraffic("not a message of the handshake", at=self.taken)
        return found


class Greeting:
    """The sender's side: waits for HELO, sends PING, and is through when PONG proves that the receiver has the key."""

    def __init__(self, login: Login, host: str) -> None:
        self.login = login
        # A name of its own each time: a receiver that has no key could send our own digest back, with our name.
        self.host = f"{host}-{secrets.token_hex(4)}".encode()
        self.salt = secrets.token_hex(NONCE_BYTES).encode()
        self.nonce: bytes | None = None  # of HELO, once it has come
        self.sent = b""  # our digest
        self.through = False
        self.hearing = Hearing()

    @property
    def awaited(self) -> str:
        """What the receiver has not said yet."""
        return "HELO: it has no shared key" if self.nonce is None else "PONG"

    def feed(self, data: bytes) -> bytes:
        """Take what the receiver has sent and return what to answer; raises Refused or MalformedTraffic."""
        found = self.hearing.feed(data)
        if found is None:
            return b""
        if self.nonce is None:
            return self.ping(found)
        self.take_pong(found)
        if self.hearing.taken != self.hearing.fed:
            raise MalformedTraffic("more than the handshake, before anything was sent", at=self.hearing.taken)
        self.through = True
        return b""

    def ping(self, helo: list[Any]) -> bytes:
        """Answer HELO."""
        if helo[0] != b"HELO" or len(helo) != 2 or not isinstance(helo[1], dict):
            raise MalformedTraffic("not a HELO", at=self.hearing.taken)
        nonce, auth = helo[1].get(b"nonce"), helo[1].get(b"auth", b"")
        if not isinstance(nonce, bytes) or not isinstance(auth, bytes):
            raise MalformedTraffic("a HELO without a nonce", at=self.hearing.taken)
        user, proof = self.login.user, b""
        if auth and not user:
            raise Refused("the receiver wants a user and a password: write user and password_file")
        if auth:
            proof = password_digest(auth, user, self.login.password)
        self.nonce = nonce
        self.sent = digest(self.salt, self.host, nonce, self.login.key)
        said = ["PING", self.host, self.salt, self.sent, user if auth else NO_USER, proof]
        return packed(said)

    def take_pong(self, pong: list[Any]) -> None:
        """Read the verdict, and what proves that it comes from somebody who has the key."""
        if pong[0] != b"PONG" or len(pong) != 5 or not all(isinstance(each, bytes) for each in pong[2:]):
            raise MalformedTraffic("not a PONG", at=self.hearing.taken)
        _pong, accepted, why, host, proof = pong
        if accepted is not True:
            said = "".join(each if each.isprintable() else "?" for each in why.decode("utf-8", "replace"))
            raise Refused(f"the receiver refuses us: {said[:80] or 'it does not say why'}")
        assert self.nonce is not None
        expected = digest(self.salt, host, self.nonce, self.login.key)
        if not hmac.compare_digest(proof, expected) or hmac.compare_digest(proof, self.sent):
            raise Refused(
                "the receiver accepts us but cannot prove that it has the shared key: it is not to be trusted"
            )


class Greeter:
    """The receiver's side, for one connection: `helo` is sent first, and nothing but PING is taken."""

    def __init__(self, access: Access, host: str) -> None:
        self.access = access
        self.host = host.encode()
        self.nonce = secrets.token_bytes(NONCE_BYTES)
        self.auth = secrets.token_bytes(NONCE_BYTES) if access.users else b""
        self.hearing = Hearing()

    @property
    def helo(self) -> bytes:
        """What the connection begins with; nonces are bin, as fluentd has them."""
        options = {"nonce": self.nonce, "auth": self.auth, "keepalive": True}
        packer = msgpack.Packer()
        made: bytes = packer.pack(["HELO", options])
        return made

    def feed(self, data: bytes) -> tuple[bytes, str] | None:
        """Take bytes; return None before PING is whole, else PONG, and why it says no, empty if it says yes.

        Of `data`, `hearing.taken` in all then belong to the handshake.  Raises MalformedTraffic.
        """
        found = self.hearing.feed(data)
        if found is None:
            return None
        if found[0] != b"PING" or len(found) != 6 or not all(isinstance(each, bytes) for each in found):
            raise MalformedTraffic("something else than a PING comes first", at=self.hearing.taken)
        _ping, host, salt, proof, user, password = found
        right = hmac.compare_digest(proof, digest(salt, host, self.nonce, self.access.key))
        known = self.knows(user, password) if self.access.users else True
        why = "" if right and known else "user or password mismatch" if right else "shared key mismatch"
        if why:
            return packed(["PONG", False, why, "", ""]), why
        return packed(["PONG", True, "", self.host, digest(salt, self.host, self.nonce, self.access.key)]), ""

    def knows(self, user: bytes, proof: bytes) -> bool:
        """Check a password; for a user that there is not, it takes as long."""
        users = dict(self.access.users)
        expected = password_digest(self.auth, user, users.get(user, secrets.token_bytes(NONCE_BYTES)))
        return hmac.compare_digest(proof, expected) and user in users


def packed(said: list[Any]) -> bytes:
    """Pack a message: its texts as str, though names may be of bytes that are no UTF-8."""
    packer = msgpack.Packer(use_bin_type=False)  # bytes become str, as they are
    made: bytes = packer.pack(said)
    return made
