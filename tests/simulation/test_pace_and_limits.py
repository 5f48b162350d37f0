"""Limits on new connections are found, kept and named; no verdict is laid on what was sent."""

from __future__ import annotations

import pytest
from whole import check_network

from tfocheck.memory.hosts import Endpoint, reference_host
from tfocheck.memory.network import Network
from tfocheck.model.case import Verdict
from tfocheck.model.report import AddressReport
from tfocheck.wire.segment import Flags, Segment

pytestmark = pytest.mark.long

BAD = (Verdict.FAIL, Verdict.WARN, Verdict.ERROR)


def is_syn(segment: Segment) -> bool:
    return segment.flags & (Flags.SYN | Flags.ACK) == Flags.SYN


class InFront:
    """Something in front of the reference server that lets through what it likes."""

    def __init__(self, *faults: str) -> None:
        self.server: Endpoint = reference_host(faults)

    def next_timer(self) -> float | None:
        return self.server.next_timer()

    def fire(self, now: float) -> list[Segment]:
        return self.server.fire(now)

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        return self.server.receive(segment, now) if self.passes(segment, now) else []

    def passes(self, segment: Segment, now: float) -> bool:
        return True


class RateLimit(InFront):
    """A token bucket for SYNs."""

    def __init__(self, rate: float, burst: int, *faults: str) -> None:
        super().__init__(*faults)
        self.rate, self.burst = rate, burst
        self.tokens, self.last = float(burst), 0.0

    def passes(self, segment: Segment, now: float) -> bool:
        if not is_syn(segment):
            return True
        self.tokens = min(self.burst, self.tokens + (now - self.last) * self.rate)
        self.last = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Ban(InFront):
    """After so many SYNs within a minute nothing passes for a minute."""

    def __init__(self, most: int, *faults: str) -> None:
        super().__init__(*faults)
        self.most = most
        self.syns: list[float] = []
        self.until = 0.0

    def passes(self, segment: Segment, now: float) -> bool:
        if now < self.until:
            return False
        if is_syn(segment):
            self.syns = [each for each in self.syns if each > now - 60] + [now]
            if len(self.syns) > self.most:
                self.until, self.syns = now + 60, []
                return False
        return True


def run(endpoint: InFront, *options: str) -> AddressReport:
    return check_network(Network(endpoint), list(options))


def bad(report: AddressReport) -> dict[str, str]:
    return {each.case.id: each.seen for each in report.results if each.verdict in BAD}


@pytest.mark.parametrize(("rate", "burst"), [(5, 5), (15, 5), (20, 5), (40, 5), (100, 5)])
def test_below_a_rate_limit_everything_is_judged_rightly(rate: int, burst: int) -> None:
    report = run(RateLimit(rate, burst))
    assert bad(report) == {}
    assert {each.verdict for each in report.results} == {Verdict.PASS, Verdict.INFO}
    assert report.duration < (60 if rate >= 15 else 120)
    limits = report.result("control.limits")
    assert limits is not None
    assert "new connections a second are let through from here" in limits.seen
    named = int(limits.seen.split()[1])
    assert 0.6 * rate <= named <= 1.6 * rate + burst


@pytest.mark.parametrize("fault", ["accepts-any-cookie", "needs-alignment", "holds-data"])
def test_below_a_rate_limit_a_fault_is_found(fault: str) -> None:
    expected = bad(run(InFront(fault)))
    assert expected
    assert bad(run(RateLimit(20, 5, fault))).keys() == expected.keys()


@pytest.mark.parametrize("most", [30, 60, 100, 150, 180])
def test_a_ban_is_named_and_blamed_on_nobody(most: int) -> None:
    report = run(Ban(most))
    assert bad(report) == {}
    undecided = {each.seen for each in report.results if each.verdict is Verdict.INCONCLUSIVE}
    assert undecided
    assert all("we are being blocked" in seen for seen in undecided), undecided
    assert report.duration < 60


def test_a_server_that_falls_silent_is_no_ban() -> None:
    report = run(InFront("dies-on-bad-length"), "--case", "option.illegal-length")
    assert bad(report).keys() == {"option.illegal-length"}


def test_the_users_rate_is_kept() -> None:
    report = run(InFront(), "--rate", "20")
    assert bad(report) == {}
    syns = {
        (flow.client, captured.time)
        for flow in [*report.controls, *(flow for each in report.results for flow in each.flows)]
        for captured in flow.packets
        if captured.sent and is_syn(captured.segment)
    }
    times = [time for _, time in syns]
    busiest = max(sum(0 <= other - time < 1 for other in times) for time in times)
    assert busiest <= 24  # repeated SYNs are no new connections


def test_what_is_not_done_in_time_is_undecided_for_that_reason() -> None:
    report = run(InFront(), "--max-time", "0.3")
    undecided = {each.seen for each in report.results if each.verdict is Verdict.INCONCLUSIVE}
    assert undecided == {"not done within the 0.3 s of a run (--max-time)"}
    assert report.duration < 10
