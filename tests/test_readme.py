"""The README says what the program says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from graded import command, grade

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.parametrize("arguments", [("--list", "--format", "markdown")])
def test_tables_in_the_readme_are_the_programs(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=True)
    assert done.stdout.strip() in README


def test_the_example_of_a_users_case_runs_as_printed() -> None:
    example = (Path(__file__).parent.parent / "examples" / "same_cookie.py").read_text()
    assert f"```python\n{example}```" in README
    graded = grade("linux", "--cases", "examples", "--case", "my.same-cookie")
    assert graded.verdicts["my.same-cookie"] == "pass"
    assert f"{graded.seen('my.same-cookie')}\n" in README


def test_the_baseline_in_the_readme_is_one(tmp_path: Path) -> None:
    from tfocheck import baseline
    from tfocheck.case import load_cases

    written = README.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "baseline.toml").write_text(written)
    [entry] = baseline.read(str(tmp_path / "baseline.toml"), "--baseline", load_cases()).entries
    assert f"baseline.toml line {entry.line}: {entry.case} at {entry.address} is mended" in README
    assert all(f"# {line}\n" in written for line in baseline.HEAD)


def test_the_readme_names_every_exit_code() -> None:
    from tfocheck.errors import ExitCode

    codes = {int(code) for code in ExitCode}
    for code in codes - {130}:
        assert f"\n| {code} |" in README
    assert "| 130, 143 |" in README
