"""Nothing is wrong with what a server may do this way or that way: a test for each."""

from __future__ import annotations

import pytest
from worlds import World, run

from tfocheck.model.case import Verdict
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

ITS_OWN = {"no early answer": {"open.early-answer": Verdict.WARN}}
"""What may rightly be said of a variation."""

WITHOUT_FAST_OPEN = ("kind 254 only", "SYN cookies always")

NOT_MENDED: dict[str, str] = {
    "fresh cookies": "A14: fresh cookies are taken for a NAT pool",
    "fresh cookies of 16 bytes": "A14: fresh cookies are taken for a NAT pool",
}


def _names() -> list[object]:
    return [
        pytest.param(name, marks=pytest.mark.xfail(reason=NOT_MENDED[name], strict=True))
        if name in NOT_MENDED
        else name
        for name in VARIED
    ]


@pytest.mark.parametrize("name", _names())
def test_a_variation_is_no_fault(name: str) -> None:
    report = run(World(1, variations=VARIED[name], has_other_source=True))
    bad = {
        each.case.id: each.verdict
        for each in report.results
        if each.verdict in (Verdict.FAIL, Verdict.WARN, Verdict.ERROR)
    }
    assert bad == ITS_OWN.get(name, {})
    undecided = [each.case.id for each in report.results if each.verdict is Verdict.INCONCLUSIVE]
    assert undecided == []
    passed = [each.case.id for each in report.results if each.verdict is Verdict.PASS]
    assert len(passed) > (3 if name in WITHOUT_FAST_OPEN else 30)
