"""All that changes a verdict after its case has returned, in the order in which it does.

1. ``distrust``: the capture lost packets, or the local kernel answered, while the case was running.
   At once, for other cases rest on the verdict.
2. ``behind_faults``: a fault of the path, or servers that do not agree, explain it. When an address
   is through.
3. ``mark_known``: a baseline allows it. When the run is through; the verdict stays, and is known.

Each step that changes something leaves a ``Revision`` that says what it was, and why it changed.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace

from tfocheck.judging.kind import Kind, kind_of
from tfocheck.model.baseline import Applied, Baseline, Entry
from tfocheck.model.case import Level, Role, Verdict
from tfocheck.model.report import AddressReport, CaseResult, Report, Revision

_RESTS_ON_ITS_PACKETS = (Verdict.PASS, Verdict.INFO, Verdict.WARN, Verdict.FAIL)


def distrust(
    result: CaseResult, capture_drops: int, kernel_resets: int, unheard: int = 0
) -> CaseResult:
    """Nothing may rest on an absence if the capture lost packets or the port guard failed.

    Nor may it where ``unheard`` packets without data were only counted, as there were too many. The
    numbers are what happened while the case was running.
    """
    if not result.flows or result.verdict not in _RESTS_ON_ITS_PACKETS:
        return result
    if kernel_resets:
        # Then even what was seen may be the answer to the reset.
        reason = "the local kernel reset a guarded port (a server with TTL 255 on the same link?)"
    elif capture_drops and not result.conclusive:
        reason = f"the capture lost {capture_drops} packets"
    elif unheard and not result.conclusive:
        reason = f"so much came that {unheard} packets were only counted"
    else:
        return result
    seen = f"{reason}, so this may be wrong: {result.verdict}: {result.seen}"
    return _revised(result, Verdict.INCONCLUSIVE, seen, reason)


def behind_faults(results: Sequence[CaseResult]) -> list[CaseResult]:
    """Leave out what can't be judged because of what was found on the way, or behind the address.

    A fault of the path is not the server's: what failed or stayed open beside it is skipped. So is
    what stayed open because the servers of a farm do not agree. What one packet proves, stays.
    """
    results = _doubted(results)
    faults = [
        result
        for result in results
        if result.verdict is Verdict.FAIL
        and (result.case.level is Level.PATH or result.case.role is Role.ONE_KEY)
    ]
    path = [fault for fault in faults if fault.case.level is Level.PATH]
    faults = path or faults
    if not faults:
        return list(results)
    cause = faults[0].case.id

    def is_explained(result: CaseResult) -> bool:
        if result.case.level is Level.PATH or result in faults:
            return False
        broken = result.verdict in (Verdict.FAIL, Verdict.WARN)
        return (broken and not result.conclusive) or result.verdict is Verdict.INCONCLUSIVE

    seen = f"can't be judged: see {cause} (fail)"
    return [
        _revised(result, Verdict.SKIP, seen, f"{cause} failed") if is_explained(result) else result
        for result in results
    ]


def _doubted(results: Sequence[CaseResult]) -> list[CaseResult]:
    """Servers with a key each look like an address of ours that changes on the way.

    Until it is known whether it does, nothing is laid on the servers.
    """
    causes = [each for each in results if each.case.role is Role.ONE_ADDRESS]
    if not any(cause.verdict is Verdict.INCONCLUSIVE for cause in causes):
        return list(results)
    cause = causes[0].case.id
    return [
        _revised(
            result,
            Verdict.INCONCLUSIVE,
            f"{result.seen}; or our own address changes: {cause} is undecided",
            f"{cause} is undecided",
        )
        if result.case.role is Role.ONE_KEY and result.verdict is Verdict.FAIL
        else result
        for result in results
    ]


def mark_known(report: Report, baseline: Baseline, today: datetime.date) -> tuple[Report, Applied]:
    """The report with ``CaseResult.known`` set where an entry allows the verdict."""
    expired: dict[Entry, None] = {}

    def marked(address: AddressReport, result: CaseResult) -> CaseResult:
        found = [e for e in baseline.entries if e.is_about(address) and e.covers(result)]
        live = [entry for entry in found if not entry.has_expired(today)]
        if live:
            best = max(live, key=lambda entry: entry.precision)
            reason = f"{baseline.path}: {best.shown_reason}"
            known = _revised(result, result.verdict, result.seen, reason)
            return replace(known, known=best.shown_reason)
        expired.update(dict.fromkeys(found))
        return result

    addresses = tuple(
        address
        if kind_of(address) is Kind.UNREACHABLE
        else replace(address, results=tuple(marked(address, each) for each in address.results))
        for address in report.addresses
    )
    applied = Applied(
        baseline.path,
        mended=tuple(entry for entry in baseline.entries if _is_mended(entry, report)),
        expired=tuple(expired),
        elsewhere=sum(not any(map(e.is_about, report.addresses)) for e in baseline.entries),
    )
    return replace(report, addresses=addresses), applied


def _revised(result: CaseResult, verdict: Verdict, seen: str, reason: str) -> CaseResult:
    revision = Revision(result.verdict, result.seen, reason)
    return replace(result, verdict=verdict, seen=seen, revisions=(*result.revisions, revision))


def _is_mended(entry: Entry, report: Report) -> bool:
    verdicts = [
        result.verdict
        for address in report.addresses
        if entry.is_about(address)
        for result in address.results
        if result.case.id == entry.case
    ]
    return bool(verdicts) and all(v in (Verdict.PASS, Verdict.INFO) for v in verdicts)
