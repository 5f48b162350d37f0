"""Whole checks of servers that wish us ill: they end, and nothing piles up."""

from __future__ import annotations

import functools

import pytest
import responders

from tfocheck.engine import allowance
from tfocheck.memory.clock import VirtualClock
from tfocheck.memory.hosts import PORT, Endpoint
from tfocheck.memory.network import Network
from tfocheck.memory.wire import MemoryWire
from tfocheck.model.case import Verdict
from tfocheck.model.report import AddressReport
from tfocheck.model.target import Address
from tfocheck.runner.address import check_address
from tfocheck.runner.planning import make_plan

pytestmark = pytest.mark.long

SERVER = "10.0.0.2"
LONGEST = 120.0


def check(endpoint: Endpoint) -> AddressReport:
    plan = make_plan([f"{SERVER}:{PORT}"], {"payload": "http"})
    clock = VirtualClock()
    wire = MemoryWire(Network(endpoint), clock, own=("10.0.0.1/24", "10.0.0.3/24"))
    return clock.run(check_address(plan, Address(4, SERVER, 0, PORT), wire))


@functools.cache
def verdicts_of_an_honest_one() -> dict[str, Verdict]:
    return verdicts(check(responders.honest()))


def verdicts(report: AddressReport) -> dict[str, Verdict]:
    return {each.case.id: each.verdict for each in report.results}


def bounded(report: AddressReport) -> None:
    """It ended in time, no case broke, and what is kept is little."""
    assert report.duration <= LONGEST
    assert [each.seen for each in report.results if each.verdict is Verdict.ERROR] == []
    flows = {
        (flow.client, flow.client_isn): flow
        for flows in (report.controls, *(each.flows for each in report.results))
        for flow in flows
    }
    received = [each for flow in flows.values() for each in flow.packets if not each.sent]
    free = (allowance.FREE_PACKETS + 4) * len(flows)
    assert len(received) <= allowance.ADDRESS_PACKETS + free
    data = sum(len(each.segment.payload) for each in received)
    assert data <= allowance.ADDRESS_BYTES + allowance.FREE_BYTES * len(flows)


def test_a_thousand_answers_to_a_syn_change_no_verdict() -> None:
    report = check(responders.repeating(1000))
    bounded(report)
    assert verdicts(report) == verdicts_of_an_honest_one()
    assert report.traffic.left_out > 100_000


@pytest.mark.parametrize("backwards", [False, True])
def test_a_stream_without_end_is_counted(backwards: bool) -> None:
    report = check(responders.streaming(400_000, backwards=backwards))
    bounded(report)
    assert report.traffic.left_out > 10_000
    # What is wrong with it is what it sends; nothing fails for what did not come.
    wrong = {case for case, verdict in verdicts(report).items() if verdict is Verdict.FAIL}
    assert wrong >= {"open.initial-window", "open.peer-window"}


def test_a_drip_ends_in_time() -> None:
    bounded(check(responders.streaming(20_000, apart=0.5)))


@pytest.mark.parametrize("seed", range(6))
def test_answers_with_any_field_changed_break_nothing(seed: int) -> None:
    bounded(check(responders.mutating(seed, share=0.1 * (1 + seed % 4))))
