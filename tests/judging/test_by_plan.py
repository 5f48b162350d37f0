"""A report is judged as its plan says: strictly or not, as a whole or not, by what is known."""

from __future__ import annotations

import datetime

from tfocheck.case import Case, Level, Outcome, Role, Severity, Verdict
from tfocheck.errors import ExitCode
from tfocheck.judging.grade import Judgement, judge_by
from tfocheck.judging.kind import Kind
from tfocheck.model.baseline import Allowed, Baseline, Entry
from tfocheck.model.plan import Plan
from tfocheck.model.report import AddressReport, CaseResult, Report
from tfocheck.model.target import parse

LAST_DAY = datetime.date(2020, 2, 29)


async def _never_run(_probe: object) -> Outcome:
    raise AssertionError


def result(case_id: str, verdict: Verdict, role: Role | None = None) -> CaseResult:
    case = Case(
        *(case_id, "4.2", Level.MUST, Severity.MAJOR, "t", "r", "e", "do", _never_run), role=role
    )
    return CaseResult(case, verdict, "seen", 0.1)


def judged(
    verdict: Verdict,
    *,
    today: datetime.date | None = None,
    expires: datetime.date | None = None,
    known: bool = True,
    targets: tuple[str, ...] = ("x:443",),
    errors: tuple[tuple[str, str], ...] = (),
    **plan: bool,
) -> Judgement:
    """One address of each target, where some case has this verdict."""
    entry = Entry("some.case", "*", Allowed.FAIL, "T-1", expires)
    results = (result("control.syn", Verdict.PASS, Role.REACHABLE), result("some.case", verdict))
    addresses = tuple(AddressReport(each, "192.0.2.1", 443, results) for each in targets)
    report = Report(addresses, 0.0, 1.0, "0", errors)
    how = Plan(
        (parse("x:443"),),
        (),
        frozenset(),
        baseline=Baseline("b.toml", (entry,), "") if known else None,
        **plan,  # type: ignore[arg-type]
    )
    return judge_by(how, report, today)


def test_what_the_baseline_of_the_plan_allows_is_known() -> None:
    found = judged(Verdict.FAIL)
    assert found.conclusions[0].kind is Kind.KNOWN
    assert found.exit_code == ExitCode.CONFORMS
    assert found.baseline is not None
    assert found.baseline.path == "b.toml"
    assert found.report.addresses[0].results[1].known == "T-1"


def test_without_one_nothing_is_known() -> None:
    found = judged(Verdict.FAIL, known=False)
    assert found.baseline is None
    assert found.exit_code == ExitCode.FAILED


def test_entries_expire_on_the_day_that_is_told_or_else_today() -> None:
    assert judged(Verdict.FAIL, today=LAST_DAY, expires=LAST_DAY).exit_code == 0
    after = LAST_DAY + datetime.timedelta(days=1)
    assert judged(Verdict.FAIL, today=after, expires=LAST_DAY).exit_code == 1
    assert judged(Verdict.FAIL, expires=LAST_DAY).exit_code == 1
    assert judged(Verdict.FAIL, expires=datetime.date.max).exit_code == 0


def test_warnings_count_where_the_plan_is_strict() -> None:
    assert judged(Verdict.WARN, known=False).exit_code == 0
    strict = judged(Verdict.WARN, known=False, strict=True)
    assert strict.exit_code == 1
    assert strict.strict
    assert strict.conclusions[0].grade == "A-"


def test_there_is_a_letter_where_no_case_was_deselected() -> None:
    assert judged(Verdict.PASS, complete=True).conclusions[0].grade == "A"
    selected = judged(Verdict.PASS, complete=False)
    assert selected.conclusions[0].grade is None
    assert not selected.complete


def test_addresses_belong_to_their_targets() -> None:
    found = judged(Verdict.PASS, targets=("x:443", "y:443", "x:443"))
    assert found.targets == ("x:443", "y:443")
    assert [address.target for address, _ in found.of("x:443")] == ["x:443", "x:443"]
    assert [conclusion.kind for _, conclusion in found.of("y:443")] == [Kind.CONFORMS]
    assert found.of("z:443") == []


def test_a_target_that_has_no_address_breaks_a_build() -> None:
    found = judged(Verdict.PASS, errors=(("z:443", "does not resolve"),))
    assert found.exit_code == ExitCode.UNREACHABLE
    assert found.untested == ()
