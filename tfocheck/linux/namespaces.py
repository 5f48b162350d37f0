"""Linux namespaces: entering new ones, as root or as an ordinary user, and what is mounted in them.

Rules that hold here:

* Only the calling thread changes namespaces, so callers are freshly forked processes of one thread.
* Nothing is written to the machine's file systems. All of the lab's files are on a tmpfs that only
  its mount namespace sees, and the kernel frees it with the last process.

Python has os.unshare and os.setns from 3.12 on only, so libc is called.

Sources: user_namespaces(7), pid_namespaces(7), mount_namespaces(7), network_namespaces(7),
capabilities(7), PR_SET_PDEATHSIG(2const).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tfocheck.lab.errors import LabError

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_MS_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
_MS_NOSUID_NODEV = 2 | 4
_MS_BIND = 4096
_MS_REC = 16384
_MS_PRIVATE = 1 << 18
_PR_SET_PDEATHSIG = 1
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522

# Hiding the machine's /run also hides the sockets through which names would be looked up outside
# (systemd-resolved, nscd), and gives tools such as nft and iptables a place for their locks.
PRIVATE_DIRECTORY = Path("/run")
LAB_FILES = PRIVATE_DIRECTORY / "tfocheck"
# Users keep their own files here, reports perhaps, so it stays visible.
_KEPT_DIRECTORY = PRIVATE_DIRECTORY / "user"

_SELF_NETWORK = "/proc/self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)


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
    a user namespace of its own first. Raises LabError when the kernel refuses.
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


def _refused(error: OSError) -> LabError:
    reason = errno.errorcode.get(error.errno or 0, "unknown error")
    return LabError(
        f"the kernel gives this user no namespaces for a lab ({reason}): run it as root, or look "
        "at the sysctls kernel.unprivileged_userns_clone, user.max_user_namespaces (and the other "
        "user.max_*_namespaces), kernel.apparmor_restrict_unprivileged_userns"
    )


def mount_private_files(hosts: str) -> None:
    """Mount what a lab needs of its own: /run, /etc/hosts and, where permitted, /proc.

    `hosts` is the text of /etc/hosts inside the lab. Raises LabError.
    """
    # A fresh /proc shows the lab's processes, and its sysctls are writable where a container's are
    # not. Where the machine's /proc has parts masked the kernel forbids it; most labs do without.
    with contextlib.suppress(OSError):
        mount("proc", "/proc", "proc", _MS_NOSUID_NODEV_NOEXEC)
    try:
        kept = _open_directory(_KEPT_DIRECTORY)
        mount("tmpfs", str(PRIVATE_DIRECTORY), "tmpfs", _MS_NOSUID_NODEV, "mode=755")
        if kept is not None:
            _KEPT_DIRECTORY.mkdir()
            mount(f"/proc/self/fd/{kept}", str(_KEPT_DIRECTORY), "", _MS_BIND | _MS_REC)
            os.close(kept)
        LAB_FILES.mkdir()
        hosts_file = LAB_FILES / "hosts"
        hosts_file.write_text(hosts)
        mount(str(hosts_file), "/etc/hosts", "", _MS_BIND)
    except OSError as error:
        raise LabError(f"can't mount the lab's private files: {error.strerror}") from error


def _open_directory(path: Path) -> int | None:
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def has_sysctl(name: str) -> bool:
    """Whether the current network namespace has this sysctl."""
    return Path("/proc/sys", name).exists()


def set_sysctl(name: str, value: int | str) -> None:
    """Set a sysctl as seen from the current network namespace, e.g. "net/ipv4/tcp_fastopen".

    Raises LabError when /proc/sys is read-only.
    """
    try:
        Path("/proc/sys", name).write_text(str(value))
    except OSError as error:
        raise LabError(
            f"can't set the sysctl {name.replace('/', '.')} in the lab ({error.strerror}): "
            "/proc/sys must be writable; a container needs --privileged or an unmasked /proc"
        ) from error


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
            raise LabError("the kernel did not enter the lab's network namespace")

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
