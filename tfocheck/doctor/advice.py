"""What to do about a diagnosis: exact commands, shortest first, and the same as a shell script.

Rules that hold here:

* doctor runs none of these; the user does.
* Each command may be run twice: a sysctl is set to a value, a line is edited only while it reads as
  it did, a file of sysctl.d is written whole.
* The script touches a server only where that is safe for root: the process is root's or our own,
  and sees the same files as we do. Otherwise the step is words.
* Names from /proc are quoted for the shell; what is not printable is in no script at all.
"""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tfocheck.doctor import edits, kernel, processes, servers
from tfocheck.doctor.configuration import Directive
from tfocheck.doctor.diagnosis import Diagnosis
from tfocheck.doctor.examination import Machine, Running
from tfocheck.doctor.finding import Finding, Kind
from tfocheck.doctor.listener import Listener
from tfocheck.doctor.netns import Namespace, View
from tfocheck.doctor.processes import Process
from tfocheck.model import escape

_SYSCTL_FILES = "/etc/sysctl.d/{}-tcp_fastopen.conf"
# After any other that sets it.
_LATE = "zz"


@dataclass(frozen=True)
class Step:
    """Something to do: what it is for, and the commands; without any it is to be done by hand."""

    what: str
    commands: tuple[str, ...] = ()

    @property
    def is_scriptable(self) -> bool:
        """Whether the commands can stand in a script as they are shown."""
        return bool(self.commands) and all(map(_is_printable, self.commands))


def advise(machine: Machine, found: Diagnosis) -> list[Step]:
    """The steps for these findings, in the order in which to take them."""
    kinds = {finding.kind for finding in found.findings}
    steps = list(_kernel_steps(machine, found.findings))
    if kinds & {Kind.NOT_ASKING, Kind.NOBODY_ASKS}:
        steps += _server_steps(machine)
    steps += [step for finding in found.findings for step in _by_hand(machine, finding)]
    steps += _boot_steps(machine, found.findings)
    return list(dict.fromkeys(steps))


def script(steps: Sequence[Step]) -> str:
    """The steps as a script for sh; what is to be done by hand stands in it as a comment."""
    lines = [
        "#!/bin/sh",
        "# What tfocheck doctor advises here. Read it, then run it as root; running it twice does",
        "# no harm.",
        "set -eu",
    ]
    for number, step in enumerate(steps, 1):
        lines += ["", f"# {number}. {escape.text(step.what)}"]
        if step.is_scriptable:
            lines += step.commands
        else:
            lines += [f"#    {escape.text(command)}" for command in step.commands]
            lines.append(f"echo {shlex.quote(f'step {number} is left to you: see the script')} >&2")
    if not steps:
        lines += ["", "# There is nothing to do."]
    return "\n".join(lines) + "\n"


# The kernel, now and at the next boot


def target_value(machine: Machine, view: View) -> int | None:
    """What net.ipv4.tcp_fastopen ought to be in a namespace; None when it is not known now."""
    now = view.settings.fast_open
    return None if now is None else (now | kernel.SERVER) & ~kernel.SERVER_WITHOUT_COOKIE


def _kernel_steps(machine: Machine, findings: Iterable[Finding]) -> Iterator[Step]:
    kinds = {finding.kind for finding in findings}
    if Kind.KERNEL_TOO_OLD in kinds:
        yield Step("install a kernel from 3.7 on (3.16 for IPv6)")
    for view in machine.views:
        if not _is_worth_it(machine, view):
            continue
        yield from _overruling_steps(view)
        value = target_value(machine, view)
        if value is None or value == view.settings.fast_open:
            continue
        command = f"sysctl -w {kernel.NAME}={value}"
        what = f"let listeners have Fast Open in {view.namespace}, with cookies"
        yield Step(what, _in_namespace(view.namespace, command))


def _overruling_steps(view: View) -> Iterator[Step]:
    """Settings that take Fast Open from listeners that ask for it."""
    where = view.namespace
    if view.settings.always_cookies:
        command = f"sysctl -w {kernel.SYN_COOKIES_NAME}=1"
        what = f"answer by SYN cookies in {where} in a flood only, not always"
        yield Step(what, _in_namespace(where, command))
    if view.settings.longest_queue == 0:
        command = f"sysctl -w {kernel.QUEUE_NAME}={kernel.USUAL_QUEUE}"
        what = f"let queues in {where} be longer than 0; then restart what listens there"
        yield Step(what, _in_namespace(where, command))
    for route in view.routes or ():
        what = f"have {route} in {where} ask for cookies again"
        if route.command is None:
            yield Step(f"{what}: ip route change, without fastopen_no_cookie")
        else:
            yield Step(what, _in_namespace(where, route.command))


def _is_worth_it(machine: Machine, view: View) -> bool:
    """Whether the sysctl is worth setting in this namespace."""
    here = machine.of(view)
    # What may not be read in a namespace that is not ours is nobody's business.
    mine = [each for each in here if each.queue is not None or view.namespace.own]
    if any(machine.ports or each.queue is None or each.queue for each in mine):
        return True
    if view.settings.longest_queue == 0 and mine and not machine.wanted:
        return True
    # Nobody asks: then for the servers that can be told to.
    return not machine.wanted and any(machine.configured(each)[0] for each in here)


def _in_namespace(namespace: Namespace, command: str) -> tuple[str, ...]:
    if namespace.own:
        return (command,)
    if "|" in command:
        command = f"sh -c {shlex.quote(command)}"
    if namespace.name:
        return (f"ip netns exec {shlex.quote(namespace.name)} {command}",)
    # The process may have ended, and its number be another's.
    path = f"/proc/{namespace.pid}/ns/net"
    is_it = f'[ "$(stat -Lc %i {path})" = {namespace.identity[1]} ]'
    return (edits.if_still(is_it, f"nsenter --net={path} {command}", namespace.pid or 0),)


def _boot_steps(machine: Machine, findings: Iterable[Finding]) -> Iterator[Step]:
    persistence = machine.persistence
    if not persistence.applies:
        return
    for name, setting in persistence.overruling:
        harmless = 1 if name == kernel.SYN_COOKIES_NAME else kernel.USUAL_QUEUE
        where = f"{setting.file}:{setting.line}"
        ours = setting.file.startswith("/etc/") and not setting.by_pattern
        commands = (edits.set_sysctl(setting, harmless),) if ours else ()
        yield Step(f"have {where} set {name} = {harmless}", commands)
    view = next((view for view in machine.views if view.namespace.own), None)
    value = None if view is None else target_value(machine, view)
    if view is None or value is None:
        return
    lost = any(finding.kind is Kind.NOT_KEPT for finding in findings)
    winner = persistence.winner
    kept = winner is not None and winner.number == value and persistence.read_at_boot
    changed = value != view.settings.fast_open and not kept
    if not lost and not (changed and _is_worth_it(machine, view)):
        return
    ours = winner is not None and winner.file.startswith("/etc/")
    if winner is not None and ours and persistence.read_at_boot and not winner.by_pattern:
        command = edits.set_sysctl(winner, value)
        yield Step(f"keep it over the next boot: {winner.file} sets it last", (command,))
        return
    line = shlex.quote(f"{kernel.NAME} = {value}")
    yield Step(
        "keep it over the next boot",
        ("mkdir -p /etc/sysctl.d", f"printf '%s\\n' {line} > {_free_file(late=bool(winner))}"),
    )


def _free_file(*, late: bool) -> str:
    """A file of sysctl.d that is not there yet: another may hold more, the key for one."""
    numbers = itertools.count(30)
    names = (f"{_LATE}{number}" if late else str(number) for number in numbers)
    return next(path for name in names if not os.path.lexists(path := _SYSCTL_FILES.format(name)))


# Servers


def _server_steps(machine: Machine) -> Iterator[Step]:
    """How to have those ask that do not."""
    done: set[int] = set()
    unknown: list[Listener] = []
    for listener in machine.listeners:
        if listener.queue != 0:
            continue
        running, _ = machine.configured(listener)
        if running is None:
            unknown.append(listener)
        elif running.process.pid not in done:
            done.add(running.process.pid)
            yield from _switch_on(machine, running)
    # Of strangers only those are worth a word that were named, or that are all there is.
    if unknown and (machine.ports or not done):
        everyone = unknown[0].view.settings.has(kernel.ALL_LISTENERS)
        names = ", ".join(
            dict.fromkeys(str(each.process or each.listening) for each in unknown[:5])
        )
        if everyone:
            yield Step(f"restart {names}: it began to listen before bit 0x400 was set")
        else:
            yield Step(f"{names}: {servers.OTHERS}")


def _switch_on(machine: Machine, running: Running) -> Iterator[Step]:
    process, configuration = running.process, running.configuration
    silent = [each for each in machine.listeners if each.queue == 0 and running.holds(each)]
    if any(each.view.settings.has(kernel.ALL_LISTENERS) for each in silent):
        what = f"restart {process}: it began to listen before bit 0x400 was set"
        yield Step(what, edits.restart(process) if _is_safe(process) else ())
        return
    if configuration.knows is False:
        yield Step(
            f"{process} was built without Fast Open: install a build that has it "
            f"({running.server.how})"
        )
        return
    about = {line for each in silent for line in configuration.about(each.listening)}
    lines = [line for line in configuration.directives if line in about or not line.endpoints]
    off = [directive for directive in lines if not directive.on]
    edited = edits.switch_on(running, off) if _is_safe(process) else {}
    commands = edits.tried(running, edited) if edited else ()
    reload = edits.reload(running) if _is_safe(process) else ()
    done = {directive.endpoints for directive in edited}
    by_hand = [directive for directive in off if directive.endpoints not in done]
    if lines and not off:
        yield Step(
            f"{process}: {lines[0].place} switches it on, but the socket does not have it: "
            "reload it, or restart it",
            reload,
        )
    elif commands and reload:
        what = f"{process}: switch it on in {_places(list(edited))}, and reload"
        yield Step(what, (*commands, *reload))
    elif commands:
        yield Step(f"{process}: switch it on in {_places(list(edited))}", commands)
        yield Step(f"restart {process}, with whatever has started it")
    if by_hand or not lines:
        where = f" (now {_places(by_hand)})" if by_hand else ""
        yield Step(f"{process}: {running.server.how}{where}")


def _is_safe(process: Process) -> bool:
    """Whether root may edit and reload it: a stranger's program would run as root."""
    if process.uid not in (0, os.geteuid()) or process.executable is None:
        return False
    return processes.sees_ours(process, process.executable)


def _places(directives: Sequence[Directive]) -> str:
    places = list(dict.fromkeys(each.place for each in directives))
    more = len(places) - 3
    return ", ".join(places[:3]) + (f" and {more} more" if more > 0 else "")


def _by_hand(machine: Machine, finding: Finding) -> Iterator[Step]:
    """What no command does."""
    names = ", ".join(str(each.process or each.listening) for each in finding.listeners[:3])
    if finding.kind is Kind.WITHOUT_COOKIE and any(
        each.options and each.options.without_cookie for each in finding.listeners
    ):
        yield Step(f"{names}: have its program not set TCP_FASTOPEN_NO_COOKIE")
    elif finding.kind is Kind.QUEUE_FULL:
        yield Step(
            f"{names}: ask for a longer queue (nginx: fastopen=NUMBER; haproxy: backlog); no queue "
            "gets longer than net.core.somaxconn"
        )
    elif finding.kind is Kind.BACKLOG:
        yield Step(
            f"{names}: have a longer backlog (nginx: backlog=NUMBER; haproxy: backlog NUMBER; "
            f"listen(2)); none gets longer than {kernel.QUEUE_NAME}"
        )
    elif finding.kind is Kind.SOCKETS_DIFFER:
        yield Step(f"{names}: give all sockets of that address the same queue and key")
    elif finding.kind is Kind.RESTART_CHANGES:
        yield Step(f"{names}: switch it on in the configuration as well")
    elif finding.kind is Kind.OUTSIDE_DISAGREES:
        yield from _look_for(machine, names, finding.listeners)


def _look_for(machine: Machine, names: str, listeners: Sequence[Listener]) -> Iterator[Step]:
    """What takes the option away on this machine, as far as it is known."""
    rules = dict.fromkeys(
        (each.view.namespace, rule) for each in listeners for rule in each.view.rules or ()
    )
    for namespace, rule in rules:
        command = shlex.join(("nft", "delete", "rule", *rule.place))
        yield Step(
            f"{names}: {rule}: have it spare them, or delete it", _in_namespace(namespace, command)
        )
    if rules:
        return
    places = ["nft list ruleset"] if any(each.view.rules is None for each in listeners) else []
    if any(each.view.old_tables for each in listeners):
        places.append("iptables-legacy-save")
    if machine.bpf is None:
        places.append("BPF programs (bpftool net)")
    elif machine.bpf:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(machine.bpf.items()))
        places.append(f"BPF programs (bpftool net; {kinds})")
    where = ", ".join(places) or "what stands between this machine's network card and its kernel"
    yield Step(f"{names}: look for what takes the option away: {where}")


def _is_printable(text: str) -> bool:
    return escape.text(text) == text
