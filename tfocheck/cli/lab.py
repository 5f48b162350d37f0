"""``tfocheck lab``: real servers in network namespaces, to grade or to try things on.

Imports nothing heavy: `tfocheck --help` loads this module.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from tfocheck.errors import ExitCode, TfocheckError

if TYPE_CHECKING:
    from tfocheck.lab.scenario import Scenario

_OUTCOMES = {
    ExitCode.CONFORMS: "conforms (exit 0)",
    ExitCode.FAILED: "a requirement fails (exit 1)",
    ExitCode.NOT_OFFERED: "not offered (exit 3)",
    ExitCode.UNREACHABLE: "the path is at fault (exit 4)",
}
_LEAST_COLUMN = 20
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126

_fault_option = click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME",
    help="Break a requirement on purpose (scenario reference only); may be given several times.",
)
_impair_option = click.option(
    "--impair",
    metavar="SPEC",
    help="Put a bad network between client and server, e.g. 'delay 50ms, jitter 20ms, loss 10%, "
    "reorder 5%, duplicate 5%, seed 7'. Delay is one way; to-server or to-client before a word "
    "limits it to that direction; there are syn-ack-loss and hold (of reordered packets) as well.",
)
_hop_option = click.option(
    "--hop",
    type=int,
    metavar="1|2|3",
    help="The router behind which a path scenario's middlebox stands (2 unless told otherwise).",
)
_rotate_option = click.option(
    "--rotate-every",
    type=float,
    metavar="SECONDS",
    help="How often scenarios key-rotation and key-change change the server's Fast Open key "
    "(0.6 unless told otherwise).",
)


@click.group()
def lab() -> None:
    """Real servers in network namespaces on this machine, to grade or to try things on."""


@lab.command(name="list")
def list_scenarios() -> None:
    """List the scenarios and what a check should make of each."""
    from tabulate import tabulate

    from tfocheck.lab.scenarios import SCENARIOS

    rows: list[tuple[str, ...]] = []
    for scenario in SCENARIOS.values():
        missing = scenario.missing_programs()
        names, packages = (" ".join(each[number] for each in missing) for number in (0, 1))
        rows.append(
            (
                scenario.name,
                scenario.summary,
                _outcome(scenario),
                f"needs {names} (missing): apt-get install {packages}" if missing else "",
            )
        )
    headers = ["scenario", "what it is", "a check says", ""]
    if not any(row[-1] for row in rows):
        headers, rows = headers[:-1], [row[:-1] for row in rows]
    widths = [None, _room_for(1, rows), *[None] * len(headers[2:])]
    click.echo(tabulate(rows, headers, maxcolwidths=widths))
    click.echo("\n`tfocheck lab faults` lists the ways to break the reference server.")


def _outcome(scenario: Scenario) -> str:
    if scenario.expected is ExitCode.UNREACHABLE and scenario.path is None:
        return "not all can be told (exit 4)"
    return _OUTCOMES[scenario.expected]


def _room_for(column: int, rows: Sequence[Sequence[str]]) -> int | None:
    """The width that is left for a column in this terminal; None when that is no terminal."""
    if not sys.stdout.isatty():
        return None
    others = [number for number in range(len(rows[0])) if number != column]
    taken = sum(max(len(row[number]) for row in rows) + 2 for number in others)
    return max(_LEAST_COLUMN, shutil.get_terminal_size().columns - taken)


@lab.command(name="faults")
def list_faults() -> None:
    """List the faults of `lab run reference --fault NAME`, and the cases that each one turns."""
    from tabulate import tabulate

    from tfocheck.lab.scenarios import known_faults
    from tfocheck.runner.catalogue import load_cases

    cases = load_cases()
    rows = [
        (fault, "\n".join(case.id for case in cases if fault in case.faults), what)
        for fault, what in known_faults().items()
    ]
    click.echo(tabulate(rows, ["fault", "turns", "what the server then does"]))
    turned = sum(1 for case in cases if case.faults)
    click.echo(f"\n{len(rows)} faults; {turned} of {len(cases)} cases have one, the others inform.")


@lab.command()
@click.argument("name")
@_fault_option
@_impair_option
@_hop_option
@_rotate_option
@click.argument("check_options", nargs=-1, type=click.UNPROCESSED)
def run(name: str, check_options: tuple[str, ...], **setup: Any) -> None:
    """Grade the scenario NAME.

    CHECK_OPTIONS, after --, are those of tfocheck TARGET. The lab grades IPv4, and tells of port
    8081, where each server listens without Fast Open (--off-port), unless they say otherwise.
    """
    leave(lambda: check_in_lab(name, check_options=check_options, **setup))


@lab.command(name="exec")
@click.argument("name")
@_fault_option
@_impair_option
@_hop_option
@_rotate_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(name: str, command: tuple[str, ...], **setup: Any) -> None:
    """Run COMMAND, after --, beside the target of scenario NAME.

    The target's host:port is in the environment variable TFOCHECK_TARGET; on port 8081 the host
    listens without Fast Open. The exit code is the command's.
    """
    leave(lambda: _in_lab(name, lambda target: _become(command, target), **setup))


def check_in_lab(
    name: str,
    faults: Sequence[str],
    check_options: Sequence[str],
    *,
    impair: str | None = None,
    hop: int | None = None,
    rotate_every: float | None = None,
) -> int:
    """Grade a scenario with these faults and options of the check; returns its exit code.

    `impair` specifies a bad network (parse_impairment()), `hop` is the router behind which the
    scenario's middlebox stands, `rotate_every` the seconds from one Fast Open key to the next.
    Raises LabError for an unknown name, a missing program, or a machine that can't.
    """
    from tfocheck.lab.scenarios import find_scenario

    options = list(check_options)
    for option, value in find_scenario(name).options().items():
        flag = f"--{option.replace('_', '-')}"
        if not any(given.partition("=")[0] == flag for given in options):
            options += [flag, str(value)]
    if not any(_chooses_addresses(option) for option in options):
        options.append("-4")
    if faults:
        options.append("--strict")

    def action(target: str) -> int:
        from tfocheck.cli.main import run_check

        if faults:
            are = "is" if len(faults) == 1 else "are"
            click.echo(
                f"lab: fault {', '.join(faults)} {are} on; "
                "a warning counts as a failure here (--strict)",
                err=True,
            )
        return run_check([target, *options])

    return _in_lab(name, action, faults, impair, hop, rotate_every)


def _chooses_addresses(option: str) -> bool:
    if option.startswith("--"):
        return option.partition("=")[0] == "--address"
    return option.startswith("-") and ("4" in option or "6" in option)


def _in_lab(
    name: str,
    action: Callable[[str], int],
    faults: Sequence[str] = (),
    impair: str | None = None,
    hop: int | None = None,
    rotate_every: float | None = None,
) -> int:
    from tfocheck.lab.impairment import parse_impairment
    from tfocheck.lab.runner import run_in_lab
    from tfocheck.lab.scenario import Setup
    from tfocheck.lab.scenarios import find_scenario

    scenario = find_scenario(name)
    impairment = None if impair is None else parse_impairment(impair)
    return run_in_lab(scenario, action, Setup(tuple(faults), impairment, hop, rotate_every))


def _become(command: Sequence[str], target: str) -> int:
    """Become the command; returns only if that fails."""
    from tfocheck.lab.scenario import SYSTEM_PROGRAMS

    os.environ["TFOCHECK_TARGET"] = target
    os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_PROGRAMS))
    try:
        os.execvp(command[0], list(command))
    except (FileNotFoundError, NotADirectoryError):
        click.echo(f"tfocheck: {command[0]}: command not found", err=True)
        return _NOT_FOUND
    except OSError as error:
        click.echo(f"tfocheck: {command[0]}: {error.strerror}", err=True)
        return _NOT_EXECUTABLE


def leave(run_lab: Callable[[], int]) -> None:
    """Run it, and end the process with its exit code; an error is one line."""
    try:
        code = run_lab()
    except TfocheckError as error:
        detail = getattr(error, "detail", "")
        if detail and os.environ.get("TFOCHECK_DEBUG"):
            click.echo(detail, err=True)
        click.echo(f"tfocheck: {error}", err=True)
        code = int(error.exit_code)
    sys.exit(code)
