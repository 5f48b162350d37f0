"""From verdicts to a conclusion: a grade, an exit code, a headline and advice.

The rules, for one address:

1. ``control.syn`` does not hold: *unreachable*, no grade. The path is at fault (a ``path`` case
   fails): no grade, for the server can't be judged. No cookie at any attempt: *not offered*, no
   grade.
2. A failure of severity critical is F, whatever else is right.
3. A server that issues cookies that it does not honour can't be better than D.
4. Any other failure of severity major is at best C, of severity minor at best B.
5. Each warning, and each failure after the first, costs a step: A+, A, A-, B, B-, C, C-, D, D-.
6. A is: everything holds. A+ is more: every case passed (none skipped), and the answer came before
   the handshake ended (``open.early-answer``).
7. An inconclusive case leaves the letter open: there is none then, unless it is F already.
8. There is a letter only for a whole run; a selection of cases says how many of them hold.
9. Of several addresses the worst counts, and each is shown.

What a baseline allows (``CaseResult.known``) breaks no build: the kind is *known* then, unless
there is something else. It changes no letter, and that an address is unreachable is never known.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tfocheck.errors import ExitCode
from tfocheck.model.case import Level, Severity, Verdict
from tfocheck.model.report import AddressReport, CaseResult, Report

if TYPE_CHECKING:
    from tfocheck.judging.baseline import Applied

STEPS = ("A+", "A", "A-", "B", "B-", "C", "C-", "D", "D-")
GRADES = (*STEPS, "F")

REACHABLE = "control.syn"
UNKNOWN_OPTION = "control.unknown-option"
OFFERED = "cookie.request"
HONOURED = "open.data-acked"
EARLY = "open.early-answer"

_HELD = (Verdict.PASS, Verdict.INFO)
_DECIDED = (Verdict.PASS, Verdict.INFO, Verdict.WARN)
_UNDECIDED = (Verdict.INCONCLUSIVE, Verdict.ERROR)
_CEILING = {Severity.CRITICAL: "F", Severity.MAJOR: "C", Severity.MINOR: "B"}
_WEIGHT = {Severity.CRITICAL: 0, Severity.MAJOR: 1, Severity.MINOR: 2, None: 3}


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

_STAND_FOR = {Kind.UNREACHABLE: REACHABLE, Kind.NOT_OFFERED: OFFERED}


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


def conclude(report: AddressReport, *, strict: bool = False, complete: bool = True) -> Conclusion:
    """Apply the rules to one address.

    With ``strict`` a warning counts as a failure; the letter stays what it is, to be comparable.
    """
    if report.not_tested is not None:
        return Conclusion(Kind.NOT_TESTED, None, f"not tested: {report.not_tested}")
    kind = _kind(report, strict)
    return Conclusion(
        kind,
        _grade(report, kind) if complete else None,
        _headline(report, kind, strict, complete),
        _advice(report, kind),
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


def _holds(report: AddressReport, case_id: str) -> bool:
    result = report.result(case_id)
    return result is not None and result.verdict in _HELD


def _with(report: AddressReport, *verdicts: Verdict) -> list[CaseResult]:
    return [result for result in report.results if result.verdict in verdicts]


def is_broken(result: CaseResult, *, strict: bool = False) -> bool:
    """Whether the server failed this, as nobody knew: that is what exit code 1 stands for."""
    counts = result.verdict in _counting(strict) and result.case.level is not Level.PATH
    return counts and result.known is None


def is_path_fault(result: CaseResult) -> bool:
    """Whether what lies between here and the address failed this, and not the server."""
    return result.verdict is Verdict.FAIL and result.case.level is Level.PATH


def breaks_build(result: CaseResult, *, strict: bool = False) -> bool:
    """Whether this alone keeps the exit code from being 0."""
    if result.known is not None:
        return False
    return is_broken(result, strict=strict) or result.verdict in (Verdict.FAIL, *_UNDECIDED)


def whole_address(report: AddressReport, conclusion: Conclusion, *, strict: bool) -> str | None:
    """The id of the case that stands for an address at which no case alone says what is wrong.

    None where some do, and where nothing is wrong. Unreachable and not offered have their own case;
    with nothing decided it is the first that was selected.
    """
    if conclusion.kind in _STAND_FOR:
        return _STAND_FOR[conclusion.kind]
    broken = any(breaks_build(result, strict=strict) for result in report.results)
    if broken or conclusion.exit_code is ExitCode.CONFORMS:
        return None
    results = sorted(report.results, key=lambda result: result.prerequisite)
    return results[0].case.id if results else None


def _broken(report: AddressReport, strict: bool) -> list[CaseResult]:
    """What the server failed and is not known, the worst first."""
    broken = [result for result in report.results if is_broken(result, strict=strict)]
    return sorted(broken, key=lambda result: _WEIGHT[result.case.severity])


def path_faults(report: AddressReport) -> list[CaseResult]:
    """What is wrong between here and the address."""
    return list(filter(is_path_fault, report.results))


def _of_server(report: AddressReport, *verdicts: Verdict) -> list[CaseResult]:
    return [each for each in _with(report, *verdicts) if each.case.level is not Level.PATH]


def _counting(strict: bool) -> tuple[Verdict, ...]:
    return (Verdict.FAIL, Verdict.WARN) if strict else (Verdict.FAIL,)


def _is_offered(report: AddressReport) -> bool:
    result = report.result(OFFERED)
    return result is None or result.verdict is not Verdict.SKIP


def _kind(report: AddressReport, strict: bool) -> Kind:
    kind = _kind_of_all(report, strict)
    if kind in (Kind.CONFORMS, Kind.UNREACHABLE) or not _known(report):
        return kind
    kind = _kind_of_all(_forgiven(report), strict)
    return Kind.KNOWN if kind is Kind.CONFORMS else kind


def _known(report: AddressReport) -> list[CaseResult]:
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
    control = report.result(REACHABLE)
    if control is not None and control.verdict is Verdict.ERROR:
        return Kind.INCONCLUSIVE
    if control is not None and control.verdict not in _HELD:
        return Kind.UNREACHABLE
    if _of_server(report, *_counting(strict)):
        return Kind.FAILED
    if path_faults(report):
        return Kind.PATH
    if _with(report, Verdict.ERROR):
        return Kind.INCONCLUSIVE
    if not _is_offered(report):
        return Kind.NOT_OFFERED
    if _with(report, Verdict.INCONCLUSIVE):
        return Kind.INCONCLUSIVE
    # Nothing passes vacuously: what was asked for must have been decided, not its prerequisites.
    if not any(r.verdict in _DECIDED and not r.prerequisite for r in report.results):
        return Kind.INCONCLUSIVE
    return Kind.CONFORMS


def _grade(report: AddressReport, kind: Kind) -> str | None:
    if kind is Kind.UNREACHABLE:
        return None
    failures = _of_server(report, Verdict.FAIL)
    if any(result.case.severity is Severity.CRITICAL for result in failures):
        return "F"
    if (
        not _is_offered(report)
        or path_faults(report)
        or kind is Kind.INCONCLUSIVE
        or _with(report, *_UNDECIDED)
    ):
        return None
    step = STEPS.index("A")
    for result in failures:
        step = max(step, STEPS.index(_ceiling(result)))
    step += max(0, len(failures) - 1) + len(_with(report, Verdict.WARN))
    if step == STEPS.index("A") and _is_flawless(report):
        return "A+"
    return STEPS[min(step, len(STEPS) - 1)]


def _ceiling(failure: CaseResult) -> str:
    if failure.case.id == HONOURED:
        return "D"
    return _CEILING[failure.case.severity or Severity.MINOR]


def _is_flawless(report: AddressReport) -> bool:
    return _holds(report, EARLY) and all(result.verdict in _HELD for result in report.results)


def _headline(report: AddressReport, kind: Kind, strict: bool, complete: bool) -> str:
    match kind:
        case Kind.UNREACHABLE:
            return f"unreachable: {_seen(report, REACHABLE)}"
        case Kind.PATH:
            fault = path_faults(report)[0]
            return f"the path is at fault: {fault.case.id}: {fault.seen}"
        case Kind.NOT_OFFERED:
            return f"TFO not offered: {_seen(report, OFFERED)}"
        case Kind.FAILED:
            return _failed_headline(report, strict)
        case Kind.KNOWN:
            return _known_headline(report)
        case Kind.INCONCLUSIVE:
            return _undecided_headline(report)
    selected = [result for result in report.results if not result.prerequisite]
    held = sum(result.verdict in _HELD for result in selected)
    if not complete or report.result(HONOURED) is None:
        return f"{held} of {len(selected)} selected cases hold"
    return f"Fast Open works from here: {_how_it_works(report)}"


def _how_it_works(report: AddressReport) -> str:
    early = report.result(EARLY)
    if early is not None and early.verdict in _HELD:
        return "data on the SYN is accepted and answered before the handshake ends"
    if early is not None and early.verdict is Verdict.WARN:
        return "data on the SYN is accepted, but answered only after the handshake"
    return "data on the SYN is accepted (judged by the ack alone, no answer was looked at)"


def _known_headline(report: AddressReport) -> str:
    offered = report.result(OFFERED)
    if offered is not None and offered.verdict is Verdict.SKIP:
        return f"TFO not offered, which is known ({offered.known}): {_seen(report, OFFERED)}"
    return f"nothing fails but what is known: {_names(_known(report))}"


def _names(results: Sequence[CaseResult]) -> str:
    names = ", ".join(result.case.id for result in results[:3])
    return names if len(results) <= 3 else f"{names} and {len(results) - 3} more"


def _failed_headline(report: AddressReport, strict: bool) -> str:
    broken = _broken(report, strict)
    names = _names(broken)
    if known := len(_known(report)):
        names += f"; {known} more {'is' if known == 1 else 'are'} known"
    if any(r.case.id == HONOURED and r.verdict is Verdict.FAIL for r in broken):
        return f"issues cookies that it does not honour ({_failed(len(broken))}: {names})"
    worst_severity = broken[0].case.severity if broken[0].verdict is Verdict.FAIL else None
    if worst_severity is Severity.CRITICAL:
        return f"Fast Open is unsafe here ({_failed(len(broken))}: {names})"
    return f"{_failed(len(broken))}: {names}"


def _failed(number: int) -> str:
    return f"{number} requirement{'s' if number > 1 else ''} failed"


def _undecided_headline(report: AddressReport) -> str:
    total = len(report.results)
    errors = len(_with(report, Verdict.ERROR))
    if errors:
        return f"inconclusive: tfocheck itself went wrong in {errors} of {total} cases"
    undecided = len(_with(report, Verdict.INCONCLUSIVE))
    if undecided:
        return f"inconclusive: {undecided} of {total} cases could not be decided"
    if not report.results:
        return "inconclusive: no case was run"
    return "inconclusive: every selected case was skipped"


def _seen(report: AddressReport, case_id: str) -> str:
    result = report.result(case_id)
    return result.seen if result is not None and result.seen else "nothing was seen"


def _advice(report: AddressReport, kind: Kind) -> tuple[str, ...]:
    match kind:
        case Kind.UNREACHABLE:
            return (
                "Check the port, and that no firewall on the way resets or drops plain SYNs; "
                "nothing can be said about Fast Open before a plain SYN is answered.",
            )
        case Kind.NOT_OFFERED:
            return _advice_when_not_offered(report)
    given = [] if kind is Kind.PATH else [*_advice_by_pattern(report)]
    given += [fault.case.advice for fault in path_faults(report)]
    given += [result.case.advice for result in _broken(report, strict=True) if result.case.advice]
    return tuple(dict.fromkeys(given))


def _advice_when_not_offered(report: AddressReport) -> tuple[str, ...]:
    if report.result(UNKNOWN_OPTION) is not None and not _holds(report, UNKNOWN_OPTION):
        return (
            "Not even an unknown TCP option gets through: look for a firewall or proxy that drops "
            "or strips options before you look at the server.",
        )
    return (
        "Switch Fast Open on at the server. On Linux both have to allow it: the kernel (sysctl "
        "net.ipv4.tcp_fastopen=3, which is for IPv6 too) and the listener (nginx: listen ... "
        "fastopen=256; haproxy: bind ... tfo; otherwise setsockopt TCP_FASTOPEN).",
        "If it is on there, something between here and the server removes TCP option 34, or "
        "answers in the server's place (a proxy or a SYN-flood guard).",
    )


def _advice_by_pattern(report: AddressReport) -> Sequence[str]:
    """What several verdicts together say, better than each case's own advice can."""
    honoured, early = report.result(HONOURED), report.result(EARLY)
    found: list[str] = []
    if honoured is not None and honoured.verdict is Verdict.FAIL:
        found.append(
            "Cookies come but are never honoured: give every server behind this address the same "
            "key (sysctl net.ipv4.tcp_fastopen_key), make sure that this machine's address does "
            "not change on the way (a NAT pool), and that nothing strips data from SYNs."
        )
    if (
        honoured is not None
        and honoured.verdict is Verdict.PASS
        and early is not None
        and early.verdict is Verdict.WARN
    ):
        found.append(
            "The kernel acks the data but the answer comes only after the handshake, which saves "
            "no round trip: look for TCP_DEFER_ACCEPT (nginx: deferred; haproxy: defer-accept), "
            "or an application too slow to answer within one."
        )
    return found
