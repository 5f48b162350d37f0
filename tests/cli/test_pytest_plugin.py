"""The pytest plugin: endings by verdict, one check for all items, and no trace without the option.

pytest runs as a process of its own: in a lab, as a tester would, or in somebody else's project.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import junitparser
import pytest
from graded import command
from roles import ROLES

from tfocheck.case import Case, Level, Outcome, Severity, Verdict
from tfocheck.cli.pytest_endings import Ended, Ending, endings
from tfocheck.cli.pytest_items import markers, node_name
from tfocheck.model.report import AddressReport, CaseResult, Report
from tfocheck.model.target import parse
from tfocheck.runner.catalogue import load_cases
from tfocheck.wire.evidence import FlowRecord

PASS, FAIL, WARN, INFO = Verdict.PASS, Verdict.FAIL, Verdict.WARN, Verdict.INFO
SKIP, INCONCLUSIVE, ERROR = Verdict.SKIP, Verdict.INCONCLUSIVE, Verdict.ERROR
PASSED, FAILED, SKIPPED, UNDECIDED = Ending
TARGET = "example.com:443"
OK = {"control.syn": PASS, "cookie.request": PASS, "open.no-data": PASS}


async def _never_run(_probe: object) -> Outcome:
    raise AssertionError


def address(
    verdicts: Mapping[str, Verdict],
    literal: str = "192.0.2.1",
    *,
    known: Mapping[str, str] | None = None,
    not_tested: str | None = None,
) -> AddressReport:
    results = tuple(
        CaseResult(
            Case(
                *(each, "4.2", Level.MUST, Severity.MAJOR, "t", "r", "e", "do", _never_run),
                role=ROLES.get(each),
            ),
            verdict,
            f"{each} \x1b seen",
            0.25,
            known=(known or {}).get(each),
            traceback="Traceback\nZeroDivisionError\n" if verdict is ERROR else None,
        )
        for each, verdict in verdicts.items()
    )
    return AddressReport(TARGET, literal, 443, results, not_tested=not_tested)


def ended(
    *addresses: AddressReport,
    cases: tuple[str, ...] = ("open.no-data", "forged.random"),
    strict: bool = False,
    errors: tuple[tuple[str, str], ...] = (),
) -> dict[str, Ended]:
    wanted = [(TARGET, case_id) for case_id in cases]
    report = Report(addresses, 0.0, 1.0, "0", errors)
    return {case: each for (_, case), each in endings(wanted, report, strict=strict).items()}


@pytest.mark.parametrize(
    ("verdict", "strict", "ending"),
    [
        (PASS, False, PASSED),
        (INFO, False, PASSED),
        (WARN, False, PASSED),
        (WARN, True, FAILED),
        (FAIL, False, FAILED),
        (ERROR, False, FAILED),
        (SKIP, False, SKIPPED),
        (SKIP, True, SKIPPED),
        (INCONCLUSIVE, False, UNDECIDED),
        (INCONCLUSIVE, True, FAILED),
    ],
)
def test_each_verdict_has_its_ending(verdict: Verdict, strict: bool, ending: Ending) -> None:
    found = ended(address({**OK, "forged.random": verdict}), strict=strict)
    assert found["forged.random"].ending is ending
    assert found["open.no-data"] == Ended(PASSED, seconds=0.25)
    warned = [f"forged.random at {TARGET} (192.0.2.1): forged.random \\x1b seen"]
    assert list(found["forged.random"].warnings) == (
        warned if (verdict, strict) == (WARN, False) else []
    )
    if ending is FAILED:
        assert "seen: forged.random \\x1b seen" in found["forged.random"].text
        advice = "advice: This is tfocheck's fault" if verdict is ERROR else "advice: do"
        assert advice in found["forged.random"].text
        assert ("ZeroDivisionError" in found["forged.random"].text) == (verdict is ERROR)


@pytest.mark.parametrize(
    ("one", "other", "ending"),
    [
        (PASS, FAIL, FAILED),
        (INCONCLUSIVE, FAIL, FAILED),
        (PASS, INCONCLUSIVE, UNDECIDED),
        (PASS, SKIP, PASSED),
        (SKIP, SKIP, SKIPPED),
    ],
)
def test_the_worst_address_counts(one: Verdict, other: Verdict, ending: Ending) -> None:
    addresses = (
        address({**OK, "forged.random": one}),
        address({**OK, "forged.random": other}, "2001:db8::1"),
    )
    found = ended(*addresses)["forged.random"]
    assert found.ending is ending
    if other is FAIL:
        assert found.text.startswith("fail at 2001:db8::1")


def test_a_target_that_does_not_answer_fails_once() -> None:
    silent = address({"control.syn": INCONCLUSIVE, "open.no-data": SKIP, "forged.random": SKIP})
    found = ended(silent)
    assert [each.ending for each in found.values()] == [FAILED, SKIPPED]
    assert found["open.no-data"].text.startswith("192.0.2.1: unreachable: control.syn \\x1b seen")
    found = ended(silent, cases=("open.no-data", "control.syn"))
    assert [each.ending for each in found.values()] == [SKIPPED, FAILED]
    beside = ended(address({**OK, "forged.random": PASS}), silent)
    assert [each.ending for each in beside.values()] == [FAILED, PASSED]


def test_a_target_without_address_fails_once() -> None:
    found = ended(errors=((TARGET, "no such name"),))
    assert [each.ending for each in found.values()] == [FAILED, SKIPPED]
    assert found["open.no-data"].text == "no such name"
    found = ended(address({}, not_tested="no route"))
    assert found["open.no-data"].text == "192.0.2.1: not tested: no route"
    one = ended(
        address({}, "2001:db8::1", not_tested="no route"), address({**OK, "forged.random": PASS})
    )
    assert [each.ending for each in one.values()] == [PASSED, PASSED]


def test_a_target_without_fast_open_fails_once() -> None:
    verdicts = {**OK, "cookie.request": SKIP, "open.no-data": SKIP, "forged.random": SKIP}
    found = ended(address(verdicts))
    assert [each.ending for each in found.values()] == [FAILED, SKIPPED]
    assert "TFO not offered" in found["open.no-data"].text
    found = ended(address(verdicts), cases=("control.syn", "open.no-data", "cookie.request"))
    assert [each.ending for each in found.values()] == [PASSED, SKIPPED, FAILED]
    known = ended(address(verdicts, known={"cookie.request": "by design"}))
    assert [each.ending for each in known.values()] == [SKIPPED, SKIPPED]


@pytest.mark.parametrize("verdict", [SKIP, INCONCLUSIVE])
def test_a_target_at_which_nothing_is_decided_fails_once(verdict: Verdict) -> None:
    found = ended(address({**OK, "open.no-data": verdict, "forged.random": verdict}))
    assert [each.ending for each in found.values()] == [
        FAILED,
        SKIPPED if verdict is SKIP else UNDECIDED,
    ]
    assert "no selected case could be decided" in found["open.no-data"].text


def test_a_failure_shows_what_a_log_has_room_for() -> None:
    def flow(port: int) -> FlowRecord:
        ends = ("192.0.2.7", port), ("192.0.2.1", 443)
        return FlowRecord(f"from {port}", *ends, 1, None, (), decided=port > 1)

    broken = address({"forged.random": FAIL})
    [found] = broken.results
    broken = replace(broken, results=(replace(found, flows=tuple(map(flow, range(6)))),))
    text = ended(broken, cases=("forged.random",))["forged.random"].text
    assert text.startswith("fail at 192.0.2.1: forged.random \\x1b seen\n")
    assert re.findall(r"^\* (from \d)", text, re.MULTILINE) == ["from 2", "from 3"]
    assert text.endswith("(2 more connections not shown: see tfocheck -v --case forged.random)")
    fault = replace(found, case=replace(found.case, level=Level.PATH))
    broken = replace(broken, results=(fault,))
    assert ended(broken, cases=("forged.random",))["forged.random"].text.startswith("path fault at")


def test_a_known_failure_is_an_xfail_with_its_reason() -> None:
    found = ended(address({**OK, "forged.random": FAIL}, known={"forged.random": "ticket 7"}))
    assert found["forged.random"] == Ended(UNDECIDED, "known: ticket 7", seconds=0.25)


def test_markers_are_level_severity_and_section() -> None:
    by_id = {case.id: markers(case) for case in load_cases()}
    assert by_id["forged.random"] == [
        "tfocheck", "procedure", "must", "critical", "section_4", "section_4_1", "section_4_1_2",
    ]  # fmt: skip
    assert by_id["control.syn"][-2:] == ["rfc9293_3", "rfc9293_3_5"]
    assert "must" not in by_id["farm.addresses"]
    assert all(name.isidentifier() for names in by_id.values() for name in names)


def test_node_names_have_no_brackets_and_no_double_colons() -> None:
    assert node_name(parse("[2001:db8::1]:443")) == "2001-db8--1:443"
    assert node_name(parse("example.com")) == "example.com:443"


# As processes


# Another plugin, which takes a second to load.
WITHOUT = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--strict-markers")


def pytest_in_lab(
    tmp_path: Path, *arguments: str, scenario: tuple[str, ...] = ("linux",)
) -> subprocess.CompletedProcess[str]:
    program = (
        "import os, sys, pytest;"
        "sys.exit(pytest.main(['--tfo-target', os.environ['TFOCHECK_TARGET'], '--tfo-option=-4',"
        " *sys.argv[1:]]))"
    )
    return run(
        command(
            "lab", "exec", *scenario, "--", sys.executable, "-c", program, *WITHOUT, *arguments
        ),
        tmp_path,
    )


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        arguments, cwd=folder, env=clean, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.lab
def test_marks_keywords_and_junit_work_as_a_tester_expects(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text("def test_theirs(): pass\n")
    report = tmp_path / "x.xml"
    done = pytest_in_lab(tmp_path, "-m", "must", "-k", "forged", f"--junitxml={report}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout
    assert "warning" not in done.stdout
    assert "linux.lab:8080 at 10.77.0.2: 7 of 7 selected cases hold" in done.stdout
    [suite] = junitparser.JUnitXml.fromfile(str(report))
    cases = list(suite)
    assert {case.classname for case in cases} == {"tfocheck.linux.lab:8080"}
    assert "forged.random" in {case.name for case in cases}
    assert all(case.name.startswith("forged.") for case in cases)


@pytest.mark.lab
def test_workers_share_one_check_and_failures_show_their_packets(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text(
        '[[known]]\ncase = "forged.constant"\naddress = "*"\nverdict = "fail"\nreason = "T-7"\n'
        '[[known]]\ncase = "open.no-data"\naddress = "*"\nverdict = "fail"\nreason = "T-8"\n'
    )
    done = pytest_in_lab(
        tmp_path, "-n", "2", "-rx", "-k", "forged.random or forged.constant or no-data",
        "--tfo-option", "--baseline b.toml",
        scenario=("reference", "--fault", "accepts-any-cookie"),
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed, 1 xfailed" in done.stdout
    assert "known: T-7" in done.stdout
    assert "b.toml line 6: open.no-data at * is mended: the entry can go" in done.stdout
    assert "seen: random cookie accepted" in done.stdout
    assert "(this decided): 10.77.0.1:" in done.stdout
    # A whole answer of 20 kB is no evidence that anybody wants to scroll past.
    assert re.search(r"\(\d+ packets with \d+ bytes not shown\)", done.stdout)
    assert "\nfail at 10.77.0.2: random cookie accepted" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.lab
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_an_item_can_be_named_as_a_summary_names_it(
    workers: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "test_theirs.py").write_text("def test_theirs(): pass\n")
    name = "tfocheck::linux.lab:8080::"
    done = pytest_in_lab(
        tmp_path, *workers, "-rp", f"{name}control.syn", f"{name}control.unknown-option"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"PASSED {name}control.syn" in done.stdout
    assert "2 passed in" in done.stdout
    done = pytest_in_lab(tmp_path, *workers, f"{name}control.sin")
    assert done.returncode == 4
    assert f"ERROR: {name}control.sin: no such target, or no such case" in done.stderr


@pytest.mark.lab
def test_a_server_without_fast_open_is_no_green_build(tmp_path: Path) -> None:
    done = pytest_in_lab(
        tmp_path, "-k", "forged", "--tfo-option=--attempts 1", scenario=("linux-0",)
    )
    assert done.returncode == 1
    assert "1 failed, 7 skipped" in done.stdout
    assert "TFO not offered" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--tfo-target", "x:0"), "a port is a number"),
        (("--tfo-target", "x", "--tfo-option=--nosuch"), "--tfo-option: No such option"),
        (("--tfo-target", "x", "--tfo-option=y"), "'y' is no option"),
        (("--tfo-target", "x", "--tfo-option=--json y"), "--junitxml"),
        (("--tfo-target", "x", "--tfo-option=--list"), "--list is no part of a check"),
        (("--tfo-target", "x", "--tfo-option='"), "No closing quotation"),
        (("--tfo-strict",), "go with --tfo-target"),
    ],
)
def test_wrong_usage_is_a_line_before_anything_is_collected(
    arguments: tuple[str, ...],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pytest.main(["-p", "no:cacheprovider", *arguments]) == pytest.ExitCode.USAGE_ERROR
    err = capsys.readouterr().err
    assert reason in err
    assert err.startswith("ERROR: ")


def test_another_project_is_not_disturbed(tmp_path: Path) -> None:
    theirs = tmp_path / "test_theirs.py"
    theirs.write_text(
        textwrap.dedent(
            """
            import sys

            def test_nothing_of_ours_is_loaded(pytestconfig):
                ours = {name for name in sys.modules if name.partition(".")[0] == "tfocheck"}
                assert ours == {"tfocheck", "tfocheck.cli", "tfocheck.cli.pytest_plugin"}
                assert not {"scapy", "click", "pyroute2"} & set(sys.modules)
                assert not any("tfocheck" in line for line in pytestconfig.getini("markers"))
            """
        )
    )
    done = run([sys.executable, "-m", "pytest", *WITHOUT, "-W", "error"], tmp_path)
    assert done.returncode == 0, done.stdout
    assert "collected 1 item\n" in done.stdout
