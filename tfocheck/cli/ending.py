"""How the command ends: errors become a line and an exit code, an interrupt says what there is."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

import click

from tfocheck.cli import signals
from tfocheck.errors import ExitCode, TfocheckError, UsageError
from tfocheck.model import escape

_BROKEN_PIPE = 128 + signal.SIGPIPE


def guarded(action: Callable[[], int], arguments: Sequence[str]) -> int:
    """Run it; whatever it raises becomes a line on stderr and an exit code."""
    try:
        code = action()
        _flush()
        return code
    except click.exceptions.Exit as leaving:  # --help, --version
        return _flushed(leaving.exit_code)
    except BrokenPipeError:
        silence_stdout()
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        if "--debug" in arguments:
            import traceback

            complain(traceback.format_exc().rstrip(), one_line=False)
        line, code = _describe(error)
        complain(f"tfocheck: {line}")
        return code


def _describe(error: Exception) -> tuple[str, int]:
    match error:
        case click.UsageError():
            line = " ".join(error.format_message().split()).removesuffix(".")
            command = error.ctx.command_path if error.ctx else "tfocheck"
            found = f"{line} (see {command} --help)", ExitCode.USAGE
        case click.ClickException():
            found = error.format_message(), ExitCode.USAGE
        case TfocheckError():
            found = str(error), error.exit_code
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            silence_stdout()
            found = f"can't write to standard output: {error.strerror}", ExitCode.USAGE
        case OSError():
            where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
            found = f"{where}{error.strerror or error}", ExitCode.CANNOT
        case MemoryError():
            found = "this machine has no memory left for it", ExitCode.CANNOT
        case ImportError():
            found = f"this installation is incomplete: {error}", ExitCode.CANNOT
        case _:
            line = f"internal error, please report it with the output of --debug: {error!r}"
            found = line, ExitCode.CANNOT
    return found


def _interrupted() -> int:
    complain(signals.last_line(), signals.erasing())
    silence_stdout()
    return signals.exit_code()


def complain(line: str, erase: str = "", *, one_line: bool = True) -> None:
    """Write a line to stderr, if that is open."""
    shown = escape.typed(line) if one_line else "\n".join(map(escape.typed, line.split("\n")))
    with contextlib.suppress(OSError, AttributeError):  # stderr is closed: nobody is listening
        sys.stderr.write(f"{erase}{shown}\n")
        sys.stderr.flush()


def _flush() -> None:
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        silence_stdout()
        raise UsageError(f"can't write to standard output: {error.strerror}") from error


def _flushed(code: int) -> int:
    try:
        _flush()
    except BrokenPipeError:
        silence_stdout()
    except UsageError as error:
        complain(f"tfocheck: {error}")
        return error.exit_code
    return code


def silence_stdout() -> None:
    """What is still buffered for stdout must not become a complaint when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def stdout() -> TextIO:
    """Standard output. Raises UsageError when it is closed."""
    if sys.stdout is None:
        raise UsageError("standard output is closed; -q with --json FILE needs none")
    return sys.stdout


def put(stream: TextIO, text: str) -> None:
    """Write a text. Raises UsageError when there is no room, BrokenPipeError when nobody reads."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        silence_stdout()
        name = "standard error" if stream is sys.stderr else "standard output"
        raise UsageError(f"can't write to {name}: {error.strerror}") from error
