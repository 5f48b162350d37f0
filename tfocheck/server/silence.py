"""A Fast Open that was accepted and then met with silence, until the SYN-ACK was repeated.

It takes more than a second with the lane closed, so the cases that look at it share it.
"""

from __future__ import annotations

from tfocheck.engine.flow import Flow
from tfocheck.judging.ballot import UnusableError
from tfocheck.model.case import Outcome
from tfocheck.server.attempt import Attempt
from tfocheck.server.opener import REPEAT_WAIT
from tfocheck.server.session import Session
from tfocheck.server.silent_open import SilentOpen
from tfocheck.wire.options import FastOpen

INSISTENCE = 3.5
"""Seconds for which an ACK is repeated until more data comes."""


async def silent_open(session: Session, attempt: Attempt) -> SilentOpen:
    """The one of this address, made by who asks first.

    Raises UnusableError when the cookie was not honoured.
    """
    silent = session.silent_open
    async with silent.lock:
        if silent.flow is not None:
            attempt.evidence.adopt(silent.flow)
            return silent
        data, cookie = attempt.payload.data, FastOpen(attempt.cookie)
        label = "valid cookie with data, then silence"
        async with attempt.opener.alone(label, cookie, data=data) as flow:
            await attempt.must_be_open(flow)
            if not await flow.wait(lambda: flow.repeated_syn_ack is not None, REPEAT_WAIT):
                silent.not_repeated += 1
                if session.has_lost and silent.not_repeated < session.attempts:
                    raise UnusableError("the SYN-ACK was not repeated, or that got lost")
            silent.early = flow.reach
            await flow.acknowledge()
            silent.later = await attempt.application.insist(
                flow, lambda: flow.reach > silent.early, flow.acknowledge, INSISTENCE
            )
            silent.flow = flow
        return silent


def judge_repeated_syn_ack(attempt: Attempt, flow: Flow) -> Outcome:
    """Look at what the SYN-ACK carries that the server repeated after a silence.

    RFC 7413 section 4.2.2: neither data nor the Fast Open option.
    """
    first, repeated = flow.syn_ack, flow.repeated_syn_ack
    if first is None or repeated is None:
        return attempt.skipped(f"the SYN-ACK was not repeated within {REPEAT_WAIT} s")
    attempt.evidence.point_out(flow, repeated)
    after = f"repeated after {repeated.time - first.time:.1f} s"
    if repeated.segment.fast_open is not None:
        return attempt.breach(f"{after}, with the Fast Open option", conclusive=True)
    if repeated.segment.payload:
        return attempt.breach(f"{after}, with data", conclusive=True)
    return attempt.passed(f"{after}, with neither data nor the option", conclusive=True)
