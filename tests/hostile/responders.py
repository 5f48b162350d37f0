"""Servers that wish us ill, sans-IO and from a seed: what they send is as bad as they can make it.

Each is an endpoint of a network in memory. The honest server behind them is the reference server;
they spoil what it says, or add to it.
"""

from __future__ import annotations

import dataclasses
import heapq
import random
from collections.abc import Callable, Iterable

from tfocheck.memory import scenarios
from tfocheck.memory.hosts import Endpoint
from tfocheck.wire.segment import Flags, Segment

MSS = 1400
FIELDS: dict[str, Callable[[random.Random], object]] = {
    "seq": lambda chance: chance.randrange(1 << 32),
    "ack": lambda chance: chance.randrange(1 << 32),
    "flags": lambda chance: Flags(chance.randrange(256)),
    "window": lambda chance: chance.choice((0, 1, 65535)),
    "options": lambda chance: chance.randbytes(4 * chance.randrange(11)),
    "payload": lambda chance: chance.randbytes(chance.choice((0, 1, 1400))),
    "ttl": lambda chance: chance.randrange(256),
    "ip_id": lambda chance: chance.randrange(1 << 16),
}


def honest() -> Endpoint:
    """The reference server."""
    network = scenarios.build("reference", faults=(), impairment=None, seed=7, delay=0.0005)
    return network._endpoint


class Spoilt:
    """A server whose answers are spoilt by a function; ``again`` has more to say at times."""

    def __init__(self, spoil: Callable[[Segment, float], Iterable[Segment]]) -> None:
        self._server = honest()
        self._spoil = spoil
        self._later: list[tuple[float, int, Segment]] = []
        self._number = 0

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        """What comes of a segment of the client's."""
        return self._spoilt(self._server.receive(segment, now), now)

    def next_timer(self) -> float | None:
        """When the next thing is due."""
        own = self._server.next_timer()
        due = [*([own] if own is not None else []), *(at for at, _, _ in self._later[:1])]
        return min(due, default=None)

    def fire(self, now: float) -> list[Segment]:
        """What is due."""
        said: list[Segment] = []
        while self._later and self._later[0][0] <= now:
            said.append(heapq.heappop(self._later)[2])
        return said + self._spoilt(self._server.fire(now), now)

    def say_later(self, at: float, segment: Segment) -> None:
        """Send this as it is, then."""
        self._number += 1
        heapq.heappush(self._later, (at, self._number, segment))

    def _spoilt(self, segments: Iterable[Segment], now: float) -> list[Segment]:
        return [each for segment in segments for each in self._spoil(segment, now)]


def repeating(times: int) -> Spoilt:
    """Each answer so many times, its SYN-ACKs above all."""
    return Spoilt(lambda segment, _: [segment] * (times if segment.is_syn_ack else 3))


def mutating(seed: int, share: float = 0.2) -> Spoilt:
    """A field of this share of the answers is another; as many are lost, or come twice."""
    chance = random.Random(seed)

    def spoil(segment: Segment, _now: float) -> list[Segment]:
        fate = chance.random()
        if fate < share:
            field = chance.choice(list(FIELDS))
            changed = {field: FIELDS[field](chance)}
            return [dataclasses.replace(segment, **changed)]  # type: ignore[arg-type]
        if fate < 1.5 * share:
            return []
        return [segment] * (2 if fate < 2 * share else 1)

    return Spoilt(spoil)


def streaming(size: int, *, backwards: bool = False, apart: float = 0.0) -> Spoilt:
    """So many bytes for each connection, ``apart`` seconds between segments.

    They are sent behind the answer's last byte, which never comes to its end; ``backwards`` in the
    wrong order.
    """
    begun: set[int] = set()

    def spoil(segment: Segment, now: float) -> list[Segment]:
        if segment.destination_port in begun or not segment.payload or segment.is_syn_ack:
            return [dataclasses.replace(segment, flags=segment.flags & ~Flags.FIN)]
        begun.add(segment.destination_port)
        first = segment.seq + len(segment.payload)
        flags = Flags.ACK
        places = range(0, size, MSS)
        for number, place in enumerate(reversed(places) if backwards else places):
            data = bytes(min(MSS, size - place))
            seq = (first + place) % (1 << 32)
            more = dataclasses.replace(segment, seq=seq, flags=flags, payload=data)
            server.say_later(now + number * apart, more)
        return [dataclasses.replace(segment, flags=flags)]

    server = Spoilt(spoil)
    return server
