"""The command line: ``tfocheck TARGET...``, and who does what its first word says.

Rules that hold here:

* Nothing heavy is imported before it is needed: ``--help`` has 0.3 s.
* Everything the user typed is checked before privilege is asked for, and everything that needs
  privilege is done before a byte from the network is parsed.
* An error is one line on stderr and an exit code of ``errors.ExitCode``; ``--debug`` adds the
  traceback.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from tfocheck.cli import signals
from tfocheck.cli.check import check
from tfocheck.cli.ending import guarded
from tfocheck.cli.subcommands import SUBCOMMANDS
from tfocheck.errors import ExitCode


def main(arguments: Sequence[str] | None = None) -> int:
    """The whole command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given[0] if given else ""
    if name not in SUBCOMMANDS:
        return run_check(given)
    if name == "check":
        return run_check(given[1:])
    return guarded(lambda: _run_other(name, given[1:]), given)


def run_check(args: Sequence[str]) -> int:
    """Run the check command in this process; returns its exit code and raises nothing."""
    arguments = list(args)
    with signals.installed():
        return guarded(lambda: _run(check, "tfocheck", arguments), arguments)


def _run_other(name: str, arguments: list[str]) -> int:
    # A lab hands signals on, and the others have nothing to lose.
    signals.leave_alone()
    return _run(_command(name), f"tfocheck {name}", arguments)


def _run(command: click.Command, name: str, arguments: list[str]) -> int:
    # Not command.main(): it turns a closed pipe into exit code 1 and Ctrl-C into an empty line.
    # click takes the list apart that it is given.
    with command.make_context(name, list(arguments)) as context:
        code = command.invoke(context)
    return code if isinstance(code, int) else ExitCode.CONFORMS


def _command(name: str) -> click.Command:
    command = getattr(importlib.import_module(f"tfocheck.cli.{name}"), name)
    assert isinstance(command, click.Command)
    return command
