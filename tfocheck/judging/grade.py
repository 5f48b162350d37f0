"""From verdicts to a letter and an exit code.

The rules, for one address:

1. No plain SYN is answered: *unreachable*, no grade. The path is at fault (a ``path`` case
   fails): no grade, for the server can't be judged. No cookie at any attempt: *not offered*, no
   grade.
2. A failure of severity critical is F, whatever else is right.
3. A server that issues cookies that it does not honour can't be better than D.
4. Any other failure of severity major is at best C, of severity minor at best B.
5. Each warning, and each failure after the first, costs a step: A+, A, A-, B, B-, C, C-, D, D-.
   A warning about the path costs none: it is not the server's.
6. A is: everything holds. A+ is more: every case passed (none skipped), and the answer came before
   the handshake ended.
7. An inconclusive case leaves the letter open: there is none then, unless it is F already. One of
   level info takes nothing from the letter: it is no requirement.
8. There is a letter only for a whole run; a selection of cases says how many of them hold.
9. Of several addresses the worst counts, and each is shown.

What a baseline allows (``CaseResult.known``) breaks no build: the kind is *known* then, unless
there is something else. It changes no letter, and that an address is unreachable is never known.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tfocheck.errors import ExitCode
from tfocheck.judging.advice import advice, headline
from tfocheck.judging.kind import (
    HELD,
    Kind,
    breaks_build,
    costs_step,
    holds,
    is_offered,
    is_weightless,
    kind_of,
    of_server,
    path_faults,
    undecided,
)
from tfocheck.judging.trust import mark_known
from tfocheck.model.baseline import Applied
from tfocheck.model.case import Role, Severity, Verdict
from tfocheck.model.plan import Plan
from tfocheck.model.report import AddressReport, CaseResult, Report

STEPS = ("A+", "A", "A-", "B", "B-", "C", "C-", "D", "D-")
GRADES = (*STEPS, "F")

_CEILING = {Severity.CRITICAL: "F", Severity.MAJOR: "C", Severity.MINOR: "B"}
_EXIT_CODES = {
    Kind.CONFORMS: ExitCode.CONFORMS,
    Kind.KNOWN: ExitCode.CONFORMS,
    Kind.FAILED: ExitCode.FAILED,
    Kind.NOT_OFFERED: ExitCode.NOT_OFFERED,
    Kind.UNREACHABLE: ExitCode.UNREACHABLE,
    Kind.PATH: ExitCode.UNREACHABLE,
    Kind.INCONCLUSIVE: ExitCode.UNREACHABLE,
    Kind.NOT_TESTED: ExitCode.UNREACHABLE,
}

_STAND_FOR = {Kind.UNREACHABLE: Role.REACHABLE, Kind.NOT_OFFERED: Role.OFFERED}


@dataclass(frozen=True)
class Conclusion:
    """What is true of one address: ``grade`` is a letter or None, ``headline`` is one line."""

    kind: Kind
    grade: str | None
    headline: str
    advice: tuple[str, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of a run that found this alone."""
        return _EXIT_CODES[self.kind]


@dataclass(frozen=True)
class Judgement:
    """A report and what follows from it; ``conclusions`` is in the order of its addresses.

    ``baseline`` is what became of the entries of ``--baseline``, None without one.
    """

    report: Report
    conclusions: tuple[Conclusion, ...]
    exit_code: ExitCode
    strict: bool = False
    complete: bool = True
    baseline: Applied | None = None

    def of(self, target: str) -> list[tuple[AddressReport, Conclusion]]:
        """The addresses of one target, each with its conclusion."""
        pairs = zip(self.report.addresses, self.conclusions, strict=True)
        return [(address, conclusion) for address, conclusion in pairs if address.target == target]

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets that have addresses, in order."""
        return tuple(dict.fromkeys(address.target for address in self.report.addresses))

    @property
    def untested(self) -> tuple[str, ...]:
        """The targets of which no address could be tried from here: that breaks a build."""
        return _untested(self.report)


def judge(
    report: Report,
    *,
    strict: bool = False,
    complete: bool = True,
    baseline: Applied | None = None,
) -> Judgement:
    """Conclude on every address; ``complete`` says that no case was deselected."""
    conclusions = tuple(
        conclude(address, strict=strict, complete=complete) for address in report.addresses
    )
    exit_code = overall(conclusions, untested=len(report.errors) + len(_untested(report)))
    return Judgement(report, conclusions, exit_code, strict, complete, baseline)


def judge_by(plan: Plan, report: Report, today: datetime.date | None = None) -> Judgement:
    """Judge a report as its plan says: what its baseline knows, strictly or not.

    ``today`` is the day on which entries expire, by default the real one.
    """
    applied = None
    if plan.baseline is not None:
        report, applied = mark_known(report, plan.baseline, today or datetime.date.today())
    return judge(report, strict=plan.strict, complete=plan.complete, baseline=applied)


def conclude(report: AddressReport, *, strict: bool = False, complete: bool = True) -> Conclusion:
    """Apply the rules to one address.

    With ``strict`` a warning counts as a failure; the letter stays what it is, to be comparable.
    """
    kind = kind_of(report, strict)
    return Conclusion(
        kind,
        _grade(report, kind) if complete else None,
        headline(report, kind, strict, complete),
        advice(report, kind),
    )


def _untested(report: Report) -> tuple[str, ...]:
    tried = {each.target for each in report.addresses if each.not_tested is None}
    targets = dict.fromkeys(each.target for each in report.addresses)
    return tuple(target for target in targets if target not in tried)


def overall(conclusions: Iterable[Conclusion], *, untested: int = 0) -> ExitCode:
    """The worst exit code: failed, then unreachable or inconclusive, then not offered.

    An address that can't be tried from here (no route for its family) does not count. ``untested``
    is the number of targets without any other, or without any at all.
    """
    codes = {found.exit_code for found in conclusions if found.kind is not Kind.NOT_TESTED}
    if untested:
        codes.add(ExitCode.UNREACHABLE)
    for code in (
        ExitCode.FAILED,
        ExitCode.UNREACHABLE,
        ExitCode.NOT_OFFERED,
        ExitCode.CONFORMS,
    ):
        if code in codes:
            return code
    return ExitCode.UNREACHABLE


def worst(grades: Iterable[str | None]) -> str | None:
    """The worst letter, None when an address has none."""
    letters = list(grades)
    if not letters or None in letters:
        return None
    return max((letter for letter in letters if letter is not None), key=GRADES.index)


def count(results: Iterable[CaseResult]) -> dict[Verdict, int]:
    """How often each verdict occurs, prerequisites included, in the order of ``Verdict``."""
    counted = Counter(result.verdict for result in results)
    return {verdict: counted[verdict] for verdict in Verdict if counted[verdict]}


def whole_address(report: AddressReport, conclusion: Conclusion, *, strict: bool) -> str | None:
    """The id of the case that stands for an address at which no case alone says what is wrong.

    None where some do, and where nothing is wrong. Unreachable and not offered have their own case;
    with nothing decided it is the first that was selected.
    """
    if conclusion.kind in _STAND_FOR:
        standing = report.by_role(_STAND_FOR[conclusion.kind])
        return standing.case.id if standing is not None else None
    broken = any(breaks_build(result, strict=strict) for result in report.results)
    if broken or conclusion.exit_code is ExitCode.CONFORMS:
        return None
    results = sorted(report.results, key=lambda result: result.prerequisite)
    return results[0].case.id if results else None


def _grade(report: AddressReport, kind: Kind) -> str | None:
    if kind in (Kind.UNREACHABLE, Kind.NOT_TESTED):
        return None
    failures = of_server(report, Verdict.FAIL)
    if any(result.case.severity is Severity.CRITICAL for result in failures):
        return "F"
    if (
        not is_offered(report)
        or path_faults(report)
        or kind is Kind.INCONCLUSIVE
        or undecided(report)
    ):
        return None
    step = STEPS.index("A")
    for result in failures:
        step = max(step, STEPS.index(_ceiling(result)))
    step += max(0, len(failures) - 1) + sum(map(costs_step, report.results))
    if step == STEPS.index("A") and _is_flawless(report):
        return "A+"
    return STEPS[min(step, len(STEPS) - 1)]


def _ceiling(failure: CaseResult) -> str:
    if failure.case.role is Role.HONOURED:
        return "D"
    return _CEILING[failure.case.severity or Severity.MINOR]


def _is_flawless(report: AddressReport) -> bool:
    return holds(report, Role.EARLY) and all(
        result.verdict in HELD or is_weightless(result.case.level, result.verdict)
        for result in report.results
    )
