"""What is left out of a baseline that is written, and why."""

from __future__ import annotations

import datetime

import pytest

from tfocheck.case import Case, Level, Outcome, Role, Severity, Verdict
from tfocheck.judging.grade import judge
from tfocheck.judging.saving import Saved, save
from tfocheck.model.baseline import Baseline
from tfocheck.model.report import AddressReport, CaseResult, Report

TODAY = datetime.date(2026, 11, 25)


async def _never_run(_probe: object) -> Outcome:
    raise AssertionError


def result(
    case_id: str, verdict: Verdict, *, role: Role | None = None, known: str | None = None
) -> CaseResult:
    case = Case(
        *(case_id, "4.2", Level.MUST, Severity.MAJOR, "t", "r", "e", "do", _never_run), role=role
    )
    return CaseResult(case, verdict, "seen", 0.1, known=known)


REACHED = (
    result("control.syn", Verdict.PASS, role=Role.REACHABLE),
    result("forged.random", Verdict.FAIL),
)
MUTE = (result("control.syn", Verdict.INCONCLUSIVE, role=Role.REACHABLE),)


def saved(*addresses: tuple[CaseResult, ...], errors: int = 0, strict: bool = False) -> Saved:
    reports = tuple(
        AddressReport("x:443", f"192.0.2.{number}", 443, results)
        for number, results in enumerate(addresses, 1)
    )
    report = Report(reports, 0.0, 1.0, "0", (("z:443", "does not resolve"),) * errors)
    found = save(judge(report, strict=strict), Baseline("b"), TODAY)
    assert found is not None
    return found


def test_a_failure_at_each_address_is_an_entry() -> None:
    found = saved(REACHED, REACHED)
    assert found.added == 2
    assert found.text.count("[[known]]") == 2
    assert 'address = "192.0.2.2:443"' in found.text
    assert found.left_out == ()


@pytest.mark.parametrize(
    ("mute", "errors", "said"),
    [
        (1, 0, "1 address without an answer"),
        (0, 1, "1 address without an answer"),
        (1, 1, "2 without an answer"),
        (3, 0, "3 without an answer"),
    ],
)
def test_what_did_not_answer_is_counted(mute: int, errors: int, said: str) -> None:
    assert saved(REACHED, *[MUTE] * mute, errors=errors).left_out == (said,)


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ([Verdict.INCONCLUSIVE], ("1 case that was not decided",)),
        ([Verdict.INCONCLUSIVE, Verdict.ERROR], ("2 cases that were not decided",)),
        ([Verdict.SKIP, Verdict.INFO], ()),
    ],
)
def test_what_was_not_decided_is_counted(verdicts: list[Verdict], said: tuple[str, ...]) -> None:
    more = [result(f"case.{number}", verdict) for number, verdict in enumerate(verdicts)]
    assert saved((*REACHED, *more)).left_out == said
    known = [result(each.case.id, each.verdict, known="T-1") for each in more]
    assert saved((*REACHED, *known)).left_out == ()


def test_that_fast_open_is_not_offered_is_never_saved() -> None:
    offered = result("cookie.request", Verdict.SKIP, role=Role.OFFERED)
    [said] = saved((*REACHED, offered)).left_out
    assert "192.0.2.1 does not offer Fast Open" in said
    assert "cookie.request with the verdict not-offered" in said


def test_warnings_are_saved_where_they_are_failures() -> None:
    late = (*REACHED, result("open.late", Verdict.WARN))
    assert saved(late).added == 1
    assert saved(late, strict=True).added == 2
