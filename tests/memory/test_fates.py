"""The dice: what becomes of packets under an impairment."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from tfocheck.lab.impairment import parse_impairment
from tfocheck.memory.impairment import WAYS, Fates, Way

FLOW = b"a flow"
EVERYTHING = "delay 50ms, jitter 20ms, loss 10%, reorder 5%, duplicate 5%, seed 7"


def fates(text: str, count: int = 20_000, way: Way = "to-server", gap: float = 1.0) -> list[Any]:
    dice = Fates(parse_impairment(text), way)
    return [
        [due - number * gap for due in dice.due(number * gap, FLOW, False)]
        for number in range(count)
    ]


def test_shares_are_those_asked_for() -> None:
    seen = fates(EVERYTHING)
    lost = sum(not each for each in seen) / len(seen)
    kept = [each for each in seen if each]
    copied = sum(len(each) == 2 for each in kept) / len(kept)
    held = sum(each[0] > 0.07 for each in kept) / len(kept)
    assert lost == pytest.approx(0.1, abs=0.01)
    assert copied == pytest.approx(0.05, abs=0.01)
    # Of those held back by 10 ms, a quarter has drawn enough jitter to come after all others.
    assert held == pytest.approx(0.05 / 4, abs=0.005)


def test_delays_spread_over_delay_plus_and_minus_jitter() -> None:
    delays = [due for due, *_ in fates("delay 50ms, jitter 20ms")]
    assert min(delays) == pytest.approx(0.03, abs=0.001)
    assert max(delays) == pytest.approx(0.07, abs=0.001)
    assert statistics.mean(delays) == pytest.approx(0.05, abs=0.001)


def test_jitter_swaps_nothing_within_a_flow() -> None:
    gap = 0.001
    seen = fates("delay 50ms, jitter 50ms", gap=gap)
    arrivals = [round(due + number * gap, 9) for number, (due,) in enumerate(seen)]
    assert arrivals == sorted(arrivals)
    dice = Fates(parse_impairment("delay 50ms, jitter 50ms"), "to-server")
    apart = [dice.due(number * gap, bytes([number]), False)[0] for number in range(100)]
    assert apart != sorted(apart)


def test_a_reordered_packet_is_passed_by_the_next() -> None:
    seen = fates("delay 10ms, reorder 30%, hold 5ms", count=1000, gap=0.001)
    assert {round(due, 6) for (due,) in seen} == {0.01, 0.015}


def test_the_same_seed_gives_the_same_fates() -> None:
    assert fates(EVERYTHING, 500) == fates(EVERYTHING, 500)
    assert fates(EVERYTHING, 500) != fates(EVERYTHING.replace("7", "8"), 500)
    assert fates(EVERYTHING, 500) != fates(EVERYTHING, 500, way="to-client")


def test_what_becomes_of_a_packet_does_not_depend_on_when_it_came() -> None:
    lost = [[not each for each in fates("loss 50%", 500, gap=gap)] for gap in (1.0, 0.001)]
    assert lost[0] == lost[1]


def test_only_syn_acks_are_lost_by_syn_ack_loss() -> None:
    for way in WAYS:
        dice = Fates(parse_impairment("to-client syn-ack-loss 50%"), way)
        lost = [
            sum(not dice.due(0.0, FLOW, is_syn_ack) for _ in range(2000))
            for is_syn_ack in (False, True)
        ]
        assert lost[0] == 0
        assert lost[1] == (pytest.approx(1000, abs=120) if way == "to-client" else 0)


def test_many_flows_are_not_remembered_for_ever() -> None:
    dice = Fates(parse_impairment("delay 50ms, jitter 50ms"), "to-server")
    for number in range(10_000):
        dice.due(float(number), number.to_bytes(4), False)
    assert len(dice._last_due) <= 4096
