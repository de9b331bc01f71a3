"""What a process may do, and how a child gives up what it does not need (capabilities(7), DESIGN 12).

In: the capabilities to keep, and a user to become.  Out: a process with these and no others, which cannot get any back.
Invariant: whatever is asked for, nothing is gained.
"""

import codecs
import ctypes
import enum
import os
import pwd
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from capture.errors import ConfigError, MirrorError
from capture.limits import bound

CAPABILITIES_V3: Final = 0x20080522
PR_CAPBSET_DROP: Final = 24
PR_SET_KEEPCAPS: Final = 8
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
CAPABILITIES: Final = 64  # numbers that there can be


class Capability(enum.IntEnum):
    """Those that are of use here; the numbers are those of linux/capability.h."""

    DAC_OVERRIDE = 1  # read and write any file
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    NET_ADMIN = 12
    NET_RAW = 13  # open packet sockets


@dataclass(frozen=True)
class Account:
    """A user to become."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


@dataclass(frozen=True)
class Rights:
    """What a process is left with: these capabilities, if it has them, as this user, and so much memory of its own."""

    keep: frozenset[Capability] = frozenset()
    user: Account | None = None
    data_bytes: int | None = None


class _Header(ctypes.Structure):
    """cap_user_header_t of capget(2)."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Set(ctypes.Structure):
    """cap_user_data_t of capget(2): 32 capabilities; there are two of them."""

    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


_libc: Final = ctypes.CDLL(None, use_errno=True)


def effective() -> frozenset[Capability]:
    """Return what this process may do now."""
    held = _held()[0]
    return frozenset(each for each in Capability if held >> each & 1)


def permitted() -> frozenset[Capability]:
    """Return what this process may take up: what a file grants as "p" alone is not in force yet (setcap(8))."""
    held = _held()[1]
    return frozenset(each for each in Capability if held >> each & 1)


def account(name: str) -> Account:
    """Look a user up by name or number; ConfigError if there is none."""
    try:
        entry = pwd.getpwuid(int(name)) if name.isascii() and name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(f"user {name!r} does not exist here: write the name of one that does") from None
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups)


def may_write(path: Path, user: Account | None) -> bool:
    """Tell whether a user, or this process, may write a file, or make it where it is not yet there, by the modes."""
    if path.is_dir():
        return False
    place = path if path.exists() else path.parent
    if user is None:
        return os.access(place, os.W_OK)
    try:
        found = place.stat()
    except OSError:
        return False
    shift = 6 if found.st_uid == user.uid else 3 if found.st_gid in {user.gid, *user.groups} else 0
    needed = (stat.S_IWOTH | (stat.S_IXOTH if stat.S_ISDIR(found.st_mode) else 0)) << shift
    return found.st_mode & needed == needed


def limit(rights: Rights) -> None:
    """Give up everything else, for good; raises MirrorError if the kernel refuses.

    Before the first thread is started: capabilities are those of one thread.
    """
    held, permitted = _held()
    keep = sum(1 << each for each in rights.keep) & permitted
    if held >> Capability.SETPCAP & 1:
        for each in range(CAPABILITIES):
            if _libc.prctl(PR_CAPBSET_DROP, each, 0, 0, 0):
                break  # this kernel has no more
    if rights.user is not None and rights.user.uid != os.geteuid():
        _call("prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0)
        _become(rights.user)
    _set(keep)
    _libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _call("prctl", PR_SET_KEEPCAPS, 0, 0, 0, 0)
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def confined(rights: Rights, target: Callable[[Any], None], spec: object) -> None:
    """Run a child's work with these rights: what the supervisor starts a process with."""
    bound(rights.data_bytes)
    limit(rights)
    target(spec)


def _become(user: Account) -> None:
    for codec in ("ascii", "idna"):
        codecs.lookup(codec)  # loaded when first needed, from where this user may not read: /root, a home
    try:
        os.setgroups(user.groups)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as error:
        raise MirrorError(f"user {user.name}: cannot become it: {error.strerror}") from error


def _held() -> tuple[int, int]:
    """Return the effective and the permitted capabilities, as bits."""
    header, sets = _Header(CAPABILITIES_V3, 0), (_Set * 2)()
    _call("capget", ctypes.byref(header), sets)
    return sets[0].effective | sets[1].effective << 32, sets[0].permitted | sets[1].permitted << 32


def _set(keep: int) -> None:
    header, sets = _Header(CAPABILITIES_V3, 0), (_Set * 2)()
    for at in range(2):
        bits = keep >> 32 * at & 0xFFFFFFFF
        sets[at] = _Set(bits, bits, 0)
    _call("capset", ctypes.byref(header), sets)


def _call(name: str, *arguments: Any) -> None:
    if getattr(_libc, name)(*arguments):
        error = ctypes.get_errno()
        raise MirrorError(f"{name}: {os.strerror(error)}")
