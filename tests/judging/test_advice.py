"""What is said of an address in words: one line, and what helps most first."""

from __future__ import annotations

import pytest

from tfocheck.case import Case, Level, Outcome, Role, Severity, Verdict
from tfocheck.errors import ExitCode
from tfocheck.judging.advice import advice, headline
from tfocheck.judging.grade import Conclusion, conclude, count, whole_address
from tfocheck.judging.kind import Kind, breaks_build, broken, is_broken, is_path_fault, kind_of
from tfocheck.model.report import AddressReport, CaseResult

PASS, FAIL, WARN, INFO = Verdict.PASS, Verdict.FAIL, Verdict.WARN, Verdict.INFO
SKIP, INCONCLUSIVE, ERROR = Verdict.SKIP, Verdict.INCONCLUSIVE, Verdict.ERROR
ROLES = {
    "syn": Role.REACHABLE,
    "unknown": Role.UNKNOWN_OPTION,
    "offered": Role.OFFERED,
    "honoured": Role.HONOURED,
    "early": Role.EARLY,
}


async def _never_run(_probe: object) -> Outcome:
    raise AssertionError


def result(
    case_id: str,
    verdict: Verdict,
    *,
    severity: Severity | None = Severity.MAJOR,
    level: Level = Level.MUST,
    prerequisite: bool = False,
    known: str | None = None,
    is_users: bool = False,
    seen: str | None = None,
) -> CaseResult:
    case = Case(
        *(case_id, "4.2", level, severity, "t", "r", "e", f"advice of {case_id}", _never_run),
        role=ROLES.get(case_id),
        is_users=is_users,
    )
    seen = f"{case_id} was seen" if seen is None else seen
    return CaseResult(case, verdict, seen, 0.1, prerequisite=prerequisite, known=known)


def address(*results: CaseResult, not_tested: str | None = None) -> AddressReport:
    return AddressReport("x:443", "192.0.2.1", 443, results, not_tested=not_tested)


BASIC = (result("syn", PASS), result("offered", PASS))


def of(*results: CaseResult, strict: bool = False, complete: bool = True) -> Conclusion:
    return conclude(address(*BASIC, *results), strict=strict, complete=complete)


def test_one_failure_is_one_requirement_and_more_are_more() -> None:
    assert of(result("a", FAIL)).headline == "1 requirement failed: a"
    assert of(result("a", FAIL), result("b", FAIL)).headline == "2 requirements failed: a, b"


def test_three_are_named_and_the_rest_is_counted() -> None:
    three = [result(name, FAIL) for name in "abc"]
    assert of(*three).headline == "3 requirements failed: a, b, c"
    assert of(*three, result("d", FAIL)).headline == ("4 requirements failed: a, b, c and 1 more")


def test_what_is_known_is_counted_beside_what_is_new() -> None:
    known = [result(name, FAIL, known="T-1") for name in "bc"]
    assert of(result("a", FAIL), known[0]).headline == "1 requirement failed: a; 1 more is known"
    assert of(result("a", FAIL), *known).headline == "1 requirement failed: a; 2 more are known"
    assert of(*known).headline == "nothing fails but what is known: b, c"


def test_a_critical_failure_makes_it_unsafe_a_critical_warning_does_not() -> None:
    critical = result("a", FAIL, severity=Severity.CRITICAL)
    assert of(result("b", FAIL), critical).headline == (
        "Fast Open is unsafe here (2 requirements failed: a, b)"
    )
    warning = result("a", WARN, severity=Severity.CRITICAL)
    assert of(warning, strict=True).headline == "1 requirement failed: a"


def test_cookies_that_are_not_honoured_are_called_that_before_anything_else() -> None:
    critical = result("a", FAIL, severity=Severity.CRITICAL)
    assert of(result("honoured", FAIL), critical).headline == (
        "issues cookies that it does not honour (2 requirements failed: a, honoured)"
    )
    assert of(result("honoured", WARN), critical).headline.startswith("Fast Open is unsafe")
    # One that is known is not what is new.
    known = result("honoured", FAIL, known="T-1")
    assert of(known, result("a", FAIL)).headline == "1 requirement failed: a; 1 more is known"


def test_nothing_decided_says_why() -> None:
    found = [result("a", INCONCLUSIVE), result("b", INCONCLUSIVE)]
    assert of(*found).headline == "inconclusive: 2 of 4 cases could not be decided"
    assert of(found[0], result("b", ERROR)).headline == (
        "inconclusive: tfocheck itself went wrong in 1 of 4 cases"
    )
    theirs = result("b", ERROR, is_users=True)
    assert of(theirs).headline == "inconclusive: your own code went wrong in 1 of 3 cases"
    assert "tfocheck itself" in of(theirs, result("c", ERROR)).headline
    skipped = [result("a", SKIP), result("b", SKIP)]
    rested = [result("syn", PASS, prerequisite=True)]
    assert conclude(address(*rested, *skipped), complete=False).headline == (
        "inconclusive: every selected case was skipped"
    )
    assert conclude(address()).headline == "inconclusive: no case was run"


def test_of_a_selection_it_is_told_how_many_hold() -> None:
    selected = [result("a", PASS), result("b", INFO), result("c", WARN), result("d", SKIP)]
    rested = [result("syn", PASS, prerequisite=True)]
    found = conclude(address(*rested, *selected), complete=False)
    assert found.headline == "2 of 4 selected cases hold"
    assert found.grade is None
    # Nor can more be said where the opens were not looked at.
    assert conclude(address(*BASIC, *selected)).headline == "4 of 6 selected cases hold"


@pytest.mark.parametrize(
    ("early", "how"),
    [
        (PASS, "data on the SYN is accepted and answered before the handshake ends"),
        (INFO, "data on the SYN is accepted and answered before the handshake ends"),
        (WARN, "data on the SYN is accepted, but answered only after the handshake"),
        (SKIP, "data on the SYN is accepted (judged by the ack alone, no answer was looked at)"),
        (None, "data on the SYN is accepted (judged by the ack alone, no answer was looked at)"),
    ],
)
def test_how_it_works(early: Verdict | None, how: str) -> None:
    more = [] if early is None else [result("early", early)]
    found = of(result("honoured", PASS), *more)
    assert found.headline == f"Fast Open works from here: {how}"


def test_without_fast_open_there_is_a_reason() -> None:
    mute = conclude(address(result("syn", INCONCLUSIVE), result("offered", SKIP)))
    assert (mute.kind, mute.headline) == (Kind.UNREACHABLE, "unreachable: syn was seen")
    empty = conclude(address(result("syn", INCONCLUSIVE, seen="")))
    assert empty.headline == "unreachable: nothing was seen"
    off = conclude(address(result("syn", PASS), result("offered", SKIP)))
    assert (off.kind, off.headline) == (Kind.NOT_OFFERED, "TFO not offered: offered was seen")
    known = conclude(address(result("syn", PASS), result("offered", SKIP, known="T-1")))
    assert known.kind is Kind.KNOWN
    assert known.headline == "TFO not offered, which is known (T-1): offered was seen"
    path = of(result("p", FAIL, level=Level.PATH), result("q", FAIL, level=Level.PATH))
    assert path.kind is Kind.PATH
    assert path.headline == "the path is at fault: p: p was seen"
    untested = conclude(address(not_tested="no route"))
    assert (untested.kind, untested.headline) == (Kind.NOT_TESTED, "not tested: no route")


# --- advice ---------------------------------------------------------------------------------------


def test_who_was_not_tested_gets_no_advice() -> None:
    assert advice(address(not_tested="no route"), Kind.NOT_TESTED) == ()
    [only] = conclude(address(result("syn", INCONCLUSIVE))).advice
    assert "plain SYN" in only


def test_where_an_unknown_option_gets_through_it_is_switched_on_at_the_server() -> None:
    for unknown, advised in (
        ((), "Switch Fast Open on"),
        ((result("unknown", PASS),), "Switch Fast Open on"),
        ((result("unknown", INFO),), "Switch Fast Open on"),
        ((result("unknown", SKIP),), "Not even an unknown TCP option"),
    ):
        found = conclude(address(result("syn", PASS), *unknown, result("offered", SKIP)))
        assert found.kind is Kind.NOT_OFFERED
        assert found.advice[0].startswith(advised)


def test_each_advice_is_given_once_the_worst_first() -> None:
    found = of(
        result("minor", FAIL, severity=Severity.MINOR),
        result("info", WARN, severity=None),
        result("major", WARN),
        result("critical", FAIL, severity=Severity.CRITICAL),
        result("critical", FAIL, severity=Severity.CRITICAL),
        result("fine", PASS),
    )
    assert found.advice == tuple(
        f"advice of {each}" for each in ("critical", "major", "minor", "info")
    )


def test_what_several_verdicts_say_together_comes_before_each_cases_own() -> None:
    dishonoured = of(result("honoured", FAIL)).advice
    assert "tcp_fastopen_key" in dishonoured[0]
    assert dishonoured[1] == "advice of honoured"
    late = of(result("honoured", PASS), result("early", WARN)).advice
    assert "TCP_DEFER_ACCEPT" in late[0]
    for honoured, early in ((WARN, WARN), (PASS, PASS), (PASS, SKIP)):
        found = of(result("honoured", honoured), result("early", early)).advice
        assert not any("TCP_DEFER_ACCEPT" in each for each in found)
    assert not any("TCP_DEFER" in each for each in of(result("early", WARN)).advice)


def test_where_the_path_is_at_fault_it_is_looked_at_alone() -> None:
    found = of(result("p", FAIL, level=Level.PATH), result("honoured", SKIP))
    assert found.kind is Kind.PATH
    assert found.advice == ("advice of p",)
    beside = of(result("a", FAIL), result("p", FAIL, level=Level.PATH), result("honoured", FAIL))
    assert beside.kind is Kind.FAILED
    assert "tcp_fastopen_key" in beside.advice[0]
    assert beside.advice[1:] == ("advice of p", "advice of a", "advice of honoured")


# --- what counts against whom ---------------------------------------------------------------------


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("level", [Level.MUST, Level.PATH])
@pytest.mark.parametrize("verdict", list(Verdict))
def test_what_is_the_servers_fault_and_what_breaks_a_build(
    verdict: Verdict, level: Level, strict: bool
) -> None:
    found = result("a", verdict, level=level)
    counts = verdict is FAIL or (strict and verdict is WARN)
    assert is_broken(found, strict=strict) is (counts and level is Level.MUST)
    assert is_path_fault(found) is (verdict is FAIL and level is Level.PATH)
    # A warning of the path is advice; with --strict it counts, too.
    breaks = counts or verdict in (INCONCLUSIVE, ERROR)
    assert breaks_build(found, strict=strict) is breaks
    known = result("a", verdict, level=level, known="T-1")
    assert not is_broken(known, strict=strict)
    assert not breaks_build(known, strict=strict)


def test_warnings_count_only_where_that_is_asked_for() -> None:
    warning = result("a", WARN)
    assert not is_broken(warning)
    assert not breaks_build(warning)
    assert kind_of(address(*BASIC, warning)) is Kind.CONFORMS
    assert conclude(address(*BASIC, warning)).kind is Kind.CONFORMS


def test_of_equal_severities_the_first_is_first() -> None:
    found = [
        result("none", FAIL, severity=None),
        result("minor", FAIL, severity=Severity.MINOR),
        result("one", FAIL),
        result("two", FAIL),
        result("critical", FAIL, severity=Severity.CRITICAL),
    ]
    names = [each.case.id for each in broken(address(*found), strict=False)]
    assert names == ["critical", "one", "two", "minor", "none"]


@pytest.mark.parametrize(
    ("syn", "more", "kind"),
    [
        (PASS, FAIL, Kind.FAILED),
        (INFO, PASS, Kind.CONFORMS),
        (WARN, FAIL, Kind.UNREACHABLE),
        (FAIL, FAIL, Kind.UNREACHABLE),
        (INCONCLUSIVE, PASS, Kind.UNREACHABLE),
        (SKIP, PASS, Kind.UNREACHABLE),
        (ERROR, FAIL, Kind.INCONCLUSIVE),
        (PASS, ERROR, Kind.INCONCLUSIVE),
        (PASS, INCONCLUSIVE, Kind.INCONCLUSIVE),
        (PASS, WARN, Kind.CONFORMS),
    ],
)
def test_what_an_address_came_to(syn: Verdict, more: Verdict, kind: Kind) -> None:
    assert kind_of(address(result("syn", syn), result("a", more))) is kind


def test_an_error_hides_whether_fast_open_is_offered() -> None:
    off = result("offered", SKIP)
    assert kind_of(address(result("syn", PASS), off)) is Kind.NOT_OFFERED
    assert kind_of(address(result("syn", PASS), off, result("a", ERROR))) is Kind.INCONCLUSIVE
    assert kind_of(address(result("syn", PASS), off, result("a", FAIL))) is Kind.FAILED


def test_what_is_known_is_taken_out_before_the_rest_is_looked_at() -> None:
    known = result("a", FAIL, known="T-1")
    basic = address(*BASIC, known)
    assert kind_of(basic) is Kind.KNOWN
    assert kind_of(address(*BASIC, known, result("b", FAIL))) is Kind.FAILED
    assert kind_of(address(*BASIC, known, result("b", ERROR))) is Kind.INCONCLUSIVE
    path = result("p", FAIL, level=Level.PATH)
    assert kind_of(address(*BASIC, known, path)) is Kind.PATH
    # One that passed, though it may fail, is no known failure.
    assert kind_of(address(*BASIC, result("a", PASS, known="T-1"))) is Kind.CONFORMS
    undecided = result("a", INCONCLUSIVE, known="T-1")
    assert kind_of(address(result("syn", PASS, prerequisite=True), undecided)) is Kind.INCONCLUSIVE


def test_a_headline_is_that_of_the_kind_it_is_given() -> None:
    report = address(*BASIC, result("a", FAIL))
    assert headline(report, Kind.FAILED, False, True) == "1 requirement failed: a"


# --- what stands for a whole address --------------------------------------------------------------


def stands(*results: CaseResult, strict: bool = False) -> str | None:
    report = address(*results)
    return whole_address(report, conclude(report, strict=strict), strict=strict)


def test_the_case_that_stands_for_an_address_where_no_other_says_what_is_wrong() -> None:
    assert stands(result("syn", FAIL)) == "syn"
    assert stands(result("syn", PASS), result("offered", SKIP)) == "offered"
    assert stands(*BASIC, result("a", FAIL)) is None
    assert stands(*BASIC, result("a", WARN)) is None
    assert stands(*BASIC, result("a", WARN), strict=True) is None
    rested = result("syn", PASS, prerequisite=True)
    assert stands(rested, result("a", SKIP), result("b", SKIP)) == "a"
    assert stands() is None
    unoffered = address(result("syn", PASS), result("offered", SKIP))
    assert conclude(unoffered).exit_code == ExitCode.NOT_OFFERED


def test_verdicts_are_counted_in_their_order() -> None:
    found = [result(name, verdict) for name, verdict in zip("abc", (SKIP, PASS, SKIP), strict=True)]
    assert list(count(found).items()) == [(PASS, 1), (SKIP, 2)]
