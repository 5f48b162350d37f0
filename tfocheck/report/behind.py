"""What is behind the verdicts: requirement, evidence, caveats and advice, as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tfocheck.judging.grade import Conclusion
from tfocheck.judging.kind import Kind
from tfocheck.model import escape
from tfocheck.model.case import Role, Verdict
from tfocheck.model.report import AddressReport, CaseResult
from tfocheck.model.style import BOLD, Style
from tfocheck.report import explanation
from tfocheck.report.grid import joined, wrap
from tfocheck.report.ladder import ladders

EXPLAINED = (Verdict.FAIL, Verdict.WARN, Verdict.INCONCLUSIVE, Verdict.ERROR)
_KNOWN_MARK = " (known)"


def explained(address: AddressReport) -> list[CaseResult]:
    """The results whose verdict is explained."""
    return [result for result in address.results if result.verdict in EXPLAINED]


def merged(
    addresses: Sequence[AddressReport], verdicts: Sequence[Verdict]
) -> list[tuple[CaseResult, list[str]]]:
    """Results with such a verdict, in case order; the same at several addresses is one entry."""
    merged: dict[tuple[object, ...], tuple[CaseResult, list[str]]] = {}
    order: dict[str, int] = {}
    for address in addresses:
        for result in address.results:
            order.setdefault(result.case.id, len(order))
            if result.verdict in verdicts:
                key = (result.case.id, result.verdict, result.seen, result.known)
                merged.setdefault(key, (result, []))[1].append(address.address)
    return sorted(merged.values(), key=lambda entry: order[entry[0].case.id])


def explanations(
    pairs: Sequence[tuple[AddressReport, Conclusion]], style: Style, *, verbose: bool
) -> Iterator[str]:
    """A text for each case and verdict that is no pass."""
    # When nothing answers at all, every case is inconclusive for that one reason: say it once.
    silent = [address for address, conclusion in pairs if conclusion.kind is Kind.UNREACHABLE]
    loud = [address for address, conclusion in pairs if conclusion.kind is not Kind.UNREACHABLE]
    entries = [
        (result, where)
        for result, where in merged(silent, EXPLAINED)
        if result.case.role is Role.REACHABLE
    ]
    by_verdict: dict[tuple[object, ...], list[tuple[CaseResult, list[str]]]] = {}
    for result, where in [*entries, *merged(loud, EXPLAINED)]:
        # What is known here and new there is two things.
        key = (result.case.id, result.verdict, result.known is None)
        by_verdict.setdefault(key, []).append((result, where))
    for seen in by_verdict.values():
        yield _explanation(seen, style, verbose=verbose, placed=len(pairs) > 1)


def _explanation(
    found: Sequence[tuple[CaseResult, list[str]]], style: Style, *, verbose: bool, placed: bool
) -> str:
    """One case with one verdict; what was seen may differ from address to address."""
    result, _ = found[0]
    case = result.case
    weight = f", {case.severity.value}" if case.severity else ""
    rfc = case.section if case.section.startswith("RFC") else f"RFC 7413 section {case.section}"
    head = f"{case.id} ({rfc}, {case.level.value}{weight})"
    lines = [cell(result, style) + "  " + style.paint(escape.text(head), BOLD)]
    fields = [
        ("requirement", case.requirement),
        ("expected", f"the server {case.expected}" if case.expected else ""),
    ]
    for each, where in found:
        fields += [
            ("at", ", ".join(where) if placed else ""),
            ("seen", each.seen),
            ("known", each.known or ""),
        ]
    fields += [
        ("advice", explanation.advice(result)),
    ]
    for name, value in fields:
        if value:
            lines += wrap(f"  {name:<11}  {escape.text(value)}", style, " " * 15)
    if result.traceback:
        shown = result.traceback if verbose else result.traceback.strip().rpartition("\n")[2]
        lines += [f"    {line}" for line in escape.lines(shown.rstrip()).split("\n")]
    return joined(lines)


def evidence(addresses: Sequence[AddressReport], style: Style) -> list[str]:
    """The packets of every case."""
    parts = []
    for address in addresses:
        for result in address.results:
            place = f" at {address.address}" if len(addresses) > 1 else ""
            title = style.paint(escape.text(f"{result.case.id}{place}"), BOLD)
            if packets := ladders(result):
                parts.append(f"{title}: {style.verdict(result.verdict)}\n{packets}\n")
    return parts


def caveats(address: AddressReport) -> Iterator[str]:
    """What makes the verdicts on an address less certain, a line each."""
    traffic = address.traffic
    if address.interrupted:
        yield f"note: the run was interrupted, so not all was done at {address.address}"
    if traffic.capture_drops:
        yield (
            f"note: the capture lost {traffic.capture_drops} packets at {address.address}, "
            "so nothing was concluded from a packet's absence"
        )
    if traffic.left_out:
        yield (
            f"note: {address.address} sent so much that {traffic.left_out} packets were only "
            "counted, and are no part of the evidence"
        )
    if traffic.kernel_resets:
        yield (
            f"warning: this machine's kernel sent {traffic.kernel_resets} resets of its own to "
            f"{address.address}; verdicts may be wrong, please report it"
        )


def caveat_lines(addresses: Sequence[AddressReport], style: Style) -> list[str]:
    """The caveats of all addresses."""
    lines = [line for address in addresses for line in caveats(address)]
    return [joined(wrap(escape.text(line), style, "  ")) for line in lines]


def to_do(conclusions: Iterable[Conclusion], said: set[str], style: Style) -> list[str]:
    """The advice that was not said yet."""
    advice = dict.fromkeys(text for found in conclusions for text in found.advice)
    lines = [
        line
        for text in advice
        if text not in said
        for line in wrap(f"  - {escape.text(text)}", style, "    ")
    ]
    return [joined(["what to do:", *lines])] if lines else []


def cell(result: CaseResult | None, style: Style) -> str:
    """A verdict as a table has it."""
    if result is None:
        return "-"
    return style.verdict(result.verdict, "" if result.known is None else _KNOWN_MARK)
