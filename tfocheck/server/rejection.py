"""Rejections: SYNs that must open nothing, each with a positive control."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tfocheck.engine.flow import Flow
from tfocheck.engine.together import all_or_nothing
from tfocheck.judging.ballot import UnusableError
from tfocheck.model.case import Agreement, Outcome, Verdict
from tfocheck.model.route import PLAIN
from tfocheck.server import tracer
from tfocheck.server.attempt import Attempt
from tfocheck.server.opener import Syn
from tfocheck.server.session import Session
from tfocheck.server.weighing import agree
from tfocheck.wire.options import FastOpen

Named = tuple[str, Callable[[], Syn]]
"""What it is called, and a function that makes one for each attempt."""


@dataclass(frozen=True)
class Rejection:
    """How SYNs are rejected.

    ``summary`` names them all; with ``ignored`` the option must be treated as absent: the SYN-ACK
    may not carry a cookie either. ``each`` attempts (default: all of a single one, else one less)
    must agree. Without ``watch`` the ack decides alone, if it can, and no time is spent on looking
    for an early answer.
    """

    summary: str = ""
    ignored: bool = False
    each: int | None = None
    watch: bool = True


@dataclass
class _Tally:
    """What the attempts of all the SYNs came to; what is printed is counted here."""

    made: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    acks: set[int] = field(default_factory=set)
    watched: bool = True

    def note(self, name: str, flow: Flow, *, watched: bool) -> None:
        """This one was rejected."""
        self.rejected[name] = self.rejected.get(name, 0) + 1
        self.acks.add(flow.acknowledged or 0)
        self.watched = self.watched and watched

    @property
    def ack(self) -> str:
        """What the rejected ones had acknowledged."""
        return f"ack {' or '.join(map(str, sorted(self.acks)))}"

    @property
    def count(self) -> str:
        """How many were rejected, of how many."""
        each, rejected = min(self.rejected.values()), sum(self.rejected.values())
        if self.made == rejected:
            return f"{each} of {each} each"
        return f"{each} each, of {self.made} sent"


async def rejects(
    session: Session, whole: Attempt, syns: Sequence[Named], how: Rejection
) -> Outcome:
    """See that none of these SYNs opens anything."""
    need = how.each or (session.attempts if len(syns) == 1 else max(2, session.attempts - 1))
    tally = _Tally()
    found = await all_or_nothing(
        _rejects_one(session, whole, name, make, how, need, tally) for name, make in syns
    )
    for verdict in (Verdict.FAIL, Verdict.WARN, Verdict.INCONCLUSIVE):
        worse = [outcome for outcome in found if outcome.verdict is verdict]
        if worse:
            return worse[0]
    names = how.summary or ", ".join(name for name, _ in syns)
    if how.ignored:
        what = f"ignored: {tally.ack}, no cookie in reply"
    else:
        what = f"{tally.ack}, no early answer" if tally.watched else tally.ack
    return whole.passed(f"{names}: {what} ({tally.count})")


async def _rejects_one(
    session: Session,
    whole: Attempt,
    name: str,
    make: Callable[[], Syn],
    how: Rejection,
    need: int,
    tally: _Tally,
) -> Outcome:
    async def attempt(part: Attempt) -> Outcome:
        tally.made += 1
        return await _is_rejected(session, part, name, make(), how, tally)

    if not how.ignored:
        # Silence is no acceptance: what refuses such a SYN may be a box on the way.
        return await agree(session, whole, attempt, Agreement(need=need))
    how_weighed = Agreement(need=need, unanswered=f"a SYN with {name}")
    outcome = await agree(session, whole, attempt, how_weighed)
    if outcome.verdict not in (Verdict.FAIL, Verdict.WARN) or outcome.conclusive:
        return outcome
    # It must be ignored, and gets no answer: is it the server that drops it?
    route = await tracer.follow(session, whole, name, make())
    if route.reaches_the_end(name):
        return whole.breach(f"{outcome.seen}; it gets as far as plain SYNs do")
    where = route.vanished(name) if route.echoes.get(PLAIN) else None
    return whole.undecided(
        f"{outcome.seen}; " + (f"it ends {where}" if where else "no router says")
    )


async def _is_rejected(
    session: Session, attempt: Attempt, name: str, syn: Syn, how: Rejection, tally: _Tally
) -> Outcome:
    facts = session.facts
    # Where data is acknowledged without a cookie too, only an early answer tells.
    watch = how.watch or facts.acknowledges_plain_data
    opening = attempt.opener.beside_others(
        name, *syn.fast_open, data=syn.data, options=syn.options, rejected=True
    )
    async with opening as flow:
        attempt.evidence.point_out(flow, flow.syn_ack)
        asked = flow.syn_options.fast_open
        if asked is not None and asked.is_request and flow.offered is None:
            raise UnusableError("no cookie comes with it now: a queue, or a backlog, may be full")
        if flow.acknowledged != 1 and not facts.acknowledges_plain_data:
            return attempt.breach(
                f"{name} accepted: {(flow.acknowledged or 1) - 1} of {len(syn.data)} bytes on the"
                " SYN acknowledged",
                conclusive=True,
            )
        if how.ignored and flow.offered is not None and not facts.volunteers_cookies:
            return attempt.breach(
                f"{name}: answered with a cookie, as if it were a request", conclusive=True
            )
        if watch and await attempt.application.early_answer(flow):
            attempt.evidence.point_out(flow, flow.early_data[0])
            but = "yet" if flow.acknowledged == 1 else "and"
            return attempt.breach(
                f"{name}: ack {flow.acknowledged}, {but} the data was answered before the handshake"
                " ended",
                conclusive=True,
            )
        if flow.acknowledged != 1 and await attempt.application.is_mute():
            return attempt.undecided(f"{name}: data is acknowledged with or without it")
        tally.note(name, flow, watched=watch)
        return attempt.passed(f"{name}: rejected")


def syn_with(cookie: Callable[[], bytes], data: bytes) -> Callable[[], Syn]:
    """Makes SYNs with a cookie that is made anew each time, and this data."""
    return lambda: Syn((FastOpen(cookie()),), data=data)
