"""Many targets: each of their addresses, a few at a time, and one report."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import partial

from tfocheck.engine.lane import Lane
from tfocheck.engine.ports import Wire
from tfocheck.engine.together import all_or_nothing
from tfocheck.errors import UnreachableError
from tfocheck.model.plan import Plan
from tfocheck.model.report import AddressReport, Report
from tfocheck.model.target import Address, Target
from tfocheck.runner.address import check_address
from tfocheck.runner.schedule import Progress
from tfocheck.runner.target import resolve
from tfocheck.server.siblings import Siblings
from tfocheck.version import __version__

TARGETS_AT_ONCE = 4


async def run(
    plan: Plan,
    wire: Wire,
    progress: Progress | None = None,
    *,
    keep_what_is_done: bool = False,
) -> Report:
    """Check all addresses of all targets of a plan.

    Targets that can't be resolved are in ``Report.errors``. Where it is cancelled and
    ``keep_what_is_done``, what was done by then is returned. Raises CannotError when this machine
    can't do it (no ports left, a local firewall).
    """
    started, began = wire.clock.time(), wire.clock.monotonic()
    wire.start()
    few = asyncio.Semaphore(TARGETS_AT_ONCE)
    errors: dict[str, str] = {}
    lanes: dict[tuple[str, int], Lane] = {}
    done: dict[tuple[Target, Address], AddressReport] = {}

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
                kept(
                    (target, address),
                    check_address(
                        plan,
                        address,
                        wire,
                        target=target,
                        lane=lane,
                        siblings=siblings,
                        progress=progress,
                        cut=partial(done.__setitem__, (target, address)),
                    ),
                )
                for address in addresses
            )

    async def kept(place: tuple[Target, Address], check: Awaitable[AddressReport]) -> AddressReport:
        done[place] = report = await check
        return report

    try:
        reports = await all_or_nothing(one(target) for target in plan.targets)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if not keep_what_is_done or task is None:
            raise
        task.uncancel()
        reports = [
            [report for (each, _), report in done.items() if each == target]
            for target in plan.targets
        ]
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
