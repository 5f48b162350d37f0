"""What the package says of itself: licence, dependencies and where each is used."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TABLE = (ROOT / "docs" / "dependencies.md").read_text()
# Where the module is not called as its package is.
MODULES = {"crossplane-ng": "crossplane", "junit-xml": "junit_xml", "pyyaml": "yaml"}
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if line.startswith("| ") and "---" not in line
][1:]


def name_of(requirement: str) -> str:
    return re.split(r"[>=<]", requirement)[0]


def test_the_licence_is_scapys() -> None:
    assert PROJECT["license"] == "GPL-2.0-only"
    text = (ROOT / "LICENSE").read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in text
    assert "Version 2, June 1991" in text
    assert not [each for each in PROJECT["classifiers"] if each.startswith("License")]


def test_each_dependency_is_named_with_where_it_is_used() -> None:
    extras = PROJECT["optional-dependencies"]
    needed = {name_of(each) for each in PROJECT["dependencies"] + extras["lab"] + extras["docs"]}
    assert {row[0].split(",")[0] for row in ROWS} == needed | {"pytest"}
    for package, _, _, where in ROWS:
        name = package.split(",")[0]
        if name == "mkdocs":
            continue
        module = MODULES.get(name, name)
        imports = re.compile(rf"^\s*(?:import|from) {module}\b", re.MULTILINE)
        using = {
            str(path.relative_to(ROOT / "tfocheck"))
            for path in (ROOT / "tfocheck").rglob("*.py")
            if imports.search(path.read_text())
        }
        named = re.findall(r"`([^`]+)`", where)
        assert named
        assert using
        assert all(any(each.startswith(place) for each in using) for place in named)
        # Rooms stand for their files; pytest's plugin is several.
        assert name == "pytest" or all(any(u.startswith(n) for n in named) for u in using), using


@pytest.mark.parametrize("command", ["compare", "schema", "doctor"])
def test_what_needs_no_packets_imports_no_scapy(command: str) -> None:
    arguments = {
        "compare": ["compare", "/nosuch", "/nosuch"],
        "schema": ["schema"],
        "doctor": ["doctor", "--port", "1"],
    }[command]
    program = (
        f"import sys; sys.argv[1:] = {arguments!r}; import tfocheck.cli.main as main\n"
        "try: main.main()\nexcept SystemExit: pass\n"
        "print('scapy' in sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout.splitlines()[-1] == "False"


def test_without_crossplane_doctor_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfocheck.doctor import nginx
    from tfocheck.doctor.processes import Process

    monkeypatch.setitem(sys.modules, "crossplane", None)
    (tmp_path / "n.conf").write_text("listen 80;")
    found = nginx.read(Process(1 << 22, "nginx", ("nginx", "-c", str(tmp_path / "n.conf"))))
    assert "that takes crossplane-ng, which is not installed" in (found.problem or "")


def test_without_pyroute2_a_lab_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from tfocheck.lab.errors import LabError
    from tfocheck.lab.runner import run_in_lab
    from tfocheck.lab.scenarios import SCENARIOS

    monkeypatch.setitem(sys.modules, "pyroute2", None)
    with pytest.raises(LabError, match=r"tfocheck\[lab\]"):
        run_in_lab(SCENARIOS["linux"], lambda _: 0)
