"""haproxy: its ``bind`` lines, with or without ``tfo``.

Sources: https://docs.haproxy.org/2.6/configuration.html, section 5.1 "tfo" (bind), 2.2 on quoting,
2.4 on ".if"; https://docs.haproxy.org/2.6/management.html, section 3 on the command line; which
words of a bind line take a value: `haproxy -dKall` of 2.6.12, and section 5.1 of 3.2.
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
# The words of a bind line that are followed by a value, which may be any word: "name tfo".
_WITH_VALUE = frozenset(
    re.findall(
        r"\S+",
        """
        accept-netscaler-cip alpn backlog ca-file ca-ignore-err ca-sign-file ca-sign-pass ca-
        verify-file cc ciphers ciphersuites client-sigalgs crl-file crt crt-ignore-err crt-list
        curves default-crt ecdhe ech expose-fd gid group guid-prefix id idle-ping interface ktls
        label level maxconn mode mss name namespace nbconn nice npn ocsp-update process proto
        quic-cc-algo quic-socket severity-output shards sigalgs ssl-max-ver ssl-min-ver tcp-md5sig
        tcp-ss tcp-ut thread tls-ticket-keys uid user verify
        """,
    )
)
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
    room = configuration.MOST_BYTES
    for path in _files(named):
        try:
            text = configuration.read_file(path, process)
            room -= len(text)
            if room < 0:
                raise OSError(f"all files have more than {configuration.MOST_BYTES} bytes")
            directives += parse(path, text)
            problems += undecided(path, text)
        except OSError as error:
            problems.append(f"{path} can't be read: {configuration.why_not(error)}")
            if room < 0:
                break
    return Configuration(tuple(directives), named[0], knows, configuration.summed(problems))


def configuration_files(process: Process) -> list[str]:
    """The files and directories that its command line names, or the usual one."""
    words = list(process.arguments)
    # All that comes after "--" is a file.
    end = words.index("--") if "--" in words else len(words)
    named = configuration.option(words[:end], "-f") + words[end + 1 :]
    return [processes.absolute(process, path) for path in named or [_DEFAULT]]


def _files(named: list[str]) -> Iterator[str]:
    walk = configuration.Walk()
    for path in named:
        try:
            names = [name for name in walk.names_in(path) if name.endswith(".cfg")]
        except OSError:  # no directory
            names = [""]
        yield from (os.path.join(path, name) if name else path for name in names)


def parse(path: str, text: str) -> Iterator[Directive]:
    """The ``bind`` lines of a configuration file, but for those under an undecided ``.if``."""
    for number, line, counts in _lines(text):
        words = _words(line)
        if words[:1] != ["bind"] or len(words) < 2 or not counts:
            continue
        endpoints = tuple(
            endpoint for address in words[1].split(",") for endpoint in _endpoints(address)
        )
        if not endpoints:  # a socket file, or what it inherits
            continue
        yield Directive(path, number, " ".join(words), _is_on(words[2:]), endpoints, line)


def undecided(path: str, text: str) -> list[str]:
    """What of a file only a haproxy can tell: conditions, and addresses out of variables."""
    found = []
    for number, line, counts in _lines(text):
        words = _words(line)
        if words[:1] != ["bind"] or len(words) < 2:
            continue
        if counts is None:
            found.append(f"{path}:{number} stands under an .if that is not worked out")
        elif counts and "$" in words[1]:
            found.append(f"{path}:{number} listens where a variable says")
    return found


def _is_on(words: list[str]) -> bool:
    """Whether ``tfo`` is one of the settings of a bind line, not the value of one."""
    rest = iter(words)
    for word in rest:
        if word == "tfo":
            return True
        if word in _WITH_VALUE:
            next(rest, None)
    return False


def _lines(text: str) -> Iterator[tuple[int, str, bool | None]]:
    """(number, line, whether it counts): None is under an ``.if`` that can't be decided here."""
    # For each .if that is open: whether this branch counts, and whether one before did.
    branches: list[tuple[bool | None, bool | None]] = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        word = words[0] if words else ""
        if word == ".if":
            holds = _condition(words[1:])
            branches.append((holds, holds))
        elif word in (".elif", ".else") and branches:
            _, before = branches.pop()
            holds = _condition(words[1:]) if word == ".elif" else True
            branches.append((_both(_not(before), holds), _not(_both(_not(before), _not(holds)))))
        elif word == ".endif" and branches:
            branches.pop()
        else:
            counts: bool | None = True
            for holds, _ in branches:
                counts = _both(counts, holds)
            yield number, line, counts


def _condition(words: list[str]) -> bool | None:
    """Only a number is decided: what else there is depends on haproxy and its environment."""
    text = "".join(words)
    negated = len(text) - len(text.lstrip("!"))
    number = text.lstrip("!") or "0"
    if not number.isdigit():
        return None
    return bool(int(number)) != bool(negated % 2)


def _not(holds: bool | None) -> bool | None:
    return None if holds is None else not holds


def _both(one: bool | None, other: bool | None) -> bool | None:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


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
