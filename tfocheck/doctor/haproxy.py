"""haproxy: its ``bind`` lines, with or without ``tfo``.

Sources: https://docs.haproxy.org/2.6/configuration.html, section 5.1 "tfo" (bind), 2.2 on quoting;
https://docs.haproxy.org/2.6/management.html, section 3 on the command line.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator

from tfocheck.doctor import configuration
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
    named = configuration.option(process.arguments, "-f") or [_DEFAULT]
    directives: list[Directive] = []
    try:
        for path in _files(named):
            directives += parse(path, configuration.read_file(path))
    except OSError as error:
        reason = error.strerror or error
        return Configuration(tuple(directives), named[0], knows, f"{named[0]}: {reason}")
    return Configuration(tuple(directives), named[0], knows)


def _files(named: list[str]) -> Iterator[str]:
    for path in named:
        if os.path.isdir(path):
            names = sorted(name for name in os.listdir(path) if name.endswith(".cfg"))
            yield from (os.path.join(path, name) for name in names)
        else:
            yield path


def parse(path: str, text: str) -> Iterator[Directive]:
    """The ``bind`` lines of a configuration file."""
    for number, line in enumerate(text.splitlines(), 1):
        words = _words(line)
        if len(words) < 2 or words[0] != "bind":
            continue
        endpoints = tuple(
            endpoint for address in words[1].split(",") for endpoint in _endpoints(address)
        )
        yield Directive(path, number, " ".join(words), "tfo" in words[2:], endpoints)


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
