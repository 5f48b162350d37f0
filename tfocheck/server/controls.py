"""Controls: what is made beside a case's attempts, without which they would prove nothing."""

from __future__ import annotations

from tfocheck.judging.ballot import NothingToSeeError, UnusableError
from tfocheck.model.case import Control, Outcome, Verdict
from tfocheck.server.attempt import Attempt
from tfocheck.wire.options import FastOpen

_BAD = (Verdict.FAIL, Verdict.WARN)


async def after_attempt(attempt: Attempt, outcome: Outcome) -> None:
    """The controls of an attempt that has found a breach. Raises UnusableError if one fails."""
    if outcome.verdict not in _BAD or outcome.conclusive:
        return
    control = attempt.case.control
    if Control.ISSUING in control and not await attempt.cookies.still_offered():
        raise UnusableError(
            f"{outcome.seen}; but an ordinary request gets no cookie now either (a queue of pending"
            " requests, or a backlog, that is full)"
        )
    if Control.SAME_KEY in control:
        await _key_is_the_same(attempt)
    if Control.SERVED in control:
        await _is_served(attempt, outcome)


async def _key_is_the_same(attempt: Attempt) -> None:
    """Go on only if the cookie that was valid still is: the server's key has not changed."""
    data = attempt.payload.data
    async with attempt.alone("control: valid cookie", FastOpen(attempt.cookie), data=data) as flow:
        await attempt.must_be_open(flow)


async def _is_served(attempt: Attempt, outcome: Outcome) -> None:
    data, application = attempt.payload.data, attempt.application
    label = "control: valid cookie and the whole request"
    async with attempt.alone(label, FastOpen(attempt.cookie), data=data) as flow:
        await attempt.must_be_open(flow)
        wrong = None if await application.is_mute() else await application.serves(flow)
    if wrong:
        raise NothingToSeeError(
            f"{outcome.seen}; but an ordinary Fast Open fares no better: {wrong}"
        )


async def accepts_valid_cookie(attempt: Attempt, label: str) -> Outcome:
    """One Fast Open with the valid cookie: pass when all of its data is acknowledged."""
    cookie, data = attempt.cookie, attempt.payload.data
    async with attempt.alone(label, FastOpen(cookie), data=data) as flow:
        attempt.evidence.point_out(flow, flow.syn_ack)
        if flow.acknowledged == 1 + len(data):
            try:
                is_open = await attempt.is_open(flow)
            except NothingToSeeError as reason:
                return attempt.undecided(f"cookie and {len(data)} bytes of data: {reason}")
            if is_open:
                attempt.cookies.accepted(flow)
                return attempt.passed(
                    f"cookie and {len(data)} bytes of data: all acknowledged"
                    f" (ack {flow.acknowledged})",
                    conclusive=True,
                )
            return attempt.breach(
                "a cookie of this minute opens nothing: the data is acknowledged as without one,"
                " and not answered early"
            )
        if flow.acknowledged != 1:
            return attempt.breach(
                f"only {(flow.acknowledged or 1) - 1} of {len(data)} bytes on the SYN acknowledged"
            )
        attempt.cookies.refuse_other_key(flow)
        # What comes right behind the SYN-ACK may contradict it (path.sequence-rewritten).
        if not await attempt.application.early_answer(flow) and not flow.has_ended:
            await attempt.application.replies(flow)
        return attempt.breach("a cookie of this minute opens nothing: the data is not acknowledged")
