"""Makes the attempts of a question until they come to an answer; ``judging.ballot`` weighs them.

No answer at all counts only while a plain control SYN, sent around the same time, is answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Generic, TypeVar

from tfocheck.engine.flow import Flow
from tfocheck.engine.together import all_or_nothing
from tfocheck.judging.ballot import (
    BAD,
    Ballot,
    LookInto,
    OtherKeyError,
    Said,
    Settled,
    Spent,
    UnansweredError,
    UnusableError,
)
from tfocheck.model.case import Agreement, Outcome, Verdict
from tfocheck.server.attempt import Attempt, checked
from tfocheck.server.controls import after_attempt
from tfocheck.server.erring import errs
from tfocheck.server.evidence import Evidence
from tfocheck.server.session import Session

SILENCE_CHECKS = 3
SILENCE_PAUSE = 1.0
"""Seconds between the attempts that confirm a silence."""

A = TypeVar("A", bound=Attempt)
Try = Callable[[A], Awaitable[Outcome]]
"""How one attempt is made, with what it is given."""


class Weighing(Generic[A]):
    """One question to an address, and the attempts at it."""

    def __init__(self, session: Session, whole: A, attempt: Try[A], how: Agreement) -> None:
        self._session = session
        self._whole = whole
        self._attempt = attempt
        self._how = how
        need = how.need or session.attempts
        if session.has_lost:
            need += how.more_where_lossy
        self._ballot: Ballot[Evidence] = Ballot(
            need,
            together=how.together,
            many_keys=how.other_key is not None,
            suspects=how.unanswered is not None,
        )
        self._cookies_taken = 0
        self._failures = 0
        """So many attempts found nothing bad but that they were not served."""
        self._turned_down = 0
        """So often was the cookie at hand turned down with another one."""

    async def agree(self) -> Outcome:
        """Repeat the attempt until one is conclusive, or enough of them agree."""
        ballot = self._ballot
        while True:
            match ballot.next():
                case Settled(outcome, evidence):
                    if self._is_blamed_for_a_crowd(outcome):
                        return await self._one_by_one()
                    evidence.decide()
                    return outcome
                case Spent() as spent:
                    return await self._without_agreement(spent)
                case LookInto():
                    refused = await self._refused()
                    if refused is not None:
                        return refused
                    if not await self._session.is_answering():
                        ballot.give_up()
                case step:
                    if step.pause:
                        await self._session.clock.sleep(step.pause)
                    ballot.count(await self._make(step.count))
                    silences = self._session.facts.silences
                    if silences and ballot.is_silent:
                        # What gets no answer here is known to get lost on the way.
                        return self._whole.skipped(f"no answer: see {next(iter(silences))}")

    async def _make(self, count: int) -> list[tuple[Said, Evidence]]:
        if count == 1:
            return [await self._make_one(self._whole.part())]
        parts = [self._whole.part() for _ in range(count)]
        return await all_or_nothing(map(self._make_one, parts))

    async def _make_one(self, part: A) -> tuple[Said, Evidence]:
        used = self._session.facts.cookie
        try:
            outcome = checked(part.case, await self._attempt(part))
            await after_attempt(part, outcome)
            self._failures += part.application.has_failed and outcome.verdict in BAD
        except (UnansweredError, UnusableError) as reason:
            if isinstance(reason, OtherKeyError) and self._how.other_key is not None:
                self._choose_cookie(used)
            return reason, part.evidence
        return outcome, part.evidence

    def _choose_cookie(self, used: bytes | None) -> None:
        """Each cookie that is taken over is tried once more often than the one before it.

        Where servers with a key each take turns, the newest one is never that of the next server;
        one that is kept meets the server that gave it within a turn of them all.
        """
        self._turned_down += 1
        if self._turned_down <= self._cookies_taken:
            self._session.facts.cookie = used
        else:
            self._cookies_taken, self._turned_down = self._cookies_taken + 1, 0

    def _is_blamed_for_a_crowd(self, outcome: Outcome) -> bool:
        """Whether attempts that were made side by side agree on not having been served.

        The control behind each was made alone: an application that takes only so many connections
        at a time serves that.
        """
        is_bad = outcome.verdict in BAD and not outcome.conclusive
        return is_bad and self._how.together and self._failures > 0

    async def _one_by_one(self) -> Outcome:
        """The same question, asked under the conditions of its controls."""
        session, how = self._session, replace(self._how, together=False)
        outcome = await Weighing(session, self._whole, self._attempt, how).agree()
        if outcome.verdict in (Verdict.PASS, Verdict.INFO) and session.limit is None:
            session.limit = (
                f"of {self._ballot.made} connections at the same time {self._failures} are not"
                " served, which are one after another: the application takes only so many"
            )
        return outcome

    # --- silence ------------------------------------------------------------------------------

    async def _refused(self) -> Outcome | None:
        """What it means that a stimulus was not answered at all; None if that was the moment."""
        silent, whole = self._ballot.silent, self._whole
        how, made = silent[0][0].how, len(silent)
        same = len({reason.how for reason, _ in silent}) == 1
        if not same or not await self._stays_unanswered(how):
            return None
        silent[0][1].decide()
        what, path = self._how.unanswered, self._how.path
        seen = f"{what} gets {how} ({made} of {made} attempts) while plain SYNs are answered"
        if path is not None:
            self._session.facts.silences.setdefault(path, seen)
            return whole.skipped(f"{seen}: see {path}")
        return whole.breach(f"{seen}: the server, or a box on the way, refuses it")

    async def _stays_unanswered(self, how: str) -> bool:
        """See that it is the stimulus that gets no answer, not the moment.

        Rate limits and short outages look alike within a second; so it is tried again at an easy
        pace, each time between two plain SYNs and with one right behind the stimulus. All of them
        must be answered at the first go.
        """
        for _ in range(SILENCE_CHECKS):
            await self._session.clock.sleep(SILENCE_PAUSE)
            if not await self._session.answers_once():
                return False
            part = self._whole.part()
            twins: list[Flow] = []
            part.opener.twins = twins
            said, _evidence = await self._make_one(part)
            for twin in twins:
                self._session.close_later(twin)
            if not isinstance(said, UnansweredError) or said.how != how:
                return False
            if not all(twin.syn_ack is not None for twin in twins):
                return False
            if not await self._session.answers_once():
                return False
        return True

    # --- no agreement -------------------------------------------------------------------------

    async def _without_agreement(self, spent: Spent) -> Outcome:
        ballot, whole, other_key = self._ballot, self._whole, self._how.other_key
        made = ballot.made
        if other_key is not None and ballot.turned_down:
            count = f"{other_key} ({ballot.turned_down} of {made})"
            if await whole.cookies.has_one_key():
                return whole.undecided(f"{count}: it keeps changing")
            return whole.breach(count)
        if (held := await self._but_for_failures()) is not None:
            return held
        if len(ballot.silent) == made:
            answering = await self._session.is_answering()
            also = "plain SYNs are answered" if answering else "nor do plain SYNs get one now"
            how = ballot.silent[0][0].how
            return whole.undecided(f"{how} in {made} of {made} attempts; {also}")
        if spent.nothing_to_see:
            return whole.skipped(spent.seen)
        return whole.undecided(spent.seen)

    async def _but_for_failures(self) -> Outcome | None:
        """What the others agree on, where an application that fails now and then failed some."""
        failures = self._failures
        held = self._ballot.but_for(failures) if failures else None
        if held is None or not await errs(self._session):
            return None
        held.evidence.decide()
        times = "once" if failures == 1 else f"{failures} times"
        seen = f"{held.outcome.seen}; {times} not served, as plain connections are not now and then"
        return Outcome(held.outcome.verdict, seen)


async def agree(session: Session, whole: A, attempt: Try[A], how: Agreement) -> Outcome:
    """The outcome of a question, over as many attempts as it takes."""
    return await Weighing(session, whole, attempt, how).agree()
