"""Every case can fail: a fault of the reference server turns it, and nothing unrelated."""

from __future__ import annotations

import pytest
from graded import grade

from tfocheck.case import Level, load_cases
from tfocheck.lab.faults import FAULTS

CASES = load_cases()
FAULT_OF = [(case.id, fault) for case in CASES for fault in case.faults]

TURNED = {
    # A server that never gives a cookie is one without Fast Open; one that resets is unreachable.
    "never-issues": ("skip", 3),
    "resets-syn": ("inconclusive", 4),
    # A SHOULD, or a benefit missed, is a warning; in the lab --strict makes it count.
    "volunteers-cookie": ("warn", 1),
    "repeats-option": ("warn", 1),
    "repeats-data": ("warn", 1),
    "holds-data": ("warn", 1),
}

FOLLOWS = {
    # What the same fault breaks as well, by its nature.
    "accepts-any-cookie": {"forged.constant", "forged.truncated"},
    "binds-port": {"open.data-acked"},
}


def test_every_case_names_a_fault_that_turns_it() -> None:
    without = [case.id for case in CASES if not case.faults and case.level is not Level.INFO]
    assert without == []


def test_every_named_fault_exists() -> None:
    assert {fault for _, fault in FAULT_OF} <= set(FAULTS)


@pytest.mark.parametrize(("case_id", "fault"), FAULT_OF)
def test_the_fault_turns_its_case_and_nothing_unrelated(case_id: str, fault: str) -> None:
    graded = grade("reference", fault=fault)
    verdict, exit_code = TURNED.get(fault, ("fail", 1))
    assert graded.verdicts[case_id] == verdict, graded.seen(case_id)
    assert graded.exit_code == exit_code
    bad = {case for case, seen in graded.verdicts.items() if seen in ("fail", "warn", "error")}
    assert bad - {case_id} <= FOLLOWS.get(fault, set()), graded.not_good
