"""Which file sets a sysctl at boot: the same files, in the same order, as ``sysctl --system``.

Of files with the same name only the one in the first directory counts; they are applied sorted by
name, whatever directory they are in, and the last one wins; /etc/sysctl.conf comes after them all.
systemd does the same, but reads /etc/sysctl.conf only where /etc/sysctl.d has a link to it.

Sources: sysctl(8) of procps-ng 4, "SYSTEM FILE PRECEDENCE"; sysctl.d(5) of systemd;
kernel-parameters.txt of the kernel, sysctl.*=.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

DIRECTORIES = (
    "/etc/sysctl.d",
    "/run/sysctl.d",
    "/usr/local/lib/sysctl.d",
    "/usr/lib/sysctl.d",
    "/lib/sysctl.d",
)
LAST = "/etc/sysctl.conf"
COMMAND_LINE = "/proc/cmdline"
"""What the kernel was booted with: "sysctl.NAME=VALUE" comes before all files (Linux 5.8)."""

_MOST_BYTES = 1 << 20
_NUMBER = re.compile(r"(0x[0-9a-f]+|0[0-7]*|[1-9]\d*)(?=\s|$)", re.IGNORECASE | re.ASCII)
_MOST = (1 << 31) - 1


@dataclass(frozen=True)
class Setting:
    """A line that sets a sysctl: in which file, which line of it, and to what.

    ``by_pattern`` says that it does so with a pattern, and may set others as well.
    """

    file: str
    line: int
    value: str
    by_pattern: bool = False

    @property
    def number(self) -> int | None:
        """The value as the kernel reads it; None if it refuses it, and keeps what it has.

        Hexadecimal and octal are read too, and what follows the first number is not
        (proc_dointvec, kernel/sysctl.c).
        """
        found = _NUMBER.match(self.value)
        if not found:
            return None
        octal = found[1].startswith("0") and found[1].isdigit()
        number = int(found[1], 8 if octal else 0)
        return number if number <= _MOST else None


def files(root: str = "/") -> list[str]:
    """The files that set sysctls at boot, in the order in which they are applied."""
    by_name: dict[str, str] = {}
    for directory in DIRECTORIES:
        place = _under(root, directory)
        try:
            names = os.listdir(place)
        except OSError:
            continue
        for name in names:
            if name.endswith(".conf"):
                by_name.setdefault(name, str(place / name))
    found = [by_name[name] for name in sorted(by_name)]
    last = _under(root, LAST)
    return [*found, str(last)] if last.is_file() else found


def settings(name: str, root: str = "/") -> list[Setting]:
    """All lines that set this sysctl, in the order in which they are applied: the last one wins.

    A line that names it with a pattern (net.ipv4.tcp_*) gives way to any that names it in full,
    and none counts where a line says "-" and the name, without a value.
    """
    exact: list[Setting] = []
    by_pattern: list[Setting] = []
    excepted = False
    for file in files(root):
        for number, key, value in _assignments(file):
            if value is None:
                excepted = excepted or key == name
            elif key == name:
                exact.append(Setting(file, number, value))
            elif _matches(name, key):
                by_pattern.append(Setting(file, number, value, True))
    return [*_booted_with(name, root), *([] if excepted else by_pattern), *exact]


def _booted_with(name: str, root: str) -> list[Setting]:
    try:
        words = _under(root, COMMAND_LINE).read_text(errors="replace").split()
    except OSError:
        return []
    given = (word.removeprefix("sysctl.").partition("=") for word in words if word[:7] == "sysctl.")
    place = str(_under(root, COMMAND_LINE))
    return [Setting(place, 1, value) for key, _, value in given if _dotted(key) == name]


def is_read_at_boot(setting: Setting, root: str = "/") -> bool:
    """False for a line of /etc/sysctl.conf that systemd does not read.

    ``sysctl --system`` would apply it, but with systemd nobody runs that at boot.
    """
    if setting.file != str(_under(root, LAST)) or not _under(root, "/run/systemd/system").is_dir():
        return True
    linked = (file for file in files(root) if file != setting.file)
    return any(os.path.realpath(file) == os.path.realpath(setting.file) for file in linked)


def parse(lines: Sequence[str]) -> Iterator[tuple[int, str, str | None]]:
    """(line number, name with dots, value) of each assignment in a sysctl.d file.

    The value is None where the line excepts a name from patterns: ``-net.ipv4.tcp_fastopen``.
    """
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        # Where there is a value, a leading "-" only says that a failure does not matter.
        key, equals, value = text.removeprefix("-").partition("=")
        if equals or text[0] == "-":
            yield number, _dotted(key.strip()), value.strip() if equals else None


def _matches(name: str, pattern: str) -> bool:
    """As glob(7) in /proc/sys: no wildcard stands for a dot, which is a directory there."""
    parts, patterns = name.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))


def _dotted(key: str) -> str:
    """net/ipv4/tcp_fastopen is net.ipv4.tcp_fastopen; what comes first is the separator."""
    slash, dot = key.find("/"), key.find(".")
    if slash != -1 and (dot == -1 or slash < dot):
        return key.translate(str.maketrans("/.", "./"))
    return key


def _assignments(file: str) -> Iterator[tuple[int, str, str | None]]:
    # A link to /dev/null masks a file of the same name; only regular files are read.
    if not os.path.isfile(file):
        return
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as opened:
            lines = opened.read(_MOST_BYTES).split("\n")
    except OSError:
        return
    yield from parse(lines)


def _under(root: str, path: str) -> Path:
    return Path(root) / path.removeprefix("/")
