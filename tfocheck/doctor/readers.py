"""What the files and command lines of servers other than nginx and haproxy say of Fast Open.

Each is read by the grammar that the server reads it by, so that neither a comment nor a value is
taken for a setting. Where each setting stands is named in ``servers``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from tfocheck.doctor import configuration, lua, processes, yaml_lines
from tfocheck.doctor.configuration import Configuration, Directive, Endpoint
from tfocheck.doctor.processes import Process

Reader = Callable[[Process], Configuration]
Parse = Callable[[str, str], Iterator[Directive]]
"""From a path and its text to its directives. Raises ValueError with the reason."""


def nothing(_process: Process) -> Configuration:
    """Of a server without any setting."""
    return Configuration()


def files(
    parse: Parse, flags: Sequence[str], default: Sequence[str], *, directory: bool = False
) -> Reader:
    """Reads the file that a flag names, or the first of those that are there.

    ``directory`` says that the flag names where these files are.
    """

    def read(process: Process) -> Configuration:
        named = _named(process, flags)
        if named and directory:
            names = [os.path.join(named[-1], os.path.basename(name)) for name in default]
        else:
            names = named[-1:] or list(default)
        paths = [processes.absolute(process, name) for name in names]
        path = next((each for each in paths if os.path.exists(each)), paths[0] if paths else None)
        if path is None:
            return Configuration()
        found: list[Directive] = []
        try:
            text = configuration.read_file(path, process)
            # What comes before an error is kept.
            for each in parse(path, text):
                found.append(each)
        except (OSError, ValueError) as error:
            why_not = configuration.why_not(error)
            return Configuration(tuple(found), path, None, f"{path} can't be read: {why_not}")
        return Configuration(tuple(found), path)

    return read


def by_command_line(flags: Sequence[str], then: Reader) -> Reader:
    """What the command line says counts; without a word there, what the files say."""

    def read(process: Process) -> Configuration:
        found = then(process)
        place = f"/proc/{process.pid}/cmdline"
        said = [
            Directive(place, 1, word, _is_number_on(value), ())
            for word, value in _flags(process, flags)
        ]
        # Then it does not matter what the file says, nor whether it can be read.
        return replace(found, directives=tuple(said[-1:]), problem=None) if said else found

    return read


# Formats


def assignments(name: str) -> Parse:
    """``name = number`` of a file of such lines: the last one counts (PowerDNS, nghttpx)."""
    wanted = re.compile(rf"\s*{re.escape(name)}\s*=\s*(\w+)\s*(?:#.*)?", re.ASCII)

    def parse(path: str, text: str) -> Iterator[Directive]:
        found = [
            Directive(path, number, line.strip(), _is_number_on(match[1]), ())
            for number, line in enumerate(text.split("\n"), 1)
            if (match := wanted.fullmatch(line))
        ]
        yield from found[-1:]

    return parse


def yaml_setting(*keys: str, on: Callable[[str], bool] | None = None) -> Parse:
    """A value of a YAML or JSON file, by its keys from the top; what they say twice, last."""

    def parse(path: str, text: str) -> Iterator[Directive]:
        found = [each.get(*keys) for each in yaml_lines.mappings(text) if not each.path]
        for value, line in [each for each in found if each is not None][-1:]:
            is_on = (on or _is_number_on)(value)
            yield Directive(path, line, f"{': '.join(keys)}: {value}", is_on, ())

    return parse


def traffic_server(path: str, text: str) -> Iterator[Directive]:
    """Apache Traffic Server: bit 0x8 of ``sock_option_flag_in``."""
    if path.endswith((".yaml", ".yml")):
        parse = yaml_setting("records", "net", "sock_option_flag_in", on=_has_bit)
        yield from parse(path, text)
        return
    wanted = re.compile(r"\s*CONFIG\s+proxy\.config\.net\.sock_option_flag_in\s+INT\s+(\w+)\s*")
    found = [
        Directive(path, number, " ".join(line.split()), _has_bit(match[1]), ())
        for number, line in enumerate(text.split("\n"), 1)
        if (match := wanted.fullmatch(line))
    ]
    yield from found[-1:]


_LOCALS = {"addLocal": 53, "setLocal": 53, "addTLSLocal": 853, "addDOHLocal": 443}
_CRYPT = "addDNSCryptBind"


def dnsdist(path: str, text: str) -> Iterator[Directive]:
    """dnsdist: each bind of a file in Lua, or, from 2.0 on, in YAML."""
    if path.endswith((".yml", ".yaml")):
        yield from _dnsdist_binds(path, text)
        return
    blocks = []
    for call in lua.calls(text, (*_LOCALS, _CRYPT)):
        address = call.arguments[0] if call.arguments else ()
        if len(address) != 1 or address[0].kind != "string" or call.conditional:
            blocks.append(call.line)
            continue
        tables = [each for each in call.arguments[1:] if each and each[0].value == "{"]
        queue = next(
            (found for each in tables if (found := lua.field(each, "tcpFastOpenQueueSize"))), "0"
        )
        endpoint = _endpoint(address[0].value, _LOCALS.get(call.name, 443))
        shown = f'{call.name}("{address[0].value}", {{tcpFastOpenQueueSize={queue}}})'
        yield Directive(path, call.line, shown, _is_number_on(queue), endpoint)
    if blocks:
        lines = ", ".join(map(str, blocks[:3]))
        raise ValueError(f"what its lines {lines} do is not known before Lua runs them")


def _dnsdist_binds(path: str, text: str) -> Iterator[Directive]:
    for each in yaml_lines.mappings(text):
        address = each.get("listen_address") if each.path == ("binds", "*") else None
        if address is None:
            continue
        queue, line = each.get("tcp", "fast_open_queue_size") or ("0", each.line)
        shown = f"listen_address: {address[0]}, fast_open_queue_size: {queue}"
        endpoint = _endpoint(address[0], 53)
        yield Directive(path, line, shown, _is_number_on(queue), endpoint)


def envoy(path: str, text: str) -> Iterator[Directive]:
    """Envoy: each listener of a bootstrap in YAML or JSON."""
    for each in yaml_lines.mappings(text):
        if each.path != ("static_resources", "listeners", "*"):
            continue
        queue = each.get("tcp_fast_open_queue_length") or each.get("tcpFastOpenQueueLength")
        value, line = queue or ("0", each.line)
        socket = "socket_address"
        host = each.get("address", socket, "address")
        port = each.get("address", socket, "port_value")
        ends = _endpoint(f"{_bracketed(host[0])}:{port[0]}", 0) if host and port else ()
        name = (each.get("name") or ("listener", 0))[0]
        shown = f"{name}: tcp_fast_open_queue_length: {value}"
        yield Directive(path, line, shown, _is_number_on(value), ends)


def is_true(value: str) -> bool:
    """Whether a word of YAML or JSON means yes."""
    return value.lower() in ("true", "yes", "on", "1")


# Words


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _endpoint(text: str, port: int) -> tuple[Endpoint, ...]:
    """Of ``127.0.0.1``, ``127.0.0.1:53``, ``[::]:53``, ``::`` or a port that is left out."""
    host, colon, given = text.rpartition(":")
    if text.endswith("]") or not colon or (":" in host and not host.endswith("]")):
        host, given = text, str(port)
    host = host.removeprefix("[").removesuffix("]")
    return (Endpoint(host, int(given)),) if given.isdigit() and len(given) < 6 else ()


def _number(value: str) -> int:
    try:
        return int(value, 0)
    except ValueError:
        return int(value) if value.isdecimal() else 0


def _is_number_on(value: str) -> bool:
    return _number(value) > 0


def _has_bit(value: str) -> bool:
    return bool(_number(value) & 0x8)


def _named(process: Process, flags: Iterable[str]) -> list[str]:
    found = [value for flag in flags for value in configuration.option(process.arguments, flag)]
    long = [flag for flag in flags if flag.startswith("--")]
    return found + [value for _, value in _flags(process, long, joined=True)]


def _flags(
    process: Process, flags: Iterable[str], *, joined: bool = False
) -> Iterator[tuple[str, str]]:
    """(as it is written, value) of each: ``--flag=VALUE``, and ``--flag VALUE`` if not joined."""
    words = process.arguments
    for index, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag not in flags:
            continue
        if equals:
            yield word, value
        elif not joined:
            follows = words[index + 1] if index + 1 < len(words) else ""
            yield (f"{word} {follows}", follows) if follows.isdecimal() else (word, "1")


# Binaries and parameters


def varnish(process: Process) -> Configuration:
    """varnishd: its parameter tcp_fastopen."""
    found = []
    for value in configuration.option(process.arguments, "-p"):
        name, _, setting = value.partition("=")
        if name == "tcp_fastopen":
            on = setting.lower() in ("on", "yes", "true", "1", "enable")
            found.append(Directive(f"/proc/{process.pid}/cmdline", 1, f"-p {value}", on, ()))
    return Configuration(tuple(found[-1:]))


_UNBOUND_KNOWS = re.compile(rb"(Fast Open as server failed)")


def unbound(process: Process) -> Configuration:
    """unbound: whether it was built with Fast Open."""
    try:
        [found] = configuration.search_binary(process.pid, (_UNBOUND_KNOWS,))
    except (OSError, ValueError):
        return Configuration()
    return Configuration(knows=found is not None)


recursor = by_command_line(
    ("--tcp-fast-open",),
    files(
        lambda path, text: (
            yaml_setting("incoming", "tcp_fast_open")(path, text)
            if path.endswith((".yml", ".yaml"))
            else assignments("tcp-fast-open")(path, text)
        ),
        ("--config-dir",),
        ("/etc/powerdns/recursor.yml", "/etc/powerdns/recursor.conf"),
        directory=True,
    ),
)
pdns = by_command_line(
    ("--tcp-fast-open",),
    files(
        assignments("tcp-fast-open"),
        ("--config-dir",),
        ("/etc/powerdns/pdns.conf",),
        directory=True,
    ),
)
nghttpx = by_command_line(
    ("--fastopen",), files(assignments("fastopen"), ("--conf",), ("/etc/nghttpx/nghttpx.conf",))
)
shadowsocks = by_command_line(
    ("--fast-open", "--tcp-fast-open"),
    files(
        yaml_setting("fast_open", on=is_true),
        ("-c", "--config"),
        ("/etc/shadowsocks-libev/config.json",),
    ),
)
