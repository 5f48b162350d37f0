"""The progress: what it counts, a view that fits and leaves nothing, lines in a log."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from sample import make_case, make_result

from tfocheck.case import Verdict
from tfocheck.report import progress
from tfocheck.report.progress import LiveView, PlainLines, Progress, view

FIRST, SECOND = make_case("open.no-data"), make_case("open.synack-retransmit")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time, in seconds since the beginning."""
    monkeypatch.setattr("tfocheck.report.progress.time.monotonic", lambda: 100.0)
    return lambda now: monkeypatch.setattr(
        "tfocheck.report.progress.time.monotonic", lambda: 100.0 + now
    )


def test_it_counts_and_names_the_case_that_runs_longest(clock: Callable[[float], None]) -> None:
    seen = Progress(3, ["t:1"])
    assert seen.line == "0 of 3 cases; resolving names"
    seen.case_started("t:1", "192.0.2.1", FIRST)
    clock(0.5)
    seen.case_started("t:1", "192.0.2.1", SECOND)
    assert seen.line == "0 of 3 cases; waiting for open.no-data"
    seen.case_ended("t:1", "192.0.2.1", make_result(FIRST))
    assert seen.line == "1 of 3 cases; waiting for open.synack-retransmit"
    seen.case_ended("t:1", "192.0.2.1", make_result(SECOND))
    assert seen.line == "2 of 3 cases"


def test_it_says_how_long_the_rest_may_take(clock: Callable[[float], None]) -> None:
    seen = Progress(10, ["t:1"])
    seen.case_ended("t:1", "192.0.2.1", make_result(FIRST))
    clock(2)
    assert seen.line == "1 of 10 cases", "too early to tell"
    clock(4)
    assert seen.line == "1 of 10 cases, about 36 s left"
    for _ in range(8):
        seen.case_ended("t:1", "192.0.2.1", make_result(FIRST))
    seen.case_started("t:1", "192.0.2.1", SECOND)
    clock(4.4)
    assert seen.line.startswith("9 of 10 cases, about 1 s left; waiting for")
    clock(34)
    assert seen.line == "9 of 10 cases; waiting for open.synack-retransmit for 30 s"


def test_the_total_grows_with_the_addresses() -> None:
    seen = Progress(3, ["t:1", "u:1"])
    seen.case_started("t:1", "192.0.2.1", FIRST)
    assert seen.line == "0 of 6 cases, 0 of 2 targets; waiting for open.no-data at 192.0.2.1"
    seen.case_started("t:1", "192.0.2.2", FIRST)
    assert seen.line.startswith("0 of 9 cases, 0 of 2 targets")


def test_each_address_has_its_state(clock: Callable[[float], None]) -> None:
    seen = Progress(2, ["t:1", "u\x1b[2J:1"])
    seen.case_started("t:1", "192.0.2.1", FIRST)
    seen.case_ended("t:1", "192.0.2.1", make_result(FIRST, Verdict.FAIL))
    seen.case_ended("t:1", "192.0.2.1", make_result(SECOND, Verdict.WARN))
    seen.case_started("u\x1b[2J:1", "192.0.2.7", SECOND)
    clock(7)
    assert seen.rows == [
        ("u\\x1b[2J:1", "0 of 2", "no failure", "open.synack-retransmit for 7 s"),
        ("t:1", "2 of 2", "1 fail, 1 warn", "done"),
    ]
    assert seen.line.startswith("2 of 4 cases, 1 of 2 targets, about 7 s left")


async def for_a_moment(shown: LiveView | PlainLines) -> None:
    ticker = asyncio.create_task(shown.show())
    await asyncio.sleep(0.2)
    ticker.cancel()
    await asyncio.gather(ticker, return_exceptions=True)


@pytest.mark.parametrize("number", [1, 40])
def test_the_view_fits_the_screen_and_is_erased(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.02)
    monkeypatch.setattr(progress, "INTERVAL", 0.05)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "10")
    monkeypatch.setenv("TERM", "xterm")
    long = make_case("a." + "long" * 30)
    targets = [f"target{each}:1" for each in range(number)]
    seen = Progress(3, targets)
    for target in targets:
        seen.case_started(target, "192.0.2.1", long)
    stream = Terminal()
    shown = view(stream, seen)
    assert isinstance(shown, LiveView)
    asyncio.run(for_a_moment(shown))
    text = stream.getvalue()
    assert f"0 of {3 * number} cases" in text
    frames = re.split(r"(?:\r|\x1b\[\d*A|\x1b\[2K)+", re.sub(r"\x1b\[[\d;]*m", "", text))
    lines = [re.sub(r"\x1b\[\?25[lh]", "", line) for frame in frames for line in frame.split("\n")]
    assert max(map(len, lines)) <= 60
    if number > 1:
        assert "target0:1" in text
        assert "and 33 more" in text
    # Up again over every line that was drawn, each erased, and the cursor is back.
    drawn = 1 if number == 1 else 9
    assert text.rstrip().endswith("\x1b[2K")
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    assert text.rpartition("cases")[2].count("\x1b[2K") >= drawn


def test_a_quick_run_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for stream in (Terminal(), io.StringIO()):
        asyncio.run(for_a_moment(view(stream, Progress(3, ["t:1", "u:1"]))))
        assert stream.getvalue() == ""


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["log", "dumb terminal"])
def test_a_log_gets_plain_lines(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.07)
    monkeypatch.setenv("TERM", "dumb")
    seen = Progress(3, ["t:1"])
    seen.case_started("t:1", "192.0.2.1", replace(FIRST, id="a.\x1b[2J"))
    shown = view(stream, seen)
    assert isinstance(shown, PlainLines)
    asyncio.run(for_a_moment(shown))
    assert stream.getvalue() == "tfocheck: 0 of 3 cases; waiting for a.\\x1b[2J\n" * 2
