"""``tfocheck explain``: what a case asks, and how."""

from __future__ import annotations

from pathlib import Path

import click

from tfocheck.cli.ending import put, stdout
from tfocheck.errors import ExitCode, UsageError
from tfocheck.runner.catalogue import load_cases


@click.command("explain", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("patterns", nargs=-1, metavar="CASE...")
@click.option(
    "--cases",
    "directories",
    multiple=True,
    metavar="DIR",
    help="Add the case files of this folder.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def explain(patterns: tuple[str, ...], directories: tuple[str, ...], debug: bool) -> int:
    """Explain cases: what is asked, how it is tested, and what to do about a failure.

    CASE is an id such as forged.random, or a glob such as 'forged.*'.
    """
    from tfocheck.report import explain as explaining

    if not patterns:
        raise UsageError("name a case, as in: tfocheck explain forged.random (see tfocheck --list)")
    catalogue = load_cases(Path(directory) for directory in directories)
    found = [case for pattern in patterns for case in explaining.find(pattern, catalogue)]
    rule = "\n\n" + "-" * explaining.WIDTH + "\n\n"
    put(stdout(), rule.join(explaining.explain(case) for case in dict.fromkeys(found)) + "\n")
    return ExitCode.CONFORMS
