"""The route: where something changes or ends, from what routers said."""

from __future__ import annotations

import pytest
from tfocheck.server.route import OPTION, PLAIN, Echo, Route, distance

from tfocheck.case import Level, Severity, Verdict
from tfocheck.judging.trust import behind_faults
from tfocheck.model.report import CaseResult
from tfocheck.runner.catalogue import load_cases
from tfocheck.wire.quote import Change

REMOVED = Change("fast-open", "the Fast Open option is removed")
CASES = {case.id: case for case in load_cases()}


def echo(ttl: int, *changes: Change, shows: bool = True) -> Echo:
    return Echo(f"192.0.2.{ttl}", 0.001 * ttl, shows, changes)


def route(option: dict[int, Echo], last: int = 4) -> Route:
    plain = {ttl: echo(ttl) for ttl in range(1, last + 1)}
    return Route(reached_at=last + 1, echoes={PLAIN: plain, OPTION: option})


@pytest.mark.parametrize(("ttl", "hops"), [(64, 1), (61, 4), (128, 1), (120, 9), (255, 1)])
def test_the_distance_is_told_from_the_nearest_initial_ttl(ttl: int, hops: int) -> None:
    assert distance(ttl) == hops


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


def result(case_id: str, verdict: Verdict, *, conclusive: bool = False) -> CaseResult:
    return CaseResult(CASES[case_id], verdict, "seen", 0.1, conclusive=conclusive)


def judged(*results: CaseResult) -> dict[str, Verdict]:
    return {each.case.id: each.verdict for each in behind_faults(results)}


def test_behind_a_fault_of_the_path_only_proofs_stay() -> None:
    assert CASES["forged.random"].severity is Severity.CRITICAL
    assert CASES["path.option-stripped"].level is Level.PATH
    found = judged(
        result("path.option-stripped", Verdict.FAIL, conclusive=True),
        result("open.data-acked", Verdict.FAIL),
        result("cookie.repeatable", Verdict.WARN),
        result("open.sizes", Verdict.INCONCLUSIVE),
        result("forged.random", Verdict.FAIL, conclusive=True),
        result("control.syn", Verdict.PASS),
    )
    assert found == {
        "path.option-stripped": Verdict.FAIL,
        "open.data-acked": Verdict.SKIP,
        "cookie.repeatable": Verdict.SKIP,
        "open.sizes": Verdict.SKIP,
        "forged.random": Verdict.FAIL,
        "control.syn": Verdict.PASS,
    }


def test_servers_with_a_key_each_explain_what_stayed_open_beside() -> None:
    found = judged(
        result("farm.one-key", Verdict.FAIL),
        result("open.sizes", Verdict.INCONCLUSIVE),
        result("forged.random", Verdict.FAIL, conclusive=True),
    )
    assert found["farm.one-key"] is Verdict.FAIL
    assert found["open.sizes"] is Verdict.SKIP
    assert found["forged.random"] is Verdict.FAIL


def test_without_such_a_fault_nothing_is_explained_away() -> None:
    found = judged(
        result("open.data-acked", Verdict.FAIL), result("open.sizes", Verdict.INCONCLUSIVE)
    )
    assert found == {"open.data-acked": Verdict.FAIL, "open.sizes": Verdict.INCONCLUSIVE}
