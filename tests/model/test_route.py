"""The route: where something changes or ends, from what routers said."""

from __future__ import annotations

from tfocheck.model.route import OPTION, PLAIN, Echo, Route
from tfocheck.wire.quote import Change

REMOVED = Change("fast-open", "the Fast Open option is removed")


def echo(ttl: int, *changes: Change, shows: bool = True) -> Echo:
    return Echo(f"192.0.2.{ttl}", 0.001 * ttl, shows, changes)


def route(option: dict[int, Echo], last: int = 4) -> Route:
    plain = {ttl: echo(ttl) for ttl in range(1, last + 1)}
    return Route(reached_at=last + 1, echoes={PLAIN: plain, OPTION: option})


def test_a_change_is_between_the_last_intact_quote_and_the_first_changed_one() -> None:
    found = route({1: echo(1), 2: echo(2, shows=False), 3: echo(3, REMOVED), 4: echo(4, REMOVED)})
    assert found.changed("fast-open") == (
        REMOVED,
        # Hop 2 quotes too little to say.
        "between 192.0.2.1 (hop 1) and 192.0.2.3 (hop 3)",
    )
    assert [hop.changes for hop in found.hops()] == [(), (), (REMOVED.what,), ()]


def test_a_change_before_the_first_router_is_near_here() -> None:
    found = route({1: echo(1, REMOVED)})
    assert found.changed("fast-open") == (REMOVED, "between here and 192.0.2.1 (hop 1)")


def test_what_vanishes_does_so_behind_the_last_router_that_saw_it() -> None:
    found = route({1: echo(1), 2: echo(2)})
    assert found.vanished(OPTION) == "between 192.0.2.2 (hop 2) and 192.0.2.3 (hop 3)"
    assert found.stops_short(OPTION)
    assert route({}).vanished(OPTION) == "between here and 192.0.2.1 (hop 1)"
    everywhere = route({ttl: echo(ttl) for ttl in range(1, 5)})
    assert not everywhere.stops_short(OPTION)
    assert everywhere.vanished(OPTION) == (
        "behind 192.0.2.4 (hop 4), the last router before the server"
    )


def test_silent_routers_have_their_line() -> None:
    found = Route(reached_at=4, echoes={PLAIN: {1: echo(1), 3: echo(3)}})
    assert [hop.router for hop in found.hops()] == ["192.0.2.1", None, "192.0.2.3"]
