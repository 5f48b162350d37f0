"""The processes of this machine, as far as /proc shows them to this user.

Sources: proc(5), cgroups(7).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

_SOCKET = re.compile(r"socket:\[(\d+)\]")
_UNIT = re.compile(r"/([^/\n]+\.service)(?=/|$)", re.MULTILINE)
# Below it are the units of a user's own systemd, which the machine's knows nothing of.
_USER_MANAGER = re.compile(r"/user@\d+\.service/")
_MOST_ARGUMENTS = 64


@dataclass(frozen=True)
class Process:
    """A process: ``arguments`` are its command line, or the title that it has given itself.

    ``executable`` is the path in its own mount namespace, ``unit`` the systemd service it belongs
    to; None is what could not be read. ``is_elsewhere`` says that it may see other files than we
    do (``sees_ours``).
    """

    pid: int
    name: str
    arguments: tuple[str, ...] = ()
    executable: str | None = None
    uid: int | None = None
    parent: int | None = None
    unit: str | None = None
    is_elsewhere: bool = False

    def __str__(self) -> str:
        return f"{self.name}[{self.pid}]"


def pids() -> list[int]:
    """All processes that /proc shows, in order."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def network_of(pid: int | str) -> tuple[int, int] | None:
    """(device, inode) of the network namespace that a process is in; None when it may not be seen.

    For other users' processes that takes root (PTRACE_MODE_READ).
    """
    try:
        status = os.stat(f"/proc/{pid}/ns/net")
    except OSError:
        return None
    return status.st_dev, status.st_ino


def sockets_of(pid: int, wanted: Collection[int]) -> Iterator[tuple[int, int]]:
    """(descriptor, inode) of those wanted that a process holds. Raises PermissionError."""
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return
    for name in names:
        try:
            target = os.readlink(f"{directory}/{name}")
        except PermissionError:
            raise
        except OSError:  # closed meanwhile
            continue
        found = _SOCKET.fullmatch(target)
        if found and (inode := int(found[1])) in wanted:
            yield int(name), inode


def holders(
    candidates: Iterable[int], wanted: Collection[int]
) -> tuple[dict[int, list[tuple[int, int]]], int]:
    """inode → (pid, descriptor) of all who hold it, and how many processes may not be looked at."""
    found: dict[int, list[tuple[int, int]]] = {}
    hidden = 0
    for pid in candidates:
        try:
            for descriptor, inode in sockets_of(pid, wanted):
                found.setdefault(inode, []).append((pid, descriptor))
        except PermissionError:
            hidden += 1
    return found, hidden


def describe(pid: int) -> Process:
    """What can be read of a process; of one that has ended only its number."""
    executable = _link(f"/proc/{pid}/exe")
    return Process(
        pid,
        _read(f"/proc/{pid}/comm").rstrip("\n") or "?",
        _arguments(pid),
        executable.removesuffix(" (deleted)") if executable else None,
        _status(pid, "Uid"),
        _status(pid, "PPid"),
        _unit(pid),
        _is_elsewhere(pid, executable),
    )


def sees_ours(process: Process, path: str) -> bool:
    """Whether this path is the same file to the process as it is to us.

    A service for which systemd has made a private /tmp has a mount namespace of its own and yet
    our files; a container has not, whatever it calls them.
    """
    if not process.is_elsewhere:
        return True
    try:
        # The root first: on the way through another one its links would lead back to our files.
        for each in ("/", path):
            if not os.path.samestat(os.stat(each), os.stat(f"/proc/{process.pid}/root{each}")):
                return False
    except OSError:
        return False
    return True


def absolute(process: Process, path: str) -> str:
    """A path as the process means it: a relative one begins where the process is."""
    if os.path.isabs(path):
        return path
    return os.path.join(_link(f"/proc/{process.pid}/cwd") or "/", path)


def _arguments(pid: int) -> tuple[str, ...]:
    words = _read(f"/proc/{pid}/cmdline").rstrip("\0").split("\0")
    # A process that has given itself a title has put all of it into one string.
    if len(words) == 1:
        words = words[0].split()
    return tuple(words[:_MOST_ARGUMENTS])


def _status(pid: int, field: str) -> int | None:
    found = re.search(rf"^{field}:\s+(\d+)", _read(f"/proc/{pid}/status"), re.MULTILINE)
    return int(found[1]) if found else None


def _unit(pid: int) -> str | None:
    return parse_unit(_read(f"/proc/{pid}/cgroup"))


def parse_unit(cgroups: str) -> str | None:
    """The systemd service in the lines of /proc/PID/cgroup; None for one of a user's own."""
    found = _UNIT.findall(cgroups)
    return found[-1] if found and not _USER_MANAGER.search(cgroups) else None


def _is_elsewhere(pid: int, executable: str | None) -> bool:
    ours, its = _link("/proc/self/ns/mnt"), _link(f"/proc/{pid}/ns/mnt")
    if its is None or its != ours:
        return its is not None
    # haproxy locks itself into a directory when it has read its files: its binary is outside.
    root = _link(f"/proc/{pid}/root")
    return root not in (None, "/") and (executable or "").startswith(f"{root}/")


def _read(path: str) -> str:
    with (
        contextlib.suppress(OSError),
        open(path, encoding="utf-8", errors="surrogateescape") as file,
    ):
        return file.read(1 << 16)
    return ""


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None
