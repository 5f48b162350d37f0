"""`tfocheck doctor`.

Imports nothing heavy at its top; nothing in here, nor in what it calls, writes anything but the
report that was asked for.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from tfocheck.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from tfocheck.doctor.advice import Step
    from tfocheck.doctor.diagnosis import Diagnosis
    from tfocheck.doctor.examination import Machine
    from tfocheck.doctor.outside import Outside


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--port",
    "ports",
    type=click.IntRange(1, 65535),
    multiple=True,
    metavar="PORT",
    help="Only listeners on this port, which then ought to have Fast Open; repeatable.",
)
@click.option(
    "--check",
    "check_too",
    is_flag=True,
    help="Also run the outside check against each listener that asks, on this machine's addresses.",
)
@click.option(
    "--fix-script",
    "fix_script",
    is_flag=True,
    help="Print only the advice, as a script for sh; nothing is run.",
)
@click.option(
    "--clients",
    "clients_only",
    is_flag=True,
    help="Say what of this machine uses Fast Open as a client: cookies kept, connections, pauses.",
)
@click.option("--watch", "watch_too", is_flag=True, help="Show the kernel's counters as they move.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How often --watch looks.",
)
@click.option(
    "--times",
    type=click.IntRange(1),
    metavar="N",
    help="How often --watch looks before it ends; without it, until Ctrl-C.",
)
@click.option(
    "--json", "json_path", metavar="FILE", help="Write a JSON report; - is standard output."
)
@click.option("--schema", is_flag=True, help="Print the JSON report's schema and exit.")
@click.option("-q", "--quiet", is_flag=True, help="Only the summary.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def doctor(
    ports: tuple[int, ...],
    check_too: bool,
    fix_script: bool,
    clients_only: bool,
    watch_too: bool,
    interval: float,
    times: int | None,
    json_path: str | None,
    schema: bool,
    quiet: bool,
    debug: bool,
) -> int:
    """Say from inside whether Fast Open is on for the servers of this machine, and what to change.

    Looks at the kernel, at each listening TCP socket, at its process and configuration. Changes
    nothing. Needs root for other users' processes; what can't be seen is named.

    Exit codes: 0 all listeners that ask for Fast Open get it, 1 something is wrong (that none asks
    is), 2 wrong usage, 5 not enough privilege to tell.
    """
    if schema:
        from tfocheck.doctor import json_report

        _put(json_report.schema())
        return ExitCode.CONFORMS
    if (times is not None or _given("interval")) and not watch_too:
        raise UsageError("--interval and --times go with --watch")
    if sum((watch_too, fix_script, json_path is not None)) > 1:
        raise UsageError("--watch, --fix-script and --json are one at a time")
    if clients_only:
        if ports or check_too or watch_too or fix_script or json_path is not None:
            raise UsageError("--clients goes with -q only")
        return _clients(quiet=quiet)
    if watch_too:
        return _watch(ports, interval, times)
    return _report(ports, check_too, fix_script, json_path, quiet)


def _clients(*, quiet: bool) -> int:
    from tfocheck.doctor import clients, clients_report

    text, code = clients_report.render(clients.examine())
    _put(text.splitlines(keepends=True)[-1] if quiet else text)
    return code


def _report(
    ports: tuple[int, ...], check_too: bool, fix_script: bool, json_path: str | None, quiet: bool
) -> int:
    from tfocheck.doctor import advice, diagnosis, examination, outside
    from tfocheck.report import write

    if json_path is not None:
        write.check([("--json", json_path)])
    machine = examination.examine(ports)
    seen = outside.check([each for each in machine.listeners if each.queue]) if check_too else []
    found = diagnosis.diagnose(machine, seen)
    steps = advice.advise(machine, found)
    if fix_script:
        _put(advice.script(steps))
        return ExitCode.CANNOT if found.exit_code is ExitCode.CANNOT else ExitCode.CONFORMS
    _show(machine, found, steps, seen, quiet=quiet, to_stderr=_is_stdout(json_path))
    if json_path is not None:
        from tfocheck.doctor import json_report

        write.write("--json", json_path, json_report.dumps(machine, found, steps, seen))
    return found.exit_code


def _show(
    machine: Machine,
    found: Diagnosis,
    steps: list[Step],
    seen: list[Outside],
    *,
    quiet: bool,
    to_stderr: bool,
) -> None:
    from tfocheck.doctor import report
    from tfocheck.model.style import Style

    stream = sys.stderr if to_stderr else sys.stdout
    if stream is None or (to_stderr and quiet):
        return
    style = Style.of(stream)
    text = (
        report.summary(found, style) if quiet else report.render(machine, found, steps, style, seen)
    )
    _put(text, to_stderr=to_stderr)


def _watch(ports: tuple[int, ...], interval: float, times: int | None) -> int:
    from tfocheck.doctor import examination
    from tfocheck.doctor.watch import watch

    machine = examination.examine(ports)
    listened = [view for view in machine.views if machine.of(view)] or machine.views
    try:
        watch([view.namespace for view in listened], interval, times, _put)
    except KeyboardInterrupt:  # how one ends it
        _put("\n")
    return ExitCode.CONFORMS


def _given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is not click.core.ParameterSource.DEFAULT


def _is_stdout(path: str | None) -> bool:
    from tfocheck.report import write

    return path is not None and write.is_stdout(path)


def _put(text: str, *, to_stderr: bool = False) -> None:
    # The style has decided on colours already.
    click.echo(text, nl=False, err=to_stderr, color=True)
