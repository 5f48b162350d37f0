"""What is wrong, from what was found; ``advice`` says what to do about it.

The rules:

1. A listener that asks for Fast Open and does not get it is a problem.
2. That nobody asks is a problem, too: nothing passes vacuously. With ports named, each listener on
   them has to ask.
3. Taking data without a cookie is a problem: the check from outside fails it.
4. What will change at the next boot, or costs clients Fast Open now and then, is a warning.
5. What could not be read is named. Only when nothing at all could be told is there no verdict: from
   inside, or from outside where that was asked for.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tfocheck.doctor import counters, kernel
from tfocheck.doctor.examination import Listener, Machine, State, state
from tfocheck.doctor.netns import View
from tfocheck.doctor.outside import Outside
from tfocheck.errors import ExitCode


class Weight(enum.StrEnum):
    """How grave a finding is; only a problem decides the exit code."""

    PROBLEM = "problem"
    WARNING = "warning"
    NOTE = "note"


class Kind(enum.StrEnum):
    """What was found."""

    KERNEL_TOO_OLD = "kernel-too-old"
    SERVER_BIT_OFF = "server-bit-off"
    NOT_ASKING = "not-asking"
    NOBODY_ASKS = "nobody-asks"
    NO_LISTENER = "no-listener"
    WITHOUT_COOKIE = "without-cookie"
    OUTSIDE_DISAGREES = "outside-disagrees"
    OUTSIDE_UNKNOWN = "outside-unknown"
    NOT_KEPT = "not-kept"
    QUEUE_FULL = "queue-full"
    RESTART_CHANGES = "restart-changes"
    KEY_NOT_SHARED = "key-not-shared"
    NOT_READ = "not-read"


@dataclass(frozen=True)
class Finding:
    """One thing that was found, in a sentence; ``view`` and ``listeners`` are what it is about."""

    kind: Kind
    weight: Weight
    text: str
    view: View | None = None
    listeners: tuple[Listener, ...] = ()


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


def wanted(machine: Machine) -> list[Listener]:
    """The listeners that ought to have Fast Open: those on the named ports, or those that ask."""
    if machine.ports:
        return list(machine.listeners)
    return [each for each in machine.listeners if each.queue]


def _headline_of(problems: Sequence[Finding], machine: Machine) -> str:
    refused = sum(
        each.count
        for each in machine.listeners
        if state(each, machine.version) is State.REFUSED and each.queue
    )
    if refused:
        some = "1 listener asks" if refused == 1 else f"{refused} listeners ask"
        does = "does" if refused == 1 else "do"
        return f"{some} for Fast Open and {does} not get it"
    return problems[0].text


def _findings(machine: Machine, outside: Sequence[Outside]) -> Iterator[Finding]:
    yield from _about_kernel(machine)
    for view in machine.views:
        yield from _about_view(machine, view)
    yield from _about_asking(machine)
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


def _about_kernel(machine: Machine) -> Iterator[Finding]:
    if machine.version is None:
        return
    old = {
        6: machine.version < kernel.IPV6_SINCE,
        4: machine.version < kernel.SERVER_SINCE,
    }
    found = tuple(each for each in wanted(machine) if old[each.listening.family])
    if found:
        yield Finding(
            Kind.KERNEL_TOO_OLD,
            Weight.PROBLEM,
            f"kernel {machine.release} is too old: servers need 3.7, and 3.16 for IPv6",
            listeners=found,
        )


def _about_view(machine: Machine, view: View) -> Iterator[Finding]:
    here = machine.of(view)
    refused = tuple(each for each in here if state(each, machine.version) is State.REFUSED)
    asking = [each for each in refused if each.queue or each.queue is None]
    if view.settings.has(kernel.SERVER) is False and asking:
        yield Finding(
            Kind.SERVER_BIT_OFF,
            Weight.PROBLEM,
            f"the kernel refuses: bit 0x2 of {kernel.NAME} is off in {view.namespace}, so no "
            "listener gets Fast Open",
            view,
            refused,
        )
    getting = tuple(each for each in here if state(each, machine.version) is State.ON)
    if getting and view.settings.has(kernel.SERVER_WITHOUT_COOKIE):
        yield Finding(
            Kind.WITHOUT_COOKIE,
            Weight.PROBLEM,
            f"bit 0x200 of {kernel.NAME} is on in {view.namespace}: data is accepted without a "
            "cookie, from senders whose address may be forged",
            view,
            getting,
        )
    bare = tuple(each for each in getting if each.options and each.options.without_cookie)
    if bare:
        yield Finding(
            Kind.WITHOUT_COOKIE,
            Weight.PROBLEM,
            f"{_names(bare)}: the socket option TCP_FASTOPEN_NO_COOKIE is set: data is accepted "
            "without a cookie",
            view,
            bare,
        )
    overflown = (view.counted or {}).get(counters.OVERFLOWN, 0)
    if overflown and getting:
        yield Finding(
            Kind.QUEUE_FULL,
            Weight.WARNING,
            f"{overflown} SYNs fell back because a listener's Fast Open queue was full "
            f"({counters.OVERFLOWN}, {view.namespace}): ask for a longer queue than "
            f"{_queues(getting)}",
            view,
            getting,
        )


def _about_asking(machine: Machine) -> Iterator[Finding]:
    read = [each for each in machine.listeners if each.queue is not None]
    silent = tuple(each for each in read if each.queue == 0)
    if machine.ports and silent:
        yield Finding(
            Kind.NOT_ASKING,
            Weight.PROBLEM,
            f"{_names(silent)}: {'does' if len(silent) == 1 else 'do'} not ask for Fast Open",
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
        elif inside is State.ON and not each.works and not _takes_any(each.listener):
            text = f"{each.target}: the socket says on, the outside says {each.said}"
            yield Finding(Kind.OUTSIDE_DISAGREES, Weight.PROBLEM, text, listeners=(each.listener,))


def _takes_any(listener: Listener) -> bool:
    """Whether it needs no cookie: then it gives none, to the outside it is "not offered"."""
    bare = listener.options is not None and listener.options.without_cookie
    return bare or listener.view.settings.has(kernel.SERVER_WITHOUT_COOKIE) is True


def _about_boot(machine: Machine) -> Iterator[Finding]:
    persistence = machine.persistence
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
                f"{_names((listener,))}: the socket has Fast Open, but {directives[0].place} does "
                "not switch it on: it goes off with a restart",
                listeners=(listener,),
            )


def _names(listeners: Sequence[Listener]) -> str:
    named = [
        f"{each.listening} ({each.process})" if each.process else str(each.listening)
        for each in listeners[:3]
    ]
    more = len(listeners) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _queues(listeners: Sequence[Listener]) -> str:
    lengths = sorted({each.queue or 0 for each in listeners})
    return " or ".join(str(length) for length in lengths[:3])


def _unread(machine: Machine) -> int:
    return sum(each.count for each in machine.listeners if each.queue is None)
