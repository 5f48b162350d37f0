"""A server's configuration as far as it is about Fast Open: lines that listen, and on or off.

Rules that hold here:

* Configuration files are read, never run, and neither is a server's binary: doctor is often root,
  and the server somebody else's.
* Only regular files of a sane size are read, each opened once: a pipe would hang, and what a name
  stands for may change from one look to the next.
* Walks have a budget: patterns are whatever an ordinary user has written.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import ipaddress
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tfocheck.doctor import processes
from tfocheck.doctor.processes import Process
from tfocheck.doctor.sockets import Listening

MOST_BYTES = 4 << 20
"""Of one file, and for nginx of all its files: they are parsed at about a megabyte a second."""
MOST_NAMES = 20_000
"""So many names are looked at for all patterns of a configuration."""

_MOST_BINARY_BYTES = 256 << 20
_MOST_PROBLEMS = 3


@dataclass(frozen=True)
class Endpoint:
    """Where a line of configuration listens; all IPv4 addresses are "0.0.0.0", all IPv6 ones "::".

    A name instead of an address is looked up nowhere, so it fits no listener. ``last_port`` is for
    servers that take ranges.
    """

    host: str
    port: int
    last_port: int | None = None

    def is_of(self, listening: Listening) -> bool:
        """Whether this listener may have come from it."""
        if not self.port <= listening.port <= (self.last_port or self.port):
            return False
        try:
            return ipaddress.ip_address(self.host) == ipaddress.ip_address(listening.address)
        except ValueError:
            return False


@dataclass(frozen=True)
class Directive:
    """A directive that listens: where it stands, how it reads, whether it switches Fast Open on.

    ``source`` is the line as the file has it, quotes, comment and all.
    """

    file: str
    line: int
    text: str
    on: bool
    endpoints: tuple[Endpoint, ...]
    source: str = ""

    @property
    def place(self) -> str:
        """file:line."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Configuration:
    """What a server's configuration says.

    ``knows`` is whether the binary knows the directive at all, None when that can't be told;
    ``problem`` says what could not be read, the rest was; ``main`` is the first file.
    """

    directives: tuple[Directive, ...] = ()
    main: str | None = None
    knows: bool | None = None
    problem: str | None = None

    def about(self, listening: Listening) -> list[Directive]:
        """The directives that this listener may have come from."""
        candidates = self._by_port.get(listening.port, []) + self._by_port.get(None, [])
        return [
            each
            for each in candidates
            if any(endpoint.is_of(listening) for endpoint in each.endpoints)
        ]

    @cached_property
    def _by_port(self) -> Mapping[int | None, list[Directive]]:
        """Directives by port, those with a range under None: there may be thousands of each."""
        found: dict[int | None, list[Directive]] = {}
        for each in self.directives:
            ports = {None if end.last_port else end.port for end in each.endpoints}
            for port in ports:
                found.setdefault(port, []).append(each)
        return found


def read_file(path: str, process: Process) -> str:
    """The text of a configuration file of this process.

    Raises OSError, also for what is no regular file, or is another file to the process.
    """
    if not processes.sees_ours(process, path):
        raise OSError("it sees other files than we do, as in a container: run doctor in there")
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, encoding="utf-8", errors="surrogateescape") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is no regular file")
        if status.st_size > MOST_BYTES:
            raise OSError(f"it has more than {MOST_BYTES} bytes")
        return file.read(MOST_BYTES)


@dataclass
class Walk:
    """The files that patterns of one configuration stand for, as far as its budget goes."""

    room: int = MOST_NAMES

    def matching(self, pattern: str) -> list[str]:
        """What is there of this absolute pattern, as the shell has it, sorted.

        Raises OSError when that is more to look at than the budget has.
        """
        found = ["/"]
        for part in filter(None, pattern.split("/")):
            if glob.has_magic(part):
                found = [each for base in found for each in self._in(base, part)]
            else:
                found = [os.path.join(base, part) for base in found]
                self._look_at(len(found))
        return [path for path in found if os.path.lexists(path)]

    def names_in(self, directory: str) -> list[str]:
        """All names in a directory, sorted. Raises OSError, also beyond the budget."""
        names: list[str] = []
        with os.scandir(directory) as entries:
            for entry in entries:
                self._look_at(1)
                names.append(entry.name)
        return sorted(names)

    def _in(self, base: str, part: str) -> list[str]:
        self._look_at(1)
        names: list[str] = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            names = self.names_in(base)
        return [
            os.path.join(base, name)
            for name in fnmatch.filter(names, part)
            if part.startswith(".") or not name.startswith(".")
        ]

    def _look_at(self, count: int) -> None:
        self.room -= count
        if self.room < 0:
            raise OSError(f"its patterns stand for more than {MOST_NAMES} names")


def why_not(error: Exception) -> str:
    """In words why a file could not be read."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def summed(problems: Sequence[str]) -> str | None:
    """The first few in one sentence; None when there are none."""
    more = len(problems) - _MOST_PROBLEMS
    rest = [f"and {more} more files"] if more > 0 else []
    return "; ".join([*problems[:_MOST_PROBLEMS], *rest]) or None


def search_binary(pid: int, patterns: Iterable[re.Pattern[bytes]]) -> list[bytes | None]:
    """For each pattern its first group's first match in a process's binary, which is only read.

    Raises OSError.
    """
    import mmap

    descriptor = os.open(f"/proc/{pid}/exe", os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = min(os.fstat(descriptor).st_size, _MOST_BINARY_BYTES)
        with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as binary:
            found = [pattern.search(binary) for pattern in patterns]
            # Copied while the file is mapped.
            return [None if match is None else bytes(match[1]) for match in found]
    finally:
        os.close(descriptor)


def option(arguments: Iterable[str], flag: str) -> list[str]:
    """All values of a flag on a command line: ``-c FILE`` and ``-cFILE``."""
    values = []
    words = iter(arguments)
    for word in words:
        if word == flag:
            values.append(next(words, ""))
        elif word.startswith(flag) and not word.startswith("--"):
            values.append(word.removeprefix(flag))
    return [value for value in values if value]
