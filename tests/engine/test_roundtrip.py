"""How long it is worth waiting."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tfocheck.engine.roundtrip import INITIAL_WAIT, REPEAT_MARGIN, SHORTEST_WAIT, RoundTrips

SAMPLES = st.lists(st.floats(0.00001, 2.0), min_size=1, max_size=20)


def test_before_a_sample_the_initial_timer_counts() -> None:
    assert RoundTrips().syn_wait(3.0) == INITIAL_WAIT
    assert RoundTrips().syn_wait(0.5) == 0.5
    assert not RoundTrips().may_be_repeated(5.0)


@given(SAMPLES)
def test_waits_are_long_enough_and_end_before_a_repeated_syn_ack(samples: list[float]) -> None:
    known = RoundTrips()
    for sample in samples:
        known.add(sample)
    wait = known.syn_wait(100.0)
    assert known.smallest == min(samples)
    assert wait >= min(SHORTEST_WAIT, min(samples) + REPEAT_MARGIN)
    # The server's timer starts at a second: its second SYN-ACK comes no earlier than this.
    assert wait < min(samples) + 1.0
    assert not known.may_be_repeated(min(samples))
    assert known.may_be_repeated(min(samples) + 1.0)


def test_a_steady_path_is_waited_for_as_rfc_6298_says() -> None:
    known = RoundTrips()
    known.add(0.1)
    assert known.smoothed == 0.1
    assert known.variation == 0.05
    known.add(0.2)
    assert known.variation == 0.75 * 0.05 + 0.25 * 0.1
    assert abs(known.smoothed - (0.875 * 0.1 + 0.125 * 0.2)) < 1e-12
