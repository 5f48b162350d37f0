"""One address, from the first SYN to its report: all that runs one is ``check_address``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from tfocheck.engine.lane import Lane
from tfocheck.engine.ports import Wire
from tfocheck.errors import CannotError, UnreachableError
from tfocheck.model.plan import Plan
from tfocheck.model.report import AddressReport, Traffic
from tfocheck.model.target import Address, Target
from tfocheck.runner.schedule import Progress, Schedule
from tfocheck.server.limits import Limits
from tfocheck.server.payload import for_target
from tfocheck.server.session import Session
from tfocheck.server.siblings import Siblings

FOR_CLOSING = 0.98
"""When so much of the time that a run may take is over, what is open is not waited for."""


async def check_address(
    plan: Plan,
    address: Address,
    wire: Wire,
    *,
    target: Target | None = None,
    lane: Lane | None = None,
    siblings: Siblings | None = None,
    progress: Progress | None = None,
    cut: Callable[[AddressReport], object] | None = None,
) -> AddressReport:
    """Run all cases of the plan at one address, on a wire that was started.

    ``target`` is whose address it is (the plan's first), ``lane`` keeps order among addresses that
    may be one machine, and ``siblings`` are the addresses of the same name. When it is cancelled,
    ``cut`` is given what was done by then, if anything was.
    """
    target = target or plan.targets[0]
    lane, siblings = lane or Lane(wire.clock), siblings or Siblings()
    started, began = wire.clock.time(), wire.clock.monotonic()
    payload = for_target(plan.payload, target)
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
    if plan.source is not None:
        if (":" in plan.source) != (":" in address.literal):
            family = "IPv6" if ":" in address.literal else "IPv4"
            return replace(report, not_tested=f"--source {plan.source} is no {family} address")
        source = plan.source
    session = Session(
        wire=wire,
        lane=lane,
        address=address.literal,
        port=address.port,
        source=source,
        scope_id=scope_id,
        payload=payload,
        plan=plan,
        siblings=siblings,
    )
    limits = Limits(session)
    session.on_fate, session.on_silence = limits.note, limits.meet_silence
    session.on_refusal = limits.meet_refusal
    siblings.announce(address.literal, [case.id for case in plan.cases])
    drops = wire.losses().capture_drops
    schedule = Schedule(session, plan, target.text, progress)

    def found() -> AddressReport:
        cookie = session.facts.cookie
        return replace(
            report,
            results=tuple(schedule.results()),
            rtt=session.round_trips.smallest,
            cookie_bytes=len(cookie) if cookie is not None else None,
            traffic=_traffic(session, wire.losses().capture_drops - drops),
            hops=session.known_route.hops() if session.known_route is not None else (),
            duration=wire.clock.monotonic() - began,
            controls=schedule.controls(),
        )

    try:
        await schedule.run()
        await session.finish(began + FOR_CLOSING * plan.longest)
        return found()
    except asyncio.CancelledError:
        await session.abandon()
        if cut is not None and schedule.has_begun:
            cut(replace(found(), interrupted=True))
        raise
    except CannotError as problem:
        # Another address may fare better (another port, another family, another interface).
        return replace(report, not_tested=str(problem))
    finally:
        siblings.give_up(address.literal)
        session.release()


def _traffic(session: Session, capture_drops: int) -> Traffic:
    """What this check cost: another may be at the same address, so it is its flows that count."""
    flows = session.flows
    return Traffic(
        sent=sum(flow.packets_sent for flow in flows),
        received=sum(flow.received_count for flow in flows),
        resets_sent=sum(flow.resets_sent for flow in flows),
        capture_drops=capture_drops,
        kernel_resets=session.kernel_resets,
        left_out=sum(flow.share.left_out for flow in flows),
    )
