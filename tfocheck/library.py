"""tfocheck as a library: a check of some targets, awaited as a whole or followed as it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Sequence
from pathlib import Path
from typing import Any

from tfocheck.errors import UsageError
from tfocheck.linux.link import Link
from tfocheck.model.case import Case
from tfocheck.model.report import CaseResult, Report
from tfocheck.model.target import parse as parse_target
from tfocheck.runner.catalogue import Selection, load_cases, with_prerequisites
from tfocheck.runner.run import Settings, run
from tfocheck.server.payload import choose as choose_payload


class Check:
    """A check that runs when it is awaited, iterated over, or told to ``run``; see ``check``."""

    def __init__(
        self,
        targets: Sequence[str],
        *,
        cases: Sequence[str] = (),
        case_directories: Sequence[str | Path] = (),
        payload: str | None = None,
        attempts: int = 3,
        timeout: float = 3.0,
        source: str | None = None,
        families: Sequence[int] = (4, 6),
        addresses: Sequence[str] = (),
    ) -> None:
        if not targets:
            raise UsageError("name a target to check")
        if attempts < 1 or timeout <= 0:
            raise UsageError("attempts and timeout must be positive")
        known = load_cases([Path(directory) for directory in case_directories])
        chosen = Selection(globs=tuple(cases)).choose(known)
        self._targets = [parse_target(target) for target in targets]
        self._settings = Settings(
            cases=with_prerequisites(chosen, known),
            selected=frozenset(case.id for case in chosen),
            payload=choose_payload(payload),
            attempts=attempts,
            timeout=timeout,
            source=source,
            families=tuple(families),
            addresses=tuple(addresses),
        )

    def run(self) -> Report:
        """Run to the end, outside of any event loop."""
        return asyncio.run(self._run(None))

    def __await__(self) -> Generator[Any, None, Report]:
        """Run to the end and give the report."""
        return self._run(None).__await__()

    async def __aiter__(self) -> AsyncIterator[CaseResult]:
        """Each result as soon as it is there; leaving the loop early ends the check."""
        results: asyncio.Queue[CaseResult | None] = asyncio.Queue()
        running = asyncio.create_task(self._run(results))
        running.add_done_callback(lambda _: results.put_nowait(None))
        try:
            while (result := await results.get()) is not None:
                yield result
            await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _run(self, results: asyncio.Queue[CaseResult | None] | None) -> Report:
        link = Link.open()
        try:
            progress = None if results is None else _Follower(results)
            return await run(self._targets, self._settings, link, progress)
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


def check(
    *targets: str,
    cases: Sequence[str] = (),
    case_directories: Sequence[str | Path] = (),
    payload: str | None = None,
    attempts: int = 3,
    timeout: float = 3.0,
    source: str | None = None,
    families: Sequence[int] = (4, 6),
    addresses: Sequence[str] = (),
) -> Check:
    """A check of these targets ("host", "host:port", "[v6]:port"), not begun yet.

    ``cases`` are globs of case ids (default: all), ``case_directories`` folders with further case
    files, ``payload`` as in ``--payload``; ``attempts`` must agree on an absence, ``timeout`` in
    seconds bounds any single wait; ``addresses`` are literals to use instead of resolving.

    Raises UsageError at once for what can't be run; the check itself raises CannotError without
    CAP_NET_RAW.
    """
    return Check(
        targets,
        cases=cases,
        case_directories=case_directories,
        payload=payload,
        attempts=attempts,
        timeout=timeout,
        source=source,
        families=families,
        addresses=addresses,
    )
