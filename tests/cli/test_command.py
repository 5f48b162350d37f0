"""The command line: what it accepts, what it says in one line, and how it exits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tfocheck.case import Verdict
from tfocheck.cli import main as cli
from tfocheck.errors import CannotError
from tfocheck.model.report import AddressReport, CaseResult, Report, Traffic
from tfocheck.report import formats
from tfocheck.version import __version__

CASE_FILE = """
from tfocheck.case import Level, Outcome, Role, Severity, Verdict, case

@case("control.syn", section="RFC 9293 3.1", level=Level.MUST, severity=Severity.MAJOR,
      role=Role.REACHABLE, title="answers", requirement="r", expected="answers", needs=())
async def control_syn(probe):
    return Outcome(Verdict.PASS, "answered")

@case("cookie.request", section="4.2.1", level=Level.PROCEDURE, severity=Severity.MAJOR,
      role=Role.OFFERED, title="issues a cookie", requirement="r", expected="issues",
      needs=("control.syn",))
async def cookie_request(probe):
    return Outcome(Verdict.PASS, "cookie")

@case("open.data-acked", section="4.2.2", level=Level.PROCEDURE, severity=Severity.MAJOR,
      role=Role.HONOURED, title="acks | data", requirement="r", expected="acks it")
async def data_acked(probe):
    return Outcome(Verdict.PASS, "acked")
"""


class FakeLink:
    """No packet leaves a test of the command line."""

    allowed = True
    closed = 0

    @classmethod
    def open(cls) -> FakeLink:
        if not cls.allowed:
            raise CannotError("tfocheck needs raw sockets")
        return cls()

    def close(self) -> None:
        FakeLink.closed += 1


class Engine:
    """Stands in for ``check.run``: notes the plan, gives every case the verdict it is told."""

    def __init__(self) -> None:
        self.plan: Any = None
        self.verdicts: dict[str, Verdict] = {}
        self.errors: tuple[tuple[str, str], ...] = ()

    async def run(self, plan: Any, link: object, progress: object = None, **_how: object) -> Report:
        self.plan = plan
        results = tuple(
            CaseResult(
                case,
                self.verdicts.get(case.id, Verdict.PASS),
                f"{case.id} \x1b was seen",
                0.1,
                prerequisite=case.id not in plan.selected,
            )
            for case in plan.cases
        )
        addresses = tuple(
            AddressReport(
                target.text, "192.0.2.1", target.port, results, "http", traffic=Traffic(sent=7)
            )
            for target in plan.targets
            if not self.errors
        )
        return Report(addresses, 0.0, 1.0, __version__, self.errors)


@pytest.fixture
def case_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "cases"
    directory.mkdir()
    (directory / "some.py").write_text(CASE_FILE)
    monkeypatch.setattr("tfocheck.runner.catalogue.own_case_directories", lambda: (directory,))
    return directory


@pytest.fixture
def engine(case_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    fake = Engine()
    FakeLink.allowed, FakeLink.closed = True, 0
    monkeypatch.setattr("tfocheck.runner.run.run", fake.run)
    monkeypatch.setattr("tfocheck.linux.link.Link", FakeLink)
    monkeypatch.setattr("tfocheck.linux.privileges.drop", lambda: None)
    monkeypatch.setattr("tfocheck.linux.privileges.is_plain_root", lambda: False)
    return fake


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_check_prints_the_table_and_the_summary(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "example.com:8080")
    assert (code, err) == (0, "")
    assert "open.data-acked  4.2.2" in out
    assert "\x1b" not in out
    assert out.split("\n")[-2].startswith("example.com:8080 at 192.0.2.1: grade A. Fast Open works")
    assert FakeLink.closed == 1


def test_quiet_prints_the_summary_only(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "-q", "x", "y:80")
    assert [line.split()[0] for line in out.splitlines()] == ["x:443", "y:80"]


@pytest.mark.parametrize(
    ("verdicts", "options", "code"),
    [
        ({}, (), 0),
        ({"open.data-acked": Verdict.FAIL}, (), 1),
        ({"open.data-acked": Verdict.WARN}, (), 0),
        ({"open.data-acked": Verdict.WARN}, ("--strict",), 1),
        ({"cookie.request": Verdict.SKIP, "open.data-acked": Verdict.SKIP}, (), 3),
        ({"control.syn": Verdict.INCONCLUSIVE}, (), 4),
        ({"open.data-acked": Verdict.INCONCLUSIVE}, (), 4),
        ({"open.data-acked": Verdict.SKIP}, ("--case", "open.*"), 4),
    ],
)
def test_exit_codes(
    engine: Engine,
    capsys: pytest.CaptureFixture[str],
    verdicts: dict[str, Verdict],
    options: tuple[str, ...],
    code: int,
) -> None:
    engine.verdicts = verdicts
    assert run(capsys, "x", *options)[0] == code


def test_a_target_that_does_not_resolve_is_one_line_and_4(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.errors = (("nosuch:443", "nosuch:443: the name nosuch does not resolve"),)
    assert run(capsys, "nosuch") == (4, "nosuch:443: the name nosuch does not resolve\n", "")


def test_options_reach_the_engine(
    engine: Engine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = run(
        capsys, "x:80", "x:80", "[2001:db8::1]:81", "--attempts", "5", "--timeout", "0.5",
        "--case", "open.*", "--payload", "none",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert [target.text for target in engine.plan.targets] == ["x:80", "[2001:db8::1]:81"]
    plan = engine.plan
    assert [case.id for case in plan.cases] == [
        "control.syn", "cookie.request", "open.data-acked",
    ]  # fmt: skip
    assert plan.selected == {"open.data-acked"}
    assert (plan.attempts, plan.timeout) == (5, 0.5)
    run(capsys, "x", "-4", "--address", "192.0.2.7", "--address", "2001:db8::7")
    assert engine.plan.families == (4,)
    assert engine.plan.addresses == ("192.0.2.7", "2001:db8::7")
    run(capsys, "x", "-46")
    assert engine.plan.families == (4, 6)


@pytest.mark.lab
def test_an_address_of_ours_tells_the_family(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "x", "--source", "::1")[0] == 0
    assert (engine.plan.source, engine.plan.families) == ("::1", (6,))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "name a target"),
        (("x:0",), "a port is a number from 1 to 65535"),
        (("x:70000",), "a port is a number from 1 to 65535"),
        (("https://x/",), "write x:443"),
        (("x", "--nosuch"), "No such option.*see tfocheck --help"),
        (("x", "--attempts", "0"), "--attempts"),
        (("x", "--attempts", "many"), "--attempts"),
        (("x", "--timeout", "0"), "--timeout"),
        (("x", "--timeout", "nan"), "--timeout.*not a number"),
        (("x", "--timeout", "inf"), "--timeout"),
        (("x", "--level", "maybe"), "--level"),
        (("x", "--case", "nosuch"), "--case 'nosuch' matches no case"),
        (("x", "--case", ""), "--case '' matches no case"),
        (("x", "--exclude", "nosuch.*"), "--exclude 'nosuch.*' matches no case"),
        (("x", "--exclude", "*"), "leaves no case"),
        (("x", "--section", "9.9"), "--section '9.9' has no case"),
        (("x", "--cases", "/nosuch"), "no case files"),
        (("x", "--payload", "/nosuch"), "No such file"),
        (("x", "--payload", "/"), "is a directory"),
        (("x", "--json", "/nosuch/x"), "no directory /nosuch"),
        (("x", "--junit", "/"), "is a directory"),
        (("x", "--pcap", "/"), "is a directory"),
        (("x", "--jsonl", "/nosuch/x"), "no directory /nosuch"),
        (("x", "--json", "-", "--pcap", "/dev/stdout"), "--json and --pcap both write to"),
        (("x", "--json", "-", "--junit", "-"), "--json and --junit both write to -"),
        (("x", "--address", "example.com"), "--address 'example.com' is no IP address"),
        (("x", "-6", "--address", "192.0.2.1"), "no --address is IPv6"),
        (("192.0.2.1", "-6"), "192.0.2.1:443 is no IPv6 address"),
        pytest.param(
            ("x", "--source", "192.0.2.77"), "no address of this machine", marks=pytest.mark.lab
        ),
        (("x", "--source", "lo"), "--source 'lo' is no IP address"),
        pytest.param(
            *(("x", "-6", "--source", "127.0.0.1"), "--source 127.0.0.1 is no IPv6 address"),
            marks=pytest.mark.lab,
        ),
        (("x", "--format", "markdown"), "--format goes with --list"),
        (("x\x1b[2J",), "control character"),
        (("x", "-o", ""), "-o is empty"),
        (("x", "-o", "-"), "do not go to standard output"),
        (("x", "-o", "/dev/null"), "/dev/null is no directory"),
        (("x", "-o", "/dev/null/x"), "Not a directory"),
        (("x", "-o", "\0"), "null"),
        (("x", "-o", "x" * 5000), "too long"),
        (("x", "--baseline", "/nosuch"), "--baseline /nosuch: No such file"),
        (("x", "--baseline", "/"), "--baseline /: Is a directory"),
        (("x", "--save-baseline", "/"), "is a directory"),
        (("x", "--save-baseline", __file__), "--save-baseline .*test_command.py: no TOML.*line 1"),
        (("x", "--save-baseline", "-", "--json", "-"), "both write to -"),
        (("x", "--json"), "requires an argument.*see tfocheck --help"),
    ],
)
def test_wrong_usage_is_one_line_and_2_before_privilege_is_asked_for(
    engine: Engine,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    reason: str,
) -> None:
    import re

    FakeLink.allowed = False
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("tfocheck: ")
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert re.search(reason, err)


def test_no_privilege_is_one_line_and_5(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    FakeLink.allowed = False
    assert run(capsys, "x") == (5, "", "tfocheck: tfocheck needs raw sockets\n")
    code, _, err = run(capsys, "x", "--debug")
    assert code == 5
    assert "Traceback" in err


@pytest.mark.parametrize("option", ["--help", "-h", "--version", "--list"])
def test_information_needs_no_privilege(
    engine: Engine, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    FakeLink.allowed = False
    code, out, err = run(capsys, option)
    assert (code, err) == (0, "")
    assert out


def test_help_has_options_and_subcommands(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "--help")
    for word in ("--case GLOB", "--junit FILE", "  demo ", "  lab ", "  check ", "Exit codes"):
        assert word in out
    assert run(capsys, "check", "--help")[1] == out
    assert run(capsys, "--version")[1] == f"tfocheck {__version__}\n"


def test_the_list_follows_the_selection(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "--list", "--section", "4.2")
    assert [line.split()[0] for line in out.splitlines()[2:]] == [
        "cookie.request", "open.data-acked",
    ]  # fmt: skip
    _, out, _ = run(capsys, "--list", "--format", "markdown")
    assert "acks \\| data" in out


def test_a_subcommands_name_is_the_subcommand(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "demo", "--help")
    assert code == 0
    assert "Usage: tfocheck demo" in out
    assert run(capsys, "check", "demo")[0] == 0
    assert engine.plan.targets[0].text == "demo:443"
    code, _, err = run(capsys, "lab", "nosuch")
    assert code == 2
    assert err.count("\n") == 1


def test_reports_go_to_files_and_the_table_to_stdout(
    engine: Engine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = tmp_path / "x.json", tmp_path / "x.xml", tmp_path / "x.html"
    reports = ("--json", str(files[0]), "--junit", str(files[1]), "--html", str(files[2]))
    code, out, _ = run(capsys, "x", *reports)
    assert code == 0
    assert "what was seen" in out
    assert json.loads(files[0].read_text())["complete"] is True
    assert 'tests="3"' in files[1].read_text()
    assert files[2].read_text().count("<details ") == 3


def test_a_report_on_stdout_leaves_stderr_to_the_table(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, err = run(capsys, "x", "--json", "-", "--case", "cookie.*")
    assert json.loads(out)["complete"] is False
    assert "what was seen" in err
    _, out, err = run(capsys, "x", "--junit", "-", "-q")
    assert out.startswith("<?xml")
    assert err == ""
    _, out, err = run(capsys, "x", "--html", "-", "-q")
    assert out.startswith("<!DOCTYPE html>\n")
    assert out.endswith("</html>\n")
    assert err == ""


def test_a_report_that_can_not_be_written_is_2_and_the_other_one_is_there(
    engine: Engine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "x.xml"
    code, out, err = run(capsys, "x", "--json", "/dev/full", "--junit", str(path))
    assert code == 2
    assert err == "tfocheck: --json /dev/full: can't write the report: No space left on device\n"
    assert "what was seen" in out
    assert path.exists()


def test_a_directory_gets_every_report_and_is_made(
    engine: Engine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "reports"
    code, out, _ = run(capsys, "a.example", "b.example:80", "-o", str(folder), "-q")
    assert code == 0
    assert sorted(os.listdir(folder)) == sorted(formats.FILE_NAMES)
    assert sorted(os.listdir(tmp_path)) == ["cases", "new"]
    text = (folder / "report.txt").read_text()
    assert "what was seen" in text
    assert text.endswith(out)
    assert len(json.loads((folder / "report.json").read_text())["addresses"]) == 2
    assert (folder / "junit.xml").read_text().startswith("<?xml")


def test_a_file_that_can_not_be_written_costs_only_itself(
    engine: Engine,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "reports"
    (folder / "report.json").mkdir(parents=True)
    code, out, err = run(capsys, "x", "-o", str(folder))
    assert (code, out) == (2, "")
    assert err == f"tfocheck: -o {folder}: {folder}/report.json is a directory\n"
    (folder / "report.json").rmdir()
    original = os.replace

    def full(source: str, place: str) -> None:
        if place.endswith("report.json"):
            raise OSError(28, "No space left on device")
        original(source, place)

    monkeypatch.setattr(os, "replace", full)
    code, out, err = run(capsys, "x", "-o", str(folder))
    assert code == 2
    assert err.endswith("report.json: can't write the report: No space left on device\n")
    assert "what was seen" in out
    assert set(os.listdir(folder)) == set(formats.FILE_NAMES) - {"report.json"}


def test_a_saved_baseline_makes_the_next_run_pass_and_a_new_failure_fail(
    engine: Engine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = str(tmp_path / "b.toml")
    engine.verdicts = {"open.data-acked": Verdict.FAIL}
    code, _, err = run(capsys, "x", "--save-baseline", path)
    assert (code, err) == (1, f"tfocheck: --save-baseline {path}: 1 new entry\n")
    code, out, _ = run(capsys, "x", "--baseline", path)
    assert code == 0
    assert "fail (known)" in out
    engine.verdicts = {"open.data-acked": Verdict.FAIL, "cookie.request": Verdict.FAIL}
    assert run(capsys, "x", "--baseline", path)[0] == 1
    engine.verdicts = {"control.syn": Verdict.INCONCLUSIVE}
    assert run(capsys, "x", "--baseline", path)[0] == 4
    engine.verdicts = {}
    code, out, _ = run(capsys, "x", "-q", "--baseline", path)
    assert code == 0
    assert f"{path} line 6: open.data-acked at 192.0.2.1:443 is mended: the entry can go" in out


def test_nothing_answered_saves_nothing(
    engine: Engine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    engine.verdicts = {"control.syn": Verdict.INCONCLUSIVE}
    code, _, err = run(capsys, "x", "--save-baseline", str(tmp_path / "b.toml"))
    assert code == 4
    assert "nothing answered, so nothing was saved" in err
    assert not (tmp_path / "b.toml").exists()


def test_a_baseline_on_stdout_leaves_stderr_to_the_table(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.verdicts = {"open.data-acked": Verdict.FAIL}
    code, out, err = run(capsys, "x", "--save-baseline", "-")
    assert code == 1
    assert tomllib.loads(out)["known"][0]["case"] == "open.data-acked"
    assert "what was seen" in err


def test_an_internal_error_is_one_line(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr("tfocheck.runner.run.run", broken)
    code, out, err = run(capsys, "x")
    assert (code, out) == (5, "")
    assert err.startswith("tfocheck: internal error")
    assert err.count("\n") == 1
    assert FakeLink.closed == 1
    assert "Traceback" in run(capsys, "x", "--debug")[2]


def test_what_a_case_prints_is_no_part_of_a_report_on_stdout(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talkative(plan: Any, link: object, progress: object = None, **_how: object) -> Report:
        print("a word in between")
        return await engine.run(plan, link, progress)

    monkeypatch.setattr("tfocheck.runner.run.run", talkative)
    code, out, err = run(capsys, "x", "--json", "-")
    assert code == 0
    assert json.loads(out)["format"] == 1
    assert "a word in between" in err


# As processes: signals, pipes, start-up, privileges

HANGING = """
import asyncio, pathlib, sys
from tfocheck.runner import catalogue, run as runner
from tfocheck.cli import main as cli
from tfocheck.linux import privileges
from tfocheck.linux import link

class Link:
    open = classmethod(lambda cls: cls())
    def close(self): print("closed", file=sys.stderr)

async def run(plan, link, progress=None, **_):
    print("running", flush=True)
    try:
        await asyncio.sleep(30)
    finally:
        await asyncio.sleep(0.05)
        print("cleaned up", file=sys.stderr)

catalogue.own_case_directories = lambda: (pathlib.Path(sys.argv[1]),)
runner.run, link.Link = run, Link
privileges.is_plain_root = lambda: False
sys.exit(cli.main(["x", "--json", sys.argv[2]]))
"""


@pytest.mark.parametrize(
    ("number", "word", "code", "background"),
    [
        (signal.SIGINT, "interrupted", 130, False),
        (signal.SIGTERM, "terminated", 143, False),
        (signal.SIGTERM, "terminated", 143, True),
    ],
)
def test_a_signal_ends_the_run_cleanly(
    case_directory: Path, tmp_path: Path, number: int, word: str, code: int, background: bool
) -> None:
    def set_up() -> None:  # a shell ignores interrupts for "command &" in a script
        signal.signal(signal.SIGINT, signal.SIG_IGN if background else signal.SIG_DFL)

    report = tmp_path / "report.json"
    with subprocess.Popen(
        [sys.executable, "-c", HANGING, str(case_directory), str(report)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=set_up,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert process.returncode == code
    assert err.splitlines() == ["cleaned up", "closed", f"tfocheck: {word}; no report was written"]
    assert out == ""
    assert not report.exists()


def python_m(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tfocheck", *arguments],
        capture_output="stdout" not in options,
        text=True,
        timeout=30,
        check=False,
        **options,
    )


def test_a_closed_pipe_is_silent() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        ended = python_m("--help", stdout=closed, stderr=subprocess.PIPE)
    assert ended.stderr == ""


def test_a_full_disk_under_stdout_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        ended = python_m("--help", stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == 2
    assert ended.stderr == "tfocheck: can't write to standard output: No space left on device\n"


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv[1:] = ['--help']; from tfocheck.cli.main import main; main();"
        "heavy = {'scapy', 'asyncio', 'ssl', 'tabulate', 'pyroute2', 'junit_xml', 'tomlkit'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert ended.stdout.splitlines()[-1] == "[]"


@pytest.mark.lab
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")
def test_a_directory_of_reports_belongs_to_the_user_behind_sudo() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, 4242, 4243)
        reports = Path(folder) / "made" / "reports"
        ended = python_m(
            "127.0.0.1:9", "-q", "-o", str(reports), "--save-baseline", f"{folder}/b.toml",
            env={**os.environ, "SUDO_UID": "4242", "SUDO_GID": "4243"},
        )  # fmt: skip
        assert ended.returncode == 4, ended.stderr
        made = [reports.parent, reports, *reports.iterdir()]
        assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(4242, 4243)}
        assert len(made) == 2 + len(formats.FILE_NAMES)
        assert "nothing was saved" in ended.stderr


@pytest.mark.lab
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")
@pytest.mark.parametrize(
    ("environment", "uid"),
    [
        ({"SUDO_UID": "65534", "SUDO_GID": "65534"}, 65534),
        ({"SUDO_UID": "4242", "SUDO_GID": "4243"}, 4242),
        ({"SUDO_UID": "0", "SUDO_GID": "0"}, 65534),
        ({"SUDO_UID": "junk", "SUDO_GID": ""}, 65534),
        ({}, 65534),
    ],
)
def test_root_becomes_the_user_behind_sudo_or_nobody(environment: dict[str, str], uid: int) -> None:
    program = textwrap.dedent(
        """
        import json, os
        from tfocheck.linux import privileges
        privileges.drop()
        status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
        names = ("Eff", "Prm", "Inh", "Amb", "Bnd")
        sets = [int(status[f"Cap{name}"].strip(), 16) for name in names]
        print(json.dumps([os.getresuid(), os.getgroups(), sets, status["NoNewPrivs"].strip(),
                          os.stat("/proc/self/status").st_uid]))
        """
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SUDO_")}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.stderr == ""
    found, groups, sets, no_new, owner = json.loads(ended.stdout)
    assert found == [uid] * 3
    assert (sets, no_new) == ([0] * 5, "1")
    assert 0 not in groups
    # What of /proc is not dumpable belongs to root.
    assert owner == 0


def test_every_format_can_be_written_at_once(
    engine: Engine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = {"--json": "{", "--jsonl": "{", "--junit": "<?xml", "--pcap": "\n\r\r\n"}
    arguments = [part for option in options for part in (option, str(tmp_path / option[2:]))]
    assert run(capsys, "x", *arguments)[0] == 0
    for option, start in options.items():
        assert (tmp_path / option[2:]).read_bytes().startswith(start.encode())


def test_a_full_disk_costs_only_the_file_that_is_on_it(
    engine: Engine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ("--pcap", "/dev/full", "--jsonl", str(tmp_path / "x.jsonl"))
    code, out, err = run(capsys, "x", *options)
    assert code == 2
    assert "grade A" in out
    assert err == "tfocheck: --pcap /dev/full: can't write the report: No space left on device\n"
    assert json.loads((tmp_path / "x.jsonl").read_text())["grade"] == "A"


def test_every_file_that_could_not_be_written_is_named(
    engine: Engine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    paths = {option: str(tmp_path / option[2:]) for option in ("--json", "--jsonl", "--pcap")}
    code, _, err = run(capsys, "x", *(part for pair in paths.items() for part in pair))
    assert code == 2
    assert err.splitlines() == [
        f"tfocheck: {option} {path}: can't write the report: No space left on device"
        for option, path in paths.items()
    ]
    assert not any(os.path.exists(path) for path in paths.values())


def test_packets_are_not_for_a_terminal(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    code, out, err = run(capsys, "x", "--pcap", "-")
    assert (code, out) == (2, "")
    assert err == "tfocheck: --pcap - is for a pipe, as in: --pcap - | tshark -r -\n"


def test_packets_go_through_a_pipe(
    engine: Engine, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert cli.main(["x", "--pcap", "-"]) == 0
    captured = capfdbinary.readouterr()
    assert captured.out.startswith(b"\n\r\r\n")
    assert b"grade A" in captured.err


def test_schema_prints_one_and_needs_no_privilege(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeLink.allowed = False
    assert json.loads(run(capsys, "schema")[1])["$id"] == "urn:tfocheck:report:1"
    assert json.loads(run(capsys, "schema", "jsonl")[1])["$id"] == "urn:tfocheck:line:1"
    code, out, err = run(capsys, "schema", "xml")
    assert (code, out) == (2, "")
    assert "'json', 'jsonl'" in err


def test_github_gets_commands_and_a_summary(
    engine: Engine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    engine.verdicts = {"open.data-acked": Verdict.FAIL}
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    code, out, err = run(capsys, "x")
    assert (code, err) == (1, "")
    first, *_, last_word, command = out.splitlines()
    assert first == f"::stop-commands::{last_word.strip(':')}"
    assert command.startswith("::error title=open.data-acked%3A fail%2C major%3A x%3A443::at 192")
    assert (tmp_path / "summary.md").read_text().startswith("## tfocheck: grade D\n")
    _, out, err = run(capsys, "x", "-q", "--json", "-")
    assert json.loads(out)["exit_code"] == 1
    assert err == f"{command}\n"


def test_a_summary_that_cant_be_written_breaks_no_build(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "/nosuch/summary.md")
    code, _, err = run(capsys, "x")
    assert code == 0
    assert err == (
        "tfocheck: GITHUB_STEP_SUMMARY /nosuch/summary.md: "
        "can't add to the file: No such file or directory\n"
    )
