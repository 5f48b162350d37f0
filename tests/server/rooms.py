"""A session with a server in memory, as the rooms of ``tfocheck.server`` have it; no case runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from tfocheck.case import Case, Level, Outcome, Probe, Severity
from tfocheck.engine.lane import Lane
from tfocheck.memory.clock import VirtualClock
from tfocheck.memory.hosts import PORT, Endpoint
from tfocheck.memory.impairment import Impairment
from tfocheck.memory.network import ONE_WAY_SECONDS, Network
from tfocheck.memory.path import Path
from tfocheck.memory.scenarios import build
from tfocheck.memory.wire import MemoryWire
from tfocheck.model.plan import Plan
from tfocheck.model.target import parse
from tfocheck.reference.listener import ReferenceServer
from tfocheck.server.payload import choose, for_target
from tfocheck.server.session import Session
from tfocheck.server.siblings import Siblings
from tfocheck.wire.segment import Flags, Segment

SERVER, SERVER6 = "10.0.0.2", "fd00::2"
OWN = ("10.0.0.1/24", "10.0.0.3/24", "fd00::1/64")
KEY = bytes(range(16))
ROUND_TRIP = 2 * ONE_WAY_SECONDS

T = TypeVar("T")


async def _never_run(_probe: object) -> Outcome:
    raise AssertionError("not run")


def a_case(
    case_id: str = "some.case",
    *,
    level: Level = Level.MUST,
    severity: Severity | None = Severity.MAJOR,
    run: Callable[[Any], Awaitable[Outcome]] = _never_run,
    **more: Any,
) -> Case:
    """A case that nobody runs, unless it is told how."""
    return Case(case_id, "4.2", level, severity, "title", "asks", "expects", "do", run, **more)


def is_syn(segment: Segment) -> bool:
    """Whether it is a client's first one."""
    return segment.flags & (Flags.SYN | Flags.ACK) == Flags.SYN


class Nobody:
    """An address at which nobody answers."""

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        """Nothing comes of it."""
        return []

    def next_timer(self) -> float | None:
        """Nothing waits."""
        return None

    def fire(self, now: float) -> list[Segment]:
        """Nothing is due."""
        return []


@dataclass
class Spoilt:
    """A server that does not get every segment, or whose answers change on the way.

    ``takes`` is told the segment and the time, ``gives`` makes of an answer what is sent instead.
    """

    server: Endpoint
    takes: Callable[[Segment, float], bool] = lambda segment, now: True
    gives: Callable[[Segment], Iterable[Segment]] = lambda segment: (segment,)

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        """What comes of the segment, if the server gets it."""
        if not self.takes(segment, now):
            return []
        return self._spoil(self.server.receive(segment, now))

    def next_timer(self) -> float | None:
        """The server's."""
        return self.server.next_timer()

    def fire(self, now: float) -> list[Segment]:
        """What the server has due."""
        return self._spoil(self.server.fire(now))

    def _spoil(self, segments: Iterable[Segment]) -> list[Segment]:
        return [each for segment in segments for each in self.gives(segment)]


def reference(*faults: str, **how: Any) -> ReferenceServer:
    """The reference server with these faults."""
    return ReferenceServer(PORT, faults, cookie_key=KEY, **how)


def in_session(
    script: Callable[[Session], Awaitable[T]],
    endpoint: Endpoint | None = None,
    *,
    scenario: str | None = None,
    path: Path | None = None,
    impairment: Impairment | None = None,
    delay: float = ONE_WAY_SECONDS,
    address: str = SERVER,
    own: Iterable[str] = OWN,
    payload: str = "http",
    clock: VirtualClock | None = None,
    **plan: Any,
) -> T:
    """What the script comes to with a session, at the reference server unless another is given.

    The connections are closed in order afterwards; ``plan`` are fields of ``Plan``.
    """
    clock = clock or VirtualClock()
    if scenario is not None:
        network = build(scenario, impairment=impairment, seed=7, delay=delay)
    else:
        network = Network(endpoint or reference(), path, impairment, delay=delay)
    wire = MemoryWire(network, clock, own=own)

    async def main() -> T:
        session = a_session(wire, address=address, payload=payload, **plan)
        try:
            found = await script(session)
            await session.finish()
            return found
        finally:
            session.release()

    return clock.run(main())


ROOM = 32
"""So many half-open connections fit into the listener's backlog, as a whole check would find."""


def a_session(
    wire: MemoryWire, *, address: str = SERVER, payload: str = "http", **plan: Any
) -> Session:
    """A session on this wire."""
    target = parse(f"[{address}]:{PORT}" if ":" in address else f"{address}:{PORT}")
    chosen = choose(payload)
    lane = Lane(wire.clock)
    lane.have_room(ROOM)
    return Session(
        wire=wire,
        lane=lane,
        address=address,
        port=PORT,
        source=wire.source_for(address, PORT)[0],
        scope_id=0,
        payload=for_target(chosen, target),
        plan=Plan((target,), (), frozenset(), chosen, **plan),
        siblings=Siblings(),
    )


async def with_cookie(session: Session, case: Case | None = None) -> Probe:
    """A probe that has a valid cookie."""
    probe = Probe(session, case or a_case())
    [session.facts.cookie] = await probe.cookies.issued_now(1)
    return probe


def labels(session: Session) -> list[str]:
    """What the flows so far were for, in order."""
    return [flow.label for flow in session.flows]


class Late:
    """A server whose application takes so many seconds; that it was asked is acknowledged at once.

    ``held`` tells its answers from what the server itself says.
    """

    def __init__(self, server: Endpoint, seconds: float, held: Callable[[Segment], bool]) -> None:
        self._server = server
        self._seconds = seconds
        self._held = held
        self._waiting: list[tuple[float, Segment]] = []

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        """What is not held back of the answers."""
        return self._hold(self._server.receive(segment, now), now)

    def next_timer(self) -> float | None:
        """When the next one leaves, or the server does something."""
        due = [at for at, _ in self._waiting]
        timer = self._server.next_timer()
        return min(due if timer is None else [*due, timer], default=None)

    def fire(self, now: float) -> list[Segment]:
        """What was held back long enough, and what the server has due."""
        ready = [each for at, each in self._waiting if at <= now]
        self._waiting = [each for each in self._waiting if each[0] > now]
        timer = self._server.next_timer()
        due = self._server.fire(now) if timer is not None and timer <= now else []
        return [*ready, *self._hold(due, now)]

    def _hold(self, segments: Iterable[Segment], now: float) -> list[Segment]:
        segments = list(segments)
        self._waiting += [(now + self._seconds, each) for each in segments if self._held(each)]
        return [
            replace(each, flags=Flags.ACK, payload=b"") if self._held(each) else each
            for each in segments
        ]


def has_data(segment: Segment) -> bool:
    """Whether it is a part of an answer."""
    return bool(segment.payload)
