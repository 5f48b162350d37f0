"""Running cases against targets: prerequisites, order, progress, and the report.

This is the library's side of the command: nothing in here prints or knows of options.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from tfocheck.engine.lane import Lane
from tfocheck.engine.ports import Wire
from tfocheck.errors import CannotError, UnreachableError
from tfocheck.judging import trust
from tfocheck.model.case import Case, Outcome, Turn, Verdict
from tfocheck.model.report import AddressReport, CaseResult, Report, Traffic
from tfocheck.model.target import Address, Target
from tfocheck.runner.target import resolve
from tfocheck.server.conduct import conduct
from tfocheck.server.extras import Extras
from tfocheck.server.payload import PayloadChoice
from tfocheck.server.probe import Probe
from tfocheck.server.session import Session
from tfocheck.server.siblings import Siblings
from tfocheck.version import __version__
from tfocheck.wire.evidence import FlowRecord

TARGETS_AT_ONCE = 4

_HOLDS = (Verdict.PASS, Verdict.INFO, Verdict.WARN)


@dataclass(frozen=True)
class Settings:
    """What to run and how.

    ``cases`` is everything to run, prerequisites included, in order; ``selected`` are the ids that
    the user asked for; ``timeout`` in seconds bounds any single wait; ``addresses`` are literals to
    use instead of resolving the name; ``extras`` is what some cases ask for.
    """

    cases: tuple[Case, ...]
    selected: frozenset[str]
    payload: PayloadChoice
    attempts: int = 3
    timeout: float = 3.0
    source: str | None = None
    families: tuple[int, ...] = (4, 6)
    addresses: tuple[str, ...] = ()
    extras: Extras = field(default_factory=Extras)


class Progress(Protocol):
    """Gets told what happens, while it happens."""

    def case_started(self, target: str, address: str, case: Case) -> None:
        """A case begins to send packets."""

    def case_ended(self, target: str, address: str, result: CaseResult) -> None:
        """A case has its verdict."""


async def run(
    targets: Sequence[Target], settings: Settings, wire: Wire, progress: Progress | None = None
) -> Report:
    """Check all addresses of all targets.

    Targets that can't be resolved are in ``Report.errors``. Raises CannotError when this machine
    can't do it (no ports left, a local firewall).
    """
    started, began = wire.clock.time(), wire.clock.monotonic()
    wire.start()
    few = asyncio.Semaphore(TARGETS_AT_ONCE)
    errors: dict[str, str] = {}
    lanes: dict[tuple[str, int], Lane] = {}

    async def one(target: Target) -> list[AddressReport]:
        async with few:
            try:
                addresses = await resolve(target, settings.families, settings.addresses)
            except UnreachableError as problem:
                errors[target.text] = str(problem)
                return []
            # The addresses of a name may well be one machine, and two names one address.
            known = (lanes.get((each.literal, each.port)) for each in addresses)
            lane, siblings = next((each for each in known if each), Lane(wire.clock)), Siblings()
            lanes.update({(each.literal, each.port): lane for each in addresses})
            return list(
                await _gather(
                    [
                        _check(target, address, settings, wire, lane, siblings, progress)
                        for address in addresses
                    ]
                )
            )

    try:
        reports = await _gather([one(target) for target in targets])
    finally:
        wire.stop()
    return Report(
        addresses=tuple(report for group in reports for report in group),
        started=started,
        duration=wire.clock.monotonic() - began,
        version=__version__,
        errors=tuple(
            (target.text, errors[target.text]) for target in targets if target.text in errors
        ),
    )


async def _gather(work: list) -> list:  # type: ignore[type-arg]
    """All or nothing: the first exception cancels the rest, and waits for their clean-up."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _check(
    target: Target,
    address: Address,
    settings: Settings,
    wire: Wire,
    lane: Lane,
    siblings: Siblings,
    progress: Progress | None,
) -> AddressReport:
    started, began = wire.clock.time(), wire.clock.monotonic()
    payload = settings.payload.for_target(target)
    report = AddressReport(
        target=target.text,
        address=address.literal,
        port=address.port,
        payload=payload.name,
        started=started,
    )
    try:
        source, scope_id = wire.source_for(address.literal, address.port, address.scope_id)
    except UnreachableError as problem:
        return replace(report, not_tested=str(problem))
    if settings.source is not None:
        if (":" in settings.source) != (":" in address.literal):
            family = "IPv6" if ":" in address.literal else "IPv4"
            return replace(report, not_tested=f"--source {settings.source} is no {family} address")
        source = settings.source
    session = Session(
        wire=wire,
        lane=lane,
        address=address.literal,
        port=address.port,
        source=source,
        scope_id=scope_id,
        payload=payload,
        attempts=settings.attempts,
        timeout=settings.timeout,
        extras=settings.extras,
        siblings=siblings,
    )
    siblings.announce(address.literal, [case.id for case in settings.cases])
    before = _traffic(session)
    try:
        runner = _Runner(session, settings, target.text, progress)
        await runner.run()
        await session.finish()
        results, controls = runner.results(), runner.controls()
    except asyncio.CancelledError:
        await session.abandon()
        raise
    except CannotError as problem:
        # Another address may fare better (another port, another family, another interface).
        return replace(report, not_tested=str(problem))
    finally:
        session.release()
    after = _traffic(session)
    traffic = Traffic(
        sent=after.sent - before.sent,
        received=after.received - before.received,
        resets_sent=after.resets_sent - before.resets_sent,
        capture_drops=after.capture_drops - before.capture_drops,
        kernel_resets=after.kernel_resets,
    )
    return replace(
        report,
        results=tuple(results),
        rtt=session.round_trips.smallest,
        cookie_bytes=len(session.facts.cookie) if session.facts.cookie is not None else None,
        traffic=traffic,
        hops=session.known_route.hops() if session.known_route is not None else (),
        duration=wire.clock.monotonic() - began,
        controls=controls,
    )


def _traffic(session: Session) -> Traffic:
    wire, address = session.wire, session.address
    return Traffic(
        sent=sum(wire.sent[address, port] for port in session.ports),
        received=sum(wire.received[address, port] for port in session.ports),
        resets_sent=sum(wire.resets_sent[address, port] for port in session.ports),
        capture_drops=wire.losses().capture_drops,
        kernel_resets=session.kernel_resets,
    )


class _Runner:
    """Runs the cases of one address: each as soon as what it needs has passed."""

    def __init__(
        self, session: Session, settings: Settings, target: str, progress: Progress | None
    ) -> None:
        self._session = session
        self._settings = settings
        self._target = target
        self._progress = progress
        self._results: dict[str, asyncio.Future[CaseResult]] = {}
        self._roots: dict[str, str] = {}
        self._probes = {case.id: Probe(session, case) for case in settings.cases}

    def results(self) -> list[CaseResult]:
        """All results in the order of the cases, with all that was captured by now."""
        found = [self._results[case.id].result() for case in self._settings.cases]
        found = trust.behind_faults(found)
        evidence = {case_id: probe.evidence for case_id, probe in self._probes.items()}
        return [replace(each, flows=evidence[each.case.id].records()) for each in found]

    def controls(self) -> tuple[FlowRecord, ...]:
        """What was captured beside the cases."""
        probes = self._probes.values()
        return self._session.controls(flow for probe in probes for flow in probe.evidence.flows)

    async def run(self) -> None:
        """Run to the last verdict; connections may still be closing then."""
        loop = asyncio.get_running_loop()
        cases = self._settings.cases
        self._results = {case.id: loop.create_future() for case in cases}
        for case in cases:
            if case.turn is Turn.FREE:
                self._session.lane.join(case.id)
        await _gather([self._run_case(case) for case in cases])

    async def _run_case(self, case: Case) -> None:
        probe = self._probes[case.id]
        clock = self._session.clock
        began = clock.monotonic()
        drops = 0
        trace = None
        try:
            await asyncio.gather(*(asyncio.shield(self._results[each]) for each in case.after))
            outcome = await self._blocked(case)
            if outcome is None:
                await self._await_turn(case)
                async with self._one_by_one(case):
                    began, drops = clock.monotonic(), self._session.wire.losses().capture_drops
                    if self._progress is not None:
                        self._progress.case_started(self._target, self._session.address, case)
                    outcome = await conduct(self._session, probe)
        except UnreachableError as problem:
            outcome = Outcome(Verdict.INCONCLUSIVE, str(problem))
        except CannotError:
            raise
        except (Exception, SystemExit) as problem:
            trace = traceback.format_exc()
            outcome = Outcome(Verdict.ERROR, f"tfocheck itself failed: {problem!r}")
        finally:
            self._session.lane.depart(case.id)
        result = CaseResult(
            case=case,
            verdict=outcome.verdict,
            seen=outcome.seen,
            duration=clock.monotonic() - began,
            flows=probe.evidence.records(),
            prerequisite=case.id not in self._settings.selected,
            traceback=trace,
            conclusive=outcome.conclusive,
            address=self._session.address,
        )
        result = trust.distrust(
            result,
            self._session.wire.losses().capture_drops - drops,
            sum(flow.kernel_resets for flow in probe.evidence.flows),
        )
        self._session.verdicts[case.id] = result.verdict
        self._results[case.id].set_result(result)
        self._session.siblings.settle(self._session.address, case.id, str(result.verdict))
        if self._progress is not None:
            self._progress.case_ended(self._target, self._session.address, result)

    async def _await_turn(self, case: Case) -> None:
        if case.turn is Turn.LONG:
            # Those that only watch any more do not mind a Fast Open that stays pending.
            await self._session.lane.room_for_long()
        elif case.turn > Turn.LONG:
            earlier = [
                self._results[other.id] for other in self._settings.cases if other.turn < case.turn
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
