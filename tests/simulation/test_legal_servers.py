"""Servers that do something unusual and legal: nothing but their own fault is found at them."""

from __future__ import annotations

import pytest
from whole import check

from tfocheck.model.case import Verdict
from tfocheck.model.report import AddressReport
from tfocheck.reference.cookie import CookieMaker

BAD = (Verdict.FAIL, Verdict.WARN, Verdict.INCONCLUSIVE, Verdict.ERROR)


def bad(report: AddressReport) -> dict[str, str]:
    """What counts against somebody, or is open: case → what was seen."""
    return {
        each.case.id: f"{each.verdict}: {each.seen}"
        for each in report.results
        if each.verdict in BAD
    }


def seen(report: AddressReport, case_id: str) -> str:
    """Verdict and what was seen of a case."""
    result = report.result(case_id)
    assert result is not None
    return f"{result.verdict}: {result.seen}"


def with_cookies_of(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CookieMaker, "_size", lambda self: size)


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("size", range(4, 17, 2))
def test_a_cookie_of_any_legal_length_is_served(
    size: int, thorough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_cookies_of(size, monkeypatch)
    report = check(["--thorough"] if thorough else [])
    assert bad(report) == {}
    assert seen(report, "open.timestamps") == "pass: TSecr is our TSval"
    bits = 8 * size if thorough else 8
    assert f"one of {bits} bits flipped" in seen(report, "forged.bit-flip")


@pytest.mark.parametrize("size", range(4, 17, 2))
def test_each_flipped_bit_makes_another_cookie(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with_cookies_of(size, monkeypatch)
    result = check(["--case=forged.bit-flip"]).result("forged.bit-flip")
    assert result is not None
    sent = {
        each.segment.fast_open.cookie
        for flow in result.flows
        for each in flow.packets[:1]
        if each.segment.fast_open is not None
    }
    assert len(sent) == 8
    # Two of them differ by their two bits, from the valid one each by its own.
    one = sorted(sent)[0]
    apart = {(int.from_bytes(one) ^ int.from_bytes(other)).bit_count() for other in sent - {one}}
    assert apart == {2}


@pytest.mark.parametrize("size", [4, 16])
def test_a_short_or_long_cookie_hides_no_fault(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with_cookies_of(size, monkeypatch)
    report = check(faults=["checks-prefix-only"])
    assert set(bad(report)) == {"forged.bit-flip"}
