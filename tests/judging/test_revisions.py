"""Whatever changes a verdict after its case has returned leaves what it was, and why."""

from __future__ import annotations

import datetime

from tfocheck.judging.trust import behind_faults, distrust, mark_known
from tfocheck.model.baseline import Allowed, Baseline, Entry
from tfocheck.model.case import Verdict
from tfocheck.model.report import AddressReport, CaseResult, Report, Revision
from tfocheck.runner.catalogue import load_cases
from tfocheck.wire.evidence import FlowRecord

CASES = {case.id: case for case in load_cases()}
FLOW = FlowRecord("a flow", ("192.0.2.1", 1), ("192.0.2.2", 2), 1, None, ())
TODAY = datetime.date(2026, 11, 22)


def result(case_id: str, verdict: Verdict, seen: str = "this") -> CaseResult:
    return CaseResult(CASES[case_id], verdict, seen, 0.1, flows=(FLOW,))


def test_nothing_that_is_left_alone_has_a_revision() -> None:
    found = result("open.sizes", Verdict.PASS)
    assert distrust(found, 0, 0) is found
    assert behind_faults([found]) == [found]


def test_lost_packets_leave_what_was_said_before() -> None:
    found = distrust(result("open.sizes", Verdict.PASS), 3, 0)
    assert found.verdict is Verdict.INCONCLUSIVE
    [revision] = found.revisions
    assert revision == Revision(Verdict.PASS, "this", "the capture lost 3 packets")


def test_each_step_adds_its_own() -> None:
    lost = distrust(result("open.sizes", Verdict.PASS), 3, 0)
    fault = result("path.option-stripped", Verdict.FAIL)
    [skipped, _] = behind_faults([lost, fault])
    assert skipped.verdict is Verdict.SKIP
    assert [each.verdict for each in skipped.revisions] == [Verdict.PASS, Verdict.INCONCLUSIVE]
    assert skipped.revisions[-1].reason == "path.option-stripped failed"


def test_what_is_known_keeps_its_verdict() -> None:
    entry = Entry("forged.random", "*", Allowed.FAIL, "mended in March", line=3)
    address = AddressReport("x:1", "192.0.2.2", 1, (result("forged.random", Verdict.FAIL),))
    report = Report((address,), 0.0, 1.0, "1")
    marked, _ = mark_known(report, Baseline("known.toml", (entry,)), TODAY)
    [found] = marked.addresses[0].results
    assert (found.verdict, found.known) == (Verdict.FAIL, "mended in March")
    assert found.revisions == (Revision(Verdict.FAIL, "this", "known.toml: mended in March"),)
