"""The sysctls of a lab's network namespaces."""

from __future__ import annotations

from pathlib import Path

from tfocheck.lab.errors import LabError


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
