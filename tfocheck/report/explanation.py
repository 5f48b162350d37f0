"""What a verdict means, as plain lines: for reports that give each case a text of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfocheck.judging.kind import is_path_fault
from tfocheck.model import escape
from tfocheck.model.case import Verdict

if TYPE_CHECKING:
    from tfocheck.model.report import CaseResult


def verdict(result: CaseResult) -> str:
    """The verdict in words: a fault of the path is not called the server's."""
    word = "path fault" if is_path_fault(result) else result.verdict.value
    return word if result.known is None else f"{word} (known)"


def seen(result: CaseResult) -> str:
    """What was seen, in one escaped line that is never empty."""
    return escape.text(result.seen) or "nothing was seen"


OWN_FAULT = "This is tfocheck's fault, not the server's: please report it with what -v shows."


USERS_FAULT = "This is the case's fault, not the server's: mend it where it says."


def advice(result: CaseResult) -> str:
    """What to do about it, in one line as it was written; may be empty."""
    if result.verdict is not Verdict.ERROR:
        return result.case.advice
    return USERS_FAULT if result.case.is_users else OWN_FAULT


def explanation(result: CaseResult) -> str:
    """Requirement, expectation, what was seen, advice and traceback, escaped; no final feed."""
    case = result.case
    lines = [
        f"requirement: {escape.text(case.requirement)}",
        f"expected: the server {escape.text(case.expected)}",
        f"seen: {seen(result)}",
    ]
    if todo := advice(result):
        lines.append(f"advice: {escape.text(todo)}")
    if result.traceback:
        lines.append(escape.lines(result.traceback))
    return "\n".join(lines)
