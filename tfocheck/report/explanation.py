"""What a verdict means, as plain lines: for reports that give each case a text of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfocheck.report import escape

if TYPE_CHECKING:
    from tfocheck.case import CaseResult


def seen(result: CaseResult) -> str:
    """What was seen, in one escaped line that is never empty."""
    return escape.text(result.seen) or "nothing was seen"


def explanation(result: CaseResult) -> str:
    """Requirement, expectation, what was seen, advice and traceback, escaped; no final feed."""
    case = result.case
    lines = [
        f"requirement: {escape.text(case.requirement)}",
        f"expected: the server {escape.text(case.expected)}",
        f"seen: {seen(result)}",
    ]
    if case.advice:
        lines.append(f"advice: {escape.text(case.advice)}")
    if result.traceback:
        lines.append(escape.lines(result.traceback))
    return "\n".join(lines)
