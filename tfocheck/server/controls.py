"""Controls: what is made beside a case's attempts, without which they would prove nothing."""

from __future__ import annotations

from tfocheck.model.case import Control, Outcome, Verdict
from tfocheck.server.attempt import Attempt
from tfocheck.wire.options import FastOpen

_BAD = (Verdict.FAIL, Verdict.WARN)


async def after_attempt(attempt: Attempt, outcome: Outcome) -> None:
    """The controls of an attempt that has found a breach. Raises UnusableError if one fails."""
    is_breach = outcome.verdict in _BAD and not outcome.conclusive
    if is_breach and Control.SAME_KEY in attempt.case.control:
        await attempt.cookies.key_is_the_same()


async def after_case(attempt: Attempt, outcome: Outcome) -> Outcome:
    """The outcome of a case, when the controls that belong behind it have been made."""
    if outcome.verdict is not Verdict.FAIL or Control.ISSUING not in attempt.case.control:
        return outcome
    if await attempt.cookies.still_offered():
        return outcome
    return attempt.undecided(
        f"{outcome.seen}; but cookies are not issued now either: the queue of pending requests"
        " seems to be full"
    )


async def accepts_valid_cookie(attempt: Attempt, label: str) -> Outcome:
    """One Fast Open with the valid cookie: pass when all of its data is acknowledged."""
    cookie, data = attempt.cookie, attempt.payload.data
    async with attempt.alone(label, FastOpen(cookie), data=data) as flow:
        attempt.evidence.point_out(flow, flow.syn_ack)
        if flow.acknowledged == 1 + len(data):
            attempt.cookies.accepted()
            return attempt.passed(
                f"cookie and {len(data)} bytes of data: all acknowledged (ack {flow.acknowledged})",
                conclusive=True,
            )
        if flow.acknowledged != 1:
            return attempt.breach(
                f"only {(flow.acknowledged or 1) - 1} of {len(data)} bytes on the SYN acknowledged"
            )
        attempt.cookies.refuse_other_key(flow)
        # What comes right behind the SYN-ACK may contradict it (path.sequence-rewritten).
        await attempt.application.early_answer(flow)
        return attempt.breach("a cookie of this minute opens nothing: the data is not acknowledged")
