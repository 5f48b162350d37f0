"""Runs the command in a lab and reads its JSON report: what the tests of scenarios share."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from read_back import check_report

from tfocheck.cli.lab import check_in_lab

# Loaded once, for all the labs that are forked.
from tfocheck.lab.scenarios import SCENARIOS


@dataclass(frozen=True)
class Graded:
    """Exit code and report of one run."""

    exit_code: int
    report: dict[str, Any]

    @property
    def address(self) -> dict[str, Any]:
        """The report on the only address."""
        [address] = self.report["addresses"]
        assert isinstance(address, dict)
        return address

    @property
    def verdicts(self) -> dict[str, str]:
        """Case id → verdict."""
        return {result["case"]: result["verdict"] for result in self.address["results"]}

    @property
    def not_good(self) -> dict[str, str]:
        """What is neither pass nor info, with what was seen."""
        return {
            result["case"]: f"{result['verdict']}: {result['seen']}"
            for result in self.address["results"]
            if result["verdict"] not in ("pass", "info")
        }

    def seen(self, case_id: str) -> str:
        """What the report says was seen in a case."""
        [seen] = [each["seen"] for each in self.address["results"] if each["case"] == case_id]
        return str(seen)


def require(scenario: str) -> None:
    """Skip when the scenario lacks something here; fail where nothing may be missing."""
    missing = SCENARIOS[scenario].lacking()
    if missing is None:
        return
    if os.environ.get("TFOCHECK_REQUIRE_ALL") == "1":
        pytest.fail(f"scenario {scenario} needs {missing}")
    pytest.skip(f"scenario {scenario} needs {missing}")


def command(*arguments: str) -> list[str]:
    """This checkout's tfocheck as a command line."""
    return [sys.executable, "-m", "tfocheck", *arguments]


def grade(scenario: str, *options: str, fault: str | None = None, **setup: Any) -> Graded:
    """``tfocheck lab run`` of a scenario, with these options of the check.

    `setup` is impair, hop and rotate_every of check_in_lab(). The lab is forked off this process:
    what is imported already need not be imported again.
    """
    require(scenario)
    faults = [fault] if fault else []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        check_options = ["-q", "--json", str(report), *options]
        exit_code = check_in_lab(scenario, faults, check_options, **setup)
        assert report.exists(), f"no report: exit {exit_code}"
        document = json.loads(report.read_text())
        check_report(document)
        return Graded(exit_code, document)
