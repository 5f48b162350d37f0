"""Giving privileges up, once the raw and packet sockets are open.

Everything that the network sends is parsed after this, and report files belong to the user who
typed ``sudo``, not to root. Nothing can be imported after that, as Python itself may be where only
root may read (an interpreter in its home): so this module imports at its top.

Rules that hold here:

* Capabilities are each thread's own: they go before the first other thread starts, or not at all.
* What should have gone is looked for afterwards.
* Nobody takes our sockets: the process is not dumpable, so who has no privilege can't look into it,
  whoever it runs as (ptrace(2), pidfd_getfd(2)).

Sources: setuid(2), capabilities(7), user_namespaces(7), prctl(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import struct
from pathlib import Path

from tfocheck.errors import CannotError

NOBODY = 65534
"""The user (and group) that owns nothing."""

_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_MOST_CAPABILITIES = 64


def is_plain_root() -> bool:
    """Whether this is root by itself, who may become nobody: then another process has to write."""
    if os.geteuid() != 0 or _sudo_user() is not None:
        return False
    return _is_mapped(NOBODY, "uid_map") and _is_mapped(NOBODY, "gid_map")


def drop() -> None:
    """Become the user behind ``sudo``, or nobody as root by itself, and let all capabilities go.

    Root of a user namespace that has no nobody stays root of it, without capabilities, and any
    other user that user. Raises CannotError when privileges that should go would stay.
    """
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise CannotError(f"can't drop privileges while {threads} threads run: each has its own")
    libc = ctypes.CDLL(None, use_errno=True)
    # What no program started from here could get back either; it takes CAP_SETPCAP.
    for capability in range(_MOST_CAPABILITIES):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    if os.geteuid() == 0:
        user = (NOBODY, NOBODY) if is_plain_root() else _sudo_user()
        if user is not None:
            _become(*user)
    _drop_capabilities(libc)
    # Belt and braces: no set-uid program started from here gains anything. Old kernels lack it.
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


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
        if uid != NOBODY:
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
    # An account that only a directory service knows has no more groups here.
    with contextlib.suppress(KeyError):
        os.initgroups(pwd.getpwuid(uid).pw_name, gid)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Empty all capability sets of this thread: setcap'd interpreters have CAP_NET_RAW here."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    empty = ctypes.create_string_buffer(bytes(24))
    if libc.capset(header, empty) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise CannotError(f"can't drop this process's capabilities: {reason}")
    left = ctypes.create_string_buffer(bytes(24))
    if libc.capget(header, left) != 0 or any(left.raw[:24]):
        raise CannotError("this process's capabilities came back after they were dropped")
