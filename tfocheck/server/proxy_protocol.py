"""haproxy's PROXY header, which tells a server behind a proxy who its client is.

The header has the ports of its connection, so each connection has another one. What cases send has
a nominal header of the same length, and ``Introduction`` puts the true one in its place.

Source: haproxy, doc/proxy-protocol.txt, sections 2.1 (human-readable, v1) and 2.2 (binary, v2). A
receiver may refuse a header that does not come in one piece (section 2).
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfocheck.errors import CannotError
from tfocheck.model.payload import ProxyProtocol

if TYPE_CHECKING:
    from tfocheck.engine.ports import Port

NOMINAL_PORT = 65535
"""Of as many digits as the ports that ``reserve`` gives."""

_LEAST_PORT = 10_000
_MOST_TRIES = 64
_MOST_BYTES = {None: 0, ProxyProtocol.V1: 107, ProxyProtocol.V2: 52}
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_VERSION_2_PROXY = 0x21
_TCP_OVER = {4: 0x11, 6: 0x21}


def most_bytes(version: ProxyProtocol | None) -> int:
    """The length of the longest header."""
    return _MOST_BYTES[version]


def header(version: ProxyProtocol, client: tuple[str, int], server: tuple[str, int]) -> bytes:
    """The header of a connection between two (address, port) of one family."""
    source, destination = (ipaddress.ip_address(end[0]) for end in (client, server))
    if version is ProxyProtocol.V1:
        line = f"PROXY TCP{source.version} {source} {destination} {client[1]} {server[1]}\r\n"
        return line.encode("ascii")
    ends = source.packed + destination.packed + struct.pack("!2H", client[1], server[1])
    about = struct.pack("!2BH", _VERSION_2_PROXY, _TCP_OVER[source.version], len(ends))
    return _SIGNATURE + about + ends


@dataclass(frozen=True)
class Introduction:
    """Makes of what begins with the nominal header, or a part of it, what begins with the true one.

    Called with a place in our stream, from 0 on, and the bytes for it.
    """

    nominal: bytes
    true: bytes

    def __call__(self, place: int, data: bytes) -> bytes:
        """The bytes to send."""
        if place == 0 and data.startswith(self.nominal):
            return self.true + data[len(self.nominal) :]
        part = self.nominal[place : place + len(data)]
        if not data.startswith(part) or len(self.true) != len(self.nominal):
            return data
        return self.true[place : place + len(part)] + data[len(part) :]


def reserve(one: Callable[[], Port]) -> Port:
    """A port of five digits, of those that the function gives. Raises CannotError without any.

    A v1 header has the length of its port's digits.
    """
    short: list[Port] = []
    try:
        for _ in range(_MOST_TRIES):
            port = one()
            if port.port >= _LEAST_PORT:
                return port
            short.append(port)
    finally:
        for port in short:
            port.release()
    raise CannotError(
        f"--proxy-protocol takes source ports from {_LEAST_PORT} on, and none is free: "
        "see sysctl net.ipv4.ip_local_port_range"
    )
