"""What can go wrong before there is a verdict, each with the exit code it ends the command with.

The message of each error is one line for stderr: what, where, and what the user can do.
"""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """The command's exit codes; nothing passes vacuously, so 0 means that cases ran and held."""

    CONFORMS = 0
    FAILED = 1
    USAGE = 2
    NOT_OFFERED = 3
    UNREACHABLE = 4
    CANNOT = 5
    INTERRUPTED = 130


class TfocheckError(Exception):
    """An error with one line for the user."""

    exit_code = ExitCode.CANNOT


class UsageError(TfocheckError):
    """The command line, or a file it names, asks for something that can't be done."""

    exit_code = ExitCode.USAGE


class UnreachableError(TfocheckError):
    """The target has no address, or none that this machine has a route to.

    ``report`` is the ``tfocheck.JudgedReport`` of a check that raised this: what it found at other
    targets.
    """

    exit_code = ExitCode.UNREACHABLE
    report: object = None


class CannotError(TfocheckError):
    """This machine can't: no privilege, no raw sockets, no namespaces, a program is missing."""

    exit_code = ExitCode.CANNOT
