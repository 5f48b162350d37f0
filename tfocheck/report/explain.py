"""``tfocheck explain CASE``: a requirement for people, from what its case declares.

The packet exchange is the docstring of the case's function, written as a ladder; everything else is
in its declaration.
"""

from __future__ import annotations

import difflib
import fnmatch
import inspect
import textwrap
from collections.abc import Sequence

from tfocheck.errors import UsageError
from tfocheck.model.case import Case, Level, Verdict

WIDTH = 80

LEGEND = "(-> we, <- the server; numbers are relative; a fresh port for each attempt)"

_LEVELS = {
    Level.MUST: "the RFC says MUST",
    Level.SHOULD: "the RFC says SHOULD",
    Level.MAY: "the RFC says MAY",
    Level.PROCEDURE: "a step of the RFC's procedure, to be kept like a MUST",
    Level.PATH: "asked of the path, not of the server",
    Level.INFO: "a fact worth reporting; the RFC demands nothing",
}


def find(pattern: str, cases: Sequence[Case]) -> list[Case]:
    """The cases with that id, or that match the glob. Raises UsageError when none does."""
    found = [case for case in cases if fnmatch.fnmatchcase(case.id, pattern)]
    if not found:
        close = difflib.get_close_matches(pattern, [case.id for case in cases])
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise UsageError(f"no case is called {pattern!r}: {hint}see tfocheck --list")
    return found


def explain(case: Case) -> str:
    """What the case asks, how it is tested, why it matters, and what to do about a failure."""
    section = case.section if case.section.startswith("RFC") else f"RFC 7413 section {case.section}"
    fails = case.breach("").verdict is Verdict.FAIL
    severity = f"; a {'failure' if fails else 'breach'} is {case.severity}" if case.severity else ""
    severity += "" if fails or not case.severity else ", and a warning"
    parts = [
        _fill(f"{case.id}: {case.title}"),
        _fill(f"{section}; {_LEVELS[case.level]}{severity}."),
        _paragraph("What is asked", case.requirement),
        _ladder("What is sent, and what should come", case),
        _paragraph("What holds", f"The server {case.expected}."),
        _paragraph("Why it matters", case.why),
        _paragraph("When it fails" if fails else "What to do about it", case.advice),
        _paragraph("Rests on", ", ".join(case.needs)),
        _paragraph("Only with", case.option or ""),
        _paragraph(
            "See it fail",
            "\n".join(f"tfocheck lab run reference --fault {fault}" for fault in case.faults),
            fill=False,
        ),
    ]
    return "\n\n".join(part for part in parts if part)


def _fill(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _paragraph(heading: str, text: str, *, fill: bool = True) -> str:
    if not text:
        return ""
    return f"{heading}\n" + (_fill(text, "  ") if fill else textwrap.indent(text, "  "))


def _ladder(heading: str, case: Case) -> str:
    exchange = inspect.getdoc(case.run)
    if not exchange:
        return ""
    # The docstring of a user's own case may be prose.
    legend = "\n" + _fill(LEGEND, "  ") if "-> " in exchange else ""
    return f"{heading}\n" + textwrap.indent(exchange, "  ") + legend
