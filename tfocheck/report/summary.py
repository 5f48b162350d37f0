"""The summary: a line for each address."""

from __future__ import annotations

from collections.abc import Iterator

from tfocheck.judging import grade
from tfocheck.judging.grade import Conclusion, Judgement
from tfocheck.judging.kind import Kind
from tfocheck.model import escape
from tfocheck.model.report import AddressReport
from tfocheck.model.style import BOLD, GREEN, RED, YELLOW, Style
from tfocheck.report.grid import joined, wrap


def summary(judgement: Judgement, style: Style) -> str:
    """Only the summary: a line per address, and one per target that has none."""
    notes = judgement.baseline.notes if judgement.baseline else []
    lines = [line for note in notes for line in wrap(escape.typed(note), style, "  ")]
    lines += [line for target in judgement.targets for line in of_target(target, judgement, style)]
    for target, problem in judgement.report.errors:
        lines += wrap(escape.text(_without_prefix(problem, target)), style, "  ")
    return joined(lines)


def at(target: str, address: str) -> str:
    """A target and its address, which is not said twice."""
    literal = target.rpartition(":")[0].removeprefix("[").removesuffix("]")
    return target if literal == address else f"{target} at {address}"


def of_target(target: str, judgement: Judgement, style: Style) -> list[str]:
    """The lines of one target."""
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
        return wrap(f"{place}: {headline}", style, "  ")
    counts = ", ".join(_counts(address))
    cost = f"{address.duration:.1f} s, {address.traffic.sent} packets sent"
    text = f"{place}: {letter}{headline} ({counts + '; ' if counts else ''}{cost})"
    lines = wrap(text, style, "  ")
    if conclusion.grade:
        code = _grade_colour(conclusion.grade)
        lines[0] = lines[0].replace(letter, style.paint(letter[:-2], code) + letter[-2:], 1)
    return lines


def _counts(address: AddressReport) -> Iterator[str]:
    known = grade.count(result for result in address.results if result.known is not None)
    for verdict, number in grade.count(address.results).items():
        yield f"{number} {verdict.value}{f' ({known[verdict]} known)' if verdict in known else ''}"


def _grade_colour(letter: str) -> str:
    return {"A": GREEN, "B": YELLOW, "C": YELLOW}.get(letter[0], RED) + f";{BOLD}"


def _without_prefix(problem: str, target: str) -> str:
    return problem if problem.startswith(target) else f"{target}: {problem}"
