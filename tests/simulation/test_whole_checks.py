"""What only whole checks show: few attempts, other payloads, IPv6, and faults in bad weather."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from guarded import EVERYTHING
from what_follows import FOLLOWS, TURNED
from whole import SERVER, check, check_network

from tfocheck.judging.grade import conclude
from tfocheck.judging.kind import Kind
from tfocheck.memory.hosts import reference_host
from tfocheck.memory.impairment import Impairment, Weather
from tfocheck.memory.network import Network
from tfocheck.memory.scenarios import build
from tfocheck.model.case import Verdict
from tfocheck.model.report import AddressReport
from tfocheck.runner.catalogue import load_cases
from tfocheck.wire.segment import Flags

GOOD = (Verdict.PASS, Verdict.INFO, Verdict.SKIP)
BAD = (Verdict.FAIL, Verdict.WARN, Verdict.ERROR)
LOSS = Weather(loss=0.1, delay=0.02)


def verdicts(report: AddressReport) -> dict[str, Verdict]:
    return {result.case.id: result.verdict for result in report.results}


def not_good(report: AddressReport) -> dict[str, str]:
    return {
        each.case.id: f"{each.verdict}: {each.seen}"
        for each in report.results
        if each.verdict not in GOOD
    }


def bad(report: AddressReport) -> set[str]:
    return {each.case.id for each in report.results if each.verdict in BAD}


# --- what the user may ask for --------------------------------------------------------------------


@pytest.mark.parametrize("attempts", ["1", "2", "5"])
def test_however_many_attempts_are_wanted_a_good_server_is_good(attempts: str) -> None:
    report = check(["--attempts", attempts])
    assert not_good(report) == {}
    assert conclude(report).grade == "A+"


def test_one_attempt_blames_nobody_for_loss() -> None:
    for seed in range(3):
        report = check(["--attempts", "1"], impairment=Impairment(LOSS, LOSS, seed=seed))
        assert bad(report) == set(), not_good(report)


def test_fewer_attempts_take_fewer_packets() -> None:
    sent = []
    for attempts in ("1", "3", "5"):
        traffic = check(["--attempts", attempts]).traffic
        assert traffic is not None
        sent.append(traffic.sent)
    assert sent == sorted(set(sent))


@pytest.mark.parametrize("payload", ["none", "tls", "dns"])
def test_whatever_is_sent_to_the_application_a_good_server_is_good(payload: str) -> None:
    report = check(["--payload", payload])
    assert report.payload == payload
    assert not_good(report) == {}
    assert verdicts(report)["open.data-acked"] is Verdict.PASS


def test_without_a_request_nothing_that_needs_an_answer_is_claimed() -> None:
    report = check(["--payload", "none"])
    found = verdicts(report)
    assert found["open.early-answer"] is Verdict.SKIP
    assert found["open.stream-integrity"] is Verdict.SKIP
    headline = conclude(report).headline
    assert "judged by the ack alone" in headline


def test_a_short_timeout_is_only_a_bound() -> None:
    report = check(["--timeout", "0.5"])
    assert not_good(report) == {}


def test_over_ipv6_the_same_is_found_as_over_ipv4() -> None:
    six = check_network(
        Network(reference_host()), own=("fd00::1/64", "fd00::3/64"), server="fd00::2"
    )
    assert six.address == "fd00::2"
    assert verdicts(six) == verdicts(check())
    assert not_good(six) == {}


@pytest.mark.parametrize("scenario", ["option-stripped", "cookie-changed"])
def test_over_ipv6_a_box_is_found_between_its_routers(scenario: str) -> None:
    report = check_network(
        build(scenario, seed=7), ["--trace"], own=("fd77::1/64",), server="fd77:4::2"
    )
    assert conclude(report).kind is Kind.PATH
    assert "between fd77:1::2 (hop 2) and fd77:2::2 (hop 3)" in conclude(report).headline


def test_what_a_check_cost_is_what_passed() -> None:
    report = check()
    flows = [flow for result in report.results for flow in result.flows]
    flows += report.controls
    packets = {id(packet): packet for flow in flows for packet in flow.packets}.values()
    traffic = report.traffic
    assert traffic is not None
    assert traffic.sent == sum(packet.sent for packet in packets)
    assert traffic.received == sum(not packet.sent for packet in packets)
    assert traffic.resets_sent == sum(packet.sent and packet.segment.is_reset for packet in packets)
    assert (traffic.capture_drops, traffic.kernel_resets) == (0, 0)
    assert report.rtt == pytest.approx(0.001, abs=0.0005)
    assert report.cookie_bytes == 8


@pytest.mark.parametrize("options", [(), EVERYTHING])
def test_no_connection_is_left_open(options: tuple[str, ...]) -> None:
    """A half-open one is reset, a Fast Open is completed and closed (RFC 7413 section 5.1)."""
    report = check(options)
    flows = [flow for result in report.results for flow in result.flows]
    for flow in [*flows, *report.controls]:
        answers = [each.segment for each in flow.packets if not each.sent]
        sent = [each.segment for each in flow.packets if each.sent]
        if not any(each.is_syn_ack for each in answers):
            continue
        assert any(each.is_reset for each in (*sent, *answers)) or (
            any(each.flags & Flags.FIN for each in sent)
            and any(each.flags & Flags.FIN for each in answers)
        ), flow.label


# --- nobody there, or nobody who helps ------------------------------------------------------------


@pytest.mark.parametrize("loss", [0.05, 0.2, 0.3])
def test_the_more_is_lost_the_less_is_said_and_nothing_wrong(loss: float) -> None:
    weather = Weather(loss=loss, delay=0.01)
    report = check(impairment=Impairment(weather, weather, seed=11))
    assert bad(report) == set(), not_good(report)


# --- faults in bad weather ------------------------------------------------------------------------

PAIRS = [(case.id, fault) for case in load_cases() if case.option is None for fault in case.faults]
UNDECIDED = (Verdict.INCONCLUSIVE, Verdict.SKIP)


def sampled(pairs: list[tuple[str, str]], share: int) -> Iterable[tuple[str, str]]:
    """One of so many, always the same ones as long as there are no others."""
    return sorted(pairs)[::share]


@pytest.mark.parametrize(("case_id", "fault"), sampled(PAIRS, 6))
def test_a_fault_is_found_or_left_open_when_packets_get_lost(case_id: str, fault: str) -> None:
    report = check(faults=[fault], impairment=Impairment(LOSS, LOSS, seed=5))
    found = verdicts(report)
    assert found[case_id] in (*BAD, *UNDECIDED), not_good(report)
    follows = {each for case, other in PAIRS if other == fault for each in (case,)}
    assert bad(report) - follows <= FOLLOWS.get(fault, set()), not_good(report)


@pytest.mark.parametrize(("case_id", "fault"), sampled(PAIRS, 8))
def test_one_attempt_finds_what_three_find(case_id: str, fault: str) -> None:
    report = check(["--attempts", "1", "--case", case_id], faults=[fault])
    expected, _ = TURNED.get(fault, ("fail", 1))
    assert str(verdicts(report)[case_id]) == expected, not_good(report)


def test_the_server_is_where_it_is_said_to_be() -> None:
    assert check(["--case", "control.syn"]).address == SERVER
