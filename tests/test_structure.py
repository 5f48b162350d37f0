"""The house keeps its shape: sizes, and who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tfocheck"
CASES = sorted((ROOT / "cases").rglob("*.py"))
LARGEST_MODULE, LARGEST_CLASS, LARGEST_CASE_FILE = 400, 250, 400


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def test_no_module_is_too_long() -> None:
    found = {str(path): lines(path) for path in PACKAGE.rglob("*.py")}
    assert {name: size for name, size in found.items() if size > LARGEST_MODULE} == {}


def test_no_case_file_is_too_long() -> None:
    assert [path.name for path in CASES if lines(path) > LARGEST_CASE_FILE] == []


def test_no_class_is_too_long() -> None:
    classes = {
        f"{path.relative_to(ROOT)}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    assert {name: size for name, size in classes.items() if size > LARGEST_CLASS} == {}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_case_file_needs_public_names_only(path: Path) -> None:
    ours = {name for name in imported(path) if name.partition(".")[0] == "tfocheck"}
    assert ours == {"tfocheck.case"}


def test_every_import_contract_is_kept_and_nothing_is_left_out_of_it() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert len(contracts["contracts"]) >= 4
    assert not any("ignore_imports" in each for each in contracts["contracts"])
    program = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as main; main()",
    ]
    done = subprocess.run(
        [*program, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout


def test_the_first_line_of_a_module_says_its_one_job() -> None:
    for path in PACKAGE.rglob("*.py"):
        doc = ast.get_docstring(ast.parse(path.read_text()))
        assert doc, path
        assert len(doc.splitlines()[0]) <= 100, path
