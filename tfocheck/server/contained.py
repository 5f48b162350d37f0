"""A case as it was written, kept from ending anything but itself.

An interrupt, an exit or a cancellation that a case raises itself would end the whole run: it comes
out as an ``Exception`` instead. Those that come from outside pass.
"""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path

from tfocheck.model.case import Case, Outcome
from tfocheck.server.probe import Probe
from tfocheck.server.watch import NoTurnError, given_turns

LONGEST = 900.0
"""Seconds that an attempt of a user's case may take, besides a soak, on its loop's clock."""


class EscapeError(Exception):
    """What a case raised that would have ended more than itself: its ``__cause__``."""


async def run_contained(case: Case, probe: Probe) -> Outcome:
    """What the case returns. Raises what it raises, but only an ``Exception`` of its own."""
    if not case.is_users:
        return await case.run(probe)
    longest = LONGEST + (probe.plan.soak or 0.0)
    try:
        with given_turns():
            async with asyncio.timeout(longest):
                return await case.run(probe)
    except TimeoutError as problem:
        if isinstance(problem.__cause__, asyncio.CancelledError):
            raise EscapeError(f"it did not end within {longest:.0f} s") from problem.__cause__
        raise
    except Exception:
        raise
    except BaseException as problem:
        if _is_its_own(case, problem):
            raise EscapeError(repr(problem)) from problem
        raise


def _is_its_own(case: Case, problem: BaseException) -> bool:
    """Whether the case raised it, and nobody who wants the run to end."""
    task = asyncio.current_task()
    match problem:
        case SystemExit() | NoTurnError():
            return True
        case asyncio.CancelledError():
            return task is not None and not task.cancelling()
        case GeneratorExit():
            return task is not None  # else the coroutine is closed from outside
    # An interrupt comes at any place, but hardly out of the case's file.
    *_, (frame, _) = traceback.walk_tb(problem.__traceback__)
    return Path(frame.f_code.co_filename) == case.path
