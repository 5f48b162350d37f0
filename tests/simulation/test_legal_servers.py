"""Servers that do something unusual and legal: nothing but their own fault is found at them."""

from __future__ import annotations

import pytest
from whole import OFF_PORT, check

from tfocheck.model.case import Verdict
from tfocheck.model.report import AddressReport
from tfocheck.reference.cookie import CookieMaker
from tfocheck.reference.opening import SynData

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


def keep_plain_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data of any SYN is acknowledged, and kept until the handshake has ended."""
    usual = SynData._data_to_take

    def taken(self: SynData) -> bytes:
        return usual(self) if self._opening.fast_opened else self._syn.payload

    monkeypatch.setattr(SynData, "_data_to_take", taken)


def test_a_stack_that_acknowledges_data_on_plain_syns_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep_plain_data(monkeypatch)
    report = check([f"--off-port={OFF_PORT}", "--no-nat"])
    assert bad(report) == {}
    assert all(each.verdict is not Verdict.SKIP for each in report.results)
    # What is said to be acknowledged is what was.
    for case_id in ("forged.random", "option.too-long", "cookie.source-bound", "forged.lengths"):
        assert "ack 81" in seen(report, case_id)
    assert "ack 9, then handshake and the rest of the data" in seen(report, "forged.fallback")
    assert "ack 81 to a cookie with data, as without" in seen(report, "off.ignores-option")
    assert "8 requests: always the same cookie" in seen(report, "cookie.repeatable")


@pytest.mark.parametrize(
    ("fault", "case_id"),
    [
        ("accepts-any-cookie", "forged.random"),
        ("accepts-any-cookie", "forged.lengths"),
        ("ignores-source", "cookie.source-bound"),
        ("needs-alignment", "option.unaligned"),
        ("many-keys", "farm.one-key"),
        ("delivers-rejected-data", "forged.fallback"),
        ("answers-when-off", "off.ignores-option"),
        ("treats-odd-as-request", "option.odd-length"),
        ("reads-past-eol", "option.after-eol"),
        ("accept-without-option", "control.syn-data"),
    ],
)
def test_such_a_stack_hides_no_fault(
    fault: str, case_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_plain_data(monkeypatch)
    options = [f"--off-port={OFF_PORT}", "--no-nat"]
    assert seen(check(options, faults=[fault]), case_id).startswith("fail")
