"""What is compared across the addresses of a name is what was found out there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tfocheck.case import Outcome, Verdict
from tfocheck.runner.catalogue import load_cases

CASES = {case.id: case for case in load_cases()}
COMPARED = ("cookie.request", "open.data-acked", "forged.random")


class Rows:
    """As much of a probe as farm.addresses asks for."""

    def __init__(self, *rows: Sequence[str]) -> None:
        self.rows = rows

    def observing(self) -> None:
        pass

    async def compare_addresses(self, case_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        return {
            f"10.0.0.{number}": dict(zip(case_ids, row, strict=True))
            for number, row in enumerate(self.rows, 1)
        }

    def info(self, seen: str) -> Outcome:
        return Outcome(Verdict.INFO, seen)

    def warning(self, seen: str) -> Outcome:
        return Outcome(Verdict.WARN, seen)


def compared(*rows: Sequence[str]) -> Outcome:
    return asyncio.run(CASES["farm.addresses"].run(Rows(*rows)))  # type: ignore[arg-type]


ALL = ("pass", "pass", "pass")


@pytest.mark.parametrize("other", ["inconclusive", "not run", "error", "skip"])
def test_what_was_not_decided_is_no_difference(other: str) -> None:
    found = compared(ALL, ("pass", "pass", other))
    assert found == Outcome(
        Verdict.INFO, "2 addresses behave alike in cookie.request, open.data-acked"
    )


def test_where_nothing_was_decided_nothing_is_called_alike() -> None:
    found = compared(ALL, ("inconclusive", "skip", "skip"))
    assert found.verdict is Verdict.INFO
    assert "was decided at all of 2 addresses" in found.seen


def test_that_one_address_gives_no_cookie_is_a_difference() -> None:
    found = compared(ALL, ("skip", "skip", "skip"))
    assert found == Outcome(
        Verdict.WARN,
        "the addresses differ: 10.0.0.1: cookie.request pass; 10.0.0.2: cookie.request skip",
    )


def test_that_one_address_takes_forged_cookies_is_one_even_if_a_third_stayed_open() -> None:
    found = compared(ALL, ("pass", "pass", "fail"), ("pass", "pass", "inconclusive"))
    assert found == Outcome(
        Verdict.WARN,
        "the addresses differ: 10.0.0.1: forged.random pass; 10.0.0.2: forged.random fail;"
        " 10.0.0.3: forged.random ?",
    )
