"""The chain from setting to wire: what has to hold for a listener's SYN-ACK to carry a cookie.

One link that breaks is enough, whatever the others say. Which there are, and in what order, is the
kernel's: tcp_conn_request() of net/ipv4/tcp_input.c, tcp_try_fastopen() of net/ipv4/tcp_fastopen.c,
inet_listen() of net/ipv4/af_inet.c.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from tfocheck.doctor import kernel
from tfocheck.doctor.kernel import Version
from tfocheck.doctor.listener import Listener


class State(enum.StrEnum):
    """What the links come to."""

    ON = "on"
    REFUSED = "refused"
    OFF = "off"
    UNKNOWN = "unknown"


class Name(enum.StrEnum):
    """Which link it is."""

    KERNEL = "kernel"
    SOCKET = "socket"
    QUEUE = kernel.QUEUE_NAME
    SYSCTL = kernel.NAME
    SYN_COOKIES = kernel.SYN_COOKIES_NAME
    ROUTES = "routes"
    FIREWALL = "firewall"


@dataclass(frozen=True)
class Link:
    """A link: whether it holds (None when that is not known), in words, and why it breaks.

    ``decides`` is False for what may break it for some clients only.
    """

    name: Name
    holds: bool | None
    text: str
    decides: bool = True

    @property
    def reason(self) -> str:
        """Why it breaks, in words that stand alone."""
        named = self.name in (Name.QUEUE, Name.SYN_COOKIES)
        return f"{self.name} is {self.text}" if named else self.text


def links(listener: Listener, version: Version | None) -> list[Link]:
    """The chain of a listener, from the kernel to the wire."""
    return list(_links(listener, version))


def state(listener: Listener, version: Version | None) -> State:
    """Whether this listener gets Fast Open."""
    chain = [each for each in links(listener, version) if each.decides]
    by_name = {each.name: each.holds for each in chain}
    if by_name[Name.SOCKET] is False:
        return State.OFF
    if False in by_name.values():
        return State.REFUSED
    return State.UNKNOWN if None in by_name.values() else State.ON


def broken(listener: Listener, version: Version | None) -> Link | None:
    """The first link that breaks."""
    return next((each for each in links(listener, version) if each.holds is False), None)


def is_cut(listener: Listener) -> bool:
    """Whether its queue is 0 because the kernel lets none be longer: it may ask."""
    return listener.queue == 0 and listener.view.settings.longest_queue == 0


def _links(listener: Listener, version: Version | None) -> Iterator[Link]:
    settings = listener.view.settings
    since = kernel.IPV6_SINCE if listener.listening.family == 6 else kernel.SERVER_SINCE
    old = version is not None and version < since
    yield Link(Name.KERNEL, not old, "this kernel is too old" if old else "new enough")
    yield from _of_socket(listener)
    bit = settings.has(kernel.SERVER)
    text = {
        True: f"{settings.fast_open}: bit 0x2 is on",
        False: "bit 0x2 is off",
        None: listener.view.problem or "no such sysctl",
    }[bit]
    yield Link(Name.SYSCTL, bit, text)
    yield _of_syn_cookies(settings)
    yield _of_routes(listener)
    yield _of_firewall(listener)


def _of_socket(listener: Listener) -> Iterator[Link]:
    longest = listener.view.settings.longest_queue
    if is_cut(listener):
        yield Link(Name.SOCKET, True, "a queue of 0: whether it asks does not show")
        yield Link(Name.QUEUE, False, "0, which cuts every queue to 0")
        return
    if listener.queue is None:
        yield Link(Name.SOCKET, None, listener.reason)
    elif listener.queue:
        yield Link(Name.SOCKET, True, f"it has a queue of {listener.queue}")
    else:
        yield Link(Name.SOCKET, False, "it does not ask")
    yield Link(
        Name.QUEUE, True, "not known" if longest is None else f"{longest}: no queue is longer"
    )


def _of_syn_cookies(settings: kernel.Settings) -> Link:
    if settings.always_cookies:
        text = "2: each SYN is answered by a SYN cookie, which leaves Fast Open out"
        return Link(Name.SYN_COOKIES, False, text)
    value = "not known" if settings.syn_cookies is None else str(settings.syn_cookies)
    return Link(Name.SYN_COOKIES, True, f"{value}: SYN cookies are not for every SYN")


def _of_routes(listener: Listener) -> Link:
    found = listener.view.routes
    if found is None:
        return Link(Name.ROUTES, None, "they can't be read", decides=False)
    mine = [each for each in found if listener.answers(each.family)]
    if mine:
        text = f"fastopen_no_cookie: {', '.join(map(str, mine[:3]))}"
        return Link(Name.ROUTES, False, text, decides=False)
    return Link(Name.ROUTES, True, "none with fastopen_no_cookie", decides=False)


def _of_firewall(listener: Listener) -> Link:
    found = listener.view.rules
    if found is None:
        text = "its rules can't be read: that takes root, and nftables"
        return Link(Name.FIREWALL, None, text, decides=False)
    if found:
        # What a rule applies to is not worked out.
        return Link(Name.FIREWALL, None, "; ".join(map(str, found[:3])), decides=False)
    if listener.view.old_tables:
        named = ", ".join(listener.view.old_tables)
        text = f"tables of the old iptables, which are not read: {named}"
        return Link(Name.FIREWALL, None, text, decides=False)
    text = "no rule about the option"
    return Link(Name.FIREWALL, True, text, decides=False)
