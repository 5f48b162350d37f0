"""A network in memory, sans-IO: the client's end of a path with a server at the other.

Rules that hold here:

* Whoever drives it says the time: ``send`` what the client sends, call ``advance`` when
  ``deadline`` has come (late is all right: everything happens at its own time, in order), and
  hand out what arrives.
* A wire keeps its order: of two packets that come at once the one that was sent first is first, and
  packets on one wire are a microsecond apart. Only an impairment may swap them.
* Delay, loss and the like befall packets between the client and the first router.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from tfocheck.memory.hosts import Endpoint
from tfocheck.memory.impairment import TO_CLIENT, TO_SERVER, WAYS, Fates, Impairment, Way, Weather
from tfocheck.memory.path import Packet, Path
from tfocheck.wire.segment import Segment

ONE_WAY_SECONDS = 0.0005
"""From one end to the other, which makes a round trip of a millisecond."""

PACKET_SECONDS = 1e-6
"""How far apart two packets on one wire are at least."""

GATHER_SECONDS = 1e-4
"""How late the client looks: it gets packets that come together together, as a capture does."""


@dataclass(frozen=True)
class Arrival:
    """What reaches the client, and when."""

    at: float
    packet: Packet


class Network:
    """An endpoint, the path to it and the weather on it, as the client meets them."""

    def __init__(
        self,
        endpoint: Endpoint,
        path: Path | None = None,
        impairment: Impairment | None = None,
        *,
        delay: float = ONE_WAY_SECONDS,
    ) -> None:
        self._endpoint = endpoint
        self._path = path or Path()
        self._wires = {way: _Wire(impairment or Impairment(), way, delay) for way in WAYS}
        # (due, number, way, packet); the number keeps equals in order.
        self._on_the_way: list[tuple[float, int, Way, Packet]] = []
        self._number = 0
        self._timer: float | None = None
        self._note_timers()

    @property
    def deadline(self) -> float | None:
        """When ``advance`` is due next; None while nothing is on the way and nobody waits."""
        due = self._next_event()
        return None if due is None else due + GATHER_SECONDS

    def _next_event(self) -> float | None:
        if not self._on_the_way:
            return self._timer
        due = self._on_the_way[0][0]
        return due if self._timer is None else min(due, self._timer)

    def send(self, segment: Segment, now: float) -> None:
        """The client sends a segment."""
        self._put(TO_SERVER, segment, now)

    def advance(self, now: float) -> list[Arrival]:
        """Let everything happen that is due at ``now``; what reached the client, in order."""
        arrivals: list[Arrival] = []
        while (due := self._next_event()) is not None and due <= now:
            if self._on_the_way and self._on_the_way[0][0] <= due:
                _, _, way, packet = heapq.heappop(self._on_the_way)
                if way == TO_CLIENT:
                    arrivals.append(Arrival(due, packet))
                elif isinstance(packet, Segment):
                    self._deliver(self._path.from_client(packet, due), due)
                    self._note_timers()
            else:
                self._deliver(self._path.fire(due), due)
                self._answer(self._endpoint.fire(due), due)
                self._note_timers()
        return arrivals

    def _note_timers(self) -> None:
        """When the boxes or the server next do something by themselves."""
        timers = (self._path.next_timer(), self._endpoint.next_timer())
        self._timer = min((timer for timer in timers if timer is not None), default=None)

    def _deliver(self, ends: Iterable[tuple[Way, Packet]], now: float) -> None:
        for way, packet in ends:
            if way == TO_CLIENT:
                self._put(way, packet, now)
            elif isinstance(packet, Segment):
                self._answer(self._endpoint.receive(packet, now), now)

    def _answer(self, segments: Iterable[Segment], now: float) -> None:
        for segment in segments:
            self._deliver(self._path.from_server(segment, now), now)

    def _put(self, way: Way, packet: Packet, now: float) -> None:
        for due in self._wires[way].due(packet, now):
            self._number += 1
            heapq.heappush(self._on_the_way, (due, self._number, way, packet))


class _Wire:
    """One direction between the client and the first router."""

    def __init__(self, impairment: Impairment, way: Way, delay: float) -> None:
        weather = impairment.weather(way)
        self._fates = None if weather == Weather() else Fates(impairment, way)
        self._keeps_order = not weather.jitter and not weather.reorder
        self._delay = delay
        self._last = 0.0

    def due(self, packet: Packet, now: float) -> tuple[float, ...]:
        """When the packet and its copies come out at the other end; () if it is lost."""
        times: tuple[float, ...] = (now + self._delay,)
        if self._fates is not None:
            is_syn_ack = isinstance(packet, Segment) and packet.is_syn_ack
            times = self._fates.due(times[0], _flow(packet), is_syn_ack)
        if not self._keeps_order:
            return times
        apart = []
        for time in times:
            self._last = max(time, self._last + PACKET_SECONDS)
            apart.append(self._last)
        return tuple(apart)


def _flow(packet: Packet) -> tuple[object, ...]:
    if isinstance(packet, Segment):
        return packet.source, packet.source_port, packet.destination, packet.destination_port
    return packet.sender, packet.receiver
