"""The cases of one address, each as soon as what it needs has passed."""

from __future__ import annotations

import asyncio
import contextlib
import math
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from tfocheck.engine.together import all_or_nothing
from tfocheck.errors import CannotError, UnreachableError
from tfocheck.judging import trust
from tfocheck.model.case import Case, Outcome, Turn, Verdict
from tfocheck.model.plan import Plan
from tfocheck.model.report import CaseResult
from tfocheck.server.conduct import conduct
from tfocheck.server.contained import EscapeError
from tfocheck.server.probe import Probe
from tfocheck.server.session import Session
from tfocheck.wire.evidence import FlowRecord

_HOLDS = (Verdict.PASS, Verdict.INFO, Verdict.WARN)


class Progress(Protocol):
    """Gets told what happens, while it happens."""

    def case_started(self, target: str, address: str, case: Case) -> None:
        """A case begins to send packets."""

    def case_ended(self, target: str, address: str, result: CaseResult) -> None:
        """A case has its verdict."""


FOR_CASES = 0.95
"""Of the time that a run may take, so much is for its cases."""


@dataclass
class _Trial:
    """A case while it is run: when it began, what the capture had lost by then, what came of it."""

    began: float
    drops: int
    has_begun: bool = False
    outcome: Outcome = field(default_factory=lambda: Outcome(Verdict.ERROR, "not run"))
    traceback: str | None = None


class Schedule:
    """Runs the cases of one address: each as soon as what it needs has passed."""

    def __init__(
        self, session: Session, plan: Plan, target: str, progress: Progress | None
    ) -> None:
        self._session = session
        self._plan = plan
        self._target = target
        self._progress = progress
        self._results: dict[str, asyncio.Future[CaseResult]] = {}
        self._roots: dict[str, str] = {}
        self._ends = math.inf
        self._probes = {case.id: Probe(session, case) for case in plan.cases}

    def results(self) -> list[CaseResult]:
        """All results in the order of the cases, with all that was captured by now."""
        found = [self._result(case) for case in self._plan.cases]
        found = trust.behind_faults(found)
        evidence = {case_id: probe.evidence for case_id, probe in self._probes.items()}
        return [replace(each, flows=evidence[each.case.id].records()) for each in found]

    @property
    def has_begun(self) -> bool:
        """Whether any case has its verdict."""
        return any(result.done() for result in self._results.values())

    def _result(self, case: Case) -> CaseResult:
        settled = self._results.get(case.id)
        if settled is not None and settled.done() and not settled.cancelled():
            return settled.result()
        return CaseResult(
            case=case,
            verdict=Verdict.INCONCLUSIVE,
            seen="not done: the run was interrupted",
            duration=0.0,
            flows=self._probes[case.id].evidence.records(),
            prerequisite=case.id not in self._plan.selected,
            address=self._session.address,
        )

    def controls(self) -> tuple[FlowRecord, ...]:
        """What was captured beside the cases."""
        probes = self._probes.values()
        return self._session.controls(flow for probe in probes for flow in probe.evidence.flows)

    async def run(self) -> None:
        """Run to the last verdict; connections may still be closing then."""
        loop = asyncio.get_running_loop()
        cases = self._plan.cases
        self._results = {case.id: loop.create_future() for case in cases}
        # The rest is for closing what is open then.
        self._ends = self._session.clock.monotonic() + FOR_CASES * self._plan.longest
        for case in cases:
            if case.turn is Turn.FREE:
                self._session.lane.join(case.id)
        await all_or_nothing([self._run_case(case) for case in cases])

    async def _run_case(self, case: Case) -> None:
        session, probe = self._session, self._probes[case.id]
        trial = _Trial(session.clock.monotonic(), session.wire.losses().capture_drops)
        left = self._ends - trial.began
        try:
            async with asyncio.timeout(None if left == math.inf else left):
                await self._try(case, trial)
        except TimeoutError:
            seen = f"within the {self._plan.max_time:g} s of a run (--max-time)"
            if case.is_users and trial.has_begun:
                told = _told(case, EscapeError(f"it did not end {seen}"))
                trial.outcome = Outcome(Verdict.ERROR, told)
            else:
                trial.outcome = Outcome(Verdict.INCONCLUSIVE, f"not done {seen}")
        finally:
            session.lane.depart(case.id)
        result = CaseResult(
            case=case,
            verdict=trial.outcome.verdict,
            seen=trial.outcome.seen,
            duration=session.clock.monotonic() - trial.began,
            flows=probe.evidence.records(),
            prerequisite=case.id not in self._plan.selected,
            traceback=trial.traceback,
            conclusive=trial.outcome.conclusive,
            address=session.address,
        )
        result = trust.distrust(
            result,
            session.wire.losses().capture_drops - trial.drops,
            sum(flow.kernel_resets for flow in probe.evidence.flows),
            sum(flow.share.unheard for flow in probe.evidence.flows),
        )
        session.verdicts[case.id] = result.verdict
        self._results[case.id].set_result(result)
        session.siblings.settle(session.address, case.id, str(result.verdict))
        if self._progress is not None:
            self._progress.case_ended(self._target, session.address, result)

    async def _try(self, case: Case, trial: _Trial) -> None:
        """Run the case as soon as what it needs has passed, and its turn has come."""
        session = self._session
        await asyncio.gather(*(asyncio.shield(self._results[each]) for each in case.after))
        blocked = await self._blocked(case)
        if blocked is not None:
            trial.outcome = blocked
            return
        await self._await_turn(case)
        async with self._one_by_one(case):
            trial.began, trial.has_begun = session.clock.monotonic(), True
            trial.drops = session.wire.losses().capture_drops
            if self._progress is not None:
                self._progress.case_started(self._target, session.address, case)
            trial.outcome, trial.traceback = await _outcome(session, self._probes[case.id])

    async def _await_turn(self, case: Case) -> None:
        if case.turn is Turn.LONG:
            # Those that only watch any more do not mind a Fast Open that stays pending.
            await self._session.lane.room_for_long()
        elif case.turn > Turn.LONG:
            earlier = [
                self._results[other.id] for other in self._plan.cases if other.turn < case.turn
            ]
            await asyncio.gather(*(asyncio.shield(each) for each in earlier))

    @contextlib.asynccontextmanager
    async def _one_by_one(self, case: Case) -> AsyncIterator[None]:
        if case.turn <= Turn.LONG:
            yield
            return
        async with self._session.lane.sequence:
            yield

    async def _blocked(self, case: Case) -> Outcome | None:
        """Wait for what the case needs; a skip with the reason when it can't be judged."""
        for need in case.needs:
            result = await asyncio.shield(self._results[need])
            if result.verdict in _HOLDS:
                continue
            # The reason at the root, not the chain that leads to it.
            root = self._roots.get(need, need)
            self._roots[case.id] = root
            verdict = self._results[root].result().verdict
            return Outcome(Verdict.SKIP, f"can't be judged: see {root} ({verdict})")
        return None


async def _outcome(session: Session, probe: Probe) -> tuple[Outcome, str | None]:
    """What came of a case, and the traceback if it went wrong."""
    try:
        return await conduct(session, probe), None
    except UnreachableError as problem:
        return Outcome(Verdict.INCONCLUSIVE, str(problem)), None
    except CannotError:
        raise
    except Exception as problem:
        return Outcome(Verdict.ERROR, _told(probe.case, problem)), traceback.format_exc()


def _told(case: Case, problem: Exception) -> str:
    if not case.is_users:
        return f"tfocheck itself failed: {problem!r}"
    escaped = isinstance(problem, EscapeError)
    frames = traceback.walk_tb((problem.__cause__ or problem if escaped else problem).__traceback__)
    lines = [line for frame, line in frames if Path(frame.f_code.co_filename) == case.path]
    line = lines[-1] if lines else case.run.__code__.co_firstlineno
    return f"{case.path} line {line}: {problem if escaped else repr(problem)}"
