"""What changes a verdict after its case has returned, and that it says why."""

from __future__ import annotations

import datetime

import pytest

from tfocheck.case import Case, Level, Outcome, Role, Severity, Verdict
from tfocheck.judging.trust import behind_faults, distrust, mark_known
from tfocheck.model.baseline import Allowed, Baseline, Entry
from tfocheck.model.report import AddressReport, CaseResult, Report, Revision
from tfocheck.runner.catalogue import load_cases
from tfocheck.wire.evidence import FlowRecord

CASES = {case.id: case for case in load_cases()}
FLOW = FlowRecord("a SYN", ("192.0.2.1", 1), ("192.0.2.2", 2), 0, None, ())
TODAY = datetime.date(2026, 11, 25)


async def _never_run(_probe: object) -> Outcome:
    raise AssertionError("not run")


def a_case(case_id: str = "some.case", role: Role | None = None) -> Case:
    return Case(
        *(case_id, "4.2", Level.MUST, Severity.MAJOR, "title", "asks", "expects", "do", _never_run),
        role=role,
    )


# --- what the capture lost ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "conclusive", "drops", "kernel_resets", "trusted"),
    [
        (Verdict.PASS, False, 0, 0, True),
        (Verdict.PASS, False, 1, 0, False),
        (Verdict.INFO, False, 1, 0, False),
        (Verdict.WARN, False, 1, 0, False),
        (Verdict.FAIL, False, 1, 0, False),
        (Verdict.FAIL, True, 1, 0, True),
        (Verdict.PASS, False, 0, 1, False),
        (Verdict.FAIL, True, 0, 1, False),
        (Verdict.SKIP, False, 1, 0, True),
        (Verdict.ERROR, False, 1, 1, True),
    ],
)
def test_nothing_rests_on_absence_when_the_capture_lost_packets(
    verdict: Verdict, conclusive: bool, drops: int, kernel_resets: int, trusted: bool
) -> None:
    result = CaseResult(a_case(), verdict, "seen", 0.1, (FLOW,), conclusive=conclusive)
    expected = verdict if trusted else Verdict.INCONCLUSIVE
    found = distrust(result, drops, kernel_resets)
    assert found.verdict is expected
    assert (found == result) is trusted


def test_what_is_distrusted_says_why_and_what_it_was() -> None:
    result = CaseResult(a_case(), Verdict.PASS, "ack 1", 0.1, (FLOW,))
    lost = distrust(result, 7, 0)
    assert lost.seen == "the capture lost 7 packets, so this may be wrong: pass: ack 1"
    assert lost.revisions == (Revision(Verdict.PASS, "ack 1", "the capture lost 7 packets"),)
    reset = distrust(result, 7, 1)
    assert "the local kernel reset a guarded port" in reset.seen


def test_what_looks_at_no_packet_loses_nothing_with_them() -> None:
    result = CaseResult(a_case(), Verdict.PASS, "of others", 0.1)
    assert distrust(result, 1, 1) == result


# --- faults of the path, and farms ----------------------------------------------------------------


def result(case_id: str, verdict: Verdict, *, conclusive: bool = False) -> CaseResult:
    return CaseResult(CASES[case_id], verdict, "seen", 0.1, conclusive=conclusive)


def judged(*results: CaseResult) -> dict[str, Verdict]:
    return {each.case.id: each.verdict for each in behind_faults(results)}


def test_behind_a_fault_of_the_path_only_proofs_stay() -> None:
    assert CASES["forged.random"].severity is Severity.CRITICAL
    assert CASES["path.option-stripped"].level is Level.PATH
    found = judged(
        result("path.option-stripped", Verdict.FAIL, conclusive=True),
        result("open.data-acked", Verdict.FAIL),
        result("cookie.repeatable", Verdict.WARN),
        result("open.sizes", Verdict.INCONCLUSIVE),
        result("forged.random", Verdict.FAIL, conclusive=True),
        result("control.syn", Verdict.PASS),
    )
    assert found == {
        "path.option-stripped": Verdict.FAIL,
        "open.data-acked": Verdict.SKIP,
        "cookie.repeatable": Verdict.SKIP,
        "open.sizes": Verdict.SKIP,
        "forged.random": Verdict.FAIL,
        "control.syn": Verdict.PASS,
    }


def test_servers_with_a_key_each_explain_what_stayed_open_beside() -> None:
    found = judged(
        result("farm.one-key", Verdict.FAIL),
        result("open.sizes", Verdict.INCONCLUSIVE),
        result("forged.random", Verdict.FAIL, conclusive=True),
    )
    assert found["farm.one-key"] is Verdict.FAIL
    assert found["open.sizes"] is Verdict.SKIP
    assert found["forged.random"] is Verdict.FAIL


def test_while_our_own_address_may_change_no_servers_are_blamed() -> None:
    assert CASES["path.source-changes"].role is Role.ONE_ADDRESS
    found = behind_faults(
        [
            result("farm.one-key", Verdict.FAIL),
            result("path.source-changes", Verdict.INCONCLUSIVE),
            result("open.sizes", Verdict.FAIL),
        ]
    )
    assert [each.verdict for each in found] == [
        Verdict.INCONCLUSIVE,
        Verdict.INCONCLUSIVE,
        Verdict.FAIL,
    ]
    assert found[0].seen == "seen; or our own address changes: path.source-changes is undecided"
    assert [each.reason for each in found[0].revisions] == ["path.source-changes is undecided"]


def test_without_such_a_fault_nothing_is_explained_away() -> None:
    found = judged(
        result("open.data-acked", Verdict.FAIL), result("open.sizes", Verdict.INCONCLUSIVE)
    )
    assert found == {"open.data-acked": Verdict.FAIL, "open.sizes": Verdict.INCONCLUSIVE}


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.WARN, Verdict.INCONCLUSIVE])
def test_a_path_that_only_may_be_at_fault_explains_nothing(verdict: Verdict) -> None:
    found = judged(result("path.option-stripped", verdict), result("open.sizes", Verdict.FAIL))
    assert found["open.sizes"] is Verdict.FAIL


def test_before_a_fault_of_the_path_a_farm_is_not_to_blame() -> None:
    found = behind_faults(
        [
            result("farm.one-key", Verdict.FAIL),
            result("path.proxy", Verdict.INCONCLUSIVE),
            result("path.source-changes", Verdict.FAIL),
            result("open.sizes", Verdict.FAIL),
        ]
    )
    farm, proxy, path, server = found
    assert (path.verdict, proxy.verdict) == (Verdict.FAIL, Verdict.INCONCLUSIVE)
    assert farm.verdict is Verdict.SKIP
    assert server.seen == "can't be judged: see path.source-changes (fail)"
    assert server.revisions == (Revision(Verdict.FAIL, "seen", "path.source-changes failed"),)


# --- what a baseline knows ------------------------------------------------------------------------


def entry(
    case_id: str = "some.case",
    address: str = "*",
    allowed: Allowed = Allowed.FAIL,
    expires: datetime.date | None = None,
    reason: str = "known",
) -> Entry:
    return Entry(case_id, address, allowed, reason, expires, 1)


def marked(verdict: Verdict, *entries: Entry, case: Case | None = None) -> CaseResult:
    address = AddressReport(
        "x:443", "192.0.2.1", 443, (CaseResult(case or a_case(), verdict, "seen", 0.1),)
    )
    report, _ = mark_known(Report((address,), 0.0, 1.0, "0"), Baseline("b", entries, ""), TODAY)
    [found] = report.addresses
    [one] = found.results
    return one


def test_what_is_known_keeps_its_verdict_and_says_why_it_counts_no_more() -> None:
    found = marked(Verdict.FAIL, entry(reason="soon"))
    assert found.verdict is Verdict.FAIL
    assert found.known == "soon"
    assert found.revisions == (Revision(Verdict.FAIL, "seen", "b: soon"),)


def test_an_entry_allows_its_verdict_and_a_failure_a_warning_too() -> None:
    assert marked(Verdict.WARN, entry()).known is not None
    assert marked(Verdict.FAIL, entry(allowed=Allowed.WARN)).known is None
    assert marked(Verdict.FAIL, entry("other.case")).known is None
    assert marked(Verdict.FAIL, entry(address="192.0.2.9")).known is None


def test_the_most_precise_entry_gives_the_reason() -> None:
    wide, exact = entry(reason="wide"), entry(address="192.0.2.1:443", reason="exact")
    assert marked(Verdict.FAIL, wide, exact).known == "exact"
    assert marked(Verdict.FAIL, exact, wide).known == "exact"


def test_an_entry_holds_through_its_last_day() -> None:
    assert marked(Verdict.FAIL, entry(expires=TODAY)).known is not None
    late = entry(expires=TODAY - datetime.timedelta(days=1))
    assert marked(Verdict.FAIL, late).known is None
    assert marked(Verdict.FAIL, late, entry(reason="lives")).known == "lives"


def test_that_an_address_is_unreachable_is_never_known() -> None:
    assert marked(Verdict.FAIL, entry(), case=a_case(role=Role.REACHABLE)).known is None


def test_what_became_of_the_entries() -> None:
    late = entry(expires=TODAY - datetime.timedelta(days=1))
    mended = entry("good.case", "192.0.2.1")
    elsewhere = entry(address="192.0.2.9")
    unasked = entry("other.case", "192.0.2.1")
    results = (
        CaseResult(a_case(), Verdict.FAIL, "seen", 0.1),
        CaseResult(a_case("good.case"), Verdict.INFO, "seen", 0.1),
    )
    address = AddressReport("x:443", "192.0.2.1", 443, results)
    other = AddressReport("x:443", "192.0.2.2", 443, (results[0],))
    baseline = Baseline("b", (late, mended, elsewhere, unasked), "")
    _, applied = mark_known(Report((address, other), 0.0, 1.0, "0"), baseline, TODAY)
    assert applied.path == "b"
    assert applied.mended == (mended,)
    assert applied.expired == (late,)
    assert applied.elsewhere == 1


def test_what_is_mended_at_one_address_alone_is_not_mended() -> None:
    results = [CaseResult(a_case(), verdict, "seen", 0.1) for verdict in Verdict]
    for worse in results:
        good = CaseResult(a_case(), Verdict.PASS, "seen", 0.1)
        addresses = tuple(
            AddressReport("x:443", f"192.0.2.{i}", 443, (each,))
            for i, each in enumerate((good, worse))
        )
        _, applied = mark_known(
            Report(addresses, 0.0, 1.0, "0"), Baseline("b", (entry(),), ""), TODAY
        )
        assert bool(applied.mended) is (worse.verdict in (Verdict.PASS, Verdict.INFO))
