"""Machines that are made up: what the tests of diagnosis, advice and report share."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from tfocheck.doctor import servers
from tfocheck.doctor.configuration import Configuration, Directive, Endpoint
from tfocheck.doctor.examination import Machine, Persistence, Running
from tfocheck.doctor.kernel import Key, Settings
from tfocheck.doctor.listener import Listener
from tfocheck.doctor.netns import Namespace, View
from tfocheck.doctor.processes import Process
from tfocheck.doctor.sockets import Listening, Options
from tfocheck.doctor.sysctls import Setting

OURS = Namespace((4, 4026531840), own=True)
HOSTILE = "evil\x1b[2J\n'; touch pwned; '$(touch pwned)"

KEPT = Persistence((Setting("/etc/sysctl.d/30-tcp_fastopen.conf", 1, "3"),), ("/etc/key:1",))


def view(fast_open: int | None = 3, namespace: Namespace = OURS, **counted: int) -> View:
    return View(namespace, Settings(fast_open, 0, Key.ONE, 4096), [], counted)


def process(pid: int = 100, name: str = "nginx", **fields: Any) -> Process:
    return Process(pid, name, **{"executable": f"/usr/sbin/{name}", "uid": os.geteuid(), **fields})


def listener(
    where: View,
    queue: int | None = 256,
    *holders: Process,
    address: str = "0.0.0.0",
    port: int = 80,
) -> Listener:
    options = None if queue is None else Options(queue)
    reason = "" if options else "the process can't be seen: that takes root"
    return Listener(Listening(address, port, 0, 4711 + port), where, options, reason, holders)


def running(which: Process, *lines: tuple[str, bool, int], file: str = "/etc/n.conf") -> Running:
    """A server; each line is (text, whether it switches Fast Open on, port)."""
    server = servers.recognise(which)
    assert server is not None
    directives = tuple(
        Directive(file, number, text, on, (Endpoint("0.0.0.0", port),), f"{text};")
        for number, (text, on, port) in enumerate(lines, 1)
    )
    return Running(server, which, Configuration(directives, file, True))


def machine(*listeners: Listener, **fields: Any) -> Machine:
    views = tuple(dict.fromkeys(id(each.view) for each in listeners))
    by_id = {id(each.view): each.view for each in listeners}
    whole = Machine("6.1.0", (6, 1), tuple(by_id[key] for key in views), listeners, (), KEPT)
    return dataclasses.replace(whole, **fields)
