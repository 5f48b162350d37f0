"""The written rules of ``grade``, one by one."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from roles import ROLES

from tfocheck.case import Case, Level, Outcome, Severity, Verdict
from tfocheck.errors import ExitCode
from tfocheck.judging import grade
from tfocheck.judging.grade import Conclusion, conclude, overall, worst
from tfocheck.judging.kind import Kind
from tfocheck.model.report import AddressReport, CaseResult, Report

PASS, FAIL, WARN, INFO = Verdict.PASS, Verdict.FAIL, Verdict.WARN, Verdict.INFO
SKIP, INCONCLUSIVE, ERROR = Verdict.SKIP, Verdict.INCONCLUSIVE, Verdict.ERROR

SEVERITIES = {
    "forged.random": Severity.CRITICAL,
    "forged.fallback": Severity.MAJOR,
    "option.odd-length": Severity.MINOR,
    "option.too-long": Severity.MINOR,
    "cookie.not-volunteered": Severity.MINOR,
    "open.early-answer": None,
    "cookie.repeatable": None,
}
GOOD = {
    "control.syn": PASS,
    "control.unknown-option": PASS,
    "cookie.request": PASS,
    "open.data-acked": PASS,
    "open.early-answer": INFO,
    **dict.fromkeys(list(SEVERITIES)[:-2], PASS),
}


async def _never_run(_probe: object) -> Outcome:
    raise AssertionError


def result(case_id: str, verdict: Verdict, *, prerequisite: bool = False) -> CaseResult:
    severity = SEVERITIES.get(case_id, Severity.MAJOR)
    level = Level.INFO if severity is None else Level.MUST
    level = Level.PATH if case_id.startswith("path.") else level
    case = Case(
        *(case_id, "4.2", level, severity, "t", "r", "e", f"advice of {case_id}", _never_run),
        role=ROLES.get(case_id),
    )
    return CaseResult(case, verdict, f"{case_id} was seen", 0.1, prerequisite=prerequisite)


def address(
    verdicts: Mapping[str, Verdict], *, prerequisites: tuple[str, ...] = ()
) -> AddressReport:
    results = tuple(result(i, v, prerequisite=i in prerequisites) for i, v in verdicts.items())
    return AddressReport("x:443", "192.0.2.1", 443, results)


def changed(**verdicts: Verdict) -> Conclusion:
    return conclude(address({**GOOD, **{k.replace("_", ".", 1).replace("_", "-"): v for k, v in verdicts.items()}}))  # fmt: skip # noqa: E501


@pytest.mark.parametrize(
    ("verdicts", "letter", "kind"),
    [
        ({}, "A+", Kind.CONFORMS),
        ({"open_early_answer": PASS}, "A+", Kind.CONFORMS),
        ({"open_early_answer": SKIP}, "A", Kind.CONFORMS),
        ({"option_odd_length": SKIP}, "A", Kind.CONFORMS),
        ({"open_early_answer": WARN}, "A-", Kind.CONFORMS),
        ({"open_early_answer": INCONCLUSIVE}, "A", Kind.CONFORMS),
        ({"open_early_answer": ERROR}, None, Kind.INCONCLUSIVE),
        ({"cookie_repeatable": INCONCLUSIVE}, "A+", Kind.CONFORMS),
        ({"cookie_repeatable": WARN}, "A-", Kind.CONFORMS),
        ({"path_slower": WARN}, "A+", Kind.CONFORMS),
        ({"path_slower": FAIL}, None, Kind.PATH),
        ({"path_slower": INCONCLUSIVE}, None, Kind.INCONCLUSIVE),
        ({"cookie_not_volunteered": WARN}, "A-", Kind.CONFORMS),
        ({"cookie_not_volunteered": WARN, "open_early_answer": WARN}, "B", Kind.CONFORMS),
        ({"option_odd_length": FAIL}, "B", Kind.FAILED),
        ({"option_odd_length": FAIL, "option_too_long": FAIL}, "B-", Kind.FAILED),
        ({"option_odd_length": FAIL, "cookie_not_volunteered": WARN}, "B-", Kind.FAILED),
        ({"forged_fallback": FAIL}, "C", Kind.FAILED),
        ({"forged_fallback": FAIL, "option_odd_length": FAIL}, "C-", Kind.FAILED),
        ({"open_data_acked": FAIL}, "D", Kind.FAILED),
        ({"open_data_acked": FAIL, "forged_fallback": FAIL}, "D-", Kind.FAILED),
        ({"open_data_acked": FAIL, "open_early_answer": SKIP}, "D", Kind.FAILED),
        ({"forged_random": FAIL}, "F", Kind.FAILED),
        ({"forged_random": FAIL, "option_too_long": INCONCLUSIVE}, "F", Kind.FAILED),
        ({"option_odd_length": FAIL, "option_too_long": INCONCLUSIVE}, None, Kind.FAILED),
        ({"option_too_long": INCONCLUSIVE}, None, Kind.INCONCLUSIVE),
        ({"option_too_long": ERROR}, None, Kind.INCONCLUSIVE),
        ({"cookie_request": SKIP, "open_data_acked": SKIP}, None, Kind.NOT_OFFERED),
        ({"cookie_request": SKIP, "option_too_long": FAIL}, None, Kind.FAILED),
        ({"cookie_request": SKIP, "option_too_long": INCONCLUSIVE}, None, Kind.NOT_OFFERED),
        ({"cookie_request": INCONCLUSIVE}, None, Kind.INCONCLUSIVE),
        ({"control_syn": INCONCLUSIVE, "forged_random": FAIL}, None, Kind.UNREACHABLE),
        ({"control_syn": FAIL}, None, Kind.UNREACHABLE),
        ({"control_syn": SKIP}, None, Kind.UNREACHABLE),
        ({"control_syn": ERROR}, None, Kind.INCONCLUSIVE),
    ],
)
def test_letters(verdicts: dict[str, Verdict], letter: str | None, kind: Kind) -> None:
    found = changed(**verdicts)
    assert (found.grade, found.kind) == (letter, kind)


def test_however_many_warnings_there_are_it_is_no_f() -> None:
    many = {**GOOD, **{f"x.{number}": WARN for number in range(30)}}
    assert conclude(address(many)).grade == "D-"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (Kind.CONFORMS, 0),
        (Kind.FAILED, 1),
        (Kind.NOT_OFFERED, 3),
        (Kind.UNREACHABLE, 4),
        (Kind.INCONCLUSIVE, 4),
        (Kind.NOT_TESTED, 4),
    ],
)
def test_exit_codes(kind: Kind, code: int) -> None:
    assert Conclusion(kind, None, "").exit_code == code


def test_strict_makes_a_warning_a_failure_but_keeps_the_letter() -> None:
    warned = address({**GOOD, "cookie.not-volunteered": WARN})
    assert conclude(warned).exit_code == ExitCode.CONFORMS
    strict = conclude(warned, strict=True)
    assert (strict.exit_code, strict.grade) == (ExitCode.FAILED, "A-")
    assert "cookie.not-volunteered" in strict.headline


def test_a_warning_about_the_path_has_advice_and_counts_in_a_strict_run() -> None:
    slower = address({**GOOD, "path.slower": WARN})
    found, strict = conclude(slower), conclude(slower, strict=True)
    assert (found.exit_code, found.grade) == (ExitCode.CONFORMS, "A+")
    assert (strict.kind, strict.exit_code, strict.grade) == (Kind.PATH, 4, "A+")
    assert "advice of path.slower" in found.advice
    assert "path.slower" in strict.headline


def test_a_fact_that_stayed_open_breaks_no_strict_run_but_alone_it_is_no_pass() -> None:
    whole = address({**GOOD, "cookie.repeatable": INCONCLUSIVE})
    assert conclude(whole, strict=True).exit_code == ExitCode.CONFORMS
    alone = address({"control.syn": PASS, "cookie.repeatable": INCONCLUSIVE})
    alone = replace(alone, results=(replace(alone.results[0], prerequisite=True), alone.results[1]))
    assert conclude(alone, complete=False).exit_code == ExitCode.UNREACHABLE


def test_a_selection_has_no_letter() -> None:
    part = {"control.syn": PASS, "cookie.request": PASS, "open.data-acked": PASS}
    found = conclude(address(part, prerequisites=("control.syn",)), complete=False)
    assert (found.kind, found.grade) == (Kind.CONFORMS, None)
    assert found.headline == "2 of 2 selected cases hold"
    assert conclude(address({**GOOD, "forged.random": FAIL}), complete=False).grade is None


@pytest.mark.parametrize(
    "verdicts",
    [
        {},
        {"control.syn": PASS, "open.early-answer": SKIP},
        {"control.syn": PASS, "cookie.request": PASS, "open.early-answer": SKIP},
    ],
)
def test_nothing_passes_vacuously(verdicts: dict[str, Verdict]) -> None:
    needed = ("control.syn", "cookie.request")
    found = conclude(address(verdicts, prerequisites=needed), complete=False)
    assert (found.kind, found.exit_code) == (Kind.INCONCLUSIVE, ExitCode.UNREACHABLE)


def test_skips_beside_passes_change_nothing() -> None:
    part = {"control.syn": PASS, "open.data-acked": PASS, "open.early-answer": SKIP}
    found = conclude(address(part, prerequisites=("control.syn",)), complete=False)
    assert found.exit_code == ExitCode.CONFORMS
    assert found.headline == "1 of 2 selected cases hold"


def test_a_failing_prerequisite_fails() -> None:
    part = {"control.syn": PASS, "open.data-acked": FAIL, "open.early-answer": SKIP}
    found = conclude(
        address(part, prerequisites=("control.syn", "open.data-acked")), complete=False
    )
    assert found.exit_code == ExitCode.FAILED


def test_headlines() -> None:
    assert changed().headline == (
        "Fast Open works from here: "
        "data on the SYN is accepted and answered before the handshake ends"
    )
    assert "only after the handshake" in changed(open_early_answer=WARN).headline
    assert "judged by the ack alone" in changed(open_early_answer=SKIP).headline
    assert changed(cookie_request=SKIP).headline == "TFO not offered: cookie.request was seen"
    assert changed(control_syn=INCONCLUSIVE).headline == "unreachable: control.syn was seen"
    assert changed(forged_random=FAIL).headline == (
        "Fast Open is unsafe here (1 requirement failed: forged.random)"
    )
    assert changed(open_data_acked=FAIL).headline.startswith("issues cookies that it does not hon")
    assert changed(option_too_long=ERROR).headline.startswith("inconclusive: tfocheck itself")


def test_the_worst_failures_are_named_first() -> None:
    found = changed(
        cookie_not_volunteered=FAIL,
        option_odd_length=FAIL,
        forged_fallback=FAIL,
        forged_random=FAIL,
        option_too_long=FAIL,
    )
    assert "5 requirements failed: forged.random, forged.fallback, " in found.headline
    assert "and 2 more" in found.headline
    assert found.advice[0] == "advice of forged.random"


def test_advice_fits_what_was_seen() -> None:
    assert changed().advice == ()
    assert "tcp_fastopen=3" in changed(cookie_request=SKIP).advice[0]
    path = changed(cookie_request=SKIP, control_unknown_option=FAIL)
    assert path.kind is Kind.FAILED
    path = changed(cookie_request=SKIP, control_unknown_option=INCONCLUSIVE)
    assert "drops or strips options" in path.advice[0]
    assert "tcp_fastopen_key" in changed(open_data_acked=FAIL).advice[0]
    assert "TCP_DEFER_ACCEPT" in changed(open_early_answer=WARN).advice[0]
    assert changed(control_syn=INCONCLUSIVE).advice


def test_the_worst_of_several_addresses_counts() -> None:
    conforms, failed, absent, silent, untested = (
        Conclusion(kind, None, "")
        for kind in (
            Kind.CONFORMS,
            Kind.FAILED,
            Kind.NOT_OFFERED,
            Kind.UNREACHABLE,
            Kind.NOT_TESTED,
        )
    )
    assert overall([conforms]) == 0
    assert overall([conforms, absent]) == 3
    assert overall([conforms, absent, silent]) == 4
    assert overall([conforms, absent, silent, failed]) == 1
    assert overall([conforms, untested]) == 0
    assert overall([absent, untested]) == 3
    assert overall([untested]) == 4
    assert overall([]) == 4
    assert overall([conforms], untested=1) == 4
    assert overall([failed], untested=1) == 1


def test_a_target_that_could_not_be_tried_is_no_pass_of_another_one() -> None:
    reached = AddressReport("a:443", "192.0.2.1", 443, (result("control.syn", PASS),))
    untried = AddressReport("a:443", "2001:db8::1", 443, not_tested="no route")
    judgement = grade.judge(Report((reached, untried), 0.0, 0.0, "1"))
    assert (judgement.exit_code, judgement.untested) == (0, ())
    judgement = grade.judge(Report((reached, replace(untried, target="b:443")), 0.0, 0.0, "1"))
    assert (judgement.exit_code, judgement.untested) == (4, ("b:443",))


def test_the_worst_letter() -> None:
    assert worst(["A+", "B-", "A"]) == "B-"
    assert worst(["A+", "F", "D-"]) == "F"
    assert worst(["A+", None]) is None
    assert worst([]) is None


def test_judge_concludes_on_each_address() -> None:
    good, bad = address(GOOD), address({**GOOD, "forged.random": FAIL})
    judgement = grade.judge(Report((good, bad), 0.0, 1.0, "0", ()))
    assert [found.grade for found in judgement.conclusions] == ["A+", "F"]
    assert judgement.exit_code == ExitCode.FAILED
    assert judgement.targets == ("x:443",)
    assert judgement.of("x:443")[1][1].grade == "F"
