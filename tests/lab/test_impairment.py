"""How a user asks for a bad network, and what is wrong usage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfocheck.errors import ExitCode
from tfocheck.lab.errors import LabError
from tfocheck.lab.impairment import parse_impairment
from tfocheck.memory.impairment import Impairment, Weather

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
