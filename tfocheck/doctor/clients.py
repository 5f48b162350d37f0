"""Fast Open as a client: what the kernel of this machine keeps and counts of it.

Sources: net/ipv4/tcp_metrics.c and linux/tcp_metrics.h (cookies), net/ipv4/tcp_fastopen.c
(tcp_fastopen_active_should_disable: the pause), ip-tcp_metrics(8); sock_diag(7) and linux/tcp.h
(TCPI_OPT_SYN_DATA).
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from tfocheck.doctor import netlink, netns, processes
from tfocheck.doctor.netns import Namespace, View
from tfocheck.doctor.processes import Process

_METRICS = "tcp_metrics"
_GET = struct.pack("=BBH", 1, 1, 0)
_TO, _FROM = (1, 2), (11, 12)
_AGE, _MSS, _LOST, _COOKIE = 3, 7, 8, 10

_BY_FAMILY = 20
_INFO = 2
_ESTABLISHED = 1 << 1
_SYN_DATA = 0x20
_DIAG = struct.Struct("=BBBB")
_DIAG_BYTES = 72
_OPTIONS_AT = 5


@dataclass(frozen=True)
class Kept:
    """What is kept of a server: the cookie's length in bytes, never the cookie.

    ``age`` is in seconds, ``lost`` counts SYNs with data that got no answer.
    """

    server: str
    source: str
    cookie: int
    mss: int
    lost: int
    age: float


@dataclass(frozen=True)
class Opened:
    """A connection that is open, and began with data on the SYN that was acknowledged."""

    local: str
    local_port: int
    remote: str
    remote_port: int
    inode: int
    process: Process | None = None


@dataclass(frozen=True)
class Clients:
    """A network namespace as its clients have it; None is what could not be read."""

    view: View
    kept: tuple[Kept, ...] | None
    opened: tuple[Opened, ...] | None


def examine() -> list[Clients]:
    """This network namespace, and the others in which something is kept or open."""
    candidates = processes.pids()
    found = [_look(namespace) for namespace in netns.find(candidates)]
    shown = [each for each in found if each.view.namespace.own or each.kept or each.opened]
    inodes = {each.inode for clients in shown for each in clients.opened or ()}
    held, _ = processes.holders(candidates, inodes)
    return [_with_processes(each, held) for each in shown]


def _look(namespace: Namespace) -> Clients:
    view = netns.look(namespace)
    try:
        kept, opened = netns.inside(namespace, _read)
    except OSError:
        return Clients(view, None, None)
    listened = {each.port for each in view.listeners or ()}
    mine = None if opened is None else tuple(e for e in opened if e.local_port not in listened)
    return Clients(view, kept, mine)


def _with_processes(clients: Clients, held: dict[int, list[tuple[int, int]]]) -> Clients:
    opened = tuple(
        Opened(
            each.local,
            each.local_port,
            each.remote,
            each.remote_port,
            each.inode,
            processes.describe(held[each.inode][0][0]) if each.inode in held else None,
        )
        for each in clients.opened or ()
    )
    return Clients(clients.view, clients.kept, None if clients.opened is None else opened)


def _read() -> tuple[tuple[Kept, ...] | None, tuple[Opened, ...] | None]:
    return read_kept(), read_opened()


def read_kept() -> tuple[Kept, ...] | None:
    """What is kept of servers in the network namespace that this process is in."""
    try:
        family = netlink.generic(_METRICS)
        return tuple(parse_kept(netlink.dump(netlink.GENERIC, family, _GET)))
    except OSError:
        return None


def parse_kept(messages: Iterable[bytes]) -> Iterator[Kept]:
    """The entries with a cookie, or with SYNs lost, among messages of tcp_metrics."""
    for message in messages:
        known = dict(netlink.attributes(message[4:]))
        cookie, lost = known.get(_COOKIE, b""), _number(known, _LOST)
        server = _address(known, _TO)
        if server and (cookie or lost):
            age = _number(known, _AGE) / 1000
            source = _address(known, _FROM)
            yield Kept(server, source, len(cookie), _number(known, _MSS), lost, age)


def read_opened() -> tuple[Opened, ...] | None:
    """The open connections of this process's network namespace that began with data on the SYN."""
    found: list[Opened] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        asked = _DIAG.pack(family, socket.IPPROTO_TCP, 1 << (_INFO - 1), 0)
        request = asked + struct.pack("=I", _ESTABLISHED) + bytes(48)
        try:
            found += parse_opened(netlink.dump(netlink.SOCKETS, _BY_FAMILY, request))
        except OSError:
            if family == socket.AF_INET:  # there may be no IPv6
                return None
    return tuple(found)


def parse_opened(messages: Iterable[bytes]) -> Iterator[Opened]:
    """Those among messages of sock_diag (struct inet_diag_msg and its attributes)."""
    for message in messages:
        if len(message) < _DIAG_BYTES:
            continue
        info = dict(netlink.attributes(message[_DIAG_BYTES:])).get(_INFO, b"")
        if len(info) <= _OPTIONS_AT or not info[_OPTIONS_AT] & _SYN_DATA:
            continue
        size = 4 if message[0] == socket.AF_INET else 16
        ports = struct.unpack_from("!HH", message, 4)
        local = str(ipaddress.ip_address(message[8 : 8 + size]))
        remote = str(ipaddress.ip_address(message[24 : 24 + size]))
        inode = struct.unpack_from("=I", message, _DIAG_BYTES - 4)[0]
        yield Opened(local, ports[0], remote, ports[1], inode)


def _address(known: dict[int, bytes], kinds: Collection[int]) -> str:
    for kind in kinds:
        value = known.get(kind, b"")
        if len(value) in (4, 16):
            return str(ipaddress.ip_address(value))
    return ""


def _number(known: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(known.get(kind, b"")[:8], sys.byteorder)
