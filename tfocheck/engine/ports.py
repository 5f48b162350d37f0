"""What crafted TCP asks of the world: a wire to send on and to capture from, and a clock.

``linux`` implements these ports with the kernel's sockets, ``memory`` without any.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from tfocheck.wire.evidence import Captured, FlowKey, IcmpError
from tfocheck.wire.segment import Segment

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


class Timer(Protocol):
    """Something that is going to happen, unless it is cancelled."""

    def cancel(self) -> None:
        """Let it not happen."""


class Clock(Protocol):
    """Time, in seconds."""

    def monotonic(self) -> float:
        """A time that never runs backwards."""

    def time(self) -> float:
        """Unix time, as captures have it."""

    async def sleep(self, seconds: float) -> None:
        """Come back after so long."""

    def after(self, seconds: float, action: Callable[[], object]) -> Timer:
        """Call the action after so long, in the running event loop."""


class Port(Protocol):
    """A source port of ours that answers nothing by itself until it is released.

    ``address`` is a literal without a zone.
    """

    @property
    def address(self) -> str:
        """Our address."""

    @property
    def port(self) -> int:
        """The port's number."""

    def release(self) -> None:
        """Give the port back; from now on the kernel answers again."""


class Listener(Protocol):
    """Who gets each segment of a connection, and ICMP errors about it."""

    def segment_captured(self, captured: Captured) -> None:
        """A segment of this connection, sent or received, was captured."""

    def icmp_received(self, error: IcmpError) -> None:
        """Somebody says that a segment of this connection could not be delivered."""


class Losses(NamedTuple):
    """Packets that the capture itself has lost since it was opened."""

    capture_drops: int


class Wire(Protocol):
    """A wire to servers: crafted segments go out, whatever passes by comes in."""

    @property
    def clock(self) -> Clock:
        """The clock that this wire's times are of."""

    def start(self) -> None:
        """Begin to capture, in the running event loop."""

    def stop(self) -> None:
        """Capture no more; the event loop may end."""

    def reserve(self, source: str, scope_id: int = 0) -> Port:
        """A port at our address that stays silent until it is released.

        ``scope_id`` is the interface index of a link-local address. Raises CannotError when the
        address is not ours or no port is left.
        """

    def source_for(self, server: str, port: int, scope_id: int = 0) -> tuple[str, int]:
        """Our address (and scope id) towards a server. Raises UnreachableError without a route."""

    def own_addresses(self) -> Sequence[tuple[str, Interface]]:
        """(interface name, address with its prefix) of every address of ours."""

    def attend(self, key: FlowKey, listener: Listener) -> None:
        """Hand what is captured of this connection to the listener from now on."""

    def leave(self, key: FlowKey) -> None:
        """Forget the connection."""

    def watch(self, server: str, port: int) -> None:
        """Capture what goes to and comes from this server."""

    def unwatch(self, server: str, port: int) -> None:
        """Undo one ``watch``."""

    async def send(self, segment: Segment, scope_id: int = 0) -> None:
        """Send the segment in a packet of its own.

        Raises UnreachableError when there is no route or a neighbour does not answer, CannotError
        when a local firewall or a full queue refuses it.
        """

    def losses(self) -> Losses:
        """What the capture has lost so far."""
