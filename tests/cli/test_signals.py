"""What a signal does to the command, in processes of their own: when, and what is left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

PROGRAM = """
import asyncio, sys, time
import tfocheck.cli.main as cli
from tfocheck.linux import link
from tfocheck.linux import privileges
from tfocheck.model.case import Verdict
from tfocheck.model.report import AddressReport, CaseResult, Report
from tfocheck.runner import run as runner

class Link:
    open = classmethod(lambda cls: cls())
    def close(self): pass

def report(plan, *, interrupted):
    results = tuple(CaseResult(case, Verdict.PASS, "seen", 0.1) for case in plan.cases)
    address = AddressReport("x", "192.0.2.1", 443, results, "http", interrupted=interrupted)
    return Report((address,), 0.0, 1.0, "0")

def say(word):
    print(word, flush=True, file=sys.stderr)

async def cut(plan):
    say("ready")
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        return report(plan, interrupted=True)

async def stuck(plan):
    say("ready")
    try:
        await asyncio.sleep(30)
    finally:
        say("cleaning up")
        await asyncio.sleep(30)

async def busy(plan):
    say("ready")
    while True:
        pass

async def over(plan):
    return report(plan, interrupted=False)

how = sys.argv[1]

async def run(plan, link, progress=None, **_):
    return await globals()[how](plan)

runner.run, link.Link = run, Link
privileges.drop = lambda: None
privileges.is_plain_root = lambda: False
if how == "over":
    from tfocheck.report import junit
    dumps = junit.dumps
    def slow(judgement):
        if judgement.report.addresses:
            say("ready")
            time.sleep(0.3)
        return dumps(judgement)
    junit.dumps = slow
sys.exit(cli.main(["x", "-q", "--json", sys.argv[2], "--junit", sys.argv[3]]))
"""


class Ended(NamedTuple):
    """How a process ended, and what it had written."""

    code: int
    errors: list[str]
    out: str
    files: list[str]


def signalled(how: str, number: int, directory: Path, *, again_after: str | None = None) -> Ended:
    """Run the program, signal it when it is ready, and again when it says that word."""
    paths = [str(directory / name) for name in ("report.json", "junit.xml")]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how, *paths],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.send_signal(number)
        if again_after is not None:
            assert process.stderr.readline() == f"{again_after}\n"
            process.send_signal(number)
        out, err = process.communicate(timeout=20)
    files = sorted(each.name for each in directory.iterdir())
    return Ended(process.returncode, err.splitlines(), out, files)


def test_the_first_one_ends_the_run_with_the_reports_of_what_was_done(tmp_path: Path) -> None:
    found = signalled("cut", signal.SIGTERM, tmp_path)
    names = [str(tmp_path / name) for name in ("report.json", "junit.xml")]
    said = f"tfocheck: terminated; written, of what was done by then: {', '.join(names)}"
    assert found.errors == [said]
    assert found.code == 143
    assert found.files == ["junit.xml", "report.json"]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["complete"] is False
    assert report["addresses"][0]["grade"] is None


def test_the_second_one_ends_it_at_once(tmp_path: Path) -> None:
    found = signalled("stuck", signal.SIGINT, tmp_path, again_after="cleaning up")
    assert found.code == 130
    assert found.errors == ["tfocheck: interrupted; no report was written"]
    assert found.files == []


@pytest.mark.parametrize("how", ["stuck", "busy"])
def test_whatever_goes_on_ends_by_itself_soon(how: str, tmp_path: Path) -> None:
    found = signalled(how, signal.SIGTERM, tmp_path)
    assert found.code == 143
    assert found.errors[-1] == "tfocheck: terminated; no report was written"
    assert found.files == []


def test_what_is_written_when_it_comes_is_finished_and_named(tmp_path: Path) -> None:
    found = signalled("over", signal.SIGTERM, tmp_path)
    names = ", ".join(str(tmp_path / name) for name in ("report.json", "junit.xml"))
    assert found.errors == [f"tfocheck: terminated; written: {names}"]
    assert found.code == 143
    assert found.files == ["junit.xml", "report.json"]


def in_python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )


@pytest.mark.parametrize("module", ["click", "tfocheck.cli.check", "tfocheck.runner.planning"])
def test_while_the_rest_is_imported_it_ends_without_a_traceback(module: str) -> None:
    program = f"""
import os, signal, sys
from tfocheck.cli import script

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.argv[1:] = ["192.0.2.1"]
sys.exit(script.main())
"""
    ended = in_python(program)
    assert ended.returncode == 130
    assert ended.stderr == "tfocheck: interrupted; no report was written\n"


def test_the_script_needs_next_to_nothing_before_it_handles_signals() -> None:
    program = (
        "import sys, signal; before = set(sys.modules); from tfocheck.cli import script, signals;"
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    ours_and_small = {"__future__", "tfocheck", "typing", "collections", "contextlib", "functools"}
    found = set(json.loads(in_python(program).stdout.replace("'", '"')))
    assert not found & {"click", "asyncio", "scapy", "importlib.metadata"}
    assert "tfocheck" in found
    assert len(found - ours_and_small) < 20


def test_half_a_file_is_taken_along_by_whoever_leaves_at_once(tmp_path: Path) -> None:
    program = f"""
import os, signal
from tfocheck.cli import signals
from tfocheck.report import write
signals.install()
signals.remove_when_left(lambda: [*write.unfinished])
write._write_all = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
write.write("--json", {str(tmp_path / "report.json")!r}, "text")
"""
    ended = in_python(program)
    assert ended.returncode == 143
    assert list(tmp_path.iterdir()) == []


def test_who_is_started_with_interrupts_ignored_goes_on_ignoring_them() -> None:
    program = """
import os, signal
from tfocheck.cli import signals
signal.signal(signal.SIGINT, signal.SIG_IGN)
signals.install()
os.kill(os.getpid(), signal.SIGINT)
print("goes on")
"""
    assert in_python(program).stdout == "goes on\n"
