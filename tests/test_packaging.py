"""What is handed out: the wheel, the sdist, the action, the image, the example for a service."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from graded import command, require
from read_back import check_junit, read_packets

ROOT = Path(__file__).parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
CONTAINERFILE = (ROOT / "Containerfile").read_text()


def test_what_is_built_holds_what_it_takes_and_nothing_else(tmp_path: Path) -> None:
    built = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(built, check=True, capture_output=True)
    [wheel], [sdist] = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [metadata] = [archive.read(each) for each in names if each.endswith("/METADATA")]
    top = {name.split("/")[0] for name in names}
    assert {re.sub(r"-.*dist-info$", "", each) for each in top} == {"tfocheck"}
    ours = {name for name in names if name.startswith("tfocheck/")}
    assert {"tfocheck/py.typed", "tfocheck/doctor/schema.json"} <= ours
    cases = {f"tfocheck/{path.relative_to(ROOT)}" for path in (ROOT / "cases").rglob("*.py")}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "tfocheck").rglob("*.py")}
    assert cases | modules == {name for name in ours if name.endswith(".py")}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert b"License-Expression: GPL-2.0-only\n" in metadata
    with tarfile.open(sdist) as source:
        inside = {name.partition("/")[2].split("/")[0] for name in source.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "tests", "cases", "docs"} <= inside
    assert not {".venv", ".git", "build", "dist", ".import_linter_cache"} & inside
    checked = [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist)]
    subprocess.run(checked, check=True, capture_output=True)


def test_what_the_action_is_told_is_no_shell() -> None:
    """An input that is put into a script would be run: they come by the environment."""
    steps = ACTION["runs"]["steps"]
    assert ACTION["runs"]["using"] == "composite"
    assert [step["shell"] for step in steps] == ["bash", "bash"]
    assert all("${{" not in step["run"] for step in steps)
    assert set(re.findall(r"inputs\.(\w+)", str(steps))) == set(ACTION["inputs"])


@pytest.mark.lab
def test_the_action_checks_as_written(tmp_path: Path) -> None:
    """All but the installation: this one is there already."""
    require("nginx")
    if os.geteuid() != 0:
        pytest.skip("the action's check runs by sudo for others than root")
    binaries = tmp_path / "tfocheck" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "tfocheck").symlink_to(Path(sys.executable).with_name("tfocheck"))
    step = ACTION["runs"]["steps"][1]["run"]
    script = f'export TARGETS="$TFOCHECK_TARGET"\n{step}'
    done = subprocess.run(
        command("lab", "exec", "nginx", "--", "bash", "-ec", script),
        cwd=tmp_path,
        env={
            **os.environ,
            "RUNNER_TEMP": str(tmp_path),
            "OPTIONS": "-4 --strict --case cookie.request",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    check_junit((tmp_path / "tfocheck.xml").read_text())
    assert read_packets(tmp_path / "tfocheck.pcapng")
    assert (tmp_path / "tfocheck.html").exists()


def test_the_image_has_not_both_of_what_may_not_be_together() -> None:
    [install] = [line for line in CONTAINERFILE.splitlines() if "pip install" in line]
    assert "pip uninstall --yes crossplane-ng" in install
    entry = re.findall(r'^ENTRYPOINT \["(.*)"\]$', CONTAINERFILE, re.MULTILINE)
    assert entry == ["/opt/tfocheck/bin/tfocheck"]


def test_the_example_of_a_service_sets_its_own_sysctl() -> None:
    example = yaml.safe_load((ROOT / "examples" / "compose.yaml").read_text())
    web, check = example["services"]["web"], example["services"]["check"]
    assert web["sysctls"] == {"net.ipv4.tcp_fastopen": 3}
    assert check["cap_add"] == ["NET_RAW"]
    page = (ROOT / "docs" / "install.md").read_text()
    [shown] = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    [service] = yaml.safe_load(shown)["services"].values()
    assert service == {name: web[name] for name in service}


def test_what_ci_runs_beside_the_tests_is_there() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    for name in re.findall(r"^\.ci/(\w+)$", script, re.MULTILINE):
        path = ROOT / ".ci" / name
        assert os.access(path, os.X_OK)
        subprocess.run(["bash", "-n", path], check=True)
    assert re.findall(r"^\.ci/(\w+)$", script, re.MULTILINE) == ["package", "image"]
