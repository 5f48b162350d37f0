"""haproxy: its ``bind`` lines, with or without ``tfo``.

Sources: https://docs.haproxy.org/2.6/configuration.html, section 5.1 "tfo" (bind), 2.2 on quoting;
https://docs.haproxy.org/2.6/management.html, section 3 on the command line.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator

from tfocheck.doctor import configuration, processes
from tfocheck.doctor.configuration import Configuration, Directive, Endpoint
from tfocheck.doctor.processes import Process

_DEFAULT = "/etc/haproxy/haproxy.cfg"
# What `haproxy -vv` prints of how it was built; up to 1.9 "USE_TFO=1".
_FEATURE = re.compile(rb"([+-]TFO\b|USE_TFO=1)")


def read(process: Process) -> Configuration:
    """What the configuration of this haproxy says. Raises nothing: what can't be read is named."""
    try:
        [feature] = configuration.search_binary(process.pid, (_FEATURE,))
        knows = None if feature is None else not feature.startswith(b"-")
    except (OSError, ValueError):
        knows = None
    named = configuration_files(process)
    directives: list[Directive] = []
    problems = []
    for path in _files(named):
        try:
            directives += parse(path, configuration.read_file(path, process))
        except OSError as error:
            problems.append(f"{path} can't be read: {configuration.why_not(error)}")
    return Configuration(tuple(directives), named[0], knows, configuration.summed(problems))


def configuration_files(process: Process) -> list[str]:
    """The files and directories that its command line names, or the usual one."""
    named = configuration.option(process.arguments, "-f") or [_DEFAULT]
    return [processes.absolute(process, path) for path in named]


def _files(named: list[str]) -> Iterator[str]:
    for path in named:
        try:
            names = sorted(name for name in os.listdir(path) if name.endswith(".cfg"))
        except OSError:  # no directory
            names = [""]
        yield from (os.path.join(path, name) if name else path for name in names)


def parse(path: str, text: str) -> Iterator[Directive]:
    """The ``bind`` lines of a configuration file."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.split(None, 1)[:1] != ["bind"]:
            continue
        words = _words(line)
        if len(words) < 2:
            continue
        endpoints = tuple(
            endpoint for address in words[1].split(",") for endpoint in _endpoints(address)
        )
        if not endpoints:  # a socket file, or what it inherits
            continue
        yield Directive(path, number, " ".join(words), "tfo" in words[2:], endpoints, line)


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # a quote that is not closed
        return line.split()


def _endpoints(address: str) -> Iterator[Endpoint]:
    """The sockets of one address, such as ``:80``, ``10.0.0.1:80-90`` or ``ipv6@:::80``."""
    family, _, rest = address.rpartition("@")
    if family not in ("", "ipv4", "ipv6", "tcp", "tcp4", "tcp6"):
        return
    host, colon, ports = rest.rpartition(":")
    first, _, last = ports.partition("-")
    if not colon or not first.isdigit() or (last and not last.isdigit()):
        return
    host = host.removeprefix("[").removesuffix("]")
    everywhere = "::" if family.endswith("6") else "0.0.0.0"
    yield Endpoint(
        everywhere if host in ("", "*") else host, int(first), int(last) if last else None
    )
