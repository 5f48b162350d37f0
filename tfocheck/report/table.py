"""The report for people: a table of verdicts, what is behind those that are no pass, and the grade.

Rules that hold here:

* Everything shown went through ``escape``: the text is ASCII but for our own colour codes.
* ``Style`` says what the stream can do. Piped, a row is a line however long, so that grep works; at
  a terminal cells are wrapped to its width.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from tabulate import MIN_PADDING, tabulate

from tfocheck.judging import grade
from tfocheck.judging.grade import Conclusion, Judgement
from tfocheck.judging.kind import Kind, path_faults
from tfocheck.model import escape
from tfocheck.model.case import Case, Role, Verdict
from tfocheck.model.report import AddressReport, CaseResult
from tfocheck.report import explanation
from tfocheck.report.ladder import ladders

NARROW = 100
"""Below so many columns, level and section share one, to leave room for what was seen."""

_MIN_SEEN = 20
_GAP = 2
_EXPLAINED = (Verdict.FAIL, Verdict.WARN, Verdict.INCONCLUSIVE, Verdict.ERROR)
_NOTED = (Verdict.INFO, Verdict.SKIP)
MOST_FINDINGS = 3
_PREREQUISITE_MARK = " *"
_KNOWN_MARK = " (known)"

_BOLD, _RED, _GREEN, _YELLOW, _MAGENTA, _CYAN, _DIM = "1", "31", "32", "33", "35", "36", "2"
_COLOURS = {
    Verdict.PASS: _GREEN,
    Verdict.FAIL: f"{_BOLD};{_RED}",
    Verdict.WARN: _YELLOW,
    Verdict.INFO: _CYAN,
    Verdict.SKIP: _DIM,
    Verdict.INCONCLUSIVE: _MAGENTA,
    Verdict.ERROR: f"{_BOLD};{_MAGENTA}",
}


@dataclass(frozen=True)
class Style:
    """What the stream can show: ``width`` in columns, None when nothing is to be wrapped."""

    width: int | None = None
    colour: bool = False

    @classmethod
    def of(cls, stream: TextIO, environment: Mapping[str, str] = os.environ) -> Style:
        """What suits this stream; see no-color.org and bixense.com/clicolors for the variables."""
        terminal = stream.isatty()
        width = max(40, shutil.get_terminal_size().columns) if terminal else None
        if environment.get("NO_COLOR"):
            return cls(width, False)
        if environment.get("CLICOLOR_FORCE", "0") not in ("", "0"):
            return cls(width, True)
        dull = environment.get("TERM") == "dumb" or environment.get("CLICOLOR") == "0"
        return cls(width, terminal and not dull)

    def paint(self, text: str, code: str) -> str:
        """The text in a colour, if there are any."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text

    def verdict(self, verdict: Verdict, mark: str = "") -> str:
        """A verdict in its colour."""
        return self.paint(verdict.value + mark, _COLOURS[verdict])


def render(judgement: Judgement, style: Style, *, verbose: bool = False) -> str:
    """The whole report as text, ending in a line feed; ``verbose`` adds each case's packets."""
    blocks = [
        _target_block(target, judgement, style, verbose=verbose) for target in judgement.targets
    ]
    blocks += [summary(judgement, style)] if len(blocks) != 1 else []
    return "\n".join(block for block in blocks if block)


def summary(judgement: Judgement, style: Style) -> str:
    """Only the summary: a line per address, and one per target that has none."""
    notes = judgement.baseline.notes if judgement.baseline else []
    lines = [line for note in notes for line in _wrap(escape.typed(note), style, "  ")]
    lines += [line for target in judgement.targets for line in _summary(target, judgement, style)]
    for target, problem in judgement.report.errors:
        lines += _wrap(escape.text(_without_prefix(problem, target)), style, "  ")
    return _joined(lines)


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
        return _grid(header, rows, "pipe")
    return wrapped_grid(header, rows, style)


def wrapped_grid(header: Sequence[str], rows: Sequence[Sequence[str]], style: Style) -> str:
    """A table; at a terminal its last column is wrapped to what room there is."""
    if style.width is not None:
        rows = _wrap_last_column(header, rows, style.width)
    return _grid(header, rows)


def _target_block(target: str, judgement: Judgement, style: Style, *, verbose: bool) -> str:
    pairs = judgement.of(target)
    parts = [_verdicts(target, [address for address, _ in pairs], style)]
    explained = list(_explanations(pairs, style, verbose=verbose))
    parts += explained
    if verbose:
        parts += _evidence([address for address, _ in pairs], style)
    parts += _caveats([address for address, _ in pairs], style)
    # Advice that stands in an explanation already is not said again.
    said = {result.case.advice for address, _ in pairs for result in _explained(address)}
    parts += _advice((conclusion for _, conclusion in pairs), said, style)
    if len(judgement.targets) == 1:
        parts.append(summary(judgement, style))
    else:
        parts.append(_joined(_summary(target, judgement, style)))
    return "\n".join(part for part in parts if part)


# The table


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
    title = style.paint(escape.text(_place(target, tested)), _BOLD)
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
        first, *more = _wrap(f"{word:10}  {found}", style, " " * 12)
        lines += [style.paint(word, _COLOURS[Verdict.FAIL]) + first[len(word) :], *more]
    if len(path or failed) > MOST_FINDINGS:
        lines.append(f"{'':12}and {len(path or failed) - MOST_FINDINGS} more, see below")
    if address.hops:
        lines += ["", *_route(address, style)]
    return _joined(lines)


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
        rows = _wrap_last_column(header, rows, style.width)
    return _grid(header, rows).splitlines()


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.2f} ms"


def _place(target: str, addresses: Sequence[AddressReport]) -> str:
    if len(addresses) > 1:
        return f"{target} at {len(addresses)} addresses"
    return at(target, addresses[0].address)


def at(target: str, address: str) -> str:
    """A target and its address, which is not said twice."""
    literal = target.rpartition(":")[0].removeprefix("[").removesuffix("]")
    return target if literal == address else f"{target} at {address}"


def _single(address: AddressReport, style: Style) -> str:
    header = ["case", "section", "level", "verdict", "what was seen"]
    rows = [
        [*_identity(result), _cell(result, style), escape.text(result.seen)]
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
    cells = (_cell(each, Style()) for address in addresses for each in address.results)
    verdict_width = max(len(Verdict.INCONCLUSIVE.value), *map(len, cells))
    if style.width is not None and style.width < NARROW:
        left, identities = _narrowed(left, identities)
    fixed = sum(_column_width(left, identities, column) + _GAP for column in range(len(left)))
    room = None if style.width is None else style.width - fixed
    numbered = room is not None and (
        sum(max(len(name) + MIN_PADDING, verdict_width) + _GAP for name in names) > room
    )
    if numbered:
        legend = [f"  #{number}  {name}" for number, name in enumerate(names, 1)]
        names = [f"#{number}" for number in range(1, len(names) + 1)]
        yield _joined(legend)
    per_table = len(names)
    if numbered and room is not None:
        per_table = max(1, room // (verdict_width + _GAP))
    for start in range(0, len(names), per_table):
        chosen = range(start, min(start + per_table, len(names)))
        rows = [
            [*identity, *(_cell(addresses[index].result(case_id), style) for index in chosen)]
            for case_id, identity in zip(by_id, identities, strict=True)
        ]
        yield _grid([*left, *(names[index] for index in chosen)], rows)


def _cell(result: CaseResult | None, style: Style) -> str:
    if result is None:
        return "-"
    return style.verdict(result.verdict, "" if result.known is None else _KNOWN_MARK)


def _notes(addresses: Sequence[AddressReport], style: Style) -> str:
    """What was seen where the verdict is info or skip; graver ones are explained further down."""
    lines: list[str] = []
    for result, where in _merged(addresses, _NOTED):
        place = "" if len(where) == len(addresses) else f" at {', '.join(where)}"
        head = f"{result.verdict.value:<4}  {result.case.id}{place}: "
        lines += _wrap(escape.text(head + result.seen), style, "      ")
    return _joined(lines)


# What is behind the verdicts


def _explained(address: AddressReport) -> list[CaseResult]:
    return [result for result in address.results if result.verdict in _EXPLAINED]


def _merged(
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


def _explanations(
    pairs: Sequence[tuple[AddressReport, Conclusion]], style: Style, *, verbose: bool
) -> Iterator[str]:
    # When nothing answers at all, every case is inconclusive for that one reason: say it once.
    silent = [address for address, conclusion in pairs if conclusion.kind is Kind.UNREACHABLE]
    loud = [address for address, conclusion in pairs if conclusion.kind is not Kind.UNREACHABLE]
    entries = [
        (result, where)
        for result, where in _merged(silent, _EXPLAINED)
        if result.case.role is Role.REACHABLE
    ]
    by_verdict: dict[tuple[object, ...], list[tuple[CaseResult, list[str]]]] = {}
    for result, where in [*entries, *_merged(loud, _EXPLAINED)]:
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
    lines = [_cell(result, style) + "  " + style.paint(escape.text(head), _BOLD)]
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
            lines += _wrap(f"  {name:<11}  {escape.text(value)}", style, " " * 15)
    if result.traceback:
        shown = result.traceback if verbose else result.traceback.strip().rpartition("\n")[2]
        lines += [f"    {line}" for line in escape.lines(shown.rstrip()).split("\n")]
    return _joined(lines)


def _evidence(addresses: Sequence[AddressReport], style: Style) -> list[str]:
    parts = []
    for address in addresses:
        for result in address.results:
            place = f" at {address.address}" if len(addresses) > 1 else ""
            title = style.paint(escape.text(f"{result.case.id}{place}"), _BOLD)
            if packets := ladders(result):
                parts.append(f"{title}: {style.verdict(result.verdict)}\n{packets}\n")
    return parts


def caveats(address: AddressReport) -> Iterator[str]:
    """What makes the verdicts on an address less certain, a line each."""
    traffic = address.traffic
    if traffic.capture_drops:
        yield (
            f"note: the capture lost {traffic.capture_drops} packets at {address.address}, "
            "so nothing was concluded from a packet's absence"
        )
    if traffic.kernel_resets:
        yield (
            f"warning: this machine's kernel sent {traffic.kernel_resets} resets of its own to "
            f"{address.address}; verdicts may be wrong, please report it"
        )


def _caveats(addresses: Sequence[AddressReport], style: Style) -> list[str]:
    lines = [line for address in addresses for line in caveats(address)]
    return [_joined(_wrap(escape.text(line), style, "  ")) for line in lines]


def _advice(conclusions: Iterable[Conclusion], said: set[str], style: Style) -> list[str]:
    advice = dict.fromkeys(text for found in conclusions for text in found.advice)
    lines = [
        line
        for text in advice
        if text not in said
        for line in _wrap(f"  - {escape.text(text)}", style, "    ")
    ]
    return [_joined(["what to do:", *lines])] if lines else []


# The summary


def _summary(target: str, judgement: Judgement, style: Style) -> list[str]:
    pairs = judgement.of(target)
    lines: list[str] = []
    for address, conclusion in pairs:
        lines += _summary_of_address(address, conclusion, style)
    # An address that could not be tried from here says nothing about the server.
    grades = [found.grade for _, found in pairs if found.kind is not Kind.NOT_TESTED]
    letter = grade.worst(grades)
    if len(grades) > 1 and letter is not None:
        shown = style.paint(f"grade {letter}", _grade_colour(letter))
        lines.append(f"{escape.text(target)}: {shown} (the worst of {len(grades)} addresses)")
    return lines


def _summary_of_address(address: AddressReport, conclusion: Conclusion, style: Style) -> list[str]:
    place = escape.text(at(address.target, address.address))
    letter = f"grade {conclusion.grade}. " if conclusion.grade else ""
    headline = escape.text(conclusion.headline)
    if conclusion.kind is Kind.NOT_TESTED:
        return _wrap(f"{place}: {headline}", style, "  ")
    counts = ", ".join(_counts(address))
    cost = f"{address.duration:.1f} s, {address.traffic.sent} packets sent"
    text = f"{place}: {letter}{headline} ({counts + '; ' if counts else ''}{cost})"
    lines = _wrap(text, style, "  ")
    if conclusion.grade:
        code = _grade_colour(conclusion.grade)
        lines[0] = lines[0].replace(letter, style.paint(letter[:-2], code) + letter[-2:], 1)
    return lines


def _counts(address: AddressReport) -> Iterator[str]:
    known = grade.count(result for result in address.results if result.known is not None)
    for verdict, number in grade.count(address.results).items():
        yield f"{number} {verdict.value}{f' ({known[verdict]} known)' if verdict in known else ''}"


def _grade_colour(letter: str) -> str:
    return {"A": _GREEN, "B": _YELLOW, "C": _YELLOW}.get(letter[0], _RED) + f";{_BOLD}"


def _without_prefix(problem: str, target: str) -> str:
    return problem if problem.startswith(target) else f"{target}: {problem}"


# Cells and lines


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]], fmt: str = "simple") -> str:
    # Cells are text: "4.2" must not become a number, nor be aligned as one.
    grid = tabulate(rows, list(header), tablefmt=fmt, disable_numparse=True, stralign="left")
    return "".join(f"{line.rstrip()}\n" for line in grid.split("\n"))


def _column_width(header: Sequence[str], rows: Sequence[Sequence[str]], column: int) -> int:
    # tabulate pads headers, not cells.
    head = max(len(line) + MIN_PADDING for line in header[column].split("\n"))
    return max([head, *(_visible(line) for row in rows for line in row[column].split("\n"))])


def _visible(line: str) -> int:
    """The width of a line without its colour codes, the only escape sequences there are."""
    return sum(
        len(part.partition("m")[2]) if index else len(part)
        for index, part in enumerate(line.split("\x1b["))
    )


def _wrap_last_column(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> list[list[str]]:
    taken = sum(_column_width(header, rows, column) + _GAP for column in range(len(header) - 1))
    room = max(_MIN_SEEN, width - taken)
    return [[*row[:-1], textwrap.fill(row[-1], room)] for row in rows]


def _wrap(line: str, style: Style, indent: str) -> list[str]:
    if style.width is None or len(line) <= style.width:
        return [line]
    return textwrap.wrap(line, style.width, subsequent_indent=indent, break_on_hyphens=False) or [
        line
    ]


def _joined(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
