"""What settings of the kernel, of routes, of the firewall and of sockets do to those that ask.

The rules that this keeps are ``diagnosis``'s; which link of the chain breaks is ``chain``'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tfocheck.doctor import counters, kernel
from tfocheck.doctor.chain import State, state
from tfocheck.doctor.examination import Machine
from tfocheck.doctor.finding import Finding, Kind, Weight, names
from tfocheck.doctor.listener import Listener
from tfocheck.doctor.netns import View

_SHORT = 8
"""Below it a backlog is shorter than what a browser opens at once, and Python's own is 5."""


def about_kernel(machine: Machine) -> Iterator[Finding]:
    if machine.version is None:
        return
    old = {
        6: machine.version < kernel.IPV6_SINCE,
        4: machine.version < kernel.SERVER_SINCE,
    }
    found = tuple(each for each in machine.wanted if old[each.listening.family])
    if found:
        yield Finding(
            Kind.KERNEL_TOO_OLD,
            Weight.PROBLEM,
            f"kernel {machine.release} is too old: servers need 3.7, and 3.16 for IPv6",
            listeners=found,
        )


def about_view(machine: Machine, view: View) -> Iterator[Finding]:
    here = machine.of(view)
    refused = tuple(each for each in here if state(each, machine.version) is State.REFUSED)
    # Of a namespace that is not ours nobody says that it ought to have Fast Open.
    asking = [each for each in refused if each.queue or (each.queue is None and view.namespace.own)]
    if view.settings.has(kernel.SERVER) is False and asking:
        yield Finding(
            Kind.SERVER_BIT_OFF,
            Weight.PROBLEM,
            f"the kernel refuses: bit 0x2 of {kernel.NAME} is off in {view.namespace}, so no "
            "listener gets Fast Open",
            view,
            refused,
        )
    if view.settings.always_cookies and asking:
        yield Finding(
            Kind.ALWAYS_SYN_COOKIES,
            Weight.PROBLEM,
            f"{kernel.SYN_COOKIES_NAME} is 2 in {view.namespace}: the kernel answers each SYN by a "
            "SYN cookie, which leaves Fast Open out, so no listener gets it",
            view,
            refused,
        )
    getting = tuple(each for each in here if state(each, machine.version) is State.ON)
    yield from _about_path(view, getting)
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
            f"{names(bare)}: the socket option TCP_FASTOPEN_NO_COOKIE is set: data is accepted "
            "without a cookie",
            view,
            bare,
        )
    yield from _about_queues(view, getting)


def _about_path(view: View, getting: tuple[Listener, ...]) -> Iterator[Finding]:
    """Routes that overrule the cookie, and rules of the firewall that overrule the option."""
    for route in view.routes or ():
        reached = tuple(each for each in getting if each.answers(route.family))
        if reached:
            yield Finding(
                Kind.WITHOUT_COOKIE,
                Weight.PROBLEM,
                f"{route} in {view.namespace} has fastopen_no_cookie: from clients there data is "
                "accepted without a cookie, and they are given none",
                view,
                reached,
            )
    for rule in view.rules or () if getting else ():
        yield Finding(
            Kind.FIREWALL,
            Weight.WARNING if rule.takes else Weight.NOTE,
            f"{rule} in {view.namespace}; whom it hits is not worked out here",
            view,
            getting,
        )


def _about_queues(view: View, getting: tuple[Listener, ...]) -> Iterator[Finding]:
    """What makes some SYNs fall back, now and then."""
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
    cookies = (view.counted or {}).get(counters.SYN_COOKIES, 0)
    if cookies and getting:
        yield Finding(
            Kind.BACKLOG,
            Weight.WARNING,
            f"{cookies} SYNs were answered by a SYN cookie, without Fast Open, as a listener's "
            f"backlog was full ({counters.SYN_COOKIES}, {view.namespace})",
            view,
            getting,
        )
    short = tuple(
        each
        for each in getting
        if each.options and each.options.backlog is not None and each.options.backlog < _SHORT
    )
    if short:
        lengths = sorted({each.options.backlog or 0 for each in short if each.options})
        yield Finding(
            Kind.BACKLOG,
            Weight.WARNING,
            f"{names(short)}: a backlog of {' or '.join(map(str, lengths))}: while more "
            "connections than that wait, the kernel answers by SYN cookies or not at all, and "
            "nobody gets Fast Open",
            view,
            short,
        )


def about_sockets(machine: Machine) -> Iterator[Finding]:
    """Sockets that share an address: a client lands on any of them."""
    together: dict[tuple[object, ...], list[Listener]] = {}
    for each in machine.listeners:
        where = (each.listening.address, each.listening.port, each.view.namespace.identity)
        together.setdefault(where, []).append(each)
    for shared in together.values():
        known = [each for each in shared if each.options is not None]
        asking = sum(each.count for each in known if each.queue)
        total = sum(each.count for each in known)
        keys = {each.options.own_keys for each in known if each.options and each.queue}
        place = known[0].listening if known else None
        if 0 < asking < total:
            text = f"{place}: {asking} of the {total} sockets there (SO_REUSEPORT) have Fast Open"
        elif len(keys) > 1:
            text = f"{place}: some of the sockets there (SO_REUSEPORT) have keys of their own"
        else:
            continue
        yield Finding(
            Kind.SOCKETS_DIFFER,
            Weight.WARNING,
            f"{text}: a client lands on any of them, and its cookie is good at some",
            listeners=tuple(shared),
        )


def _queues(listeners: Sequence[Listener]) -> str:
    lengths = sorted({each.queue or 0 for each in listeners})
    return " or ".join(str(length) for length in lengths[:3])
