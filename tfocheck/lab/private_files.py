"""The files that only a lab sees: its /run, /etc/hosts and /proc.

Nothing is written to the machine's file systems. All of the lab's files are on a tmpfs that only
its mount namespace sees, and the kernel frees it with the last process.

Source: mount_namespaces(7), tmpfs(5).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tfocheck.lab.errors import LabError
from tfocheck.linux.namespaces import mount

_MS_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
_MS_NOSUID_NODEV = 2 | 4
_MS_BIND = 4096
_MS_REC = 16384

# Hiding the machine's /run also hides the sockets through which names would be looked up outside
# (systemd-resolved, nscd), and gives tools such as nft and iptables a place for their locks.
PRIVATE_DIRECTORY = Path("/run")
LAB_FILES = PRIVATE_DIRECTORY / "tfocheck"
# Users keep their own files here, reports perhaps, so it stays visible.
_KEPT_DIRECTORY = PRIVATE_DIRECTORY / "user"


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
