"""The README says what the program says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from graded import command, grade, require
from read_back import check_junit, read_packets

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.parametrize("arguments", [("--list", "--format", "markdown")])
def test_tables_in_the_readme_are_the_programs(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=True)
    assert done.stdout.strip() in README


def test_the_demo_in_the_readme_has_todays_cases() -> None:
    from tfocheck.case import Option
    from tfocheck.runner.catalogue import load_cases

    shown = README.partition("nothing leaves. It prints:\n\n```\n")[2].partition("```")[0]
    ids = re.findall(r"^([a-z]+\.[a-z0-9-]+) ", shown, re.MULTILINE)
    cases = [case for case in load_cases() if case.option in (None, Option.OFF_PORT)]
    assert ids == [case.id for case in cases]
    counted = re.findall(r"\((\d+) pass, (\d+) info;", shown)
    assert [sum(map(int, each)) for each in counted] == [len(ids)]


@pytest.mark.lab
def test_the_example_of_a_users_case_runs_as_printed() -> None:
    example = (Path(__file__).parent.parent / "examples" / "same_cookie.py").read_text()
    assert f"```python\n{example}```" in README
    graded = grade("linux", "--cases", "examples", "--case", "my.same-cookie")
    assert graded.verdicts["my.same-cookie"] == "pass"
    assert f"{graded.seen('my.same-cookie')}\n" in README


def test_the_baseline_in_the_readme_is_one(tmp_path: Path) -> None:
    from tfocheck.judging import baseline, saving
    from tfocheck.runner.catalogue import load_cases

    written = README.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "baseline.toml").write_text(written)
    [entry] = baseline.read(str(tmp_path / "baseline.toml"), "--baseline", load_cases()).entries
    assert f"baseline.toml line {entry.line}: {entry.case} at {entry.address} is mended" in README
    assert all(f"# {line}\n" in written for line in saving.HEAD)


def test_the_readme_names_every_exit_code() -> None:
    from tfocheck.errors import ExitCode

    codes = {int(code) for code in ExitCode}
    for code in codes - {130}:
        assert f"\n| {code} |" in README
    assert "| 130, 143 |" in README


IN_CI = re.findall(r"^```(?:yaml|groovy)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
A_STEP = re.compile(r"^ *(?:- (?:run: )?|sh ')(.*\.venv/bin/.*?)'?$", re.MULTILINE)
WITH_A_SERVICE = """
set -e
echo "$(getent ahostsv4 "${TFOCHECK_TARGET%:*}" | cut -d' ' -f1 | head -1) web" >> /etc/hosts
eval "$1"
"""


@pytest.mark.lab
@pytest.mark.parametrize(
    ("number", "scenario"),
    [(0, "nginx"), (1, "nginx"), (2, "haproxy")],
    ids=["github", "gitlab", "jenkins"],
)
def test_what_a_pipeline_runs_works_as_written(number: int, scenario: str, tmp_path: Path) -> None:
    """All but the installation: this one is there already."""
    require(scenario)
    assert len(IN_CI) == 3
    install, check = A_STEP.findall(IN_CI[number])
    assert install == "python3 -m venv .venv && .venv/bin/pip install ."
    (tmp_path / ".venv").symlink_to(sys.prefix)
    shell = ["sh", "-ec", check]
    if " web:" in check:  # the service container
        shell = command("lab", "exec", scenario, "--", "sh", "-c", WITH_A_SERVICE, "sh", check)
    done = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    check_junit((tmp_path / "tfocheck.xml").read_text())
    assert read_packets(tmp_path / "tfocheck.pcapng")
