"""One thing at a time that makes a conforming server hard to judge: none of it is its fault."""

from __future__ import annotations

import oracle
import pytest
from worlds import NETWORKS, World, run

from tfocheck.model.case import Verdict
from tfocheck.reference.applications import APPLICATIONS
from tfocheck.reference.variations import SynCookies, Variations

VARIED: dict[str, Variations] = {
    **{f"cookie of {n} bytes": Variations(cookie_bytes=n) for n in range(4, 17, 2)},
    "fresh cookies": Variations(fresh_cookies=True),
    "fresh cookies of 16 bytes": Variations(fresh_cookies=True, cookie_bytes=16),
    "refreshed cookies": Variations(refreshes_cookies=True),
    "no cookie with a rejection": Variations(offers_on_fallback=False),
    "kind 254 only": Variations(old_kind_only=True),
    "plain data kept": Variations(keeps_plain_data=True),
    "no early answer": Variations(answers_early=False),
    **{f"initial window of {n}": Variations(initial_segments=n) for n in (2, 4, 10)},
    "delayed ACKs": Variations(delays_acks=True),
    "no timestamps": Variations(timestamps=False),
    "no window scale": Variations(window_scale=False),
    "SACK permitted": Variations(sack_permitted=True),
    "SYN cookies always": Variations(syn_cookies=SynCookies.ALWAYS),
}

WITHOUT_FAST_OPEN = ("kind 254 only", "SYN cookies always")

pytestmark = pytest.mark.long


@pytest.mark.parametrize("name", VARIED)
def test_a_variation_is_no_fault(name: str) -> None:
    world = World(1, variations=VARIED[name], has_other_source=True)
    report = run(world)
    assert oracle.problems(world, report) == []
    undecided = [each.case.id for each in report.results if each.verdict is Verdict.INCONCLUSIVE]
    assert undecided == []
    passed = [each.case.id for each in report.results if each.verdict is Verdict.PASS]
    assert len(passed) > (3 if name in WITHOUT_FAST_OPEN else 30)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_application_is_no_fault_of_the_stack(name: str) -> None:
    world = World(1, application=name, delay=0.01, has_other_source=True)
    assert oracle.problems(world, run(world)) == []


@pytest.mark.parametrize("syn_cookies", [SynCookies.WHEN_FULL, SynCookies.NEVER])
@pytest.mark.parametrize("backlog", [0, 1, 2])
def test_a_small_backlog_is_no_fault_of_the_stack(backlog: int, syn_cookies: SynCookies) -> None:
    variations = Variations(syn_cookies=syn_cookies)
    world = World(1, variations=variations, backlog=backlog, delay=0.01, has_other_source=True)
    assert oracle.problems(world, run(world)) == []


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_network_is_no_fault_of_the_server(name: str) -> None:
    for seed in (2, 3):  # a box's numbers are drawn
        world = World(seed, boxes=(name,), delay=0.01, has_other_source=True)
        assert oracle.problems(world, run(world)) == []
