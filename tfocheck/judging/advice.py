"""What is said of an address in words: a headline, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from tfocheck.judging.kind import (
    HELD,
    Kind,
    broken,
    holds,
    known,
    path_faults,
    undecided,
    with_verdict,
)
from tfocheck.model.case import Role, Severity, Verdict
from tfocheck.model.report import AddressReport, CaseResult
from tfocheck.wire.numbers import relative


def headline(report: AddressReport, kind: Kind, strict: bool, complete: bool) -> str:
    """What is true of the address, in one line."""
    match kind:
        case Kind.FAILED:
            line = _failed_headline(report, strict)
        case Kind.KNOWN:
            line = _known_headline(report)
        case Kind.INCONCLUSIVE:
            line = _undecided_headline(report)
        case Kind.CONFORMS:
            line = _good_headline(report, complete)
        case _:
            line = _untold_headline(report, kind)
    return line


def _untold_headline(report: AddressReport, kind: Kind) -> str:
    """Why nothing can be said of Fast Open at the server."""
    match kind:
        case Kind.UNREACHABLE:
            return f"unreachable: {_seen(report, Role.REACHABLE)}"
        case Kind.PATH:
            fault = path_faults(report, strict=True)[0]
            return f"the path is at fault: {fault.case.id}: {fault.seen}"
        case Kind.NOT_OFFERED:
            return f"TFO not offered: {_seen(report, Role.OFFERED)}"
    return f"not tested: {report.not_tested}"


def _good_headline(report: AddressReport, complete: bool) -> str:
    selected = [result for result in report.results if not result.prerequisite]
    held = sum(result.verdict in HELD for result in selected)
    if not complete or report.by_role(Role.HONOURED) is None:
        return f"{held} of {len(selected)} selected cases hold"
    return f"Fast Open works from here: {_how_it_works(report)}"


def _how_it_works(report: AddressReport) -> str:
    early = report.by_role(Role.EARLY)
    if early is not None and early.verdict in HELD:
        return "data on the SYN is accepted and answered before the handshake ends"
    if early is not None and early.verdict is Verdict.INCONCLUSIVE:
        return "data on the SYN is accepted (whether it is answered early could not be decided)"
    if early is not None and early.verdict is Verdict.WARN:
        return "data on the SYN is accepted, but answered only after the handshake"
    return "data on the SYN is accepted (judged by the ack alone, no answer was looked at)"


def _known_headline(report: AddressReport) -> str:
    offered = report.by_role(Role.OFFERED)
    if offered is not None and offered.verdict is Verdict.SKIP:
        return f"TFO not offered, which is known ({offered.known}): {_seen(report, Role.OFFERED)}"
    return f"nothing fails but what is known: {_names(known(report))}"


def _names(results: Sequence[CaseResult]) -> str:
    names = ", ".join(result.case.id for result in results[:3])
    return names if len(results) <= 3 else f"{names} and {len(results) - 3} more"


def _failed_headline(report: AddressReport, strict: bool) -> str:
    found = broken(report, strict)
    names = _names(found)
    if number := len(known(report)):
        names += f"; {number} more {'is' if number == 1 else 'are'} known"
    honoured = next((r for r in found if r.case.role is Role.HONOURED), None)
    if honoured is not None and honoured.verdict is Verdict.FAIL:
        taken = _taken_in_part(honoured)
        if taken is None:
            return f"issues cookies that it does not honour ({_failed(len(found))}: {names})"
        part, whole = taken
        return (
            f"takes data on the SYN only in part: {part} of {whole} bytes were acknowledged"
            f" ({_failed(len(found))}: {names})"
        )
    worst_severity = found[0].case.severity if found[0].verdict is Verdict.FAIL else None
    if worst_severity is Severity.CRITICAL:
        return f"Fast Open is unsafe here ({_failed(len(found))}: {names})"
    return f"{_failed(len(found))}: {names}"


def _taken_in_part(honoured: CaseResult) -> tuple[int, int] | None:
    """How many bytes of how many on the SYN were acknowledged; None if that was none, or all."""
    for flow in honoured.flows:
        if not flow.decided:
            continue
        sent = next((len(each.segment.payload) for each in flow.packets if each.sent), 0)
        acks = [each.segment.ack for each in flow.packets if each.segment.is_syn_ack]
        taken = relative(acks[0], flow.client_isn) - 1 if acks else 0
        if 0 < taken < sent:
            return taken, sent
    return None


def _failed(number: int) -> str:
    return f"{number} requirement{'s' if number > 1 else ''} failed"


def _undecided_headline(report: AddressReport) -> str:
    total = len(report.results)
    errors = with_verdict(report, Verdict.ERROR)
    if errors:
        who = "your own code" if all(each.case.is_users for each in errors) else "tfocheck itself"
        return f"inconclusive: {who} went wrong in {len(errors)} of {total} cases"
    if number := len(undecided(report)):
        return f"inconclusive: {number} of {total} cases could not be decided"
    if not report.results:
        return "inconclusive: no case was run"
    return "inconclusive: every selected case was skipped"


def _seen(report: AddressReport, role: Role) -> str:
    result = report.by_role(role)
    return result.seen if result is not None and result.seen else "nothing was seen"


def advice(report: AddressReport, kind: Kind) -> tuple[str, ...]:
    """What to do about it, a sentence or two each; what helps most comes first."""
    match kind:
        case Kind.NOT_TESTED:
            return ()
        case Kind.UNREACHABLE:
            return (
                "Check the port, and that no firewall on the way resets or drops plain SYNs; "
                "nothing can be said about Fast Open before a plain SYN is answered.",
            )
        case Kind.NOT_OFFERED:
            return _advice_when_not_offered(report)
    given = [] if kind is Kind.PATH else [*_advice_by_pattern(report)]
    given += [fault.case.advice for fault in path_faults(report, strict=True)]
    given += [result.case.advice for result in broken(report, strict=True) if result.case.advice]
    return tuple(dict.fromkeys(given))


def _advice_when_not_offered(report: AddressReport) -> tuple[str, ...]:
    if report.by_role(Role.UNKNOWN_OPTION) is not None and not holds(report, Role.UNKNOWN_OPTION):
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
    honoured, early = report.by_role(Role.HONOURED), report.by_role(Role.EARLY)
    found: list[str] = []
    if honoured is not None and honoured.verdict is Verdict.FAIL and not _taken_in_part(honoured):
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
