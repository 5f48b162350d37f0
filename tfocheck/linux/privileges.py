"""Giving privileges up, once the raw and packet sockets are open.

Everything that the network sends is parsed after this, and report files belong to the user who
typed ``sudo``, not to root. Nothing can be imported after that, as Python itself may be where only
root may read (an interpreter in its home): so this module imports at its top.

Sources: setuid(2), capabilities(7), user_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import pwd
import struct
from pathlib import Path

from tfocheck.errors import CannotError

_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522


def drop() -> None:
    """Become the user behind ``sudo``, or, run by an ordinary user, let file capabilities go.

    Root without sudo stays root, and so does root of a user namespace, who is nobody outside it.
    Raises CannotError when privileges that should go would stay.
    """
    if os.geteuid() == 0:
        user = _sudo_user()
        if user is None:
            return
        _become(*user)
    else:
        _drop_capabilities()
    _forbid_new_privileges()


def _sudo_user() -> tuple[int, int] | None:
    """(uid, gid) that sudo says it works for, if they are someone here and not root."""
    try:
        uid, gid = int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"])
    except (KeyError, ValueError):
        return None
    if uid <= 0 or gid < 0 or not _is_mapped(uid, "uid_map") or not _is_mapped(gid, "gid_map"):
        return None
    return uid, gid


def _is_mapped(number: int, name: str) -> bool:
    """Whether this user namespace has the id; the initial one has all."""
    try:
        rows = (Path("/proc/self") / name).read_text().splitlines()
    except OSError:
        return True
    ranges = [(int(row.split()[0]), int(row.split()[2])) for row in rows]
    return any(first <= number < first + count for first, count in ranges)


def _become(uid: int, gid: int) -> None:
    try:
        os.setgroups([])
        _init_groups(uid, gid)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise CannotError(
            f"can't drop root's privileges for user {uid}: {error.strerror}"
        ) from None
    try:
        os.setresuid(0, 0, 0)
    except OSError:
        return
    raise CannotError(f"root's privileges came back after they were dropped for user {uid}")


def _init_groups(uid: int, gid: int) -> None:
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # sudo from an account that only a directory service knows
        return
    os.initgroups(name, gid)


def _drop_capabilities() -> None:
    """Empty all capability sets of this thread: setcap'd interpreters have CAP_NET_RAW here."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    empty = ctypes.create_string_buffer(bytes(24))
    if libc.capset(header, empty) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise CannotError(f"can't drop this process's capabilities: {reason}")


def _forbid_new_privileges() -> None:
    # Belt and braces: no set-uid program started from here gains anything. Old kernels lack it.
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
