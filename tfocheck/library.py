"""tfocheck as a library: a check of some targets, awaited as a whole or followed as it goes.

It leaves the process as it is: no identity, signal, limit or dumpable flag is changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from tfocheck.engine.ports import Wire
from tfocheck.errors import CannotError, ExitCode, TfocheckError, UnreachableError, UsageError
from tfocheck.judging import grade
from tfocheck.judging.grade import Conclusion, Judgement
from tfocheck.judging.kind import Kind
from tfocheck.model.case import Case
from tfocheck.model.plan import Plan
from tfocheck.model.report import AddressReport, CaseResult, Report
from tfocheck.runner.options import CheckOptions
from tfocheck.runner.planning import make_plan
from tfocheck.runner.run import run
from tfocheck.version import __version__


def check(
    *targets: str,
    raise_on_error: bool = True,
    _wire: Wire | None = None,
    **options: Unpack[CheckOptions],
) -> Check:
    """A check of these targets ("host", "host:port", "[v6]:port"), not begun yet.

    ``options`` are those of the command, by the names that ``runner.options`` has for them, among
    them: ``cases`` and ``excludes`` are globs of case ids (default: all), ``case_directories``
    folders with further case files, ``families`` 4, 6 or both; ``attempts`` must agree on an
    absence, ``timeout`` in seconds bounds any single wait, ``soak`` is in seconds or such as "30m";
    ``addresses`` are literals to use instead of resolving.

    Raises UsageError at once for what can't be run. The check itself raises CannotError without
    CAP_NET_RAW, and UnreachableError (with what else was found as its ``report``) for a target that
    does not resolve or can't be tried from here; with ``raise_on_error`` False both are told by
    the report's ``errors`` and ``exit_code`` instead.
    """
    return Check(targets, options, raise_on_error=raise_on_error, wire=_wire)


@dataclass(frozen=True)
class JudgedReport:
    """What a check found, and what follows from it.

    ``problem`` is why there could be no check at all, which is raised unless that is not wanted.
    """

    judgement: Judgement
    problem: TfocheckError | None = None

    @property
    def addresses(self) -> tuple[AddressReport, ...]:
        """All verdicts, an entry per address, targets in the order given."""
        return self.judgement.report.addresses

    @property
    def conclusions(self) -> tuple[Conclusion, ...]:
        """What each address came to, in the order of ``addresses``."""
        return self.judgement.conclusions

    @property
    def errors(self) -> tuple[tuple[str, str], ...]:
        """Targets that could not be resolved or tried, each with the line that says why."""
        return self.judgement.report.errors

    @property
    def started(self) -> float:
        """When the check began, in Unix time."""
        return self.judgement.report.started

    @property
    def duration(self) -> float:
        """What it took, in seconds."""
        return self.judgement.report.duration

    @property
    def grade(self) -> str | None:
        """The worst letter of all addresses that could be tried; None when one has none."""
        tried = [each for each in self.conclusions if each.kind is not Kind.NOT_TESTED]
        return grade.worst(each.grade for each in tried)

    @property
    def exit_code(self) -> ExitCode:
        """What the command would exit with."""
        return self.judgement.exit_code if self.problem is None else self.problem.exit_code

    @property
    def headline(self) -> str:
        """What is true of the check in one line: of the address that decides its exit code."""
        if self.problem is not None:
            return str(self.problem)
        for found in self.conclusions:
            if found.kind is not Kind.NOT_TESTED and found.exit_code is self.exit_code:
                return found.headline
        lines = [message for _, message in self.errors]
        return next(iter([*lines, *(each.headline for each in self.conclusions)]), "")

    @property
    def advice(self) -> tuple[str, ...]:
        """What to do, a sentence or two each, of all addresses."""
        return tuple(dict.fromkeys(text for each in self.conclusions for text in each.advice))

    def to_json(self) -> str:
        """The report as ``--json`` writes it."""
        from tfocheck.report import json_report

        return json_report.dumps(self.judgement)


class Check:
    """A check that runs when it is awaited, iterated over, or told to ``run``; see ``check``."""

    def __init__(
        self,
        targets: Sequence[str],
        options: CheckOptions,
        *,
        raise_on_error: bool = True,
        wire: Wire | None = None,
    ) -> None:
        if not targets and options.get("url") is None:
            raise UsageError("name a target to check")
        self._plan = make_plan(targets, options)
        self._raises = raise_on_error
        self._wire = wire
        self._report: JudgedReport | None = None

    @property
    def plan(self) -> Plan:
        """What is going to be done."""
        return self._plan

    @property
    def report(self) -> JudgedReport | None:
        """What was found, once the check has ended; for who iterates over it."""
        return self._report

    def run(self) -> JudgedReport:
        """Run to the end, outside of any event loop. Raises UsageError inside of one."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._run(None))
        raise UsageError("an event loop is running here: await the check instead of run()")

    def __await__(self) -> Generator[Any, None, JudgedReport]:
        """Run to the end and give the report."""
        return self._run(None).__await__()

    async def __aiter__(self) -> AsyncIterator[CaseResult]:
        """Each result as soon as it is there; leaving the loop early ends the check."""
        results: asyncio.Queue[CaseResult | None] = asyncio.Queue()
        running = asyncio.create_task(self._run(_Follower(results)))
        running.add_done_callback(lambda _: results.put_nowait(None))
        try:
            while (result := await results.get()) is not None:
                yield result
            await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _run(self, progress: _Follower | None) -> JudgedReport:
        try:
            with _opened(self._wire) as wire:
                report = await run(self._plan, wire, progress)
        except CannotError as problem:
            if self._raises:
                raise
            errors = tuple((target.text, str(problem)) for target in self._plan.targets)
            nothing = Report((), time.time(), 0.0, __version__, errors)
            self._report = JudgedReport(grade.judge_by(self._plan, nothing), problem)
            return self._report
        self._report = found = JudgedReport(grade.judge_by(self._plan, report))
        if self._raises and (line := _untried(found)):
            error = UnreachableError(line)
            error.report = found
            raise error
        return found


def _untried(found: JudgedReport) -> str | None:
    """Why a target has no address that could be tried; None when each has one."""
    for _, message in found.errors:
        return message
    for target in found.judgement.untested:
        reasons = [each.headline for _, each in found.judgement.of(target)]
        return f"{target}: {'; '.join(reasons)}"
    return None


@contextlib.contextmanager
def _opened(wire: Wire | None) -> Iterator[Wire]:
    """The kernel's wire, unless another is there already."""
    if wire is not None:
        yield wire
        return
    from tfocheck.linux.link import Link

    link = Link.open()
    try:
        yield link
    finally:
        link.close()


class _Follower:
    """Progress, as a queue of results."""

    def __init__(self, results: asyncio.Queue[CaseResult | None]) -> None:
        self._results = results

    def case_started(self, target: str, address: str, case: Case) -> None:
        """Nothing to tell yet."""

    def case_ended(self, target: str, address: str, result: CaseResult) -> None:
        """Hand the result on."""
        self._results.put_nowait(result)
