"""The report as JUnit XML, for CI systems: a suite per address, a test case per case.

Rules that hold here:

* There is a ``failure`` or an ``error`` just when the exit code is not 0. A failure says that the
  server broke a requirement (exit code 1), and its type is the severity; an error says why the
  server was not judged: inconclusive, tfocheck's own error, a fault of the path, not offered,
  unreachable, not tested.
* Where no case alone is to blame, the case that stands for the whole address has the error.
* skip is ``skipped``, and so is, with its reason, what a baseline knows. A warning is a plain pass
  with its text in ``system-out``, or a failure of type "warn" with ``--strict`` (an error if it is
  about the path). So is a fact that stayed open.
* Each suite has as many test cases as the table has rows. With several addresses a test case is
  named with its own: GitLab drops every test case but the first of those with the same class and
  name.
* A test case's time is its own; the cases of a run overlap, so a suite's is less than their sum.

The XML is valid by the schema of Jenkins' xUnit plugin (junit-10.xsd), which allows no other
attributes than its own.
"""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import junit_xml

from tfocheck.judging import grade
from tfocheck.judging.grade import Conclusion, Judgement
from tfocheck.judging.kind import Against, Kind, counts_against
from tfocheck.model import escape
from tfocheck.model.case import Verdict
from tfocheck.model.report import CaseResult
from tfocheck.report import explanation as explaining
from tfocheck.report.ladder import ladders

if TYPE_CHECKING:
    from tfocheck.model.report import AddressReport


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
    root.extend(suites)
    for total in ("tests", "failures", "errors"):
        root.set(total, str(sum(int(suite.get(total, 0)) for suite in root)))
    root.set("time", f"{report.duration:.6f}")
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _element(suite: Any, seconds: float) -> ElementTree.Element:
    element: ElementTree.Element = suite.build_xml_doc()
    del element.attrib["disabled"]
    element.set("time", f"{seconds:.6f}")
    return element


def _suite(
    address: AddressReport, conclusion: Conclusion, judgement: Judgement, several: bool
) -> ElementTree.Element:
    place = escape.text(f"{address.target} at {address.address}")
    where = f" [{place}]"
    if not address.results:
        cases = [_without_cases(address, conclusion, judgement, where)]
    else:
        whole = grade.whole_address(address, conclusion, strict=judgement.strict)
        cases = [
            _test_case(
                result,
                judgement.strict,
                where if several else "",
                conclusion if result.case.id == whole else None,
            )
            for result in address.results
        ]
    started = datetime.datetime.fromtimestamp(address.started, datetime.UTC)
    suite = junit_xml.TestSuite(
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
    return _element(suite, address.duration)


def _without_cases(
    address: AddressReport, conclusion: Conclusion, judgement: Judgement, where: str
) -> Any:
    case = junit_xml.TestCase(f"address{where}", "tfocheck")
    # That it can't be tried from here breaks no build, if the target has other addresses.
    if conclusion.kind is Kind.NOT_TESTED and address.target not in judgement.untested:
        case.add_skipped_info(escape.text(address.not_tested or conclusion.headline))
    else:
        case.add_error_info(escape.text(conclusion.headline), error_type=conclusion.kind.value)
    return case


def _unresolved(target: str, message: str, judgement: Judgement) -> ElementTree.Element:
    case = junit_xml.TestCase(f"resolve [{escape.text(target)}]", "tfocheck")
    case.add_error_info(escape.text(message), error_type="unreachable")
    properties = {"target": escape.text(target), "version": judgement.report.version}
    suite = junit_xml.TestSuite(escape.text(target), [case], properties=properties)
    return _element(suite, 0.0)


def _test_case(
    result: CaseResult, strict: bool, where: str, whole: Conclusion | None = None
) -> Any:
    """A case; ``whole`` is the conclusion on the address if this case is to stand for it."""
    case = junit_xml.TestCase(
        escape.text(result.case.id) + where, _class_name(result.case.section), result.duration
    )
    # junit-xml leaves an element without a message out, and with it the failure.
    seen = explaining.seen(result)
    severity = result.case.severity.value if result.case.severity else "minor"
    explanation = explaining.explanation(result)
    match result.verdict:
        case _ if whole is not None:
            advice = "\n".join(escape.text(f"advice: {each}") for each in whole.advice)
            case.add_error_info(escape.text(whole.headline), advice or None, whole.kind.value)
        case _ if result.known is not None:
            case.add_skipped_info(f"known: {escape.text(result.known)}; {result.verdict}: {seen}")
        case Verdict.SKIP:
            case.add_skipped_info(seen)
        case verdict:
            match counts_against(result.case.level, verdict, strict=strict):
                case Against.PATH:
                    case.add_error_info(seen, explanation, Kind.PATH.value)
                case Against.SERVER:
                    weight = "warn" if verdict is Verdict.WARN else severity
                    case.add_failure_info(seen, explanation, weight)
                case Against.VERDICT:
                    case.add_error_info(seen, explanation, verdict.value)
    head = f"{explaining.verdict(result)}: {seen}"
    packets = ladders(result)
    case.stdout = f"{head}\n{packets}\n" if packets else f"{head}\n"
    return case


def _class_name(section: str) -> str:
    """``rfc7413.4.2.2`` for "4.2.2", ``rfc9293.3.1`` for "RFC 9293 3.1"."""
    name = section if section.upper().startswith("RFC") else f"rfc7413.{section}"
    name = re.sub(r"^(rfc) ?(\d+)", r"\1\2", name.lower())
    return escape.text(re.sub(r"\s+", ".", name))
