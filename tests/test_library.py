"""tfocheck as a library: a judged report, as a whole, and its results as they come."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from graded import command

import tfocheck
from tfocheck.errors import CannotError, ExitCode, UnreachableError, UsageError
from tfocheck.library import Check
from tfocheck.memory import scenarios
from tfocheck.memory.clock import VirtualClock
from tfocheck.memory.wire import MemoryWire
from tfocheck.runner.options import declared

WHOLE = """
import os, tfocheck
target = os.environ["TFOCHECK_TARGET"]
report = tfocheck.check(target, cases=["open.data-acked"], families=[4]).run()
[address] = report.addresses
result = address.result("open.data-acked")
print(result.verdict, result.address, result.prerequisite, len(result.flows[0].packets) > 3)
print(report.grade, report.exit_code, report.headline)
"""

FOLLOWED = """
import asyncio, os, tfocheck

async def main():
    seen = []
    async for result in tfocheck.check(os.environ["TFOCHECK_TARGET"], families=[4]):
        seen.append(result.case.id)
        if result.case.id == "open.no-data":
            break
    await asyncio.sleep(0.5)
    print(seen[0], len(seen) < 50, len(asyncio.all_tasks()))

asyncio.run(main())
"""


def in_lab(script: str) -> str:
    done = subprocess.run(
        command("lab", "exec", "linux", "--", sys.executable, "-c", script),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.lab
def test_a_report_has_typed_results() -> None:
    assert in_lab(WHOLE).splitlines() == [
        "pass 10.77.0.2 False True",
        "None 0 1 of 1 selected cases hold",
    ]


@pytest.mark.lab
def test_results_come_one_by_one_and_leaving_early_leaves_nothing_running() -> None:
    first, fewer, tasks = in_lab(FOLLOWED).split()
    assert first == "control.syn"
    assert fewer == "True"
    assert int(tasks) == 1  # main() itself


@pytest.mark.parametrize(
    ("targets", "options"),
    [
        ((), {}),
        (("example.com:0",), {}),
        (("example.com",), {"cases": ["nosuch"]}),
        (("example.com",), {"attempts": 0}),
        (("example.com",), {"payload": "/nosuch/file"}),
        (("example.com",), {"families": [5]}),
        (("example.com",), {"levels": ["musst"]}),
        (("example.com",), {"cases": "open.*"}),
        (("example.com",), {"timeout": float("nan")}),
        (("example.com",), {"soak": "soon"}),
        (("example.com",), {"soak": 0}),
        (("example.com",), {"off_port": 65536}),
        pytest.param(("example.com",), {"source": "192.0.2.77"}, marks=pytest.mark.lab),
        (("example.com",), {"baseline": "/nosuch/file"}),
        (("example.com",), {"case_directories": ["/nosuch"]}),
        (("example.com",), {"json": "report.json"}),
    ],
)
def test_wrong_usage_is_told_at_once(targets: tuple[str, ...], options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        tfocheck.check(*targets, **options)  # type: ignore[arg-type]


def test_importing_the_package_loads_no_scapy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, tfocheck; print('scapy' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


def test_scapy_all_is_never_imported() -> None:
    script = "import sys, tfocheck.library, tfocheck.cli.main; print('scapy.all' in sys.modules)"
    python = [sys.executable, "-c", script]
    done = subprocess.run(python, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# What a check gives, in memory

OWN = ("10.0.0.1/24", "10.0.0.4/24")
SERVER = "10.0.0.2"
TARGET = f"{SERVER}:8080"


def in_memory(check: Any, *, scenario: str = "reference", faults: tuple[str, ...] = ()) -> Any:
    """What becomes of a check on a wire in memory; ``check`` gets the wire."""
    clock = VirtualClock()
    wire = MemoryWire(scenarios.build(scenario, faults=faults), clock, own=OWN)
    return clock.run(check(wire))


def checked(*targets: str, faults: tuple[str, ...] = (), **options: Any) -> tfocheck.JudgedReport:
    async def check(wire: MemoryWire) -> tfocheck.JudgedReport:
        asked = {"payload": "http", **options}
        return await tfocheck.check(*(targets or (TARGET,)), _wire=wire, **asked)

    found: tfocheck.JudgedReport = in_memory(check, faults=faults)
    return found


def test_a_report_is_judged() -> None:
    report = checked()
    assert (report.grade, report.exit_code, report.advice) == ("A+", ExitCode.CONFORMS, ())
    assert report.headline.startswith("Fast Open works from here")
    document = json.loads(report.to_json())
    assert document["addresses"][0]["grade"] == "A+"
    assert document["exit_code"] == 0


def test_a_failure_has_its_headline_and_advice() -> None:
    report = checked(faults=("accepts-any-cookie",))
    assert (report.grade, report.exit_code) == ("F", ExitCode.FAILED)
    assert "unsafe" in report.headline
    assert report.advice


def test_every_option_of_a_plan_reaches_it() -> None:
    check = tfocheck.check(
        TARGET,
        strict=True,
        trace=True,
        thorough=True,
        intrusive=True,
        no_nat=True,
        off_port=8081,
        soak="1m",
        alt_sources=["127.0.0.1"],
        excludes=["benefit.*"],
        levels=["must", "procedure", "path", "info"],
        attempts=2,
        timeout=1.5,
        families=[4],
        addresses=["192.0.2.1"],
    )
    plan = check.plan
    assert (plan.strict, plan.trace, plan.thorough, plan.intrusive, plan.no_nat) == (True,) * 5
    assert (plan.off_port, plan.soak, plan.alt_sources) == (8081, 60.0, ("127.0.0.1",))
    assert (plan.attempts, plan.timeout, plan.families) == (2, 1.5, (4,))
    assert plan.addresses == ("192.0.2.1",)
    assert not plan.complete
    assert "benefit.latency" not in plan.selected


def test_a_baseline_and_strictness_judge_as_in_the_command(tmp_path: Path) -> None:
    known = tmp_path / "known.toml"
    known.write_text(
        '[[known]]\ncase = "forged.random"\naddress = "*"\nverdict = "fail"\nreason = "later"\n'
    )
    options = {"cases": ["forged.random"], "baseline": known}
    report = checked(faults=("accepts-any-cookie",), **options)
    assert report.exit_code == ExitCode.CONFORMS
    assert report.headline == "nothing fails but what is known: forged.random"


def test_results_come_and_the_report_is_there_after_the_last() -> None:
    async def follow(wire: MemoryWire) -> tuple[int, tfocheck.JudgedReport | None]:
        check = tfocheck.check(TARGET, _wire=wire, cases=["open.*"], payload="http")
        assert check.report is None
        seen = [result.case.id async for result in check]
        return len(set(seen)), check.report

    number, report = in_memory(follow)
    assert number == len(report.addresses[0].results)


def test_an_address_that_is_named_twice_is_counted_once() -> None:
    alone = checked()
    twice = checked(TARGET, f"[::ffff:{SERVER}]:8080", "10.0.0.3:8080")
    assert len(twice.addresses) == 2  # the mapped form is the same target
    sent = [address.traffic.sent for address in twice.addresses]
    assert all(abs(each - alone.addresses[0].traffic.sent) < 60 for each in sent)


# What goes wrong


def test_run_inside_a_loop_says_what_to_write() -> None:
    async def wrong() -> None:
        tfocheck.check(TARGET).run()

    with pytest.raises(UsageError, match="await"):
        asyncio.run(wrong())


def unresolvable(**options: Any) -> Check:
    return tfocheck.check("nosuch.invalid:443", **options)


def no_name_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_arguments: object) -> None:
        raise UnreachableError("nosuch.invalid:443: the name nosuch.invalid does not resolve")

    monkeypatch.setattr("tfocheck.runner.run.resolve", resolve)


def test_a_name_that_does_not_resolve_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    no_name_resolves(monkeypatch)
    with pytest.raises(UnreachableError, match="does not resolve") as caught:
        checked("nosuch.invalid:443")
    assert isinstance(caught.value.report, tfocheck.JudgedReport)
    report = checked("nosuch.invalid:443", raise_on_error=False)
    assert (report.exit_code, report.grade) == (ExitCode.UNREACHABLE, None)
    assert "does not resolve" in report.headline


def test_what_this_machine_cannot_do_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise CannotError("raw sockets are not permitted")

    monkeypatch.setattr("tfocheck.linux.link.Link.open", refuse)
    with pytest.raises(CannotError):
        tfocheck.check(TARGET).run()
    report = tfocheck.check(TARGET, raise_on_error=False).run()
    assert (report.exit_code, report.headline) == (5, "raw sockets are not permitted")
    assert json.loads(report.to_json())["errors"][0]["target"] == TARGET


# What it leaves alone, and what it is made of

UNTOUCHED = """
import ctypes, os, resource, signal, tfocheck

def state():
    dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
    signals = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)]
    return (os.getresuid(), os.getresgid(), os.getgroups(), dumpable, signals,
            resource.getrlimit(resource.RLIMIT_NOFILE), os.getcwd(), os.umask(0o22))

os.umask(0o22)
resource.setrlimit(resource.RLIMIT_NOFILE, (512, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
before = state()
tfocheck.check(os.environ["TFOCHECK_TARGET"], families=[4], cases=["open.data-acked"]).run()
print(state() == before)
"""


def test_the_process_stays_as_it_is() -> None:
    assert in_lab(UNTOUCHED) == "True"


def test_the_command_has_the_options_of_the_library_and_no_other_of_a_check() -> None:
    from tfocheck.cli.check import check
    from tfocheck.cli.delivery import Output
    from tfocheck.report import formats

    parameters = {parameter.name for parameter in check.params}
    families = {"families_4", "families_6"}
    assert families <= parameters
    of_output = set(Output.__dataclass_fields__) | {each.parameter for each in formats.FORMATS}
    assert parameters - families - of_output - {"targets", "version"} == set(declared()) - {
        "families"
    }


def test_the_public_names_are_there() -> None:
    import tfocheck.case

    for module in (tfocheck, tfocheck.case):
        assert all(getattr(module, name) is not None for name in module.__all__)


PROGRAM = """
import asyncio

import tfocheck
from tfocheck.case import Level, Outcome, Probe, case


@case("my.case", section="4.2", level=Level.INFO, title="t", requirement="r", expected="e")
async def my_case(probe: Probe) -> Outcome:
    return probe.info("something")


async def follow() -> tfocheck.JudgedReport | None:
    check = tfocheck.check("example.com", "example.org:8443", strict=True, soak="30m", families=[4])
    async for result in check:
        verdict: tfocheck.Verdict = result.verdict
        print(result.case.id, verdict, result.seen)
    return check.report


report = tfocheck.check("example.com", levels=[tfocheck.Level.MUST], raise_on_error=False).run()
letter: str | None = report.grade
code: tfocheck.ExitCode = report.exit_code
print(letter, code, report.headline, report.advice, report.to_json(), asyncio.run(follow()))
"""
WRONG = """
import tfocheck
tfocheck.check("example.com", atempts=3)
tfocheck.check("example.com", strict="yes")
tfocheck.check("example.com").run().garde
"""


def test_a_users_program_is_checked_against_the_wheel(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps"]
    subprocess.run(
        [*wheel, "--no-index", "-w", str(tmp_path), str(root)],
        check=True,
        capture_output=True,
        timeout=120,
    )
    [built] = tmp_path.glob("*.whl")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    [site] = venv.glob("lib/python3*/site-packages")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(built), str(site)], check=True)
    assert (site / "tfocheck" / "py.typed").is_file()

    mypy_command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental"]

    def mypy(program: str) -> list[str]:
        path = tmp_path / "program.py"
        path.write_text(program)
        done = subprocess.run(
            [*mypy_command, "--python-executable", str(venv / "bin" / "python"), str(path)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return [line for line in done.stdout.splitlines() if line.startswith("program.py")]

    assert mypy(PROGRAM) == []
    assert {line.split(":")[1] for line in mypy(WRONG)} == {"3", "4", "5"}
