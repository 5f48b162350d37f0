"""Conducts a case: the controls that it declares, its attempts, and the controls behind them."""

from __future__ import annotations

import functools

from tfocheck.model.case import Agreement, Control, Outcome, Verdict
from tfocheck.server.attempt import SettledError, checked
from tfocheck.server.contained import run_contained
from tfocheck.server.controls import accepts_valid_cookie
from tfocheck.server.probe import Probe
from tfocheck.server.session import Session
from tfocheck.server.weighing import agree

ACCEPTANCE_KEEPS = 60.0
"""Seconds for which an accepted valid cookie is the positive control of a rejection."""


async def conduct(session: Session, probe: Probe) -> Outcome:
    """The outcome of the probe's case. Raises what the case raises, and NoOutcomeError."""
    case = probe.case
    contained = functools.partial(run_contained, case)
    try:
        if Control.VALID_COOKIE in case.control:
            await positive_control(session, probe)
        if case.agreement is not None:
            outcome = await agree(session, probe, contained, case.agreement)
        else:
            outcome = checked(case, await contained(probe))
        return outcome
    except SettledError as settled:
        return settled.outcome


async def positive_control(session: Session, probe: Probe) -> None:
    """Make sure that the valid cookie was accepted within the last minute.

    Raises SettledError when it is not accepted: then a rejection would prove nothing.
    """
    at = session.accepted_at
    if at is not None and session.clock.monotonic() - at < ACCEPTANCE_KEEPS:
        return

    async def attempt(part: Probe) -> Outcome:
        return await accepts_valid_cookie(part, "positive control: valid cookie")

    outcome = await agree(session, probe, attempt, Agreement(together=False))
    if outcome.verdict is not Verdict.PASS:
        probe.end(
            probe.undecided("the valid cookie is not accepted now, so a rejection proves nothing")
        )
