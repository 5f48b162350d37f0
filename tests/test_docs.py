"""README and pages say what the program says; ``python docs/make.py`` prints anew what is stale."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from graded import command, require
from read_back import check_junit, read_packets

from tfocheck.lab.scenario import find_program
from tfocheck.lab.scenarios import SCENARIOS

ROOT = Path(__file__).parent.parent
PAGES = {path.name: path.read_text() for path in (ROOT / "docs").glob("*.md")}
README = (ROOT / "README.md").read_text()
EVERYWHERE = {"README.md": README, **PAGES}


def loaded() -> ModuleType:
    """docs/make.py, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("docs_make", ROOT / "docs" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = loaded()
SHOWN = {name: text for page in EVERYWHERE.values() for name, text in make.blocks(page).items()}
STALE = "run: python docs/make.py {}"


def test_all_that_is_shown_as_printed_can_be_printed_anew() -> None:
    known = {*make.ALWAYS, *make.IN_LAB, *make.KNOWN_FAILURES, "demo-excerpt"}
    assert set(SHOWN) == known
    # Each is there, and no marker has lost its block.
    assert all(text.strip() for text in SHOWN.values())
    marker = re.compile(r"^<!-- printed: .* -->$", re.MULTILINE)
    assert sum(len(marker.findall(page)) for page in EVERYWHERE.values()) == len(known)


@pytest.mark.parametrize("name", make.ALWAYS)
def test_what_is_the_same_each_time_is_not_stale(name: str) -> None:
    if name == "lab" and any(each.missing_programs() for each in SCENARIOS.values()):
        pytest.skip("the list says which programs are missing here")
    assert SHOWN[name].strip() == make.ALWAYS[name]().strip(), STALE.format(name)


@pytest.mark.lab
@pytest.mark.parametrize("name", make.IN_LAB)
def test_what_a_lab_prints_is_not_stale(name: str) -> None:
    if name in ("off", "doctor"):
        require("nginx")
    if name == "comment" and find_program("tshark") is None:
        pytest.skip("needs the Debian package tshark")
    assert make.shape(SHOWN[name]) == make.shape(make.IN_LAB[name]()), STALE.format(name)


@pytest.mark.lab
def test_the_story_of_known_failures_is_not_stale() -> None:
    told = dict(make.with_baseline())
    assert tuple(told) == make.KNOWN_FAILURES
    for name, text in told.items():
        assert make.shape(SHOWN[name]) == make.shape(text), STALE.format("baseline")


def test_the_readmes_excerpt_is_of_the_whole_report() -> None:
    assert SHOWN["demo-excerpt"] == make.excerpt(SHOWN["demo"])
    assert all(f"\n{case} " in SHOWN["demo-excerpt"] for case in make.MOST_SHOWN)


def test_a_block_is_replaced_and_nothing_else() -> None:
    first = "a\n<!-- printed: x -->\n```\nold\n```\nb\n"
    page = f"{first}<!-- printed: y -->\n\n|t|\n\n<!-- up to here -->\n"
    assert make.blocks(page) == {"x": "old\n", "y": "\n|t|\n\n"}
    assert make.with_block(page, "x", "new\n") == page.replace("old", "new")
    assert make.with_block(page, "y", "|u|") == page.replace("|t|", "|u|")
    assert make.with_block(page, "z", "new") == page


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("a  1.5 ms\n  b", "a 22 ms b", True),
        ("----  ---", "--  ------", True),
        ("3 pass", "4 pass", True),
        ("cookie 501c11c50d45f5e8", "cookie abcdefabcdefabcd", True),
        ("3 pass", "3 fail", False),
    ],
)
def test_the_shape_of_what_is_printed(one: str, other: str, alike: bool) -> None:
    assert (make.shape(one) == make.shape(other)) is alike


def test_the_demo_has_todays_cases() -> None:
    from tfocheck.case import Option
    from tfocheck.runner.catalogue import load_cases

    ids = re.findall(r"^([a-z]+\.[a-z0-9-]+) ", SHOWN["demo"], re.MULTILINE)
    cases = [case for case in load_cases() if case.option in (None, Option.OFF_PORT)]
    assert ids == [case.id for case in cases]
    counted = re.findall(r"\((\d+) pass, (\d+) info;", SHOWN["demo"])
    assert [sum(map(int, each)) for each in counted] == [len(ids)]


def test_the_readme_is_short_and_its_links_work_anywhere() -> None:
    assert len(README.splitlines()) <= 180
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    # A package index shows the README without the files beside it.
    assert [link for link in links if not link.startswith("https://")] == []
    named = re.findall(r"`((?:docs/)?[A-Za-z-]+\.(?:md|toml|yaml))`", README)
    assert [name for name in named if not (ROOT / name).exists()] == []
    # Whoever reads on finds each page.
    assert {name.partition("/")[2] for name in named if name.startswith("docs/")} == set(PAGES) - {
        "index.md"
    }


def test_the_site_has_every_page_and_no_broken_link(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    assert {path.stem for path in tmp_path.glob("*.html")} - {"404"} == {
        name.removesuffix(".md") for name in PAGES
    }
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert [name for name in PAGES if f" {name}\n" not in navigation] == []


def test_the_example_of_a_users_case_is_the_file() -> None:
    """What a lab prints of it is told by "own-case"."""
    example = (ROOT / "examples" / "same_cookie.py").read_text()
    assert f"```python\n{example}```" in PAGES["own-cases.md"]


def test_the_programs_on_the_pages_are_python() -> None:
    programs = [
        code
        for page in EVERYWHERE.values()
        for code in re.findall(
            r"^```python\n(.*?)^```", page.partition("<!-- printed: api")[0], re.M | re.S
        )
    ]
    assert len(programs) >= 3
    for code in programs:
        compile(code, "page", "exec")


def test_the_baseline_on_the_page_is_one(tmp_path: Path) -> None:
    from tfocheck.judging import saving
    from tfocheck.runner.catalogue import load_cases
    from tfocheck.runner.planning import read_baseline

    written = SHOWN["baseline"]
    (tmp_path / "baseline.toml").write_text(written)
    [entry] = read_baseline(str(tmp_path / "baseline.toml"), "--baseline", load_cases()).entries
    mended = f"baseline.toml line {entry.line}: {entry.case} at {entry.address} is mended"
    assert SHOWN["mended"].startswith(mended)
    assert all(f"# {line}\n" in written for line in saving.HEAD)


def test_every_exit_code_is_named() -> None:
    from tfocheck.errors import ExitCode

    page = PAGES["verdicts.md"]
    codes = {int(code) for code in ExitCode}
    for code in codes - {130}:
        assert f"\n| {code} |" in page
    assert "| 130, 143 |" in page


IN_CI = re.findall(r"^```(?:yaml|groovy)\n(.*?)^```", PAGES["ci.md"], re.MULTILINE | re.DOTALL)
A_STEP = re.compile(
    r"^ *(?:- (?:run: )?(?P<plain>.*\.venv/bin/.*)|sh '(?P<quoted>.*\.venv/bin/.*)')$", re.MULTILINE
)
WITH_A_SERVICE = """
set -e
echo "$(getent ahostsv4 "${TFOCHECK_TARGET%:*}" | cut -d' ' -f1 | head -1) web" >> /etc/hosts
eval "$1"
"""


def test_the_readmes_snippet_is_of_the_pipeline() -> None:
    [snippet] = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert snippet in IN_CI[0]


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
    install, check = (found["plain"] or found["quoted"] for found in A_STEP.finditer(IN_CI[number]))
    what = "." if " web:" in check else "'.[lab]'"
    assert install.replace('"', "'") == f"python3 -m venv .venv && .venv/bin/pip install {what}"
    (tmp_path / ".venv").symlink_to(sys.prefix)
    shell = ["sh", "-ec", check]
    if " web:" in check:  # the service container
        shell = command("lab", "exec", scenario, "--", "sh", "-c", WITH_A_SERVICE, "sh", check)
    done = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    check_junit((tmp_path / "tfocheck.xml").read_text())
    assert read_packets(tmp_path / "tfocheck.pcapng")
