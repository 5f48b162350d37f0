"""Commands that edit one line of a configuration file, and have a server read it again.

Each edit names the line's number and its very words, so that it does nothing to a file that has
changed meanwhile, and nothing when it is run once more.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterable, Mapping
from pathlib import PurePath

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


def switch_on(running: Running, directives: Iterable[Directive]) -> dict[Directive, str]:
    """For each of these lines the command that switches Fast Open on in it.

    Left out is what is not understood, and what others may put something else in the place of.
    """
    if running.server.name == "nginx":
        chosen, insert = _one_each(directives), (f"fastopen={QUEUE}", r"\s*;", "")
    elif running.server.name == "haproxy":
        chosen, insert = list(directives), ("tfo", r"\s*(?:#.*)?$", "$")
    else:
        return {}
    safe = {file for file in {each.file for each in chosen} if _is_only_ours(file)}
    commands = ((each, _insert(each, *insert)) for each in chosen if each.file in safe)
    return {directive: command for directive, command in commands if command is not None}


def _is_only_ours(path: str) -> bool:
    """Whether nobody but root and this user can change what a path leads to.

    If others could, a link that they put there meanwhile would have root write where it leads.
    """
    real = PurePath(os.path.realpath(path))
    # To the root of a user namespace the machine's own root may be nobody; "/" is that one's.
    top = os.lstat("/")
    users, groups = (0, os.geteuid(), top.st_uid), (0, os.getegid(), top.st_gid)
    for each in (real, *real.parents):
        try:
            status = os.lstat(each)
        except OSError:  # nothing there to be changed
            continue
        sticky = status.st_mode & stat.S_ISVTX  # as /tmp: nobody can replace another's file
        shared = status.st_mode & stat.S_IWGRP and status.st_gid not in groups
        if status.st_uid not in users or (not sticky and (shared or status.st_mode & stat.S_IWOTH)):
            return False
    return True


def _insert(directive: Directive, word: str, rest: str, anchor: str) -> str | None:
    """The command that puts a word before the rest of the directive, which is a pattern.

    Once it is there the line no longer reads as the command wants it.
    """
    # What is quoted in the file is not in the text.
    words = r"\s+".join(f"[\"']?{re.escape(each)}[\"']?" for each in directive.text.split())
    found = re.search(f"({words})({rest})", directive.source, re.ASCII)
    if not found:
        return None
    before, after = found[0], f"{found[1]} {word}{found[2]}"
    expression = f"s/{_literal(before)}{anchor}/{_replacement(after)}/"
    return _sed(f"{directive.line}{expression}", directive.file)


def _one_each(directives: Iterable[Directive]) -> list[Directive]:
    """nginx wants the options of a socket in one place only: where it has others, if it has."""
    chosen: dict[tuple[Endpoint, ...], Directive] = {}
    for directive in directives:
        known = chosen.setdefault(directive.endpoints, directive)
        if nginx.has_socket_options(directive) and not nginx.has_socket_options(known):
            chosen[directive.endpoints] = directive
    return list(chosen.values())


def tried(running: Running, edits: Mapping[Directive, str]) -> tuple[str, ...]:
    """The commands, then the server's own test of its configuration; if it fails, they are undone.

    Without that a mistake would only show when the server does not come up at the next boot.
    """
    test = _test(running)
    if test is None:
        return tuple(edits.values())
    files = dict.fromkeys(os.path.realpath(each.file) for each in edits)
    copies = [(shlex.quote(file), f'"$kept/{number}"') for number, file in enumerate(files, 1)]
    undo = "; ".join(f"cat {copy} > {file}" for file, copy in copies)
    return (
        "kept=$(mktemp -d)",
        *(f"cp -p {file} {copy}" for file, copy in copies),
        *edits.values(),
        f"{test} || {{ {undo}; echo 'taken back: that test fails' >&2; false; }}",
    )


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
