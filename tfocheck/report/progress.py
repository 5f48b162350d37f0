"""The progress line: on a terminal, rewritten in place, and gone when the run ends."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import TYPE_CHECKING, TextIO

from tfocheck.report import escape

if TYPE_CHECKING:
    from tfocheck.case import Case, CaseResult

PATIENCE = 1.0
"""Seconds that a run may take before it has to say how far it is."""

INTERVAL = 0.2
_ERASE = "\r\x1b[K"


class ProgressLine:
    """What ``runner.run`` tells its progress; ``show`` writes it while the run lasts."""

    def __init__(self, stream: TextIO, cases_per_address: int, targets: int) -> None:
        self._stream = stream
        self._cases = cases_per_address
        self._targets = targets
        self._addresses: set[tuple[str, str]] = set()
        self._waiting: dict[tuple[str, str, str], None] = {}
        self._ended = 0
        self._shown = ""

    def case_started(self, target: str, address: str, case: Case) -> None:
        """A case has begun."""
        self._addresses.add((target, address))
        self._waiting[target, address, case.id] = None

    def case_ended(self, target: str, address: str, result: CaseResult) -> None:
        """A case has its verdict; one that was skipped may never have begun."""
        self._addresses.add((target, address))
        self._waiting.pop((target, address, result.case.id), None)
        self._ended += 1

    @property
    def line(self) -> str:
        """How many cases are through, and the one that has been running longest."""
        total = self._cases * max(self._targets, len(self._addresses), 1)
        line = f"{self._ended} of {max(total, self._ended)} cases"
        if not self._addresses:
            return f"{line}; resolving names"
        for _, address, case_id in self._waiting:
            at = f" at {address}" if len(self._addresses) > 1 else ""
            return f"{line}; waiting for {case_id}{at}"
        return line

    async def show(self) -> None:
        """Write the line again and again until cancelled, then erase it."""
        started = time.monotonic()
        try:
            while True:
                await asyncio.sleep(INTERVAL)
                if time.monotonic() - started >= PATIENCE:
                    self._write()
        finally:
            self.clear()

    def clear(self) -> None:
        """Leave no trace of the line."""
        if self._shown:
            self._shown = ""
            self._stream.write(_ERASE)
            self._stream.flush()

    def _write(self) -> None:
        # The last column stays free: some terminals wrap as soon as it is written to.
        line = escape.clip(self.line, shutil.get_terminal_size().columns - 1)
        if line != self._shown:
            self._shown = line
            self._stream.write(_ERASE + line)
            self._stream.flush()
