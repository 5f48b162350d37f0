"""A user's case is the user's: what is wrong with it is told with its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfocheck.case import Verdict
from tfocheck.errors import UsageError
from tfocheck.judging.grade import conclude
from tfocheck.memory import scenarios
from tfocheck.memory.clock import VirtualClock
from tfocheck.memory.wire import MemoryWire
from tfocheck.model.report import AddressReport, CaseResult
from tfocheck.model.target import Address
from tfocheck.report.explanation import advice
from tfocheck.runner.address import check_address
from tfocheck.runner.catalogue import load_cases
from tfocheck.runner.planning import make_plan

HEAD = """
import asyncio, sys
from tfocheck.case import Level, Outcome, Role, Verdict, case

def mine(name, **options):
    return case(name, section="4.2", level=Level.INFO, title="t", requirement="r", expected="e",
                needs=("control.syn",), **options)

"""
GOOD = """
@mine("my.good")
async def good(probe):
    return probe.info("seen")
"""


def check(directory: Path, text: str) -> AddressReport:
    """What comes of the user's cases in memory."""
    (directory / "mine.py").write_text(HEAD + GOOD + text)
    plan = make_plan(
        ["10.0.0.2:8080"],
        {"case_directories": [directory], "cases": ["my.*"], "payload": "http"},
    )
    clock = VirtualClock()
    wire = MemoryWire(scenarios.build("reference"), clock, own=("10.0.0.1/24",))
    return clock.run(check_address(plan, Address(4, "10.0.0.2", 0, 8080), wire))


def result(directory: Path, body: str, *, once: bool = True) -> CaseResult:
    """The result of a case with this body, beside one that is good."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    report = check(directory, f'\n@mine("my.bad", once={once})\nasync def bad(probe):\n{lines}\n')
    good, bad = report.result("my.good"), report.result("my.bad")
    assert good is not None
    assert good.verdict is Verdict.INFO
    assert bad is not None
    return bad


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ZeroDivisionError('no')", "ZeroDivisionError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise asyncio.CancelledError", "CancelledError"),
        ("sys.exit(3)", "SystemExit"),
        ("return 5", "returned 5, not an Outcome"),
        ("return Outcome('x', 5)", "not an Outcome"),
        ("return Outcome('x', 'text')", "not an Outcome"),
        ("probe.nosuch", "has no attribute 'nosuch'"),
    ],
)
@pytest.mark.parametrize("once", [True, False])
def test_what_a_case_does_wrong_is_its_error(
    tmp_path: Path, body: str, said: str, once: bool
) -> None:
    bad = result(tmp_path, body, once=once)
    assert bad.verdict is Verdict.ERROR
    assert said in bad.seen
    assert bad.seen.startswith(f"{tmp_path}/mine.py line ")
    assert bad.traceback


def test_the_line_is_that_of_the_mistake(tmp_path: Path) -> None:
    bad = result(tmp_path, "await asyncio.sleep(0)\nraise ValueError")
    lines = (tmp_path / "mine.py").read_text().splitlines()
    number = lines.index("    raise ValueError") + 1
    assert f"mine.py line {number}: " in bad.seen


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("syntax error here", "does not load"),
        ("raise SystemExit", "does not load"),
        ('@mine("my.good")\nasync def again(probe): pass', "declared in"),
        ('@mine("my.role", role=Role.OFFERED)\nasync def role(probe): pass', "has the role"),
        ('@mine("my.sync")\ndef plain(probe): pass', "no async def"),
        ('@case("my.level", section="4", level="musst", title="t", requirement="r", expected="e")\n'
         "async def level(probe): pass", "no level"),
        ('@case("my.section", section=4.2, level=Level.INFO, title="t", requirement="r", '
         'expected="e")\nasync def level(probe): pass', "section"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_one_line_with_its_place(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "mine.py").write_text(HEAD + GOOD + text)
    with pytest.raises(UsageError, match=said) as caught:
        load_cases([tmp_path])
    message = str(caught.value)
    assert f"{tmp_path}/mine.py" in message
    assert "\n" not in message


def test_where_a_file_breaks_is_said(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HEAD + "\n1 / 0\n")
    place = len(HEAD.splitlines()) + 2
    with pytest.raises(UsageError, match=rf"mine\.py line {place}\b.*ZeroDivisionError"):
        load_cases([tmp_path])


def test_an_error_in_a_case_of_the_user_is_not_called_ours(tmp_path: Path) -> None:
    report = check(tmp_path, '\n@mine("my.bad")\nasync def bad(probe):\n    raise ValueError\n')
    assert conclude(report).headline == (
        f"inconclusive: your own code went wrong in 1 of {len(report.results)} cases"
    )
    assert "not the server's" in advice(result(tmp_path, "raise ValueError"))
    assert "report it" not in advice(result(tmp_path, "raise ValueError"))


def test_a_case_that_never_ends_is_its_error(tmp_path: Path) -> None:
    bad = result(tmp_path, "await asyncio.get_running_loop().create_future()")
    assert bad.verdict is Verdict.ERROR
    assert "line 14: it did not end within the 120 s of a run (--max-time)" in bad.seen


@pytest.mark.parametrize("once", [True, False])
def test_a_case_that_keeps_the_loop_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, once: bool
) -> None:
    monkeypatch.setattr("tfocheck.server.watch.PATIENCE", 0.2)
    body = "while True:\n    try:\n        sum(range(1000))\n    except Exception:\n        pass"
    bad = result(tmp_path, body, once=once)
    assert bad.verdict is Verdict.ERROR
    assert "NoTurnError" in bad.seen
