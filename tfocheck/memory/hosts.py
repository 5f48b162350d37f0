"""Servers behind an address: several ports, several machines, several addresses.

Everything in here is an ``Endpoint`` made of endpoints: segments in, segments out, the time is an
argument. ``ReferenceServer`` is one.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, Protocol

from tfocheck.memory.impairment import TO_CLIENT
from tfocheck.memory.tracking import Tracked, client_first, ends_of
from tfocheck.reference.applications import Make
from tfocheck.reference.header import reset_for
from tfocheck.reference.http import serve_http
from tfocheck.reference.listener import PENDING_LIMIT, ReferenceServer
from tfocheck.reference.variations import USUAL, Variations
from tfocheck.wire.segment import Segment

PORT = 8080
OFF_PORT = 8081
"""Where each server of the lab listens once more, without Fast Open."""

FARM = (("10.77.4.2", "fd77:4::2"), ("10.77.5.2", "fd77:5::2"), ("10.77.6.2", "fd77:6::2"))
"""The own addresses of the lab's servers, IPv4 and IPv6, behind its one for all."""

ROTATION_SECONDS = 0.6


class Endpoint(Protocol):
    """What answers at the end of a path, sans-IO."""

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        """Process one segment; returns the segments to send, in order."""

    def next_timer(self) -> float | None:
        """When ``fire`` is due next; None if nothing waits."""

    def fire(self, now: float) -> list[Segment]:
        """Let every timer run that is due at ``now``; returns the segments to send."""


class _Several:
    """Endpoints whose timers run side by side."""

    def __init__(self, members: Iterable[Endpoint]) -> None:
        self._members = tuple(members)

    def next_timer(self) -> float | None:
        """The earliest timer of all."""
        timers = [timer for each in self._members if (timer := each.next_timer()) is not None]
        return min(timers, default=None)

    def fire(self, now: float) -> list[Segment]:
        """What is due at ``now`` of all of them."""
        return [segment for each in self._members for segment in each.fire(now)]


class Host(_Several):
    """A machine with a server on some ports; it resets what comes for another one."""

    def __init__(self, servers: Mapping[int, Endpoint]) -> None:
        super().__init__(servers.values())
        self._servers = dict(servers)

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        """The answers of the port's server, or of a closed port (RFC 9293 section 3.10.7.1)."""
        server = self._servers.get(segment.destination_port)
        if server is not None:
            return server.receive(segment, now)
        return [] if segment.is_reset else [reset_for(segment)]


class Addresses(_Several):
    """A network of endpoints, each at its addresses; nobody answers at another one."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        super().__init__({id(each): each for each in endpoints.values()}.values())
        self._endpoints = dict(endpoints)

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        """The answers of who has the address."""
        endpoint = self._endpoints.get(segment.destination)
        return [] if endpoint is None else endpoint.receive(segment, now)


class Farm(_Several):
    """Several machines behind one address; the client's port tells which one answers."""

    def __init__(self, hosts: Sequence[Endpoint]) -> None:
        super().__init__(hosts)

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        """The answers of the machine that the connection belongs to."""
        return self._members[segment.source_port % len(self._members)].receive(segment, now)


class TranslatedFarm(_Several):
    """Several machines behind one address that is translated (DNAT): each has one of its own.

    Connections go to them in turn. ``addresses`` are IPv4 and IPv6 of each machine.
    """

    def __init__(
        self, hosts: Sequence[Endpoint], addresses: Sequence[tuple[str, str]] = FARM
    ) -> None:
        super().__init__(hosts)
        self._addresses = addresses
        self._chosen: Tracked[int] = Tracked()
        self._outside: Tracked[str] = Tracked()
        self._turn = 0

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        """The answers of the machine that the connection was given to."""
        ends = ends_of(segment)
        number = self._chosen.get(ends)
        if number is None:
            number = self._chosen[ends] = self._turn % len(self._members)
            self._turn += 1
        own = self._addresses[number][":" in segment.destination]
        inside = replace(segment, destination=own)
        self._outside[ends_of(inside)] = segment.destination
        return self._translated(self._members[number].receive(inside, now))

    def fire(self, now: float) -> list[Segment]:
        """What is due at ``now``, as it is seen from outside."""
        return self._translated(super().fire(now))

    def _translated(self, segments: Iterable[Segment]) -> list[Segment]:
        return [
            replace(each, source=self._outside.get(client_first(TO_CLIENT, each)) or each.source)
            for each in segments
        ]


class Rotating:
    """A server that changes its cookie key every so many seconds.

    ``graceful`` keeps honouring the key before; ``hard`` forgets it.
    """

    def __init__(
        self,
        server: ReferenceServer,
        kind: Literal["graceful", "hard"],
        every: float = ROTATION_SECONDS,
    ) -> None:
        self._server = server
        self._kind = kind
        self._every = every
        self._number = 0
        self._began: float | None = None

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        """The server's answers, under the key of this moment."""
        self._rotate(now)
        return self._server.receive(segment, now)

    def next_timer(self) -> float | None:
        """The server's own; keys are changed when they are next asked for."""
        return self._server.next_timer()

    def fire(self, now: float) -> list[Segment]:
        """What the server has due."""
        return self._server.fire(now)

    def _rotate(self, now: float) -> None:
        if self._began is None:
            self._began = now
        number = int((now - self._began) / self._every)
        # Only the last two keys matter, however long nobody came.
        for each in range(max(self._number + 1, number - 1), number + 1):
            for _ in range(1 if self._kind == "graceful" else 2):
                self._server.rotate(key(each))
        self._number = number


def key(number: int) -> bytes:
    """A cookie key for each number, always the same."""
    return hashlib.blake2b(str(number).encode(), digest_size=16).digest()


def reference_host(
    faults: Iterable[str] = (),
    *,
    cookie_key: bytes | None = None,
    rng: random.Random | None = None,
    pending_limit: int = PENDING_LIMIT,
    variations: Variations = USUAL,
    application: Make = serve_http,
    backlog: int | None = None,
) -> Host:
    """A machine as in the lab: the reference server on PORT, and on OFF_PORT without Fast Open."""
    chosen = tuple(faults)
    on, off = (
        ReferenceServer(
            port,
            chosen,
            fast_open=port == PORT,
            pending_limit=pending_limit,
            cookie_key=cookie_key,
            rng=rng,
            variations=variations,
            backlog=backlog,
            application=application,
        )
        for port in (PORT, OFF_PORT)
    )
    return Host({PORT: on, OFF_PORT: off})


def off_server(faults: Iterable[str] = (), rng: random.Random | None = None) -> ReferenceServer:
    """The reference server on OFF_PORT, FastOpenEnabled being false."""
    return ReferenceServer(OFF_PORT, faults, fast_open=False, rng=rng)
