"""Many targets: each of their addresses, a few at a time, and one report."""

from __future__ import annotations

import asyncio

from tfocheck.engine.lane import Lane
from tfocheck.engine.ports import Wire
from tfocheck.engine.together import all_or_nothing
from tfocheck.errors import UnreachableError
from tfocheck.model.plan import Plan
from tfocheck.model.report import AddressReport, Report
from tfocheck.model.target import Target
from tfocheck.runner.address import check_address
from tfocheck.runner.schedule import Progress
from tfocheck.runner.target import resolve
from tfocheck.server.siblings import Siblings
from tfocheck.version import __version__

TARGETS_AT_ONCE = 4


async def run(plan: Plan, wire: Wire, progress: Progress | None = None) -> Report:
    """Check all addresses of all targets of a plan.

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
                addresses = await resolve(target, plan.families, plan.addresses)
            except UnreachableError as problem:
                errors[target.text] = str(problem)
                return []
            # The addresses of a name may well be one machine, and two names one address.
            known = (lanes.get((each.literal, each.port)) for each in addresses)
            lane, siblings = next((each for each in known if each), Lane(wire.clock)), Siblings()
            lanes.update({(each.literal, each.port): lane for each in addresses})
            return await all_or_nothing(
                check_address(
                    plan,
                    address,
                    wire,
                    target=target,
                    lane=lane,
                    siblings=siblings,
                    progress=progress,
                )
                for address in addresses
            )

    try:
        reports = await all_or_nothing(one(target) for target in plan.targets)
    finally:
        wire.stop()
    return Report(
        addresses=tuple(report for group in reports for report in group),
        started=started,
        duration=wire.clock.monotonic() - began,
        version=__version__,
        errors=tuple(
            (target.text, errors[target.text]) for target in plan.targets if target.text in errors
        ),
    )
