"""What a network that loses, doubles and delays can't do to a verdict, good or bad."""

from __future__ import annotations

import pytest
from graded import grade

pytestmark = pytest.mark.lab


def test_the_answer_to_a_doubled_syn_is_none_to_the_bare_one() -> None:
    case = "open.syn-without-option"
    graded = grade(
        "reference",
        *("--case", case),
        fault="resets-bare-syn",
        impair="to-server duplicate 100%, delay 83ms, jitter 67ms, seed 1",
    )
    assert graded.verdicts[case] in ("fail", "inconclusive"), graded.seen(case)


def test_a_slow_path_does_not_make_two_keys_of_one_that_changes() -> None:
    case = "farm.one-key"
    graded = grade(
        "key-rotation",
        *("--case", case),
        impair="loss 10%, delay 83ms, jitter 67ms, seed 1",
    )
    assert graded.verdicts[case] in ("pass", "inconclusive"), graded.seen(case)
