"""The report as JSON Lines: a line per address, which says by itself what became of it.

For many targets, where a reader takes one line at a time: no packets, and no text that every line
would repeat. A target that does not resolve has a line without an address. The structure is in
``schemas/line.json``, and its ``format`` is kept as that of ``json_report``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tfocheck.judging.grade import Conclusion, Judgement
from tfocheck.judging.kind import Kind
from tfocheck.model import escape
from tfocheck.model.case import Verdict
from tfocheck.model.report import AddressReport
from tfocheck.report import json_report

if TYPE_CHECKING:
    from tfocheck.model.report import CaseResult
    from tfocheck.report.json_report import Value

SCHEMA = "urn:tfocheck:line:1"
FORMAT = 1


def dumps(judgement: Judgement) -> str:
    """A line per address, then one per target without any, each ending in a line feed."""
    report = judgement.report
    lines = [
        _line(judgement, address, conclusion)
        for address, conclusion in zip(report.addresses, judgement.conclusions, strict=True)
    ]
    lines += [_unresolved(judgement, target, message) for target, message in report.errors]
    return "".join(f"{json.dumps(line, allow_nan=False)}\n" for line in lines)


def _line(judgement: Judgement, address: AddressReport, conclusion: Conclusion) -> dict[str, Value]:
    results = address.results
    return {
        "schema": SCHEMA,
        "format": FORMAT,
        "version": judgement.report.version,
        "strict": judgement.strict,
        "complete": judgement.complete,
        **json_report.summary(address, conclusion),
        "verdicts": {escape.text(result.case.id): result.verdict.value for result in results},
        "findings": [_finding(each) for each in results if each.verdict is not Verdict.PASS],
    }


def _unresolved(judgement: Judgement, target: str, message: str) -> dict[str, Value]:
    nowhere = AddressReport(target, "", 0, not_tested=message, started=judgement.report.started)
    conclusion = Conclusion(Kind.UNREACHABLE, None, message)
    return {**_line(judgement, nowhere, conclusion), "address": None, "port": None}


def _finding(result: CaseResult) -> dict[str, Value]:
    case = result.case
    return {
        **json_report.identity(case),
        "verdict": result.verdict.value,
        "seen": escape.text(result.seen),
        "advice": escape.text(case.advice),
        "prerequisite": result.prerequisite,
        "known": None if result.known is None else escape.text(result.known),
    }
