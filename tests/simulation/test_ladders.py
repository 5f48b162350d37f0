"""The ladder in a case's docstring is what is sent: one that lies fails here."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from guarded import EVERYTHING
from ladders import lies, strands
from whole import check

from tfocheck.model.case import Case
from tfocheck.model.report import AddressReport
from tfocheck.runner.catalogue import load_cases

CASES = {case.id: case for case in load_cases()}
FROM_OTHERS = ("control.limits", "farm.addresses", "path.loss")
"""They have no connections of their own, and none of others, among their evidence."""


@cache
def good_run() -> AddressReport:
    return check([*EVERYTHING, "--soak=2"], scenario="reference")


@cache
def routed_run() -> AddressReport:
    return check(["--trace"], scenario="routed")


@pytest.mark.parametrize("case_id", CASES)
def test_a_ladder_says_what_was_sent(case_id: str) -> None:
    run = routed_run() if case_id == "path.trace" else good_run()
    result = run.result(case_id)
    assert result is not None
    assert strands(CASES[case_id]), "no arrow at all"
    if case_id not in FROM_OTHERS:
        assert result.flows
    assert lies(CASES[case_id], result.flows, run.controls) == []


def altered(case: Case, old: str, new: str) -> Case:
    async def run(probe: object) -> None:
        """Not run."""

    assert case.run.__doc__ is not None
    assert old in case.run.__doc__
    run.__doc__ = case.run.__doc__.replace(old, new)
    return replace(case, run=run)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("case_id", "old", "new"),
    [
        ("cookie.request", "cookie request (empty option)", "cookie (valid)"),
        ("cookie.request", "-> RST,ACK (half-open)", "-> ACK, FIN,ACK"),
        ("forged.random", "ack 1 (the SYN alone)", "ack 1+n"),
        ("open.data-acked", "ack 1+n", "ack 1"),
        ("open.data-acked", ", n bytes", ""),
        ("open.no-data", "cookie (valid)", "cookie (valid), n bytes"),
        ("open.peer-mss", "MSS 536", "window 200"),
        ("option.crowded", "<- SYN-ACK, ack 1, cookie", "<- SYN-ACK, no Fast Open option"),
        ("open.timestamps", "-> ACK, FIN,ACK", "-> RST,ACK"),
        ("open.early-answer", "<- the first bytes", "...nothing before our ACK...\n    <- the"),
    ],
)
def test_a_ladder_that_lies_is_found_out(case_id: str, old: str, new: str) -> None:
    result = good_run().result(case_id)
    assert result is not None
    assert lies(altered(CASES[case_id], old, new), result.flows) != []
