"""Routes that overrule Fast Open's cookies: those with ``fastopen_no_cookie``.

To a client behind such a route no cookie is given, and its data is taken without one, whatever the
sysctl and the socket say (net/ipv4/tcp_fastopen.c, tcp_fastopen_no_cookie).

Sources: ip-route(8), fastopen_no_cookie; rtnetlink(7); linux/rtnetlink.h.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tfocheck.doctor import netlink

_GET_ROUTE = 26
_MESSAGE = struct.Struct("=BBBBBBBBI")
_DESTINATION, _METRICS, _HOPS = 1, 8, 9
_NO_COOKIE = 17
_FAMILIES = {socket.AF_INET: 4, socket.AF_INET6: 6}


@dataclass(frozen=True)
class Route:
    """A route with ``fastopen_no_cookie``: where it leads; ``hops`` says that it has several."""

    family: int
    destination: str
    hops: bool = False

    def __str__(self) -> str:
        return f"the IPv{self.family} route to {self.destination}"

    @property
    def command(self) -> str | None:
        """What takes that off again; None where ``ip`` shows the route on several lines."""
        if self.hops:
            return None
        shown = f"ip -{self.family} -d route show table all exact {self.destination}"
        changed = f"while read -r it; do ip -{self.family} route change $it; done"
        return f"{shown} | sed -n 's/ fastopen_no_cookie 1//p' | {changed}"


def read() -> tuple[Route, ...] | None:
    """Those of the network namespace that this process is in; None when they can't be read."""
    found: list[Route] = []
    for family in _FAMILIES:
        try:
            request = _MESSAGE.pack(family, *([0] * 8))
            found += parse(netlink.dump(netlink.ROUTE, _GET_ROUTE, request))
        except OSError:
            if family == socket.AF_INET:
                return None
    return tuple(dict.fromkeys(found))


def parse(messages: Iterable[bytes]) -> Iterator[Route]:
    """The routes with ``fastopen_no_cookie`` among messages (struct rtmsg and its attributes)."""
    for message in messages:
        if len(message) < _MESSAGE.size or message[0] not in _FAMILIES:
            continue
        known = dict(netlink.attributes(message[_MESSAGE.size :]))
        metrics = dict(netlink.attributes(known.get(_METRICS, b"")))
        if not any(metrics.get(_NO_COOKIE, b"")):
            continue
        family, bits = _FAMILIES[message[0]], message[1]  # type: ignore[index]
        destination = _network(known.get(_DESTINATION, b""), bits)
        yield Route(family, destination, _HOPS in known)


def _network(address: bytes, bits: int) -> str:
    return f"{ipaddress.ip_address(address)}/{bits}" if len(address) in (4, 16) else "default"
