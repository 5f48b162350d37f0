"""``tfocheck compare``: what changed between two JSON reports."""

from __future__ import annotations

import click

from tfocheck.cli.ending import put, stdout
from tfocheck.errors import ExitCode


@click.command("compare", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("before")
@click.argument("after")
@click.option("-q", "--quiet", is_flag=True, help="Only the summary.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def compare(before: str, after: str, quiet: bool, debug: bool) -> int:
    """Say what changed from report BEFORE to report AFTER, both written by --json.

    \b
    Worse is:
      a case that fails and did not, or is new and fails;
      a case that warns and held (pass, info);
      a case that was pass, info or warn and is not decided any more
        (skip, inconclusive, error, or not there), so for all cases of an
        address that is gone or unreachable;
      a lower grade.
    From fail to not decided is neither better nor worse. What a baseline
    knows is compared like everything else.

    \b
    Exit codes: 0 nothing got worse, 1 something did, 2 no report, or one of
    another format.
    """
    from tfocheck.model.style import Style
    from tfocheck.report import compare as comparing

    comparison = comparing.compare(comparing.read(before), comparing.read(after))
    stream = stdout()
    put(stream, comparing.render(comparison, Style.of(stream), quiet=quiet))
    return ExitCode.FAILED if comparison.got_worse else ExitCode.CONFORMS
