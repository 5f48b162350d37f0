"""Conducts a case: the controls that it declares, its attempts, and the controls behind them."""

from __future__ import annotations

import functools

from tfocheck.engine.flow import Flow
from tfocheck.model.case import Agreement, Control, Outcome, Verdict
from tfocheck.model.facts import Facts
from tfocheck.server.attempt import SettledError, checked
from tfocheck.server.contained import run_contained
from tfocheck.server.controls import accepts_valid_cookie
from tfocheck.server.probe import Probe
from tfocheck.server.session import Session
from tfocheck.server.weighing import agree
from tfocheck.wire.options import FastOpen

HELD = (Verdict.PASS, Verdict.INFO)

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
        if Control.VALID_COOKIE in case.control and outcome.verdict in HELD:
            await there_was_room(session, probe)
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


async def there_was_room(session: Session, probe: Probe) -> None:
    """Make sure that the server's queue of pending requests was not full after a fallback.

    With a full one it falls back from any cookie, and gives none (RFC 7413 section 4.2.2, step 2).
    That the valid cookie is accepted after it, or turned down with another one, shows that there is
    room. Raises SettledError when it does not.
    """
    fell_back = [
        flow.asked_at or 0.0
        for flow in probe.evidence.flows
        if _may_have_met_full(flow, session.facts)
    ]
    if not fell_back:
        return

    async def attempt(part: Probe) -> Outcome:
        label = "control: valid cookie, after the fallback"
        data = part.payload.data
        async with part.alone(label, FastOpen(part.cookie), data=data) as flow:
            if await part.is_open(flow):
                part.cookies.accepted(flow)
            elif flow.offered is None:
                return part.breach("the valid cookie falls back, too")
            return part.passed("there is room", conclusive=True)

    async with session.asking_for_room:  # one control does for all that ended before it
        if (session.accepted_at or 0.0) > max(fell_back):
            return
        outcome = await agree(session, probe, attempt, Agreement(together=False))
    if outcome.verdict is not Verdict.PASS:
        probe.end(
            probe.undecided(
                "the valid cookie is not accepted now either: a fallback proves nothing while the"
                " queue of pending requests may be full"
            )
        )


def _may_have_met_full(flow: Flow, facts: Facts) -> bool:
    """Whether a full queue would explain what came of a SYN with a cookie."""
    if flow.syn_ack is None or flow.offered is not None or flow.is_plain or flow.early_data:
        return False
    return flow.acknowledged == 1 or facts.acknowledges_plain_data
