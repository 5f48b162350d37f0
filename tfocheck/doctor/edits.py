"""Commands that edit one line of a configuration file, and have a server read it again.

Each edit names the line's number and its very words, so that it does nothing to a file that has
changed meanwhile, and nothing when it is run once more.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator

from tfocheck.doctor import configuration, processes
from tfocheck.doctor.configuration import Directive
from tfocheck.doctor.examination import Running
from tfocheck.doctor.processes import Process
from tfocheck.doctor.sysctls import Setting

QUEUE = 256
"""The length of queue that is advised for nginx."""

_SPACE = "[[:space:]]"


def set_sysctl(setting: Setting, value: int) -> str:
    """The command that has the line set another value."""
    # What is before the "=" stays, be it net/ipv4/... or a pattern.
    old = _literal(setting.value)
    return _sed(f"{setting.line}s/=({_SPACE}*){old}{_SPACE}*$/=\\1{value}/", setting.file)


def switch_on(running: Running, directives: Iterable[Directive]) -> Iterator[str]:
    """The commands that switch Fast Open on in these lines; none for servers without lines."""
    seen = set()
    for directive in directives:
        if directive.endpoints in seen:
            continue  # nginx wants the options of a socket in one place only
        seen.add(directive.endpoints)
        words = f"{_SPACE}+".join(_literal(word) for word in directive.text.split())
        if running.server.name == "nginx":
            expression = f"s/({words})({_SPACE}*;)/\\1 fastopen={QUEUE}\\2/"
        elif running.server.name == "haproxy":
            expression = f"s/^({_SPACE}*{words})({_SPACE}*(#.*)?)$/\\1 tfo\\2/"
        else:
            return
        yield _sed(f"{directive.line}{expression}", directive.file)


def reload(running: Running) -> tuple[str, ...]:
    """Have the server test its configuration and read it again; empty where nobody can tell how."""
    process, main = running.process, running.configuration.main
    if main is None or process.executable is None:
        return ()
    binary = shlex.quote(process.executable)
    # Testing its configuration, nginx binds to the addresses in it.
    enter = "" if _is_here(process.pid) else f"nsenter --net=/proc/{process.pid}/ns/net "
    if running.server.name == "nginx":
        named = [("-p", value) for value in configuration.option(process.arguments, "-p")[-1:]]
        flags = " ".join(shlex.join(pair) for pair in [*named, ("-c", main)])
        again = _by_systemd("reload", process.unit) or (f"{binary} -s reload {flags}",)
        return (f"{enter}{binary} -t -q {flags}", *again)
    if running.server.name == "haproxy":
        files = configuration.option(process.arguments, "-f") or [main]
        test = " ".join([binary, "-c", "-q", *(shlex.join(("-f", file)) for file in files)])
        again = _by_systemd("reload", process.unit) or _haproxy_signal(running)
        return (test, *again) if again else ()
    return ()


def restart(process: Process) -> tuple[str, ...]:
    """Restart it, where systemd has started it; empty elsewhere."""
    return _by_systemd("restart", process.unit)


def _haproxy_signal(running: Running) -> tuple[str, ...]:
    """SIGUSR2 is for a master only: to another process it is the end."""
    process = running.process
    if not {"-W", "-Ws"} & set(process.arguments):
        return ()
    master = process.pid
    if process.parent is not None and _name_of(process.parent) == process.name:
        master = process.parent
    return (f'[ "$(cat /proc/{master}/comm)" = haproxy ] && kill -USR2 {master}',)


def _by_systemd(what: str, unit: str | None) -> tuple[str, ...]:
    if unit is None or not os.path.isdir("/run/systemd/system"):
        return ()
    return (f"systemctl {what} {shlex.quote(unit)}",)


def _is_here(pid: int) -> bool:
    return processes.network_of(pid) in (None, processes.network_of("self"))


def _name_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""


def _sed(expression: str, file: str) -> str:
    return f"sed -i -E {shlex.quote(expression)} {shlex.quote(file)}"


def _literal(text: str) -> str:
    """An extended regular expression, for use between slashes, that matches just this."""
    return re.sub(r"([][\\.*^$+?(){}|/])", r"\\\1", text)
