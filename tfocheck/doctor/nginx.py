"""nginx: its ``listen`` directives, with or without ``fastopen=``.

Sources: https://nginx.org/en/docs/http/ngx_http_core_module.html#listen ("fastopen=number",
1.5.8), https://nginx.org/en/docs/stream/ngx_stream_core_module.html#listen ("fastopen=number",
1.21.0), https://nginx.org/en/docs/switches.html.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from tfocheck.doctor import configuration, processes
from tfocheck.doctor.configuration import Configuration, Directive, Endpoint
from tfocheck.doctor.processes import Process

_DEFAULT = "/etc/nginx/nginx.conf"
_EVERYWHERE = "0.0.0.0"
_DEEPEST = 40
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)

# Words of a listen that are options of its socket (ngx_http_core_listen); nginx has them in one
# place only: "duplicate listen options".
_SOCKET_OPTION = re.compile(
    r"bind|deferred|multipath|reuseport|"
    r"(?:setfib|fastopen|backlog|rcvbuf|sndbuf|accept_filter|ipv6only|so_keepalive)=.*"
)

# The binary has the words of its error message only if it was built with Fast Open, and keeps the
# arguments of its configure script for `nginx -V`.
_KNOWS = re.compile(rb'(invalid fastopen "%V")')
_CONFIGURED = re.compile(rb"--conf-path=([^ \0']+)")
_PREFIX = re.compile(rb"--prefix=([^ \0']+)")


def read(process: Process) -> Configuration:
    """What the configuration of this nginx says. Raises nothing: what can't be read is named."""
    knows, compiled, prefix = _built(process)
    main = configuration_file(process, compiled, prefix)
    reading = _Reading(process, main)
    directives = _merged(list(reading.listens(main)))
    return Configuration(tuple(directives), main, knows, configuration.summed(reading.problems))


def configuration_file(process: Process, compiled: str | None, prefix: str | None) -> str:
    """The main file: as the command line names it, or as it was built in."""
    base = prefix_of(process) or prefix or "/"
    named = configuration.option(process.arguments, "-c")
    return os.path.join(base, named[-1] if named else compiled or _DEFAULT)


def prefix_of(process: Process) -> str | None:
    """The directory of -p on its command line."""
    named = configuration.option(process.arguments, "-p")
    return processes.absolute(process, named[-1]) if named else None


def _built(process: Process) -> tuple[bool | None, str | None, str | None]:
    try:
        known, path, prefix = configuration.search_binary(
            process.pid, (_KNOWS, _CONFIGURED, _PREFIX)
        )
    except (OSError, ValueError):
        return None, None, None
    return known is not None, _text(path), _text(prefix)


def _text(found: bytes | None) -> str | None:
    return None if found is None else os.fsdecode(found)


@dataclass
class _Reading:
    """The reading of one nginx's files; ``problems`` are of those that could not be read."""

    process: Process
    main: str
    problems: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    lines: dict[str, list[str]] = field(default_factory=dict)
    room: int = configuration.MOST_BYTES
    walk: configuration.Walk = field(default_factory=configuration.Walk)

    def listens(
        self, path: str, outer: tuple[str, ...] = (), depth: int = 0
    ) -> Iterator[Directive]:
        """The ``listen`` directives of a file and of what it includes, each file once."""
        if path in self.seen:
            return
        if depth > _DEEPEST:
            self.problems.append(f"{path} is not read: includes lie {depth} deep")
            return
        self.seen.add(path)
        for statement, context in self._statements_of(path, outer):
            arguments = statement["args"]
            if statement["directive"] == "include" and arguments:
                for included in self._included(arguments[0]):
                    yield from self.listens(included, context, depth + 1)
            # The mail module's listen knows no fastopen=.
            elif statement["directive"] == "listen" and arguments and "mail" not in context:
                source = self.lines[path][statement["line"] - 1]
                yield from _listen(path, statement["line"], arguments, source)

    def _included(self, name: str) -> list[str]:
        # Relative to the main file's directory, wherever the include stands.
        pattern = os.path.join(os.path.dirname(self.main), name)
        if "\0" in name or not glob.has_magic(pattern):
            return [pattern]
        try:
            return self.walk.matching(os.path.join(os.getcwd(), pattern))
        except OSError as error:
            self.problems.append(f"include {name} is not followed: {configuration.why_not(error)}")
            return []

    def _statements_of(
        self, path: str, outer: tuple[str, ...]
    ) -> list[tuple[dict[str, Any], tuple[str, ...]]]:
        try:
            return list(_statements(self._parse(path), outer))
        except (OSError, ValueError, RecursionError) as error:  # ValueError: a zero byte in a name
            self.problems.append(f"{path} can't be read: {configuration.why_not(error)}")
            return []

    def _parse(self, path: str) -> list[dict[str, Any]]:
        try:
            import crossplane
        except ModuleNotFoundError as error:
            raise OSError("that takes crossplane-ng, which is not installed") from error

        text = configuration.read_file(path, self.process)
        # Most files of a large configuration have neither, and parsing takes its time.
        if path != self.main and "listen" not in text and "include" not in text:
            return []
        # Not splitlines(), which knows of more line ends than nginx does.
        self.lines[path] = text.split("\n")
        self.room -= len(text)
        if self.room < 0:
            raise OSError(f"the whole configuration has more than {configuration.MOST_BYTES} bytes")
        with _named_for_good(text) as name:
            parsed = crossplane.parse(name, single=True, check_ctx=False, check_args=False)
        if parsed["errors"]:
            # Without words where the file ends in the middle of a directive.
            said = parsed["errors"][0]["error"] or "it breaks off in a directive"
            raise OSError(str(said).replace(name, path))
        return [statement for file in parsed["config"] for statement in file["parsed"]]


@contextlib.contextmanager
def _named_for_good(text: str) -> Iterator[str]:
    """A file's name for what was read: crossplane opens one by itself, which may be another now."""
    descriptor = os.memfd_create("nginx.conf", os.MFD_CLOEXEC)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as copy:
        copy.write(text)
        copy.flush()
        yield f"/proc/self/fd/{descriptor}"


def _statements(
    block: list[dict[str, Any]], context: tuple[str, ...]
) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    for statement in block:
        yield statement, context
        yield from _statements(statement.get("block", []), (*context, statement["directive"]))


def _listen(path: str, line: int, arguments: list[str], source: str) -> Iterator[Directive]:
    endpoint = parse_endpoint(arguments[0])
    if endpoint is None or {"quic", "udp"} & set(arguments):
        return
    on = any(re.fullmatch(r"fastopen=0*[1-9]\d*", word) for word in arguments)
    yield Directive(path, line, " ".join(("listen", *arguments)), on, (endpoint,), source)


def parse_endpoint(text: str) -> Endpoint | None:
    """``8080``, ``*:80-90``, ``[::]:80`` or an address alone; None for a socket file."""
    if text.startswith("unix:"):
        return None
    host, colon, ports = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, ports = ("*", text) if _PORTS.fullmatch(text) else (text, "80")
    found = _PORTS.fullmatch(ports)
    if not found:
        return None
    host = host.removeprefix("[").removesuffix("]")
    last = int(found[2]) if found[2] else None
    return Endpoint(_EVERYWHERE if host == "*" else host, int(found[1]), last)


def has_socket_options(directive: Directive) -> bool:
    """Whether this listen already says something about its socket: there fastopen= has to be."""
    return any(_SOCKET_OPTION.fullmatch(word) for word in directive.text.split()[2:])


def _merged(directives: list[Directive]) -> list[Directive]:
    """Of several servers on one address it is enough that one says fastopen=: the socket is one."""
    on = {each.endpoints for each in directives if each.on}
    return [
        replace(each, on=True) if not each.on and each.endpoints in on else each
        for each in directives
    ]
