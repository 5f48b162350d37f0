"""Examining this machine: listeners, who holds them, what they ask for, and what they get."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from tfocheck.doctor import bpf_programs, kernel, netns, processes, servers, sysctls
from tfocheck.doctor.configuration import Configuration, Directive
from tfocheck.doctor.kernel import Version
from tfocheck.doctor.listener import Listener
from tfocheck.doctor.netns import View
from tfocheck.doctor.processes import Process
from tfocheck.doctor.servers import Server
from tfocheck.doctor.sockets import Holder, Options

# PROC_PID_INIT_INO of include/linux/proc_ns.h
_FIRST_PID_NAMESPACE = 0xEFFFFFFC


@dataclass(frozen=True)
class Running:
    """A server that was found to listen, and what its configuration says.

    ``process`` is the one that has started the others, which are ``workers`` (PIDs).
    """

    server: Server
    process: Process
    configuration: Configuration
    workers: tuple[int, ...] = ()

    def holds(self, listener: Listener) -> bool:
        """Whether one of its processes holds this listener."""
        pids = {self.process.pid, *self.workers}
        return any(holder.pid in pids for holder in listener.holders)


@dataclass(frozen=True)
class Persistence:
    """What becomes of net.ipv4.tcp_fastopen at the next boot: the lines that set it, in order.

    ``key`` are those that set the key; the value of such a line is not kept. ``applies`` is
    False where the files are not about this network namespace, as in a container; ``read_at_boot``
    where the winning line stands in a file that systemd does not read. ``overruling`` are lines
    that set another sysctl (its name) to what leaves no listener Fast Open.
    """

    settings: tuple[sysctls.Setting, ...] = ()
    key: tuple[str, ...] = ()
    applies: bool = True
    read_at_boot: bool = True
    overruling: tuple[tuple[str, sysctls.Setting], ...] = ()

    @property
    def winner(self) -> sysctls.Setting | None:
        """The line that wins: the last that the kernel takes."""
        taken = [each for each in self.settings if each.number is not None]
        return taken[-1] if taken else None


@dataclass(frozen=True)
class Machine:
    """All that was found; ``ports`` are those that it was limited to.

    ``guards`` counts the ports that a check running here keeps silent: they are no servers. ``bpf``
    counts BPF programs that see packets, by their kind; None where that can't be told.
    """

    release: str
    version: Version | None
    views: tuple[View, ...]
    listeners: tuple[Listener, ...]
    running: tuple[Running, ...]
    persistence: Persistence
    ports: tuple[int, ...] = ()
    guards: int = 0
    bpf: Mapping[str, int] | None = None

    def of(self, view: View) -> list[Listener]:
        """The listeners of one network namespace."""
        return [each for each in self.listeners if each.view is view]

    @cached_property
    def wanted(self) -> tuple[Listener, ...]:
        """The listeners that ought to have Fast Open: those on the named ports, or who ask."""
        return tuple(each for each in self.listeners if self.ports or each.queue)

    def configured(self, listener: Listener) -> tuple[Running | None, list[Directive]]:
        """The server that holds a listener, and the lines of its configuration about it."""
        for each in self.running:
            if each.holds(listener):
                return each, each.configuration.about(listener.listening)
        return None, []


def examine(ports: Collection[int] = ()) -> Machine:
    """Look at this machine; ``ports`` limits it to listeners on these."""
    candidates = processes.pids()
    views = [netns.look(namespace) for namespace in netns.find(candidates)]
    views = [view for view in views if view.namespace.own or _listens(view, ports)]
    wanted = {
        each.inode: (each, view)
        for view in views
        for each in view.listeners or ()
        if not ports or each.port in ports
    }
    held, hidden = processes.holders(candidates, wanted)
    known: dict[int, Process] = {}
    for holding in held.values():
        for pid, _ in holding:
            if pid not in known:
                known[pid] = processes.describe(pid)
    options, reasons = _ask(held)
    listeners = [
        Listener(
            listening,
            view,
            options.get(inode),
            reasons.get(inode, _unseen(hidden)),
            tuple(known[pid] for pid, _ in held.get(inode, ())),
        )
        for inode, (listening, view) in wanted.items()
    ]
    guards = sum(each.is_guard for each in listeners)
    listeners = [each for each in listeners if not each.is_guard]
    release = os.uname().release
    return Machine(
        release,
        kernel.parse_version(release),
        tuple(views),
        tuple(_merge(listeners)),
        tuple(_running(known.values())),
        _persistence(),
        tuple(sorted(ports)),
        guards,
        bpf_programs.count(),
    )


def _listens(view: View, ports: Collection[int]) -> bool:
    return any(not ports or each.port in ports for each in view.listeners or ())


def _unseen(hidden: int) -> str:
    if os.geteuid() != 0:
        return "the process can't be seen: that takes root"
    if hidden:
        return "the process can't be seen: that takes CAP_SYS_PTRACE"
    return "no process that can be seen here holds it"


def _ask(
    held: dict[int, list[tuple[int, int]]],
) -> tuple[dict[int, Options], dict[int, str]]:
    """inode → options, and for the others why not. Any process that holds a socket will do."""
    by_process: dict[int, list[tuple[int, int]]] = {}
    for inode, holding in held.items():
        for pid, descriptor in holding:
            by_process.setdefault(pid, []).append((descriptor, inode))
    options: dict[int, Options] = {}
    reasons: dict[int, str] = {}
    for pid, descriptors in by_process.items():
        try:
            with Holder(pid) as holder:
                for descriptor, inode in descriptors:
                    if inode in options:
                        continue
                    try:
                        options[inode] = holder.ask(descriptor, inode)
                    except OSError as error:
                        reasons[inode] = _why_not(error)
        except OSError as error:
            reasons.update((inode, _why_not(error)) for _, inode in descriptors)
    return options, reasons


def _why_not(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        needed = "CAP_SYS_PTRACE" if os.geteuid() == 0 else "root"
        return f"the process may not be asked: that takes {needed}"
    if error.errno == errno.ENOSYS:
        return "this kernel is older than 5.6, or a filter forbids pidfd_getfd"
    return error.strerror or str(error)


def _merge(listeners: Iterable[Listener]) -> Iterable[Listener]:
    """Sockets that share an address (SO_REUSEPORT) and are alike become one row."""
    merged: dict[tuple[object, ...], Listener] = {}
    for each in listeners:
        where = (each.listening.address, each.listening.port, each.view.namespace.identity)
        key = (*where, each.listening.uid, each.options, each.reason)
        alike = merged.get(key)
        if alike is None:
            merged[key] = each
            continue
        holders = {process.pid: process for process in (*alike.holders, *each.holders)}
        merged[key] = Listener(
            alike.listening,
            alike.view,
            alike.options,
            alike.reason,
            tuple(holders.values()),
            alike.count + 1,
        )
    return merged.values()


MOST_SERVERS = 100
_NOT_READ = Configuration(problem=f"not read: more than {MOST_SERVERS} servers run here")


def _running(known: Collection[Process]) -> Iterable[Running]:
    """Each server once, by the process that has started the others: it may hold no listener."""
    first: dict[int, tuple[Server, Process]] = {}
    workers: dict[int, list[int]] = {}
    seen = {process.pid: process for process in known}
    for process in known:
        server = servers.recognise(process)
        if server is None:
            continue
        top = process
        while top.parent:
            above = seen.get(top.parent) or processes.describe(top.parent)
            seen[above.pid] = above
            if servers.recognise(above) is not server:
                break
            top = above
        first[top.pid] = (server, top)
        workers.setdefault(top.pid, []).extend([process.pid] if process.pid != top.pid else [])
    # One that others are started by comes last: who asks who holds a socket wants to hear of them.
    found = sorted(first.values(), key=lambda each: each[0].name == "systemd")
    for number, (server, process) in enumerate(found):
        # Each may take seconds, and anybody may start any number of processes called nginx.
        said = server.read(process) if number < MOST_SERVERS else _NOT_READ
        yield Running(server, process, said, tuple(workers[process.pid]))


def _persistence() -> Persistence:
    found = Persistence(
        tuple(sysctls.settings(kernel.NAME)),
        tuple(f"{each.file}:{each.line}" for each in sysctls.settings(kernel.KEY_NAME)),
        _set_at_boot(),
        overruling=tuple(_overruling()),
    )
    winner = found.winner
    return replace(found, read_at_boot=winner is None or sysctls.is_read_at_boot(winner))


def _overruling() -> Iterator[tuple[str, sysctls.Setting]]:
    values = {kernel.SYN_COOKIES_NAME: kernel.SYN_COOKIES_ALWAYS, kernel.QUEUE_NAME: 0}
    for name, fatal in values.items():
        taken = [each for each in sysctls.settings(name) if each.number is not None]
        if taken and taken[-1].number == fatal:
            yield name, taken[-1]


def _set_at_boot() -> bool:
    """Whether the files are about our network namespace: that of PID 1, and not in a container."""
    try:
        in_container = os.stat("/proc/self/ns/pid").st_ino != _FIRST_PID_NAMESPACE
    except OSError:
        in_container = False
    first = processes.network_of(1)
    return not in_container and first in (None, processes.network_of("self"))
