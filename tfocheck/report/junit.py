"""The report as JUnit XML, for CI systems: a suite per address, a test case per case.

A failure is a ``failure`` of the severity's type; inconclusive and error are ``error``, for a build
must not go green on them; skip is ``skipped``; a warning is a plain pass with its text in
``system-out``, or a failure of type "warn" with ``--strict``; what a baseline knows is ``skipped``,
with its reason. Each suite has as many test cases as the table has rows. With several addresses a
test case is named with its own: GitLab drops every test case but the first of those with the same
class and name.

The XML is valid by the schema of Jenkins' xUnit plugin (junit-10.xsd), which allows no other
attributes than its own.
"""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import junit_xml

from tfocheck.case import CaseResult, Verdict
from tfocheck.grade import Conclusion, Judgement, Kind
from tfocheck.report import escape
from tfocheck.report import explanation as explaining
from tfocheck.report.ladder import ladders

if TYPE_CHECKING:
    from tfocheck.case import AddressReport


def dumps(judgement: Judgement) -> str:
    """The report as XML text, ending in a line feed."""
    report = judgement.report
    several = sum(address.not_tested is None for address in report.addresses) > 1
    suites = [
        _suite(address, conclusion, judgement, several)
        for address, conclusion in zip(report.addresses, judgement.conclusions, strict=True)
    ]
    suites += [_unresolved(target, message, judgement) for target, message in report.errors]
    root = ElementTree.Element("testsuites", name="tfocheck")
    root.extend(_element(suite) for suite in suites)
    for total in ("tests", "failures", "errors"):
        root.set(total, str(sum(int(suite.get(total, 0)) for suite in root)))
    root.set("time", f"{sum(float(suite.get('time', 0)) for suite in root):.6f}")
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _element(suite: Any) -> ElementTree.Element:
    element: ElementTree.Element = suite.build_xml_doc()
    del element.attrib["disabled"]
    # As a sum of floats it may come in a form such as 5e-06.
    element.set("time", f"{float(element.get('time', 0)):.6f}")
    return element


def _suite(
    address: AddressReport, conclusion: Conclusion, judgement: Judgement, several: bool
) -> Any:
    place = escape.text(f"{address.target} at {address.address}")
    where = f" [{place}]"
    if conclusion.kind is Kind.NOT_TESTED:
        untested = junit_xml.TestCase(f"address{where}", "tfocheck")
        untested.add_skipped_info(escape.text(address.not_tested or conclusion.headline))
        cases = [untested]
    else:
        cases = [
            _test_case(result, judgement.strict, where if several else "")
            for result in address.results
        ]
    started = datetime.datetime.fromtimestamp(address.started, datetime.UTC)
    return junit_xml.TestSuite(
        place,
        cases,
        hostname=escape.text(address.address),
        timestamp=started.replace(tzinfo=None).isoformat(timespec="seconds"),
        properties={
            "target": escape.text(address.target),
            "address": escape.text(address.address),
            "port": str(address.port),
            "payload": escape.text(address.payload),
            "version": judgement.report.version,
            "grade": conclusion.grade or "none",
            "conclusion": conclusion.kind.value,
            "headline": escape.text(conclusion.headline),
            "packets-sent": str(address.traffic.sent),
        },
    )


def _unresolved(target: str, message: str, judgement: Judgement) -> Any:
    case = junit_xml.TestCase(f"resolve [{escape.text(target)}]", "tfocheck")
    case.add_error_info(escape.text(message), error_type="unreachable")
    properties = {"target": escape.text(target), "version": judgement.report.version}
    return junit_xml.TestSuite(escape.text(target), [case], properties=properties)


def _test_case(result: CaseResult, strict: bool, where: str) -> Any:
    case = junit_xml.TestCase(
        escape.text(result.case.id) + where, _class_name(result.case.section), result.duration
    )
    # junit-xml leaves an element without a message out, and with it the failure.
    seen = explaining.seen(result)
    severity = result.case.severity.value if result.case.severity else "minor"
    match result.verdict:
        case _ if result.known is not None:
            case.add_skipped_info(f"known: {escape.text(result.known)}; {result.verdict}: {seen}")
        case Verdict.FAIL:
            case.add_failure_info(seen, explaining.explanation(result), severity)
        case Verdict.WARN if strict:
            case.add_failure_info(seen, explaining.explanation(result), "warn")
        case Verdict.INCONCLUSIVE | Verdict.ERROR:
            case.add_error_info(seen, explaining.explanation(result), result.verdict.value)
        case Verdict.SKIP:
            case.add_skipped_info(seen)
    head = f"{result.verdict.value}: {seen}"
    packets = ladders(result)
    case.stdout = f"{head}\n{packets}\n" if packets else f"{head}\n"
    return case


def _class_name(section: str) -> str:
    """``rfc7413.4.2.2`` for "4.2.2", ``rfc9293.3.1`` for "RFC 9293 3.1"."""
    name = section if section.upper().startswith("RFC") else f"rfc7413.{section}"
    name = re.sub(r"^(rfc) ?(\d+)", r"\1\2", name.lower())
    return escape.text(re.sub(r"\s+", ".", name))
