"""The progress line: one line that fits, and nothing left of it."""

import asyncio
import io

import pytest
from sample import make_case, make_result

from tfocheck.report import progress
from tfocheck.report.progress import ProgressLine


def test_it_counts_and_names_the_case_that_runs_longest() -> None:
    line = ProgressLine(io.StringIO(), cases_per_address=3, targets=1)
    assert line.line == "0 of 3 cases; resolving names"
    first, second = make_case("open.no-data"), make_case("open.synack-retransmit")
    line.case_started("t:1", "192.0.2.1", first)
    line.case_started("t:1", "192.0.2.1", second)
    assert line.line == "0 of 3 cases; waiting for open.no-data"
    line.case_ended("t:1", "192.0.2.1", make_result(first))
    assert line.line == "1 of 3 cases; waiting for open.synack-retransmit"
    line.case_ended("t:1", "192.0.2.1", make_result(second))
    assert line.line == "2 of 3 cases"


def test_the_total_grows_with_the_addresses() -> None:
    line = ProgressLine(io.StringIO(), cases_per_address=3, targets=1)
    case = make_case("a.b")
    line.case_started("t:1", "192.0.2.1", case)
    line.case_started("t:1", "192.0.2.2", case)
    assert line.line == "0 of 6 cases; waiting for a.b at 192.0.2.1"


def test_it_is_rewritten_fits_and_is_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.02)
    monkeypatch.setattr(progress, "INTERVAL", 0.01)
    monkeypatch.setenv("COLUMNS", "30")
    stream = io.StringIO()
    line = ProgressLine(stream, 3, 1)
    line.case_started("t:1", "192.0.2.1", make_case("a." + "long" * 30))

    async def run() -> None:
        ticker = asyncio.create_task(line.show())
        await asyncio.sleep(0.2)
        ticker.cancel()
        await asyncio.gather(ticker, return_exceptions=True)

    asyncio.run(run())
    erase = "\r\x1b[K"
    shown = stream.getvalue().split(erase)
    assert shown[0] == ""
    assert shown[1].startswith("0 of 3 cases; waiting")
    assert len(shown[1]) <= 29
    assert shown[-1] == ""
    assert len(shown) == 3, "the same line is not written again"


def test_a_quick_run_shows_nothing() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream, 3, 1)

    async def run() -> None:
        ticker = asyncio.create_task(line.show())
        await asyncio.sleep(0)
        ticker.cancel()
        await asyncio.gather(ticker, return_exceptions=True)

    asyncio.run(run())
    assert stream.getvalue() == ""
