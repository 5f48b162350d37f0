"""Networks that are difficult and ordinary: nothing of what they do is laid on the server."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from test_legal_servers import bad, seen
from whole import SEED, check, check_network

from tfocheck.engine.conversation import Conversation
from tfocheck.judging.grade import conclude
from tfocheck.judging.kind import Kind
from tfocheck.memory.hosts import reference_host
from tfocheck.memory.impairment import TO_SERVER, Impairment, Way, Weather
from tfocheck.memory.limits import EarlyDataDropped, StrayReset
from tfocheck.memory.network import Network
from tfocheck.memory.path import Box, Passage, with_box
from tfocheck.model.report import AddressReport
from tfocheck.wire.evidence import Captured, FlowKey
from tfocheck.wire.segment import Flags, Segment

pytestmark = pytest.mark.long


def behind(
    box: Box,
    options: Sequence[str] = (),
    *,
    faults: Iterable[str] = (),
    delay: float = 0.0005,
    **host: Any,
) -> AddressReport:
    """A check with a box on the second router."""
    rng = random.Random(SEED)
    server = reference_host(faults, cookie_key=rng.randbytes(16), rng=rng, **host)
    return check_network(Network(server, with_box(box, 2), delay=delay), options)


# A23: resets that nobody who takes part has sent


def test_a_reset_out_of_the_window_is_told_and_not_believed() -> None:
    report = behind(StrayReset())
    assert bad(report) == {}
    assert seen(report, "path.sequence-rewritten").startswith("info: resets came with numbers")


@pytest.mark.parametrize(
    ("fault", "case_id"),
    [("resets-bare-syn", "open.syn-without-option"), ("resets-copy", "open.duplicate-syn")],
)
def test_a_reset_of_the_servers_is_believed_among_such(fault: str, case_id: str) -> None:
    assert set(bad(behind(StrayReset(), faults=[fault]))) == {case_id}


KEY = FlowKey("10.0.0.1", 40_000, "10.0.0.2", 80)


def received(flow: Conversation, seq: int, ack: int, flags: Flags) -> None:
    segment = Segment(*(KEY.server, 80, KEY.client, 40_000), seq=seq, ack=ack, flags=flags)
    flow.segment_captured(Captured(segment, 1.0, sent=False))


def opened() -> Conversation:
    flow = Conversation(KEY)
    flow.syn(b"", b"hello")
    received(flow, 1000, (flow.isn + 6) % 2**32, Flags.SYN | Flags.ACK)
    return flow


@pytest.mark.parametrize(
    ("seq", "believed"),
    [(1001, True), (1000, True), (1001 + 60_000, True), (1000 + (1 << 30), False), (999, False)],
)
def test_a_reset_is_believed_by_its_number(seq: int, believed: bool) -> None:
    flow = opened()
    received(flow, seq, 0, Flags.RST)
    assert (flow.reset is not None) is believed
    assert len(flow.stray_resets) == (not believed)


def test_a_reset_that_answers_our_syn_has_no_number_of_its_own() -> None:
    flow = opened()
    received(flow, 0, (flow.isn + 6) % 2**32, Flags.RST | Flags.ACK)
    assert flow.reset is not None


def test_before_the_syn_ack_a_reset_must_acknowledge_our_syn() -> None:
    flow = Conversation(KEY)
    flow.syn(b"", b"hello")
    received(flow, 0, 0, Flags.RST)
    received(flow, 0, (flow.isn + 7) % 2**32, Flags.RST | Flags.ACK)
    assert flow.reset is None
    received(flow, 0, (flow.isn + 1) % 2**32, Flags.RST | Flags.ACK)
    assert flow.reset is not None


# A20: what gets lost proves nothing of other addresses


class OneSource(Box):
    """Drops all that comes from any address but one."""

    def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
        if way == TO_SERVER and segment.source != "10.0.0.1":
            return ()
        return ((way, segment),)


@pytest.mark.parametrize("faults", [[], ["constant-cookie"]])
def test_the_cookies_of_one_address_deny_no_constant(faults: list[str]) -> None:
    report = behind(OneSource(), ["--case=cookie.unpredictable"], faults=faults)
    assert seen(report, "cookie.unpredictable") == (
        "inconclusive: 4 cookies for 10.0.0.1 only: whether others get the same one can't be told"
    )


def test_who_has_one_address_is_told_what_it_can_not_show() -> None:
    found = seen(check(own=["10.0.0.1/24"]), "cookie.unpredictable")
    assert found.startswith("pass: 4 cookies for one address, 1 different: no address, no counter")
    assert "takes another address to tell" in found


# A12: what the server sends before our ACK is dropped on the way


@pytest.mark.parametrize("delay", [0.0005, 0.05])
def test_early_data_that_is_dropped_is_the_paths_fault(delay: float) -> None:
    report = behind(EarlyDataDropped(), delay=delay)
    assert set(bad(report)) == {"path.early-data", "path.slower"}
    assert "bytes that the server sent before our ACK did not arrive" in seen(
        report, "path.early-data"
    )
    assert seen(report, "path.slower").startswith("warn: the first byte comes 625 ms later")
    assert seen(report, "benefit.latency").endswith("nothing saved, 625.0 ms lost")
    found = conclude(report)
    assert (found.kind, found.grade) == (Kind.PATH, None)


@pytest.mark.parametrize("box", [EarlyDataDropped, Box])
def test_what_is_sent_late_is_not_called_dropped(box: type[Box]) -> None:
    report = behind(box(), faults=["holds-data"])
    assert set(bad(report)) == {"open.early-answer"}
    assert seen(report, "path.early-data").startswith("info: nothing is sent before our ACK")
    assert seen(report, "path.slower").startswith("pass")


def test_where_early_data_gets_through_there_is_nothing_to_pay() -> None:
    report = behind(Box())
    assert seen(report, "path.early-data") == "pass: what the server sends before our ACK arrives"
    assert seen(report, "path.slower").startswith("pass")


@pytest.mark.parametrize("seed", range(4))
def test_where_packets_get_lost_early_ones_are_not_called_dropped(seed: int) -> None:
    weather = Weather(loss=0.1, delay=0.01)
    report = check(impairment=Impairment(weather, weather, seed=seed))
    assert seen(report, "path.early-data").startswith("pass")
    assert seen(report, "path.slower").startswith(("pass", "info"))
