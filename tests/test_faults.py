"""Every case can fail: a fault of the reference server turns it, and nothing unrelated."""

from __future__ import annotations

import pytest
from graded import grade
from what_follows import FOLLOWS, TURNED

from tfocheck.case import Case, Level, Option
from tfocheck.reference.faults import FAULTS
from tfocheck.runner.catalogue import load_cases

CASES = load_cases()
FAULT_OF = [(case, fault) for case in CASES for fault in case.faults]

SLOW = (
    *("cookie.synack-retransmit", "open.synack-retransmit", "open.initial-window"),
    *("farm.one-key", "benefit.latency"),
)
"""They wait a second for a timer, or repeat what others do once: for their own faults only."""


ENDLESS = ("ignores-fin", "loses-syn-data", "dies-on-length")
"""With these almost every connection waits until it gives up."""


def test_every_case_names_a_fault_that_turns_it() -> None:
    # What a path breaks, no server can: tests/test_path.py has boxes on the way instead.
    excused = (Level.INFO, Level.PATH)
    without = [case.id for case in CASES if not case.faults and case.level not in excused]
    assert without == []


def test_every_named_fault_exists_and_every_fault_is_named() -> None:
    assert {fault for _, fault in FAULT_OF} == set(FAULTS)


@pytest.mark.lab
@pytest.mark.parametrize(
    ("case", "fault"), FAULT_OF, ids=[f"{case.id}-{fault}" for case, fault in FAULT_OF]
)
def test_the_fault_turns_its_case_and_nothing_unrelated(case: Case, fault: str) -> None:
    case_id, option = case.id, case.option
    options = [f"--exclude={slow}" for slow in SLOW if slow != case_id]
    if option is Option.INTRUSIVE:
        # Everything at once would take minutes; the limits need only what they rest on.
        options = ["--intrusive", "--case", case_id]
    if fault in ENDLESS:
        options = ["--case", case_id, "--case", "option.*"]
    graded = grade("reference", *options, fault=fault)
    verdict, exit_code = TURNED.get(fault, ("fail", 1))
    assert graded.verdicts[case_id] == verdict, graded.seen(case_id)
    assert graded.exit_code == exit_code
    bad = {case for case, seen in graded.verdicts.items() if seen in ("fail", "warn", "error")}
    assert bad - {case_id} <= FOLLOWS.get(fault, set()), graded.not_good
