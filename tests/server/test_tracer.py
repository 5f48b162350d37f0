"""The route, hop by hop: who answers where, what changes, and where it ends."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from dataclasses import replace

import pytest
from rooms import Nobody, Spoilt, a_case, in_session, is_syn, labels, with_cookie

from tfocheck.case import Probe
from tfocheck.memory.hosts import Endpoint, reference_host
from tfocheck.memory.impairment import Impairment, Weather
from tfocheck.memory.path import Box, Hop, Passage, Path, TimeExceeded, routers, with_box
from tfocheck.model.route import AFTER_OPEN, DATA, OPEN, OPTION, PLAIN, Route
from tfocheck.reference.header import reset_for
from tfocheck.reference.listener import ReferenceServer
from tfocheck.server.session import Session
from tfocheck.server.tracer import FARTHEST, FIRST_BATCH, PAUSES, UNUSED_PORTS
from tfocheck.wire.segment import Segment

SERVER = "10.77.4.2"
ROUTERS = ["10.77.0.254", "10.77.1.2", "10.77.2.2", "10.77.3.2"]


def traced(
    endpoint: Endpoint | None = None,
    path: Path | None = None,
    *,
    cookie: bool = True,
    **how: object,
) -> tuple[Route, list[str]]:
    """The route, and what was sent to find it."""

    async def script(session: Session) -> tuple[Route, list[str]]:
        probe = await with_cookie(session) if cookie else Probe(session, a_case())
        before = len(session.flows)
        return await probe.route(), labels(session)[before:]

    way = path or Path(routers())
    return in_session(script, endpoint, path=way, address=SERVER, **how)  # type: ignore[arg-type]


def test_every_router_is_found_and_each_stimulus_is_sent_to_it() -> None:
    route, flows = traced()
    assert route.reached_at == 5
    assert list(route.routers.values()) == ROUTERS
    assert set(route.echoes) == {PLAIN, OPTION, DATA, OPEN}
    assert [hop.changes for hop in route.hops()] == [()] * 4
    # Plain SYNs to a batch of hops, the others to the routers that were found and no further.
    plain = [f"{PLAIN}, TTL {ttl}" for ttl in range(1, FIRST_BATCH + 1)]
    others = [f"{name}, TTL {ttl}" for name in (OPTION, DATA, OPEN) for ttl in range(1, 5)]
    assert flows == [*plain, *others]


def test_without_a_cookie_nothing_is_opened() -> None:
    route, _ = traced(cookie=False)
    assert set(route.echoes) == {PLAIN, OPTION, DATA}


def test_the_time_to_each_router_is_measured() -> None:
    route, _ = traced(delay=0.02)
    times = [hop.rtt for hop in route.hops()]
    assert times == pytest.approx([0.04] * 4, abs=0.002)


class Quiet(Box):
    """Routers that say nothing: their errors are for nobody."""

    def __init__(self, silent: Iterable[str], answers_after: int = 10**9) -> None:
        self._silent = set(silent)
        self._left = answers_after

    def carry_error(self, error: TimeExceeded) -> TimeExceeded:
        """To nobody, or as it is."""
        if error.sender not in self._silent:
            return error
        self._left -= 1
        if self._left < 0:
            return error
        other = replace(error.segment, source="192.0.2.9")
        return TimeExceeded(error.sender, other, error.ttl)


def test_a_silent_router_has_its_place() -> None:
    route, flows = traced(path=with_box(Quiet([ROUTERS[2]]), hop=1))
    assert [hop.router for hop in route.hops()] == [*ROUTERS[:2], None, ROUTERS[3]]
    # Each of the tries, for routers limit how many errors they send.
    assert flows.count(f"{PLAIN}, TTL 3") == len(PAUSES)
    assert flows.count(f"{OPTION}, TTL 3") == 0


def test_a_router_that_answers_late_is_tried_again() -> None:
    route, flows = traced(path=with_box(Quiet([ROUTERS[2]], answers_after=2), hop=1))
    assert [hop.router for hop in route.hops()] == ROUTERS
    assert flows.count(f"{PLAIN}, TTL 3") == 3
    assert flows.count(f"{PLAIN}, TTL 4") == 1


def long_way(count: int) -> Path:
    return Path([Hop((f"10.78.{number}.1", f"fd78:{number}::1")) for number in range(count)])


def test_a_long_way_is_followed_batch_by_batch() -> None:
    route, flows = traced(path=long_way(11), cookie=False)
    assert route.reached_at == 12
    assert len(route.routers) == 11
    assert f"{PLAIN}, TTL {2 * FIRST_BATCH}" in flows
    assert f"{PLAIN}, TTL {2 * FIRST_BATCH + 1}" not in flows


def test_it_is_not_followed_for_ever() -> None:
    route, flows = traced(path=long_way(40), cookie=False)
    assert route.reached_at is None
    assert sorted(route.routers) == list(range(1, FARTHEST + 1))
    assert f"{PLAIN}, TTL {FARTHEST}" in flows
    assert f"{PLAIN}, TTL {FARTHEST + 1}" not in flows


def test_behind_nothing_but_silence_it_does_not_get_better() -> None:
    route, flows = traced(Nobody(), Path(), cookie=False)
    assert route.reached_at is None
    assert route.hops() == ()
    assert len([each for each in flows if each.startswith(PLAIN)]) == FIRST_BATCH * len(PAUSES)


def test_where_the_server_resets_it_is_reached_as_well() -> None:
    class Resetting(Nobody):
        def receive(self, segment: Segment, now: float) -> list[Segment]:
            return [reset_for(segment)]

    route, _ = traced(Resetting(), cookie=False)
    assert route.reached_at == 5
    assert [hop.router for hop in route.hops()] == ROUTERS


def test_it_is_looked_for_once_with_nobody_else_in_the_lane() -> None:
    async def script(session: Session) -> None:
        probe = await with_cookie(session)
        assert probe.known_route is None
        one, other = await asyncio.gather(probe.route(), probe.route())
        assert one is other is probe.known_route
        flows = len(session.flows)
        assert await probe.route() is one
        assert len(session.flows) == flows

        session.known_route = None
        async with session.lane.shared():
            route = asyncio.ensure_future(probe.route())
            await session.clock.sleep(1)
            assert len(session.flows) == flows
        await route

    in_session(script, path=Path(routers()), address=SERVER)


def test_loss_hides_no_router() -> None:
    lossy = Weather(loss=0.2)
    route, _ = traced(path=Path(routers()), impairment=Impairment(lossy, lossy, seed=2))
    assert [hop.router for hop in route.hops()] == ROUTERS


# --- where what follows an open ends --------------------------------------------------------------


class AfterOpen(Box):
    """Throws away what comes behind a SYN with data."""

    def __init__(self) -> None:
        self._opened: set[int] = set()

    def carry(self, way: object, segment: Segment, now: float) -> Iterable[Passage]:
        """Nothing, behind such a SYN."""
        if way == "to-server" and is_syn(segment) and segment.payload:
            self._opened.add(segment.source_port)
        elif segment.source_port in self._opened:
            return ()
        return super().carry(way, segment, now)  # type: ignore[arg-type]


def where(path: Path) -> tuple[str | None, Route | None]:
    async def script(session: Session) -> tuple[str | None, Route | None]:
        probe = await with_cookie(session)
        found = await probe.where_it_ends()
        return found, probe.known_route

    return in_session(script, path=path, address=SERVER)


def test_what_follows_an_open_is_followed_to_where_it_ends() -> None:
    found, route = where(with_box(AfterOpen(), hop=2))
    assert found == "between 10.77.1.2 (hop 2) and 10.77.2.2 (hop 3)"
    assert route is not None
    assert sorted(route.echoes[AFTER_OPEN]) == [1, 2]
    found, route = where(Path(routers()))
    assert found == "behind 10.77.3.2 (hop 4), the last router before the server"


def test_without_routers_nobody_knows_where() -> None:
    assert where(Path())[0] is None


# --- a closed port --------------------------------------------------------------------------------


def closed(endpoint: Endpoint, attempts: int = 3) -> tuple[str | None, list[int]]:
    async def script(session: Session) -> tuple[str | None, list[int]]:
        probe = Probe(session, a_case())
        flow = await probe.closed_port()
        ports = [each.server[1] for each in session.flows]
        assert all(UNUSED_PORTS[0] <= port < UNUSED_PORTS[1] for port in ports)
        assert probe.evidence.flows == session.flows
        assert session.ports >= set(ports)
        if flow is None:
            return None, ports
        return ("reset" if flow.reset is not None else "SYN-ACK"), ports

    return in_session(script, endpoint, attempts=attempts)


class Everywhere:
    """A server on every port."""

    def __init__(self) -> None:
        self._servers: dict[int, Endpoint] = {}

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        port = segment.destination_port
        return self._servers.setdefault(port, ReferenceServer(port)).receive(segment, now)

    def next_timer(self) -> float | None:
        timers = [each.next_timer() for each in self._servers.values()]
        return min((timer for timer in timers if timer is not None), default=None)

    def fire(self, now: float) -> list[Segment]:
        return [segment for each in self._servers.values() for segment in each.fire(now)]


def test_a_port_where_nobody_listens_is_reset_or_somebody_answers() -> None:
    answer, ports = closed(reference_host())
    assert (answer, len(ports)) == ("reset", 1)
    assert closed(Everywhere())[0] == "SYN-ACK"


def test_what_is_lost_is_tried_at_another_port() -> None:
    answer, ports = closed(Nobody())
    assert answer is None
    assert len(set(ports)) == 3
    assert len(closed(Nobody(), attempts=1)[1]) == 1
    first = itertools.count(1)
    answer, ports = closed(Spoilt(reference_host(), lambda segment, _: next(first) > 1))
    assert (answer, len(ports)) == ("reset", 2)
