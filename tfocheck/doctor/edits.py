"""Commands that edit one line of a configuration file, and have a server read it again.

Each edit names the line's number and its very words, so that it does nothing to a file that has
changed meanwhile, and nothing when it is run once more.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator

from tfocheck.doctor import haproxy, nginx, processes
from tfocheck.doctor.configuration import Directive, Endpoint
from tfocheck.doctor.examination import Running
from tfocheck.doctor.processes import Process
from tfocheck.doctor.sysctls import Setting

QUEUE = 256
"""The length of queue that is advised for nginx."""


def set_sysctl(setting: Setting, value: int) -> str:
    """The command that has the line set another value."""
    # What is before the "=" stays, as it may be net/ipv4/...
    old = _literal(setting.value)
    space = "[[:space:]]*"
    return _sed(f"{setting.line}s/=\\({space}\\){old}{space}$/=\\1{value}/", setting.file)


def switch_on(running: Running, directives: Iterable[Directive]) -> Iterator[str]:
    """The commands that switch Fast Open on in these lines; none where a line is not understood."""
    if running.server.name == "nginx":
        for directive in _one_each(directives):
            yield from _insert(directive, f"fastopen={QUEUE}", r"\s*;", "")
    elif running.server.name == "haproxy":
        for directive in directives:
            yield from _insert(directive, "tfo", r"\s*(?:#.*)?$", "$")


def _insert(directive: Directive, word: str, rest: str, anchor: str) -> Iterator[str]:
    """The command that puts a word before the rest of the directive, which is a pattern.

    Once it is there the line no longer reads as the command wants it.
    """
    # What is quoted in the file is not in the text.
    words = r"\s+".join(f"[\"']?{re.escape(each)}[\"']?" for each in directive.text.split())
    found = re.search(f"({words})({rest})", directive.source, re.ASCII)
    if found:
        before, after = found[0], f"{found[1]} {word}{found[2]}"
        expression = f"s/{_literal(before)}{anchor}/{_replacement(after)}/"
        yield _sed(f"{directive.line}{expression}", directive.file)


def _one_each(directives: Iterable[Directive]) -> list[Directive]:
    """nginx wants the options of a socket in one place only: where it has others, if it has."""
    chosen: dict[tuple[Endpoint, ...], Directive] = {}
    for directive in directives:
        known = chosen.setdefault(directive.endpoints, directive)
        if nginx.has_socket_options(directive) and not nginx.has_socket_options(known):
            chosen[directive.endpoints] = directive
    return list(chosen.values())


def tried(running: Running, edited: Iterable[Directive], commands: Iterable[str]) -> list[str]:
    """The commands, then the server's own test of its configuration; if it fails, they are undone.

    Without that a mistake would only show when the server does not come up at the next boot.
    """
    test = _test(running)
    if test is None:
        return list(commands)
    files = dict.fromkeys(os.path.realpath(each.file) for each in edited)
    copies = [(shlex.quote(file), f'"$kept/{number}"') for number, file in enumerate(files, 1)]
    undo = "; ".join(f"cat {copy} > {file}" for file, copy in copies)
    return [
        "kept=$(mktemp -d)",
        *(f"cp -p {file} {copy}" for file, copy in copies),
        *commands,
        f"{test} || {{ {undo}; echo 'taken back: that test fails' >&2; false; }}",
    ]


def reload(running: Running) -> tuple[str, ...]:
    """Have the server read its configuration again; empty where nobody can tell how."""
    process = running.process
    if running.server.name not in ("nginx", "haproxy") or process.executable is None:
        return ()
    by_systemd = _by_systemd("reload", process.unit)
    if by_systemd:
        return by_systemd
    if running.server.name == "nginx":
        return (f"{shlex.quote(process.executable)} -s reload {_nginx_flags(running)}",)
    return _haproxy_signal(running)


def _test(running: Running) -> str | None:
    process = running.process
    if process.executable is None:
        return None
    binary = shlex.quote(process.executable)
    if running.server.name == "nginx":
        # Testing its configuration, nginx binds to the addresses in it.
        enter = "" if _is_here(process.pid) else f"nsenter --net=/proc/{process.pid}/ns/net "
        return f"{enter}{binary} -t -q {_nginx_flags(running)}"
    if running.server.name == "haproxy":
        files = haproxy.configuration_files(process)
        return " ".join([binary, "-c", "-q", *(shlex.join(("-f", file)) for file in files)])
    return None


def _nginx_flags(running: Running) -> str:
    prefix, main = nginx.prefix_of(running.process), running.configuration.main
    flags = [*(("-p", prefix) if prefix else ()), *(("-c", main) if main else ())]
    return shlex.join(flags)


def if_still(condition: str, command: str, pid: int) -> str:
    """The command, if the condition shows that the process is still the one that was seen."""
    otherwise = f"echo 'process {pid} has ended: ask doctor again' >&2; false"
    return f"if {condition}; then {command}; else {otherwise}; fi"


def restart(process: Process) -> tuple[str, ...]:
    """Restart it, where systemd has started it; empty elsewhere."""
    return _by_systemd("restart", process.unit)


def _haproxy_signal(running: Running) -> tuple[str, ...]:
    """SIGUSR2 is for a master only: to another process it is the end."""
    process = running.process
    if not running.workers and not {"-W", "-Ws"} & set(process.arguments):
        return ()
    # It may have ended meanwhile, and its number be another's.
    is_it = f'[ "$(cat /proc/{process.pid}/comm)" = {shlex.quote(process.name)} ]'
    return (if_still(is_it, f"kill -USR2 {process.pid}", process.pid),)


def _by_systemd(what: str, unit: str | None) -> tuple[str, ...]:
    if unit is None or not os.path.isdir("/run/systemd/system"):
        return ()
    return (f"systemctl {what} {shlex.quote(unit)}",)


def _is_here(pid: int) -> bool:
    return processes.network_of(pid) in (None, processes.network_of("self"))


def _sed(expression: str, file: str) -> str:
    # Of a link (sites-enabled) sed -i would make a file.
    return f"sed -i {shlex.quote(expression)} {shlex.quote(os.path.realpath(file))}"


def _literal(text: str) -> str:
    """A basic regular expression, for use between slashes, that matches just this."""
    return re.sub(r"([][\\.*^$/])", r"\\\1", text).replace("\t", "\\t")


def _replacement(text: str) -> str:
    """What sed puts there as it is."""
    return re.sub(r"([\\&/])", r"\\\1", text).replace("\t", "\\t")
