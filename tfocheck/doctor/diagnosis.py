"""What is wrong, from what was found; ``advice`` says what to do about it.

The rules:

1. A listener that asks for Fast Open and does not get it is a problem.
2. That nobody asks is a problem, too: nothing passes vacuously. With ports named, each listener on
   them has to ask.
3. Taking data without a cookie is a problem: the check from outside fails it.
4. What will change at the next boot, or costs clients Fast Open now and then, is a warning.
5. What could not be read is named, and no problem: neither is a namespace of others' listeners
   that may not be looked at. Only when nothing at all could be told is there no verdict: from
   inside, or from outside where that was asked for.

Which settings overrule a socket that asks is in ``chain``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tfocheck.doctor import chain, kernel, settings
from tfocheck.doctor.chain import State, state
from tfocheck.doctor.examination import Machine
from tfocheck.doctor.finding import Finding, Kind, Weight, names
from tfocheck.doctor.listener import Listener
from tfocheck.doctor.outside import Outside
from tfocheck.errors import ExitCode


@dataclass(frozen=True)
class Diagnosis:
    """The findings, gravest first, and what they come to."""

    findings: tuple[Finding, ...]
    exit_code: ExitCode
    headline: str


def diagnose(machine: Machine, outside: Sequence[Outside] = ()) -> Diagnosis:
    """Apply the rules."""
    order = list(Weight)
    findings = sorted(_findings(machine, outside), key=lambda each: order.index(each.weight))
    problems = [each for each in findings if each.weight is Weight.PROBLEM]
    states = [state(each, machine.version) for each in machine.listeners]
    on = sum(
        each.count
        for each, found in zip(machine.listeners, states, strict=True)
        if found is State.ON
    )
    if problems:
        return Diagnosis(tuple(findings), ExitCode.FAILED, _headline_of(problems, machine))
    if on == 0:
        text = "it can't be told who gets Fast Open here: no listener could be read"
        return Diagnosis(tuple(findings), ExitCode.CANNOT, text)
    asking = sum(each.count for each in machine.listeners if each.queue)
    unread = _unread(machine)
    rest = f"; {unread} could not be read" if unread else ""
    text = f"{on} of {asking} listeners that ask for Fast Open get it{rest}"
    if outside and all(each.works is None for each in outside):
        text += "; the outside check could tell nothing"
        return Diagnosis(tuple(findings), ExitCode.CANNOT, text)
    return Diagnosis(tuple(findings), ExitCode.CONFORMS, text)


def _headline_of(problems: Sequence[Finding], machine: Machine) -> str:
    refused = sum(
        each.count
        for each in machine.listeners
        if state(each, machine.version) is State.REFUSED and each.queue
    )
    # None of them is a problem where nobody may say that it ought to have it.
    by_kernel = {Kind.KERNEL_TOO_OLD, Kind.SERVER_BIT_OFF, Kind.ALWAYS_SYN_COOKIES}
    if refused and any(each.kind in by_kernel for each in problems):
        some = "1 listener asks" if refused == 1 else f"{refused} listeners ask"
        does = "does" if refused == 1 else "do"
        return f"{some} for Fast Open and {does} not get it"
    return problems[0].text


def _findings(machine: Machine, outside: Sequence[Outside]) -> Iterator[Finding]:
    yield from settings.about_kernel(machine)
    for view in machine.views:
        yield from settings.about_view(machine, view)
    yield from _about_asking(machine)
    yield from settings.about_sockets(machine)
    yield from _about_outside(outside)
    yield from _about_boot(machine)
    yield from _about_restart(machine)
    unread = _unread(machine)
    if unread:
        reasons = dict.fromkeys(each.reason for each in machine.listeners if each.queue is None)
        sockets = "1 listener" if unread == 1 else f"{unread} listeners"
        yield Finding(
            Kind.NOT_READ, Weight.NOTE, f"{sockets} could not be read: {'; '.join(reasons)}"
        )
    for view in machine.views:
        if view.problem:
            yield Finding(Kind.NOT_READ, Weight.NOTE, f"{view.namespace} {view.problem}", view)


def _about_asking(machine: Machine) -> Iterator[Finding]:
    read = [each for each in machine.listeners if each.queue is not None]
    cut = tuple(each for each in read if chain.is_cut(each))
    silent = tuple(each for each in read if each.queue == 0 and not chain.is_cut(each))
    if cut:
        # Others may have begun before: then these may as well not ask.
        nobody = bool(machine.ports) or not any(each.queue for each in read)
        yield Finding(
            Kind.QUEUE_CUT,
            Weight.PROBLEM if nobody else Weight.NOTE,
            f"{names(cut)}: {kernel.QUEUE_NAME} is 0 in {cut[0].view.namespace}, which cuts every "
            "Fast Open queue to 0, whoever asks",
            cut[0].view,
            cut,
        )
    if machine.ports and silent:
        yield Finding(
            Kind.NOT_ASKING,
            Weight.PROBLEM,
            f"{names(silent)}: {'does' if len(silent) == 1 else 'do'} not ask for Fast Open",
            listeners=silent,
        )
    elif silent and len(silent) == len(read):
        all_read = len(read) == len(machine.listeners)
        who = "no listener" if all_read else "none of the listeners that could be read"
        yield Finding(
            Kind.NOBODY_ASKS, Weight.PROBLEM, f"{who} asks for Fast Open", listeners=silent
        )
    if not machine.listeners and all(view.listeners is not None for view in machine.views):
        ports = ", ".join(str(port) for port in machine.ports)
        text = f"nobody listens on port {ports}" if ports else "there is no listening TCP socket"
        yield Finding(Kind.NO_LISTENER, Weight.PROBLEM, text)


def _about_outside(outside: Sequence[Outside]) -> Iterator[Finding]:
    for each in outside:
        inside = state(each.listener, None)
        if each.works is None:
            text = f"{each.target}: the outside check can't tell: {each.said}"
            yield Finding(Kind.OUTSIDE_UNKNOWN, Weight.WARNING, text, listeners=(each.listener,))
        elif inside is State.ON and not each.works and not takes_any(each.listener, each.family):
            text = f"{each.target}: the socket says on, the outside says {each.said}"
            yield Finding(Kind.OUTSIDE_DISAGREES, Weight.PROBLEM, text, listeners=(each.listener,))


def takes_any(listener: Listener, family: int) -> bool:
    """Whether clients of this family need no cookie: then they get none, "not offered" outside."""
    bare = listener.options is not None and listener.options.without_cookie
    by_route = any(each.family == family for each in listener.view.routes or ())
    return bare or by_route or listener.view.settings.has(kernel.SERVER_WITHOUT_COOKIE) is True


def _about_boot(machine: Machine) -> Iterator[Finding]:
    persistence = machine.persistence
    for name, setting in persistence.overruling if persistence.applies else ():
        text = (
            f"no listener has Fast Open after the next boot: {setting.file}:{setting.line} sets "
            f"{name} = {setting.value}"
        )
        yield Finding(Kind.OVERRULED_AT_BOOT, Weight.WARNING, text)
    for view in machine.views:
        now = view.settings.fast_open
        own = view.namespace.own and persistence.applies
        if not own or not now or not any(each.queue for each in machine.of(view)):
            continue
        winner = persistence.winner
        if not now & kernel.SERVER:
            continue
        if winner is None:
            text = f"{kernel.NAME} = {now} is lost at the next boot: no file of sysctl.d sets it"
        elif not persistence.read_at_boot:
            text = (
                f"{kernel.NAME} is lost at the next boot: only {winner.file} sets it, and systemd "
                "does not read that file"
            )
        elif winner.number is None or not winner.number & kernel.SERVER:
            text = (
                f"Fast Open goes off at the next boot: {winner.file}:{winner.line} sets "
                f"{kernel.NAME} = {winner.value}"
            )
        else:
            text = ""
        if text:
            yield Finding(Kind.NOT_KEPT, Weight.WARNING, text, view)
        if not persistence.key:
            yield Finding(
                Kind.KEY_NOT_SHARED,
                Weight.NOTE,
                f"no file sets {kernel.KEY_NAME}, so the kernel makes a new one at each boot: "
                "cookies end then. Servers behind one address need the same key",
                view,
            )


def _about_restart(machine: Machine) -> Iterator[Finding]:
    """Socket and configuration differ: a restart would switch it."""
    for listener in machine.listeners:
        _, directives = machine.configured(listener)
        everyone = listener.view.settings.has(kernel.ALL_LISTENERS)
        if listener.queue and directives and not everyone and not any(d.on for d in directives):
            yield Finding(
                Kind.RESTART_CHANGES,
                Weight.WARNING,
                f"{names((listener,))}: the socket has Fast Open, but {directives[0].place} does "
                "not switch it on: it goes off with a restart",
                listeners=(listener,),
            )


def _unread(machine: Machine) -> int:
    return sum(each.count for each in machine.listeners if each.queue is None)
