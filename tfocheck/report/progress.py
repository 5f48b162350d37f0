"""How far a run is, while it lasts: a live view on a terminal, a line now and then elsewhere.

On a terminal a bar says how much is through and what is left; below it each address that is being
checked has a line of its own. The view is rewritten in place, and gone when the run ends.
"""

from __future__ import annotations

import asyncio
import io
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from tfocheck.model import escape
from tfocheck.model.case import Verdict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tfocheck.model.case import Case
    from tfocheck.model.report import CaseResult

PATIENCE = 1.0
"""Seconds that a run may take before it has to say how far it is."""

INTERVAL = 0.2
PLAIN_INTERVAL = 10.0
"""Seconds between lines that nothing overwrites, as in a log."""

_LEAST_TO_ESTIMATE = 3.0
_ROWS = 12
_BAR_WIDTH = 20
_LEAST_COLUMN = 10
_NAMED = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.WARN)


@dataclass
class _Address:
    """The state of one address; times are those of ``time.monotonic``."""

    target: str
    address: str
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    waiting: dict[str, float] = field(default_factory=dict)

    @property
    def ended(self) -> int:
        return self.verdicts.total()

    @property
    def found(self) -> str:
        """How often each verdict that somebody will have to look at was given."""
        counts = [f"{self.verdicts[each]} {each}" for each in _NAMED if self.verdicts[each]]
        return ", ".join(counts) or "no failure"


class Progress:
    """What ``runner.run`` tells: which cases of which addresses are running, and which are through.

    ``targets`` are the names of those to be checked; how many addresses each has shows later.
    """

    def __init__(self, cases_per_address: int, targets: Sequence[str]) -> None:
        self._cases = cases_per_address
        self._targets = tuple(targets)
        self._addresses: dict[tuple[str, str], _Address] = {}
        self._began = self._last_end = time.monotonic()

    def case_started(self, target: str, address: str, case: Case) -> None:
        """A case has begun."""
        self._of(target, address).waiting[case.id] = time.monotonic()

    def case_ended(self, target: str, address: str, result: CaseResult) -> None:
        """A case has its verdict; one that was skipped may never have begun."""
        state = self._of(target, address)
        state.waiting.pop(result.case.id, None)
        state.verdicts[result.verdict] += 1
        self._last_end = time.monotonic()

    def _of(self, target: str, address: str) -> _Address:
        return self._addresses.setdefault((target, address), _Address(target, address))

    @property
    def ended(self) -> int:
        """How many cases are through, at all addresses."""
        return sum(each.ended for each in self._addresses.values())

    @property
    def total(self) -> int:
        """How many cases there are to run, as far as the addresses are known."""
        begun = {each.target for each in self._addresses.values()}
        addresses = len(self._addresses) + len(set(self._targets) - begun)
        return max(self._cases * max(addresses, 1), self.ended)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float | None:
        """Seconds that the rest may take, if it goes on like this; None where nobody can tell.

        Where no case has ended for longer than the rest should take, the estimate is wrong: what
        is left then takes its own time, as to fill a queue does.
        """
        if self.ended == 0 or self.elapsed < _LEAST_TO_ESTIMATE:
            return None
        estimate = self.elapsed * (self.total - self.ended) / self.ended
        return None if time.monotonic() - self._last_end > estimate else estimate

    @property
    def is_small(self) -> bool:
        """Whether there is one address only, as far as is known."""
        return len(self._targets) <= 1 and len(self._addresses) <= 1

    @property
    def summary(self) -> str:
        """How much is through, and what is left."""
        words = [f"{self.ended} of {self.total} cases", *self._done_in_words()]
        if not self._addresses:
            return f"{words[0]}; resolving names"
        if self.left:
            words.append(f"about {math.ceil(self.left)} s left")
        return ", ".join(words)

    @property
    def line(self) -> str:
        """All of it in one line: the summary, and what has been running longest."""
        waiting = [
            (began, each, case) for each in self.running for case, began in each.waiting.items()
        ]
        if not waiting:
            return self.summary
        began, longest, case = min(waiting, key=lambda entry: entry[0])
        where = "" if self.is_small else f" at {longest.address}"
        seconds = f"{time.monotonic() - began:.0f}"
        since = "" if seconds == "0" else f" for {seconds} s"
        return f"{self.summary}; waiting for {case}{where}{since}"

    def _done_in_words(self) -> Iterator[str]:
        if not self.is_small:
            done = {each.target for each in self._addresses.values()}
            done -= {each.target for each in self.running}
            yield f"{len(done)} of {max(len(self._targets), 1)} targets"

    @property
    def running(self) -> list[_Address]:
        """The addresses that are not through yet."""
        return [each for each in self._addresses.values() if each.ended < self._cases]

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """An address a row: target and address, cases, what was found, what it waits for."""
        running = self.running
        finished = [each for each in self._addresses.values() if each not in running]
        return [self._row(each) for each in (*running, *reversed(finished))]

    def _row(self, each: _Address) -> tuple[str, str, str, str]:
        place = each.target
        if sum(other.target == each.target for other in self._addresses.values()) > 1:
            place = f"{each.target} at {each.address}"
        state = "done" if each.ended >= self._cases else "between cases"
        if each.waiting:
            case, began = min(each.waiting.items(), key=lambda entry: entry[1])
            state = f"{case} for {time.monotonic() - began:.0f} s"
        return escape.text(place), f"{each.ended} of {self._cases}", each.found, escape.text(state)


class LiveView:
    """The progress on a terminal."""

    def __init__(self, stream: TextIO, progress: Progress) -> None:
        from rich.console import Console
        from rich.live import Live

        self._progress = progress
        console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)  # fmt: skip # noqa: E501
        # Rich imports as it draws, which this process may have lost the right to by then.
        nowhere = Console(file=io.StringIO(), force_terminal=True, width=80)
        nowhere.print(self._drawn(nowhere))

    async def show(self) -> None:
        """Draw it again and again until cancelled, then erase it."""
        await asyncio.sleep(PATIENCE)
        try:
            self._live.start()
            while True:
                self._live.update(self._drawn(self._live.console), refresh=True)
                await asyncio.sleep(INTERVAL)
        finally:
            self._live.update("")
            self._live.stop()

    def _drawn(self, console: Console) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        progress = self._progress
        bar = ProgressBar(total=progress.total, completed=progress.ended, width=_BAR_WIDTH)
        head = Table.grid(padding=(0, 1))
        head.add_column(no_wrap=True)
        head.add_column(no_wrap=True, overflow="ellipsis")
        room = max(_LEAST_COLUMN, console.width - _BAR_WIDTH - 2)
        line = progress.line if progress.is_small else progress.summary
        head.add_row(bar, Text(escape.clip(line, room)))
        whole = Table.grid()
        whole.add_column(no_wrap=True, overflow="ellipsis")
        whole.add_row(head)
        if progress.is_small:
            return whole
        body = Table.grid(padding=(0, 2))
        for _ in range(4):
            body.add_column(no_wrap=True, overflow="ellipsis")
        # What does not fit the screen would scroll, and could not be erased.
        most = max(1, min(_ROWS, console.height - 3))
        rows = progress.rows
        taken = sum(
            max((len(row[number]) + 2 for row in rows[:most]), default=0) for number in range(3)
        )
        room = max(_LEAST_COLUMN, console.width - taken - 1)
        for *row, state in rows[:most]:
            body.add_row(*map(Text, row), Text(escape.clip(state, room)))
        whole.add_row(body)
        if len(rows) > most:
            whole.add_row(Text(f"and {len(rows) - most} more"))
        return whole


class PlainLines:
    """The progress where nothing can be rewritten: a line every now and then, of a long run."""

    def __init__(self, stream: TextIO, progress: Progress) -> None:
        self._stream = stream
        self._progress = progress

    async def show(self) -> None:
        """Write a line every ``PLAIN_INTERVAL`` seconds until cancelled."""
        while True:
            await asyncio.sleep(PLAIN_INTERVAL)
            self._stream.write(f"tfocheck: {escape.text(self._progress.line)}\n")
            self._stream.flush()


def view(stream: TextIO, progress: Progress) -> LiveView | PlainLines:
    """What suits this stream."""
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return LiveView(stream, progress)
    return PlainLines(stream, progress)
