"""What an address came to, apart from any letter: it conforms, fails, can't be reached, and so on.

``counts_against`` decides, for the letter, the exit code, strict runs, JUnit, compare and baseline
alike, what counts against whom.
"""

from __future__ import annotations

import enum
from dataclasses import replace

from tfocheck.model.case import Level, Role, Severity, Verdict
from tfocheck.model.report import AddressReport, CaseResult

HELD = (Verdict.PASS, Verdict.INFO)
_DECIDED = (Verdict.PASS, Verdict.INFO, Verdict.WARN)
_WEIGHT = {Severity.CRITICAL: 0, Severity.MAJOR: 1, Severity.MINOR: 2, None: 3}


class Against(enum.StrEnum):
    """Whom, or what, a verdict counts against."""

    SERVER = "server"
    PATH = "path"
    VERDICT = "verdict"
    """The run itself: something that matters stayed open."""


def counts_against(level: Level, verdict: Verdict, *, strict: bool = False) -> Against | None:
    """Whom a verdict on a case of this level counts against; None if it breaks nothing.

    With ``strict`` a warning counts as a failure. A fact that stayed open (level info) and a
    warning about the path take nothing from the letter, and only the latter counts in a strict run.
    """
    if verdict is Verdict.ERROR or (verdict is Verdict.INCONCLUSIVE and level is not Level.INFO):
        return Against.VERDICT
    if verdict is Verdict.FAIL or (verdict is Verdict.WARN and strict):
        return Against.PATH if level is Level.PATH else Against.SERVER
    return None


def costs_step(result: CaseResult) -> bool:
    """Whether a warning makes the letter worse: one about the path does not."""
    in_strict = counts_against(result.case.level, result.verdict, strict=True)
    return result.verdict is Verdict.WARN and in_strict is Against.SERVER


def is_weightless(level: Level, verdict: Verdict) -> bool:
    """Whether a verdict that is not good takes nothing from the letter all the same."""
    is_open_fact = verdict is Verdict.INCONCLUSIVE and counts_against(level, verdict) is None
    in_strict = counts_against(level, verdict, strict=True)
    return is_open_fact or (verdict is Verdict.WARN and in_strict is Against.PATH)


class Kind(enum.StrEnum):
    """What a run came to, for one address."""

    CONFORMS = "conforms"
    KNOWN = "known"
    FAILED = "failed"
    NOT_OFFERED = "not-offered"
    UNREACHABLE = "unreachable"
    PATH = "path"
    INCONCLUSIVE = "inconclusive"
    NOT_TESTED = "not-tested"


def kind_of(report: AddressReport, strict: bool = False) -> Kind:
    """What the address came to; one that could not be tried is ``NOT_TESTED``."""
    if report.not_tested is not None:
        return Kind.NOT_TESTED
    kind = _kind_of_all(report, strict)
    if kind in (Kind.CONFORMS, Kind.UNREACHABLE) or not known(report):
        return kind
    kind = _kind_of_all(_forgiven(report), strict)
    return Kind.KNOWN if kind is Kind.CONFORMS else kind


def known(report: AddressReport) -> list[CaseResult]:
    """What a baseline allows."""
    return [result for result in report.results if result.known is not None]


def _forgiven(report: AddressReport) -> AddressReport:
    """The report as if what is known held; what is known to be undecided is not there at all."""
    results: list[CaseResult] = []
    for result in report.results:
        if result.known is None:
            results.append(result)
        elif result.verdict is Verdict.SKIP:
            # Not offered, as somebody wrote down: that is an answer to all that is asked here.
            results.append(replace(result, verdict=Verdict.PASS, prerequisite=False))
        elif result.verdict is not Verdict.INCONCLUSIVE:
            results.append(replace(result, verdict=Verdict.PASS))
    return replace(report, results=tuple(results))


def _kind_of_all(report: AddressReport, strict: bool) -> Kind:
    """The first of these that is so; nothing of it is that it conforms."""
    control = report.by_role(Role.REACHABLE)
    is_mute = control is not None and control.verdict not in HELD
    # Nothing passes vacuously: what was asked for must have been decided, not its prerequisites.
    is_empty = not any(r.verdict in _DECIDED and not r.prerequisite for r in report.results)
    found = {
        Kind.UNREACHABLE: is_mute and control is not None and control.verdict is not Verdict.ERROR,
        Kind.FAILED: not is_mute and bool(_counting(report, Against.SERVER, strict)),
        Kind.PATH: not is_mute and bool(path_faults(report, strict=strict)),
        Kind.NOT_OFFERED: not (
            is_mute or with_verdict(report, Verdict.ERROR) or is_offered(report)
        ),
        Kind.INCONCLUSIVE: is_mute or is_empty or bool(undecided(report)),
    }
    return next((kind for kind, is_so in found.items() if is_so), Kind.CONFORMS)


def is_broken(result: CaseResult, *, strict: bool = False) -> bool:
    """Whether the server failed this, as nobody knew: that is what exit code 1 stands for."""
    return _against(result, strict) is Against.SERVER and result.known is None


def is_path_fault(result: CaseResult, *, strict: bool = False) -> bool:
    """Whether what lies between here and the address failed this, and not the server."""
    return _against(result, strict) is Against.PATH


def breaks_build(result: CaseResult, *, strict: bool = False) -> bool:
    """Whether this alone keeps the exit code from being 0."""
    if result.known is not None:
        return False
    return _against(result, strict) is not None


def holds(report: AddressReport, role: Role) -> bool:
    """Whether the case of that role was run and holds."""
    result = report.by_role(role)
    return result is not None and result.verdict in HELD


def with_verdict(report: AddressReport, *verdicts: Verdict) -> list[CaseResult]:
    """The results that have one of these verdicts."""
    return [result for result in report.results if result.verdict in verdicts]


def broken(report: AddressReport, strict: bool) -> list[CaseResult]:
    """What the server failed and is not known, the worst first."""
    found = [result for result in report.results if is_broken(result, strict=strict)]
    return sorted(found, key=lambda result: _WEIGHT[result.case.severity])


def path_faults(report: AddressReport, *, strict: bool = False) -> list[CaseResult]:
    """What is wrong between here and the address."""
    return _counting(report, Against.PATH, strict)


def undecided(report: AddressReport) -> list[CaseResult]:
    """What stayed open and matters."""
    return _counting(report, Against.VERDICT, strict=False)


def of_server(report: AddressReport, *verdicts: Verdict) -> list[CaseResult]:
    """The same, without what is about the path."""
    return [each for each in with_verdict(report, *verdicts) if each.case.level is not Level.PATH]


def _counting(report: AddressReport, against: Against, strict: bool) -> list[CaseResult]:
    return [each for each in report.results if _against(each, strict) is against]


def _against(result: CaseResult, strict: bool) -> Against | None:
    return counts_against(result.case.level, result.verdict, strict=strict)


def is_offered(report: AddressReport) -> bool:
    """Whether cookies come, as far as was asked."""
    result = report.by_role(Role.OFFERED)
    return result is None or result.verdict is not Verdict.SKIP
