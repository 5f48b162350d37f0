"""What make does with a virtual environment that is half-made, and what it says of itself."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text()

# Makes a "virtual environment" whose Python says what it is asked for, and does nothing.
PYTHON = """#!/bin/sh
[ "$*" = "-m venv --clear $VENV" ] || exit 1
echo "made" >> "$LOG"
rm -rf "$VENV" && mkdir -p "$VENV/bin"
printf '#!/bin/sh\\necho "$@" >> "$LOG"\\n' > "$VENV/bin/python"
chmod +x "$VENV/bin/python"
"""


def make(folder: Path, *targets: str) -> list[str]:
    """What was asked of Python, in order."""
    (folder / "python").write_text(PYTHON)
    (folder / "python").chmod(0o755)
    variables = {"LOG": str(folder / "log"), "VENV": str(folder / "venv")}
    given = [f"VENV={folder / 'venv'}", f"PYTHON={folder / 'python'}"]
    (folder / "log").write_text("")
    # Not what a make that runs these tests has told its children.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", *targets, *given],
        cwd=ROOT,
        env=inherited | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return (folder / "log").read_text().splitlines()


INSTALL = "-m pip install --quiet --disable-pip-version-check --editable .[lab]"
DEMO = "-m tfocheck demo"


@pytest.mark.parametrize("left", ["nothing", "a folder", "no pip", "a dead link", "no longer runs"])
def test_a_half_made_environment_is_made_anew(left: str, tmp_path: Path) -> None:
    binaries = tmp_path / "venv" / "bin"
    if left != "nothing":
        binaries.mkdir(parents=True)
    if left == "a dead link":
        (binaries / "python").symlink_to("/nosuch/python")
    elif left in ("no pip", "no longer runs"):
        (binaries / "python").write_text("#!/bin/sh\nexit 1\n")
        (binaries / "python").chmod(0o755)
    if left == "no longer runs":
        (tmp_path / "venv" / ".installed").write_text("")
    assert make(tmp_path, "demo") == ["made", INSTALL, DEMO]
    # What is whole is left alone.
    assert make(tmp_path, "demo") == ["-c import click", DEMO]


def test_help_names_all_that_can_be_made() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    named = re.findall(r"^make (\w+) +\S", done.stdout, re.MULTILINE)
    [phony] = re.findall(r"^\.PHONY: (.*)", MAKEFILE, re.MULTILINE)
    assert named == phony.split()
