"""A wire to a network in memory, in virtual time: nobody waits, and no kernel is asked.

Well-formed segments travel as objects: ``dissect(build(segment))`` is the same one, which the tests
hold.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from tfocheck.engine.ports import Interface, Listener, Losses, Timer
from tfocheck.errors import CannotError
from tfocheck.memory.clock import VirtualClock
from tfocheck.memory.network import Network
from tfocheck.memory.path import TimeExceeded
from tfocheck.wire import icmp
from tfocheck.wire.evidence import Captured, FlowKey, IcmpError
from tfocheck.wire.segment import Segment

FIRST_PORT = 33_000
LAST_PORT = 60_999
_SECOND = 1_000_000_000
_INTERFACE = "memory"


class _Port:
    """A reserved port; see ``engine.ports.Port``."""

    def __init__(self, address: str, port: int, taken: set[tuple[str, int]]) -> None:
        self.address = address
        self.port = port
        self._taken = taken
        taken.add((address, port))

    def release(self) -> None:
        """Give it back."""
        self._taken.discard((self.address, self.port))


class MemoryWire:
    """The ``engine.ports.Wire`` to a network in memory.

    ``own`` are our addresses with their prefixes, the usual one of each family first.
    """

    def __init__(
        self,
        network: Network,
        clock: VirtualClock,
        *,
        own: Iterable[str] = ("10.0.0.1/24", "fd00::1/64"),
    ) -> None:
        self.clock = clock
        self.capture_drops = 0
        """So many packets the capture has lost; to be set by whoever wants to pretend that."""
        self._network = network
        self._own = tuple(ipaddress.ip_interface(each) for each in own)
        self._listeners: dict[FlowKey, Listener] = {}
        self._taken: set[tuple[str, int]] = set()
        self._next_port = FIRST_PORT
        self._due: tuple[float, Timer] | None = None

    def start(self) -> None:
        """Nothing to be done: nothing comes by itself."""

    def stop(self) -> None:
        """Nothing more is delivered."""
        if self._due is not None:
            self._due[1].cancel()
            self._due = None

    def reserve(self, source: str, scope_id: int = 0) -> _Port:
        """The next port in turn that is free. Raises CannotError when none is, or a wrong address.

        ``scope_id`` is of no use here.
        """
        if source not in {str(each.ip) for each in self._own}:
            raise CannotError(f"can't reserve a source port at {source}: not an own address")
        for _ in range(FIRST_PORT, LAST_PORT + 1):
            port = self._next_port
            self._next_port = port + 1 if port < LAST_PORT else FIRST_PORT
            if (source, port) not in self._taken:
                return _Port(source, port, self._taken)
        raise CannotError(f"can't reserve a source port at {source}: none is left")

    def source_for(self, server: str, port: int, scope_id: int = 0) -> tuple[str, int]:
        """Our first address of the server's family."""
        version = ipaddress.ip_address(server).version
        return next(str(each.ip) for each in self._own if each.version == version), scope_id

    def own_addresses(self) -> tuple[tuple[str, Interface], ...]:
        """All of them, at one interface."""
        return tuple((_INTERFACE, each) for each in self._own)

    def attend(self, key: FlowKey, listener: Listener) -> None:
        """Hand the segments of this connection to the listener from now on."""
        self._listeners[key] = listener

    def leave(self, key: FlowKey) -> None:
        """Forget the connection."""
        self._listeners.pop(key, None)

    def watch(self, server: str, port: int) -> None:
        """Everything is captured anyway."""

    def unwatch(self, server: str, port: int) -> None:
        """Everything is captured anyway."""

    def losses(self) -> Losses:
        """What was pretended to be lost."""
        return Losses(self.capture_drops)

    async def send(self, segment: Segment, scope_id: int = 0) -> None:
        """Send the segment: it is captured at once, and goes its way."""
        server = (segment.destination, segment.destination_port)
        key = FlowKey(segment.source, segment.source_port, *server)
        listener = self._listeners.get(key)
        if listener is not None:
            listener.segment_captured(self._captured(segment, sent=True, moment=self.clock.time()))
        self._network.send(segment, self.clock.now)
        self._set_timer()

    def _captured(self, segment: Segment, *, sent: bool, moment: float) -> Captured:
        return Captured(
            segment, moment, sent, interface=_INTERFACE, nanoseconds=int(moment * _SECOND)
        )

    # --- what the network does ----------------------------------------------------------------

    def _set_timer(self) -> None:
        at = self._network.deadline
        if self._due is not None:
            if self._due[0] == at:
                return
            self._due[1].cancel()
            self._due = None
        if at is not None:
            self._due = (at, self.clock.after(at - self.clock.now, self._advance))

    def _advance(self) -> None:
        assert self._due is not None
        # An event loop's timers may be a nanosecond early.
        now, self._due = max(self._due[0], self.clock.now), None
        for arrival in self._network.advance(now):
            moment = self.clock.unix(arrival.at)
            if isinstance(arrival.packet, TimeExceeded):
                self._show_error(arrival.packet.packet, moment)
            else:
                self._show(arrival.packet, moment)
        self._set_timer()

    def _show(self, segment: Segment, moment: float) -> None:
        server = (segment.source, segment.source_port)
        key = FlowKey(segment.destination, segment.destination_port, *server)
        listener = self._listeners.get(key)
        if listener is not None:
            listener.segment_captured(self._captured(segment, sent=False, moment=moment))

    def _show_error(self, packet: bytes, moment: float) -> None:
        found = icmp.read(packet)
        listener = self._listeners.get(found.key) if found is not None else None
        if found is not None and listener is not None:
            listener.icmp_received(
                IcmpError(
                    found.sender,
                    found.icmp_type,
                    found.code,
                    moment,
                    found.quote,
                    nanoseconds=int(moment * _SECOND),
                    packet=packet,
                    interface=_INTERFACE,
                )
            )
