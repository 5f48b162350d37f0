"""A wire in memory: what is sent on it is answered by endpoints without IO, in virtual time.

Rules that hold here:

* A wire keeps its order: what arrives at the same time arrives in the order in which it was sent.
* Well-formed segments travel as objects: ``dissect(build(segment))`` is the same one, which the
  tests hold. What is malformed travels as bytes.
"""

from __future__ import annotations

import heapq
import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tfocheck.engine.ports import Interface, Listener, Losses, Timer
from tfocheck.errors import CannotError
from tfocheck.memory.clock import VirtualClock
from tfocheck.wire.evidence import Captured, FlowKey, IcmpError
from tfocheck.wire.segment import Segment

FIRST_PORT = 33_000
LAST_PORT = 60_999
_SECOND = 1_000_000_000


class Endpoint(Protocol):
    """A host without IO, such as ``reference.ReferenceServer``; ``now`` is in seconds."""

    def receive(self, segment: Segment, now: float) -> Sequence[Segment]:
        """Take in one segment; returns what it sends, in order."""

    def next_timer(self) -> float | None:
        """When ``fire`` is due next, None if it is not."""

    def fire(self, now: float) -> Sequence[Segment]:
        """Let every timer run that is due; returns what it sends, in order."""


@dataclass(frozen=True)
class Arrival:
    """Something that comes out of a path: when (monotonic seconds), and what.

    A segment to the server's side (``at_server``), or to ours a segment or an ICMP error about
    the segment of the flow ``key``.
    """

    at: float
    what: Segment | IcmpError
    at_server: bool = False
    key: FlowKey | None = None


class Way(Protocol):
    """What lies between the two ends."""

    def from_client(self, segment: Segment, now: float) -> Sequence[Arrival]:
        """What comes of a segment that we send."""

    def from_server(self, segment: Segment, now: float) -> Sequence[Arrival]:
        """What comes of a segment that a server sends."""


class Cable:
    """Nothing but a delay in seconds, each way."""

    def __init__(self, delay: float = 0.0005) -> None:
        self._delay = delay

    def from_client(self, segment: Segment, now: float) -> tuple[Arrival, ...]:
        """It arrives as it is."""
        return (Arrival(now + self._delay, segment, at_server=True),)

    def from_server(self, segment: Segment, now: float) -> tuple[Arrival, ...]:
        """It arrives as it is."""
        return (Arrival(now + self._delay, segment),)


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
    """The ``engine.ports.Wire`` to endpoints in memory.

    ``endpoints`` maps a port of the server, at whatever address, to who answers there; ``own`` are
    our addresses with their prefixes, the usual one of each family first.
    """

    def __init__(
        self,
        endpoints: Mapping[int, Endpoint],
        clock: VirtualClock,
        *,
        way: Way | None = None,
        own: Iterable[str] = ("10.0.0.1/24", "fd00::1/64"),
    ) -> None:
        self.clock = clock
        self.sent: Counter[tuple[str, int]] = Counter()
        self.received: Counter[tuple[str, int]] = Counter()
        self.resets_sent: Counter[tuple[str, int]] = Counter()
        self.capture_drops = 0
        """So many packets the capture has lost; to be set by whoever wants to pretend that."""
        self._endpoints = dict(endpoints)
        self._way = way or Cable()
        self._own = tuple(ipaddress.ip_interface(each) for each in own)
        self._listeners: dict[FlowKey, Listener] = {}
        self._taken: set[tuple[str, int]] = set()
        self._next_port = FIRST_PORT
        self._coming: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._due: tuple[float, Timer] | None = None
        self._timers: dict[int, tuple[float, Timer]] = {}

    def start(self) -> None:
        """Nothing to be done: nothing comes by itself."""

    def stop(self) -> None:
        """Nothing more is delivered."""
        self._coming.clear()

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
        return tuple(("memory", each) for each in self._own)

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
        self.sent[server] += 1
        self.resets_sent[server] += segment.is_reset
        key = FlowKey(segment.source, segment.source_port, *server)
        listener = self._listeners.get(key)
        if listener is not None:
            listener.segment_captured(self._captured(segment, sent=True))
        self._forward(self._way.from_client(segment, self.clock.now))

    def _captured(self, segment: Segment, *, sent: bool) -> Captured:
        moment = self.clock.time()
        return Captured(segment, moment, sent, nanoseconds=int(moment * _SECOND))

    # --- what is on the way -------------------------------------------------------------------

    def _forward(self, arrivals: Iterable[Arrival]) -> None:
        for arrival in arrivals:
            self._count += 1
            heapq.heappush(
                self._coming,
                (arrival.at, self._count, lambda arrival=arrival: self._deliver(arrival)),  # type: ignore[misc]
            )
        self._set_timer()

    def _set_timer(self) -> None:
        if not self._coming:
            return
        at = self._coming[0][0]
        if self._due is not None:
            if self._due[0] <= at:
                return
            self._due[1].cancel()
        self._due = (at, self.clock.after(at - self.clock.now, self._arrive))

    def _arrive(self) -> None:
        self._due = None
        while self._coming and self._coming[0][0] <= self.clock.now + 1e-9:
            heapq.heappop(self._coming)[2]()
        self._set_timer()

    def _deliver(self, arrival: Arrival) -> None:
        what = arrival.what
        if isinstance(what, IcmpError):
            listener = self._listeners.get(arrival.key) if arrival.key else None
            if listener is not None:
                listener.icmp_received(what)
        elif arrival.at_server:
            self._serve(what)
        else:
            server = (what.source, what.source_port)
            listener = self._listeners.get(
                FlowKey(what.destination, what.destination_port, *server)
            )
            if listener is not None:
                self.received[server] += 1
                listener.segment_captured(self._captured(what, sent=False))

    # --- the servers --------------------------------------------------------------------------

    def _serve(self, segment: Segment) -> None:
        port = segment.destination_port
        endpoint = self._endpoints.get(port)
        if endpoint is not None:
            self._answer(port, endpoint.receive(segment, self.clock.now))

    def _answer(self, port: int, segments: Sequence[Segment]) -> None:
        for segment in segments:
            self._forward(self._way.from_server(segment, self.clock.now))
        at = self._endpoints[port].next_timer()
        known = self._timers.get(port)
        if known is not None:
            if known[0] == at:
                return
            known[1].cancel()
            del self._timers[port]
        if at is not None:
            timer = self.clock.after(at - self.clock.now, lambda: self._fire(port))
            self._timers[port] = (at, timer)

    def _fire(self, port: int) -> None:
        due, _ = self._timers.pop(port)
        # An event loop's timers may be a nanosecond early.
        self._answer(port, self._endpoints[port].fire(max(due, self.clock.now)))
