"""``tfocheck check``, or without that word: grade servers."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from tfocheck.cli import signals
from tfocheck.cli.delivery import SAVE_BASELINE, Output, deliver
from tfocheck.cli.ending import guarded, put, stdout
from tfocheck.cli.options import check_options, report_options, taken
from tfocheck.cli.subcommands import SUBCOMMANDS
from tfocheck.errors import ExitCode, UsageError
from tfocheck.linux import privileges
from tfocheck.report import formats
from tfocheck.runner import planning
from tfocheck.version import __version__

if TYPE_CHECKING:
    from tfocheck.judging.grade import Judgement
    from tfocheck.model.baseline import Baseline
    from tfocheck.model.case import Case
    from tfocheck.model.plan import Plan
    from tfocheck.model.report import Report
    from tfocheck.runner.options import CheckOptions


class _CheckCommand(click.Command):
    """The command without a name: its help also lists the subcommands."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUBCOMMANDS.items()))
        with formatter.section("Exit codes"):
            formatter.write_dl(
                [
                    ("0", "conforms"),
                    ("1", "a requirement failed"),
                    ("2", "wrong usage, or a report that can't be written"),
                    ("3", "the target does not offer Fast Open"),
                    ("4", "unreachable, inconclusive, or the path is at fault"),
                    ("5", "this machine can't (no raw sockets)"),
                ]
            )


@click.command(
    cls=_CheckCommand,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    options_metavar="[OPTIONS]",
)
@click.argument("targets", nargs=-1, metavar="TARGET...")
@check_options(without=("baseline",))
@click.option("--list", "list_cases", is_flag=True, help="List the cases and exit.")
@click.option(
    "--format",
    "list_format",
    type=click.Choice(["text", "markdown"]),
    help="How --list prints its table.",
)
@report_options
@click.option(
    "-o",
    "--output",
    "directory",
    metavar="DIR",
    help="Write every report there is into this directory, which is made if missing.",
)
@check_options(only=("baseline",))
@click.option(
    SAVE_BASELINE,
    metavar="FILE",
    help="Write the failures of this run as a baseline, or add them to one; no exit code changes.",
)
@click.option("-q", "--quiet", is_flag=True, help="Only the summary.")
@click.option("-v", "--verbose", is_flag=True, help="Show the packets of each case.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(__version__, message="tfocheck %(version)s")
def check(targets: tuple[str, ...], **parameters: Any) -> int:
    """Grade how servers behave against RFC 7413 (TCP Fast Open), seen from outside.

    TARGET is host, host:port, an IPv6 address or [v6]:port; the default port is 443. All addresses
    of a name are tested. Needs raw sockets (sudo, or CAP_NET_RAW); `tfocheck demo` does not.
    """
    options, output = taken(parameters), Output.taken(parameters)
    if output.list_cases:
        cases = planning.choose(options, planning.load(options), everything=True)
        _print_list(cases, output)
        return ExitCode.CONFORMS
    if output.list_format is not None:
        raise UsageError("--format goes with --list")
    # Case files come last in a plan, as they bring Scapy along: so what is wrong here is said soon.
    planning.targets_of(targets, options)
    output.check()
    plan = planning.make_plan(targets, options)
    saved = _to_save(output, options)
    if not privileges.is_plain_root():
        return _carry_out(plan, output, saved)
    # Imported before there are two: perhaps only root may read Python.
    from tfocheck.cli import parting

    arguments = ["--debug"] if output.debug else []
    return parting.run(
        lambda: guarded(lambda: _carry_out(plan, output, saved), arguments), output.orders()
    )


def _carry_out(plan: Plan, output: Output, saved: Baseline | None) -> int:
    report = _run(plan, output)
    is_cut = any(address.interrupted for address in report.addresses)
    if signals.have_come() and not report.addresses:
        raise KeyboardInterrupt
    # What was not done has no letter, and is no baseline.
    judgement = _judge(report, replace(plan, complete=plan.complete and not is_cut))
    with signals.ending(lambda: None):
        deliver(judgement, output, None if is_cut else saved)
    if signals.have_come():
        raise KeyboardInterrupt
    return judgement.exit_code


class Prepared(NamedTuple):
    """What a command line asks for: the targets as they were typed, the plan, the output."""

    targets: tuple[str, ...]
    plan: Plan
    output: Output


def prepare(arguments: Sequence[str]) -> Prepared:
    """What a check with these arguments would do, for whoever runs it by other means.

    Raises UsageError, and click's exceptions for what click refuses.
    """
    with check.make_context("tfocheck", list(arguments)) as context:
        parameters = dict(context.params)
    targets = parameters.pop("targets")
    options, output = taken(parameters), Output.taken(parameters)
    if output.list_cases or output.list_format is not None:
        raise UsageError("--list is no part of a check")
    output.check()
    return Prepared(targets, planning.make_plan(targets, options), output)


def _judge(report: Report, plan: Plan) -> Judgement:
    from tfocheck.judging.grade import judge_by

    return judge_by(plan, report)


def _to_save(output: Output, options: CheckOptions) -> Baseline | None:
    """The baseline that --save-baseline adds to. Raises UsageError."""
    path = output.save_baseline
    if path is None:
        return None
    from tfocheck.model.baseline import Baseline
    from tfocheck.report import write

    if write.is_stdout(path) or not os.path.isfile(path):
        return Baseline(path)
    return planning.read_baseline(path, SAVE_BASELINE, planning.load(options))


def _run(plan: Plan, output: Output) -> Report:
    import asyncio

    from tfocheck.linux.limits import allow_many_files
    from tfocheck.linux.link import Link
    from tfocheck.report.progress import Progress, view
    from tfocheck.runner.run import run

    progress = shown = None
    if not output.quiet and sys.stderr is not None:
        progress = Progress(len(plan.cases), [target.text for target in plan.targets])
        shown = view(sys.stderr, progress)

    cancel: Callable[[], object] = _nothing

    async def watched() -> Report:
        nonlocal cancel
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        if signals.have_come():
            raise KeyboardInterrupt
        cancel = partial(loop.call_soon_threadsafe, task.cancel)
        ticker = asyncio.create_task(shown.show()) if shown else None
        try:
            return await run(plan, link, progress, keep_what_is_done=True)
        finally:
            cancel = _nothing
            if ticker:
                ticker.cancel()
                await asyncio.gather(ticker, return_exceptions=True)

    _import_the_rest(output)
    allow_many_files()
    link = Link.open()
    try:
        writes_itself = not privileges.is_plain_root()
        privileges.drop()
        if writes_itself:
            # As the user that we have become, who may write less than root.
            output.check()
        with _no_words_in_between(output), signals.ending(lambda: cancel()):
            return asyncio.run(watched())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        link.close()


def _nothing() -> None:
    """Nothing goes on that could be ended."""


def _no_words_in_between(output: Output) -> contextlib.AbstractContextManager[object]:
    """What a user's case prints is no part of a report on standard output."""
    if output.is_on_stdout and sys.stderr is not None:
        return contextlib.redirect_stdout(sys.stderr)
    return contextlib.nullcontext()


def _import_the_rest(output: Output) -> None:
    """Import all that is used without privileges: perhaps only root may read Python."""
    import traceback  # noqa: F401

    from tfocheck.judging import grade
    from tfocheck.model.report import Report
    from tfocheck.model.style import Style
    from tfocheck.report import github
    from tfocheck.report.table import render

    # Libraries import, too, when they are used (codecs, for example): so use them once.
    nothing = grade.judge(Report((), 0.0, 0.0, __version__, errors=(("target", "message"),)))
    render(nothing, Style())
    for each in formats.FORMATS:
        if output.directory is not None or each.option in output.reports:
            each.dumps(nothing)
    if output.save_baseline is not None:
        import tomlkit  # noqa: F401

        from tfocheck.judging import saving  # noqa: F401
    if github.is_active(os.environ):
        github.summary(nothing)
    "name".encode("idna")  # as getaddrinfo does with a name


def _print_list(cases: Sequence[Case], output: Output) -> None:
    from tfocheck.model.style import Style
    from tfocheck.report.table import case_list

    style = Style.of(stdout())
    put(stdout(), case_list(cases, style, markdown=output.list_format == "markdown"))
