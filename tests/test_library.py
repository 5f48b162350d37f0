"""tfocheck as a library: typed results, as a whole or as they come."""

from __future__ import annotations

import subprocess
import sys

import pytest
from graded import command

import tfocheck
from tfocheck.errors import UsageError

WHOLE = """
import os, tfocheck
target = os.environ["TFOCHECK_TARGET"]
report = tfocheck.check(target, cases=["open.data-acked"], families=[4]).run()
[address] = report.addresses
result = address.result("open.data-acked")
print(result.verdict, result.address, result.prerequisite, len(result.flows[0].packets) > 3)
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
    print(seen[0], len(seen) < 22, len(asyncio.all_tasks()))

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


def test_a_report_has_typed_results() -> None:
    assert in_lab(WHOLE) == "pass 10.77.0.2 False True"


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
