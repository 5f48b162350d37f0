"""The command line: what it accepts, what it says in one line, and how it exits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tfocheck import __version__, cli
from tfocheck.case import AddressReport, CaseResult, Report, Traffic, Verdict
from tfocheck.errors import CannotError

CASE_FILE = """
from tfocheck.case import Level, Outcome, Severity, Verdict, case

@case("control.syn", section="RFC 9293 3.1", level=Level.MUST, severity=Severity.MAJOR,
      title="answers", requirement="r", expected="answers", needs=())
async def control_syn(probe):
    return Outcome(Verdict.PASS, "answered")

@case("cookie.request", section="4.2.1", level=Level.PROCEDURE, severity=Severity.MAJOR,
      title="issues a cookie", requirement="r", expected="issues", needs=("control.syn",))
async def cookie_request(probe):
    return Outcome(Verdict.PASS, "cookie")

@case("open.data-acked", section="4.2.2", level=Level.PROCEDURE, severity=Severity.MAJOR,
      title="acks | data", requirement="r", expected="acks it")
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
    """Stands in for ``check.run``: notes the settings, gives every case the verdict it is told."""

    def __init__(self) -> None:
        self.targets: Sequence[Any] = ()
        self.settings: Any = None
        self.verdicts: dict[str, Verdict] = {}
        self.errors: tuple[tuple[str, str], ...] = ()

    async def run(
        self, targets: Sequence[Any], settings: Any, link: object, progress: object = None
    ) -> Report:
        self.targets, self.settings = targets, settings
        results = tuple(
            CaseResult(
                case,
                self.verdicts.get(case.id, Verdict.PASS),
                f"{case.id} \x1b was seen",
                0.1,
                prerequisite=case.id not in settings.selected,
            )
            for case in settings.cases
        )
        addresses = tuple(
            AddressReport(
                target.text, "192.0.2.1", target.port, results, "http", traffic=Traffic(sent=7)
            )
            for target in targets
            if not self.errors
        )
        return Report(addresses, 0.0, 1.0, __version__, self.errors)


@pytest.fixture
def case_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "cases"
    directory.mkdir()
    (directory / "some.py").write_text(CASE_FILE)
    monkeypatch.setattr("tfocheck.case.own_case_directory", lambda: directory)
    return directory


@pytest.fixture
def engine(case_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    fake = Engine()
    FakeLink.allowed, FakeLink.closed = True, 0
    monkeypatch.setattr("tfocheck.runner.run", fake.run)
    monkeypatch.setattr("tfocheck.tcp.link.Link", FakeLink)
    monkeypatch.setattr("tfocheck.privileges.drop", lambda: None)
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
        "--case", "open.*", "--payload", "none", "--source", "::1",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert [target.text for target in engine.targets] == ["x:80", "[2001:db8::1]:81"]
    settings = engine.settings
    assert [case.id for case in settings.cases] == [
        "control.syn", "cookie.request", "open.data-acked",
    ]  # fmt: skip
    assert settings.selected == {"open.data-acked"}
    assert (settings.attempts, settings.timeout) == (5, 0.5)
    assert (settings.source, settings.families) == ("::1", (6,))
    run(capsys, "x", "-4", "--address", "192.0.2.7", "--address", "2001:db8::7")
    assert engine.settings.families == (4,)
    assert engine.settings.addresses == ("192.0.2.7", "2001:db8::7")
    run(capsys, "x", "-46")
    assert engine.settings.families == (4, 6)


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
        (("x", "--json", "-", "--junit", "-"), "--json and --junit both write to -"),
        (("x", "--address", "example.com"), "--address 'example.com' is no IP address"),
        (("x", "-6", "--address", "192.0.2.1"), "no --address is IPv6"),
        (("192.0.2.1", "-6"), "192.0.2.1:443 is no IPv6 address"),
        (("x", "--source", "192.0.2.77"), "no address of this machine"),
        (("x", "--source", "lo"), "--source 'lo' is no IP address"),
        (("x", "-6", "--source", "127.0.0.1"), "--source 127.0.0.1 is no IPv6 address"),
        (("x", "--format", "markdown"), "--format goes with --list"),
        (("x\x1b[2J",), "control character"),
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
    assert engine.targets[0].text == "demo:443"
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


def test_an_internal_error_is_one_line(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr("tfocheck.runner.run", broken)
    code, out, err = run(capsys, "x")
    assert (code, out) == (5, "")
    assert err.startswith("tfocheck: internal error")
    assert err.count("\n") == 1
    assert FakeLink.closed == 1
    assert "Traceback" in run(capsys, "x", "--debug")[2]


# As processes: signals, pipes, start-up, privileges

HANGING = """
import asyncio, pathlib, sys
from tfocheck import case, cli, privileges, runner
from tfocheck.tcp import link

class Link:
    open = classmethod(lambda cls: cls())
    def close(self): print("closed", file=sys.stderr)

async def run(targets, settings, link, progress=None):
    print("running", flush=True)
    try:
        await asyncio.sleep(30)
    finally:
        await asyncio.sleep(0.05)
        print("cleaned up", file=sys.stderr)

case.own_case_directory = lambda: pathlib.Path(sys.argv[1])
runner.run, link.Link = run, Link
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
        "import sys; sys.argv[1:] = ['--help']; from tfocheck.cli import main; main();"
        "heavy = {'scapy', 'asyncio', 'ssl', 'tabulate', 'pyroute2', 'junit_xml'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert ended.stdout.splitlines()[-1] == "[]"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")
@pytest.mark.parametrize(
    ("environment", "uids", "capabilities"),
    [
        ({"SUDO_UID": "65534", "SUDO_GID": "65534"}, (65534,) * 3, 0),
        ({"SUDO_UID": "4242", "SUDO_GID": "4243"}, (4242,) * 3, 0),
        ({"SUDO_UID": "0", "SUDO_GID": "0"}, (0,) * 3, None),
        ({"SUDO_UID": "junk", "SUDO_GID": ""}, (0,) * 3, None),
        ({}, (0,) * 3, None),
    ],
)
def test_root_becomes_the_user_behind_sudo(
    environment: dict[str, str], uids: tuple[int, ...], capabilities: int | None
) -> None:
    program = textwrap.dedent(
        """
        import json, os
        from tfocheck import privileges
        privileges.drop()
        status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
        print(json.dumps([os.getresuid(), os.getgroups(), int(status["CapEff"].strip(), 16),
                          int(status["CapPrm"].strip(), 16), status["NoNewPrivs"].strip()]))
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
    found, groups, effective, permitted, no_new = json.loads(ended.stdout)
    assert tuple(found) == uids
    if capabilities is None:
        assert effective != 0
    else:
        assert (effective, permitted, no_new) == (0, 0, "1")
        assert 0 not in groups
