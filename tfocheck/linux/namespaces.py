"""Linux namespaces: making and entering them, as root or as an ordinary user.

Only the calling thread changes namespaces, so callers are freshly forked processes of one thread.

Python has os.unshare and os.setns from 3.12 on only, so libc is called.

Sources: user_namespaces(7), pid_namespaces(7), mount_namespaces(7), network_namespaces(7),
capabilities(7), PR_SET_PDEATHSIG(2const).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import pickle
import signal
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tfocheck.errors import CannotError

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_MS_REC = 16384
_MS_PRIVATE = 1 << 18
_PR_SET_PDEATHSIG = 1
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522

_SELF_NETWORK = "/proc/self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)

Answer = TypeVar("Answer")


def _checked(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """unshare(2). Raises OSError."""
    _checked(_libc.unshare(flags), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """setns(2). Raises OSError."""
    _checked(_libc.setns(descriptor, kind), "setns")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2). Raises OSError."""
    _checked(
        _libc.mount(
            source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()
        ),
        f"mount {target}",
    )


def die_with_parent() -> None:
    """Have the kernel kill this process (SIGKILL) when its parent dies.

    A change of credentials clears the setting, so call this after entering a user namespace. The
    caller must then check that its parent was still alive.
    """
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def enter_new_namespaces() -> None:
    """Move this process into new mount and network namespaces, its children into a PID namespace.

    Root does so directly; anybody else, and a root without CAP_SYS_ADMIN as in a container, enters
    a user namespace of its own first. Raises CannotError when the kernel refuses.
    """
    flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET
    try:
        if os.geteuid() == 0:
            try:
                unshare(flags)
            except PermissionError:
                _enter_user_namespace()
                unshare(flags)
        else:
            _enter_user_namespace()
            unshare(flags)
        # Without this, mounts made in here would appear outside where / is a shared mount.
        mount("none", "/", "", _MS_PRIVATE | _MS_REC)
    except OSError as error:
        raise _refused(error) from error


def _enter_user_namespace() -> None:
    """Have all capabilities over what is made from here on, and stay the user one is.

    Being mapped to uid 0, the usual way, would have tcpdump and others try to give root up for a
    user that does not exist in here, and fail.
    """
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER)
    # An ordinary user may only map itself, and its group only once setgroups is denied.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _keep_capabilities_in_programs()


def _keep_capabilities_in_programs() -> None:
    """Put all permitted capabilities into the ambient set: without it execve(2) drops them."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: low words, then high words
    _checked(_libc.capget(header, sets), "capget")
    sets[2], sets[5] = sets[1], sets[4]
    _checked(_libc.capset(header, sets), "capset")
    permitted = sets[1] | sets[4] << 32
    for capability in range(permitted.bit_length()):
        if permitted >> capability & 1:
            raised = _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)
            _checked(raised, "prctl")


def _refused(error: OSError) -> CannotError:
    reason = errno.errorcode.get(error.errno or 0, "unknown error")
    return CannotError(
        f"the kernel gives this user no namespaces for a lab ({reason}): run it as root, or look "
        "at the sysctls kernel.unprivileged_userns_clone, user.max_user_namespaces (and the other "
        "user.max_*_namespaces), kernel.apparmor_restrict_unprivileged_userns"
    )


def network_identity() -> tuple[int, int]:
    """(device, inode) of the current network namespace, which no other one alive shares."""
    status = os.stat(_SELF_NETWORK)
    return status.st_dev, status.st_ino


@dataclass(frozen=True)
class NetworkNamespace:
    """A network namespace that lives as long as this process has it open."""

    descriptor: int

    @classmethod
    def create(cls) -> NetworkNamespace:
        """Create one. The calling process is back in its own afterwards."""
        home = os.open(_SELF_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
        try:
            unshare(CLONE_NEWNET)
            created = cls(os.open(_SELF_NETWORK, os.O_RDONLY | os.O_CLOEXEC))
            setns(home, CLONE_NEWNET)
        except OSError as error:
            raise _refused(error) from error
        finally:
            os.close(home)
        return created

    @property
    def identity(self) -> tuple[int, int]:
        """What network_identity() returns inside."""
        status = os.fstat(self.descriptor)
        return status.st_dev, status.st_ino

    def enter(self) -> None:
        """Move the calling process into this namespace, and make sure that it is there."""
        setns(self.descriptor, CLONE_NEWNET)
        if network_identity() != self.identity:
            raise CannotError("the kernel did not enter the lab's network namespace")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be in this namespace for the length of a with block."""
        home = os.open(_SELF_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.enter()
            yield
        finally:
            setns(home, CLONE_NEWNET)
            os.close(home)


def ask_inside(
    network: str, question: Callable[[], Answer], *, user: str | None, what: str
) -> Answer:
    """The answer to a question that a forked child asks in another network namespace.

    ``network`` is the file to enter it by, ``user`` that of a user namespace that is entered first
    where this one may not. The answer must pickle. Raises OSError, also the question's; ``what``
    is what the namespace is called then.
    """
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        # The child never returns into its parent's code.
        try:
            os.close(read_end)
            with os.fdopen(write_end, "wb") as results:
                results.write(_answer(network, user, question))
        finally:
            os._exit(0)
    os.close(write_end)
    try:
        with os.fdopen(read_end, "rb") as results:
            pickled = results.read()
    finally:
        os.waitpid(pid, 0)
    if not pickled:
        raise OSError(f"looking into the {what} failed")
    good, answer = pickle.loads(pickled)
    if not good:
        raise answer
    return answer  # type: ignore[no-any-return]


def _answer(network: str, user: str | None, question: Callable[[], object]) -> bytes:
    try:
        _enter(network, user)
        return pickle.dumps((True, question()))
    except OSError as error:
        return pickle.dumps((False, OSError(error.errno, error.strerror or str(error))))


def _enter(network: str, user: str | None) -> None:
    descriptor = os.open(network, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            setns(descriptor, CLONE_NEWNET)
        except PermissionError:
            # A container that this very user has made: whoever owns its user namespace may enter.
            if user is None:
                raise
            setns(os.open(user, os.O_RDONLY | os.O_CLOEXEC), CLONE_NEWUSER)
            setns(descriptor, CLONE_NEWNET)
    finally:
        os.close(descriptor)
