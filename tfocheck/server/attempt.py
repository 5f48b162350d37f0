"""What one attempt of a case has at hand: its evidence, and the rooms that it works with."""

from __future__ import annotations

import ipaddress
from typing import NoReturn, Self

from tfocheck.engine.flow import Flow
from tfocheck.judging.ballot import NothingToSeeError, UnusableError
from tfocheck.model.case import Case, Outcome, Verdict
from tfocheck.server.application import Application
from tfocheck.server.cookies import Cookies
from tfocheck.server.evidence import Evidence
from tfocheck.server.opener import Opener
from tfocheck.server.payload import Payload
from tfocheck.server.session import Session


class SettledError(Exception):
    """Ends a case at once with an outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.seen)
        self.outcome = outcome


class NoOutcomeError(TypeError):
    """A case has returned something that is no ``Outcome``, or none of a verdict and a text."""

    def __init__(self, case: Case, returned: object) -> None:
        super().__init__(f"case {case.id} returned {returned!r}, not an Outcome")


def checked(case: Case, returned: object) -> Outcome:
    """What a case has returned, if it is an outcome. Raises NoOutcomeError."""
    if not isinstance(returned, Outcome):
        raise NoOutcomeError(case, returned)
    if not isinstance(returned.verdict, Verdict) or not isinstance(returned.seen, str):
        raise NoOutcomeError(case, returned)
    return returned


class Attempt:
    """One attempt, or the case as a whole; see ``part``."""

    def __init__(self, session: Session, case: Case, evidence: Evidence) -> None:
        self._session = session
        self.case = case
        self.evidence = evidence
        self.opener = Opener(session, evidence)
        self.application = Application(session)
        self.cookies = Cookies(session, self.opener)
        self.alone = self.opener.alone
        self.beside_others = self.opener.beside_others

    def part(self) -> Self:
        """The same with an evidence of its own, for one attempt."""
        return type(self)(self._session, self.case, self.evidence.part())

    # --- verdicts -----------------------------------------------------------------------------

    def passed(self, seen: str, *, conclusive: bool = False) -> Outcome:
        """The requirement holds."""
        return Outcome(Verdict.PASS, seen, conclusive)

    def breach(self, seen: str, *, conclusive: bool = False) -> Outcome:
        """The requirement is broken: fail, or warn for a SHOULD (see ``Case.breach``)."""
        return self.case.breach(seen, conclusive=conclusive)

    def info(self, seen: str, *, conclusive: bool = False) -> Outcome:
        """A fact, neither good nor bad."""
        return Outcome(Verdict.INFO, seen, conclusive)

    def warning(self, seen: str) -> Outcome:
        """Legal, but not what a user of TFO wants."""
        return Outcome(Verdict.WARN, seen)

    def skipped(self, reason: str) -> Outcome:
        """The case has nothing to look at here."""
        return Outcome(Verdict.SKIP, reason)

    def undecided(self, seen: str) -> Outcome:
        """What was seen decides nothing."""
        return Outcome(Verdict.INCONCLUSIVE, seen)

    def end(self, outcome: Outcome) -> NoReturn:
        """End the case at once, whatever other attempts come to."""
        raise SettledError(outcome)

    # --- what came of a SYN -------------------------------------------------------------------

    async def is_open(self, flow: Flow) -> bool:
        """Whether a SYN with data was taken as a Fast Open, as far as can be told.

        Some servers acknowledge the data of any SYN and keep it until the handshake has ended
        (RFC 9293 section 3.10.7.2). With those an early answer tells, if they give any; raises
        NothingToSeeError where none ever came.
        """
        if flow.acknowledged == 1:
            return False
        facts = self._session.facts
        if not facts.acknowledges_plain_data:
            return True
        mute = await self.application.is_mute()
        if flow.early_data or (not mute and await self.application.early_answer(flow)):
            return True
        if mute or not facts.answers_early:
            raise NothingToSeeError(
                f"ack {flow.acknowledged}, as without a cookie, and no answer before our ACK:"
                " whether it was accepted can't be told"
            )
        came = flow.syn_ack
        waited = self._session.clock.time() - came.time if came is not None else 0.0
        if not await self.application.is_prompt(waited):
            raise UnusableError("the application takes about as long as we waited, or longer")
        return False

    @property
    def ack_tells(self) -> bool:
        """Whether an acknowledgment of SYN data shows that it was taken as a Fast Open."""
        return not self._session.facts.acknowledges_plain_data

    async def has_short_backlog(self) -> bool:
        """Whether the listener answers with SYN cookies when a few connections are half-open."""
        session = self._session
        while session.lane.backlog_is_short is None:
            await session.clock.sleep(session.round_trip)
        return session.lane.backlog_is_short

    async def must_be_open(self, flow: Flow) -> None:
        """Go on only if all of the SYN's data, a whole request, was taken as a Fast Open.

        Else the attempt proves nothing, and UnusableError is raised.
        """
        self.cookies.must_be_open(flow)
        if not await self.is_open(flow):
            raise UnusableError("the valid cookie was not honoured this time")

    # --- what everybody wants to know ---------------------------------------------------------

    @property
    def payload(self) -> Payload:
        """What the application is sent."""
        return self._session.payload

    @property
    def cookie(self) -> bytes:
        """The target's latest legal cookie for our address."""
        cookie = self._session.facts.cookie
        if cookie is None:
            self.end(self.skipped("no legal cookie to work with"))
        return cookie

    @property
    def has_cookie(self) -> bool:
        """Whether a legal cookie has come."""
        return self._session.facts.cookie is not None

    @property
    def own_address(self) -> bytes:
        """Our address as the server should see it, 4 or 16 bytes."""
        return ipaddress.ip_address(self._session.source).packed
