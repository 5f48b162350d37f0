"""Forked processes of a lab that tell their parent when they are ready or what went wrong.

A child never returns into its parent's code, and never prints a traceback: what it raises travels
to the parent, and from there on to the user's process, which says it in one line.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tfocheck.errors import ExitCode, TfocheckError
from tfocheck.lab.errors import LabError

Ready = Callable[[], None]

# Characters; a report travels in one message of at most 64 KiB.
_MESSAGE_LENGTH = 1_000
_DETAIL_LENGTH = 8_000


@dataclass(frozen=True)
class Child:
    """A process of the lab: `reports` is the end of a pipe from which read_report() reads."""

    what: str
    pid: int
    reports: int


def describe_failure(what: str, error: BaseException) -> dict[str, Any]:
    """An exception as what JSON can carry to another process; see raise_failure()."""
    if isinstance(error, TfocheckError):
        message, exit_code = str(error), error.exit_code
    else:
        message, exit_code = f"{what}: {type(error).__name__}: {error}", ExitCode.CANNOT
    detail = getattr(error, "detail", "") or "".join(traceback.format_exception(error))
    return {
        "error": " ".join(message.split())[:_MESSAGE_LENGTH],
        "exit_code": int(exit_code),
        "detail": detail[-_DETAIL_LENGTH:],
    }


def raise_failure(report: dict[str, Any]) -> None:
    """Raise as LabError what describe_failure() put into a report, if anything."""
    if "error" in report:
        raise LabError(report["error"], ExitCode(report["exit_code"]), report["detail"])


def start(what: str, work: Callable[[Ready], None]) -> Child:
    """Fork a process that runs `work(ready)`; it reports by calling ready() or by raising."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_end)
        return Child(what, pid, read_end)

    def report(content: dict[str, Any]) -> None:
        os.write(write_end, json.dumps(content).encode() + b"\n")

    status = 1
    try:
        os.close(read_end)
        work(lambda: report({}))
        status = 0
    except BaseException as error:  # whatever it is, the parent must hear of it
        report(describe_failure(what, error))
    finally:
        os._exit(status)


def read_report(child: Child) -> bool:
    """Wait for a child's next report: True when it is ready, False when it ended without a word.

    Raises LabError with what went wrong in the child.
    """
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(child.reports, 65536)
        if not part:
            return False
        line += part
    raise_failure(json.loads(line.splitlines()[0]))
    return True


class Gate:
    """What children wait for; create it before them, open it in the parent."""

    _MOST_WAITING = 64

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()

    def open(self) -> None:
        """Let the children pass, up to 64 of them."""
        os.write(self._write_end, bytes(self._MOST_WAITING))

    def wait(self) -> None:
        """In a child: return once the gate is open."""
        os.read(self._read_end, 1)


def flush_output() -> None:
    """Write out what Python has buffered, so that a fork does not print it twice."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # nobody reads it any more
            continue
