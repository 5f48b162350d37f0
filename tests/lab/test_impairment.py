"""The impairment box: its specification, its dice, and what it does to real packets."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfocheck.errors import ExitCode
from tfocheck.lab.errors import LabError
from tfocheck.lab.impairment import parse_impairment
from tfocheck.memory.impairment import WAYS, Fates, Impairment, Way, Weather

FLOW = b"a flow"
EVERYTHING = "delay 50ms, jitter 20ms, loss 10%, reorder 5%, duplicate 5%, seed 7"


def weather_of(text: str) -> Weather:
    impairment = parse_impairment(text)
    assert impairment.to_server == impairment.to_client
    return impairment.to_server


# The specification


def test_a_specification_sets_both_directions() -> None:
    parsed = parse_impairment(EVERYTHING)
    expected = Weather(delay=0.05, jitter=0.02, loss=0.1, reorder=0.05, duplicate=0.05)
    assert parsed == Impairment(expected, expected, 7)


def test_units_and_fractions() -> None:
    assert weather_of("delay 1.5s, jitter 250us, hold 3ms, loss 0.5%") == Weather(
        delay=1.5, jitter=0.00025, hold=0.003, loss=0.005
    )


def test_a_word_may_concern_one_direction() -> None:
    parsed = parse_impairment("delay 5ms, to-client loss 20%, to-client syn-ack-loss 50%")
    assert parsed.to_server == Weather(delay=0.005)
    assert parsed.to_client == Weather(delay=0.005, loss=0.2, syn_ack_loss=0.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("delay", "'delay' is not a word and a value"),
        ("delay 50ms,", "'' is not a word and a value"),
        ("delay 50", "delay '50' is no time, e.g. delay 50ms"),
        ("delay -5ms", "is no time"),
        ("delay 61s", "delay 61s is more than 60s"),
        ("loss 0.1", "loss '0.1' is no percentage"),
        ("loss 101%", "no percentage from 0% to 100%"),
        ("los 5%", "unknown word 'los', did you mean loss"),
        ("frobnicate 5%", "there are delay, jitter, loss"),
        ("loss 5%, loss 6%", "loss is given twice"),
        ("loss 5%, to-client loss 6%", "loss is given twice"),
        ("seed x", "seed 'x' is no whole number"),
        ("to-client seed 3", "one seed is for both directions"),
        ("jitter 5ms", "jitter is more than delay"),
    ],
)
def test_a_wrong_specification_is_wrong_usage(text: str, said: str) -> None:
    with pytest.raises(LabError) as caught:
        parse_impairment(text)
    assert caught.value.exit_code == ExitCode.USAGE
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


WORDS = st.sampled_from(
    ["delay", "jitter", "loss", "hold", "seed", "to-client", "10ms", "5%", "7", ",", " ", "\n"]
)


@given(st.one_of(st.text(), st.lists(WORDS).map(" ".join)))
def test_any_text_is_a_specification_or_wrong_usage(text: str) -> None:
    try:
        parsed = parse_impairment(text)
    except LabError as error:
        assert error.exit_code == ExitCode.USAGE  # noqa: PT017, both ways are right
    else:
        for weather in (parsed.to_server, parsed.to_client):
            assert 0 <= weather.loss <= 1
            assert 0 <= weather.jitter <= weather.delay <= 60


# The dice


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
