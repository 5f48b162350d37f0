"""The report for people: a table of verdicts, what is behind those that are no pass, and the grade.

Rules that hold here:

* Everything shown went through ``escape``: the text is ASCII but for our own colour codes.
* ``model.style`` says what the stream can do. Piped, a row is a line however long, so that grep
  works; at a terminal cells are wrapped to its width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tabulate import MIN_PADDING

from tfocheck.judging.grade import Judgement
from tfocheck.judging.kind import path_faults
from tfocheck.model import escape
from tfocheck.model.case import Case, Role, Verdict
from tfocheck.model.report import AddressReport, CaseResult
from tfocheck.model.style import BOLD, COLOURS, Style
from tfocheck.report.behind import (
    caveat_lines,
    cell,
    evidence,
    explained,
    explanations,
    merged,
    to_do,
)
from tfocheck.report.grid import (
    GAP,
    column_width,
    grid,
    joined,
    wrap,
    wrap_last_column,
    wrapped_grid,
)
from tfocheck.report.summary import at, of_target, summary

NARROW = 100
"""Below so many columns, level and section share one, to leave room for what was seen."""

NOTED = (Verdict.INFO, Verdict.SKIP)
MOST_FINDINGS = 3
_PREREQUISITE_MARK = " *"


def render(judgement: Judgement, style: Style, *, verbose: bool = False) -> str:
    """The whole report as text, ending in a line feed; ``verbose`` adds each case's packets."""
    blocks = [
        _target_block(target, judgement, style, verbose=verbose) for target in judgement.targets
    ]
    blocks += [summary(judgement, style)] if len(blocks) != 1 else []
    return "\n".join(block for block in blocks if block)


def case_list(cases: Sequence[Case], style: Style, *, markdown: bool = False) -> str:
    """The catalogue: id, section, level, severity and title of each case."""
    header = ["case", "section", "level", "severity", "title"]
    rows = [
        [
            escape.text(case.id),
            escape.text(case.section),
            case.level.value,
            case.severity.value if case.severity else "-",
            escape.text(case.title),
        ]
        for case in cases
    ]
    if markdown:
        rows = [[f"`{row[0]}`", *(cell.replace("|", "\\|") for cell in row[1:])] for row in rows]
        return grid(header, rows, "pipe")
    return wrapped_grid(header, rows, style)


def _target_block(target: str, judgement: Judgement, style: Style, *, verbose: bool) -> str:
    pairs = judgement.of(target)
    parts = [_verdicts(target, [address for address, _ in pairs], style)]
    parts += explanations(pairs, style, verbose=verbose)
    if verbose:
        parts += evidence([address for address, _ in pairs], style)
    parts += caveat_lines([address for address, _ in pairs], style)
    # Advice that stands in an explanation already is not said again.
    said = {result.case.advice for address, _ in pairs for result in explained(address)}
    parts += to_do((conclusion for _, conclusion in pairs), said, style)
    if len(judgement.targets) == 1:
        parts.append(summary(judgement, style))
    else:
        parts.append(joined(of_target(target, judgement, style)))
    return "\n".join(part for part in parts if part)


def _verdicts(target: str, addresses: Sequence[AddressReport], style: Style) -> str:
    tested = [address for address in addresses if address.results]
    if not tested:
        return ""
    single = len(tested) == 1
    table = _single(tested[0], style) if single else "\n".join(_several(tested, style))
    if any(result.prerequisite for address in tested for result in address.results):
        table += f"{_PREREQUISITE_MARK.strip()} not selected, but other cases rest on it\n"
    if not single and (notes := _notes(tested, style)):
        table += f"\n{notes}"
    title = style.paint(escape.text(_place(target, tested)), BOLD)
    findings = "".join(_findings(each, style, placed=len(tested) > 1) for each in tested)
    return f"{title}\n{findings}\n{table}"


def _findings(address: AddressReport, style: Style, *, placed: bool) -> str:
    """What is wrong, first of all, and the route as far as it was looked at."""
    failed = [result for result in address.results if result.verdict is Verdict.FAIL]
    path = path_faults(address)
    lines: list[str] = []
    place = f" at {address.address}" if placed else ""
    for result in (path or failed)[:MOST_FINDINGS]:
        word = "path fault" if result in path else "failed"
        found = escape.text(f"{result.case.id}{place}: {result.seen}")
        first, *more = wrap(f"{word:10}  {found}", style, " " * 12)
        lines += [style.paint(word, COLOURS[Verdict.FAIL]) + first[len(word) :], *more]
    if len(path or failed) > MOST_FINDINGS:
        lines.append(f"{'':12}and {len(path or failed) - MOST_FINDINGS} more, see below")
    if address.hops:
        lines += ["", *_route(address, style)]
    return joined(lines)


def _route(address: AddressReport, style: Style) -> list[str]:
    header = ["hop", "router", "RTT", "changed or missing from here on"]
    rows = [
        [
            str(hop.ttl),
            escape.text(hop.router or "no answer"),
            _milliseconds(hop.rtt),
            escape.text("; ".join(hop.changes) or "-"),
        ]
        for hop in address.hops
    ]
    proxy = address.by_role(Role.PROXY)
    note = "-"
    if proxy is not None and proxy.verdict is Verdict.FAIL:
        note = f"answers from here already, see {proxy.case.id}"
    end = escape.text(f"{address.address}, the target")
    rows.append([str(len(rows) + 1), end, _milliseconds(address.rtt), note])
    if style.width is not None:
        rows = wrap_last_column(header, rows, style.width)
    return grid(header, rows).splitlines()


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.2f} ms"


def _place(target: str, addresses: Sequence[AddressReport]) -> str:
    if len(addresses) > 1:
        return f"{target} at {len(addresses)} addresses"
    return at(target, addresses[0].address)


def _single(address: AddressReport, style: Style) -> str:
    header = ["case", "section", "level", "verdict", "what was seen"]
    rows = [
        [*_identity(result), cell(result, style), escape.text(result.seen)]
        for result in address.results
    ]
    if style.width is not None and style.width < NARROW:
        header, rows = _narrowed(header, rows)
    return wrapped_grid(header, rows, style)


def _identity(result: CaseResult) -> list[str]:
    mark = _PREREQUISITE_MARK if result.prerequisite else ""
    case = result.case
    return [escape.text(case.id) + mark, escape.text(case.section), case.level.value]


def _narrowed(header: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Section above level in one column: what was seen takes several lines anyway."""

    def stacked(section: str, level: str) -> str:
        # "RFC 9293 3.1" would widen the column for all the others.
        rfc, gap, number = section.rpartition(" ")
        return f"{rfc}\n{number}\n{level}" if gap else f"{section}\n{level}"

    return (
        [header[0], f"{header[1]}\n{header[2]}", *header[3:]],
        [[row[0], stacked(row[1], row[2]), *row[3:]] for row in rows],
    )


def _several(addresses: Sequence[AddressReport], style: Style) -> Iterator[str]:
    """A verdict column per address, in as many tables as the width makes of it."""
    by_id: dict[str, CaseResult] = {}
    for address in addresses:
        for result in address.results:
            by_id.setdefault(result.case.id, result)
    left = ["case", "section", "level"]
    identities = [_identity(result) for result in by_id.values()]
    names = [escape.text(address.address) for address in addresses]
    cells = (cell(each, Style()) for address in addresses for each in address.results)
    verdict_width = max(len(Verdict.INCONCLUSIVE.value), *map(len, cells))
    if style.width is not None and style.width < NARROW:
        left, identities = _narrowed(left, identities)
    fixed = sum(column_width(left, identities, column) + GAP for column in range(len(left)))
    room = None if style.width is None else style.width - fixed
    numbered = room is not None and (
        sum(max(len(name) + MIN_PADDING, verdict_width) + GAP for name in names) > room
    )
    if numbered:
        legend = [f"  #{number}  {name}" for number, name in enumerate(names, 1)]
        names = [f"#{number}" for number in range(1, len(names) + 1)]
        yield joined(legend)
    per_table = len(names)
    if numbered and room is not None:
        per_table = max(1, room // (verdict_width + GAP))
    for start in range(0, len(names), per_table):
        chosen = range(start, min(start + per_table, len(names)))
        rows = [
            [*identity, *(cell(addresses[index].result(case_id), style) for index in chosen)]
            for case_id, identity in zip(by_id, identities, strict=True)
        ]
        yield grid([*left, *(names[index] for index in chosen)], rows)


def _notes(addresses: Sequence[AddressReport], style: Style) -> str:
    """What was seen where the verdict is info or skip; graver ones are explained further down."""
    lines: list[str] = []
    for result, where in merged(addresses, NOTED):
        place = "" if len(where) == len(addresses) else f" at {', '.join(where)}"
        head = f"{result.verdict.value:<4}  {result.case.id}{place}: "
        lines += wrap(escape.text(head + result.seen), style, "      ")
    return joined(lines)
