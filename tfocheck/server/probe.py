"""The probe: what a case is handed, a façade over the rooms that make connections.

The rules of judging, which hold for every case:

* Presence is conclusive, absence needs agreement: a case is one attempt; unless its outcome is
  conclusive, several attempts on fresh flows must agree (``judging.ballot``).
* No answer at all counts only while a plain control SYN, sent around the same time, is answered.
* A rejection counts only with a positive control: the valid cookie accepted within the same minute,
  and no other Fast Open pending at that moment.
* What can't be decided is *inconclusive*, with what was seen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from tfocheck.engine.flow import Flow
from tfocheck.engine.ports import Clock
from tfocheck.engine.roundtrip import RoundTrips
from tfocheck.engine.together import all_or_nothing
from tfocheck.model.case import Agreement, Case, Outcome, Verdict
from tfocheck.model.plan import Plan
from tfocheck.model.route import Route
from tfocheck.server import rejection, silence, tracer
from tfocheck.server.attempt import Attempt
from tfocheck.server.controls import accepts_valid_cookie
from tfocheck.server.evidence import Evidence
from tfocheck.server.known import Known
from tfocheck.server.own_sources import alternatives, is_on_link
from tfocheck.server.rejection import Rejection
from tfocheck.server.session import Session
from tfocheck.server.silent_open import SilentOpen
from tfocheck.server.weighing import agree
from tfocheck.wire.options import FastOpen

Check = Callable[["Probe"], Awaitable[Outcome]]
"""One attempt at a question, on the probe that it is given."""


class Probe(Attempt):
    """One case's access to the target, as a whole or for one attempt."""

    def __init__(self, session: Session, case: Case, evidence: Evidence | None = None) -> None:
        if evidence is None:
            evidence = session.evidence[case.id] = Evidence()
        super().__init__(session, case, evidence)
        self.facts = Known(session.facts, case)

    # --- what the user asked for --------------------------------------------------------------

    @property
    def plan(self) -> Plan:
        """What the run was asked to look at."""
        return self._session.plan

    @property
    def attempts(self) -> int:
        """How many attempts must agree on an absence."""
        return self._session.attempts

    @property
    def timeout(self) -> float:
        """The longest wait for any one answer, in seconds."""
        return self._session.timeout

    # --- the path -----------------------------------------------------------------------------

    @property
    def clock(self) -> Clock:
        """The clock of the wire."""
        return self._session.clock

    @property
    def round_trips(self) -> RoundTrips:
        """The round trips that were measured."""
        return self._session.round_trips

    @property
    def round_trip(self) -> float:
        """A cautious round-trip time in seconds."""
        return self._session.round_trip

    @property
    def has_lost(self) -> bool:
        """Whether a SYN or SYN-ACK got lost."""
        return self._session.has_lost

    @property
    def limit(self) -> str | None:
        """The limit on new connections that was met, in words."""
        return self._session.limit

    @property
    def source(self) -> str:
        """Our usual address."""
        return self._session.source

    @property
    def own_sources(self) -> tuple[str, ...]:
        """Our addresses to compare cookies across, the usual one first."""
        session = self._session
        asked = session.plan.alt_sources
        own = session.wire.own_addresses()
        return (session.source, *alternatives(own, asked, session.source, session.address))

    @property
    def nat_is_ruled_out(self) -> bool:
        """True if different addresses of ours reach the target as different ones for certain."""
        session = self._session
        return session.plan.no_nat or is_on_link(
            session.wire.own_addresses(), session.source, session.address
        )

    @property
    def own_mss(self) -> int:
        """The MSS that we announce, in bytes."""
        return self._session.own_mss

    def option_bytes(self, *fast_open: FastOpen) -> int:
        """How many bytes of options an everyday SYN with these Fast Open options has."""
        return self._session.option_bytes(*fast_open)

    def syn_options(self, *fast_open: FastOpen, flow: Flow) -> bytes:
        """The option area of an everyday SYN with these Fast Open options."""
        return self._session.syn_options(*fast_open, flow=flow)

    # --- plain connections --------------------------------------------------------------------

    async def plain_syn(self, label: str) -> Flow:
        """An everyday SYN, and the wait for its answer, as evidence."""
        flow = await self._session.plain_syn(label)
        self.evidence.adopt(flow)
        return flow

    async def plain_connection(self, label: str) -> Flow:
        """A plain connection to talk on, as evidence; ``syn_ack`` is None without an answer."""
        flow = await self._session.plain_connection(label)
        self.evidence.adopt(flow)
        return flow

    async def is_answering(self, *, patiently: bool = False) -> bool:
        """True if a plain SYN is answered now, within a few attempts.

        A No that is to count as a failure must be had ``patiently``: after many attempts.
        """
        return await self._session.is_answering(patiently=patiently)

    def knock(self, label: str) -> Flow:
        """A flow whose SYN any server answers, unless it gets lost; it is still to be sent."""
        flow = self.opener.new_flow(label)
        self._session.answerable.append(flow)
        return flow

    def learn_round_trip(self, flow: Flow) -> None:
        """Take the round trip of a flow into account."""
        self._session.learn_round_trip(flow)

    def close_later(self, flow: Flow) -> None:
        """End the connection in the background."""
        self._session.close_later(flow)

    # --- other cases, other addresses ---------------------------------------------------------

    def verdict_of(self, case_id: str) -> Verdict | None:
        """The verdict on a case that this one comes after; None if it is not run."""
        return self._session.verdicts.get(case_id)

    def flows_of(self, *case_ids: str) -> list[Flow]:
        """The connections of other cases, which this one comes after."""
        known = self._session.evidence
        return [flow for each in case_ids if each in known for flow in known[each].flows]

    def borrow(self, case_id: str, fits: Callable[[Flow], bool]) -> bool:
        """Take another case's connection for evidence, the first that fits; False if none does."""
        flow = next((flow for flow in self.flows_of(case_id) if fits(flow)), None)
        if flow is not None:
            self.evidence.adopt(flow)
        return flow is not None

    @property
    def all_flows(self) -> Sequence[Flow]:
        """The connections of all cases, controls included."""
        return self._session.flows

    def answerable(self) -> list[Flow]:
        """The flows whose SYN any server answers.

        Where a box drops some on purpose, only what it lets through is among them.
        """
        silences = self._session.facts.silences
        return [each for each in self._session.answerable if not silences or each.is_plain]

    async def compare_addresses(self, case_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """Address of the name → case → verdict, when all are there."""
        return await self._session.siblings.compare(case_ids)

    # --- taking turns -------------------------------------------------------------------------

    def observing(self) -> None:
        """From here on the case only watches: whoever needs the lane for long need not wait."""
        self._session.lane.depart(self.case.id)

    def exclusive(self) -> AbstractAsyncContextManager[None]:
        """Nobody else sends meanwhile."""
        return self._session.lane.exclusive()

    async def side_by_side(self, checks: Sequence[Awaitable[Outcome]]) -> list[Outcome]:
        """Make all of these checks; their outcomes in the order of the checks.

        What opens a connection waits for its place in the lane, so that on a fast path, or with a
        server that has a short queue, they are made one after another all the same.
        """
        return await all_or_nothing(checks)

    async def all_hold(self, checks: Sequence[Awaitable[Outcome]], seen: str) -> Outcome:
        """Pass with this text if all of these do; else the first that does not."""
        for outcome in await self.side_by_side(checks):
            if outcome.verdict is not Verdict.PASS:
                return outcome
        return self.passed(seen)

    # --- judging ------------------------------------------------------------------------------

    async def agree(self, attempt: Check, how: Agreement | None = None) -> Outcome:
        """The outcome of one of several questions that a case asks, over several attempts."""
        return await agree(self._session, self, attempt, how or Agreement())

    async def rejects(
        self, syns: Sequence[rejection.Named], how: Rejection | None = None
    ) -> Outcome:
        """See that none of these SYNs opens anything."""
        return await rejection.rejects(self._session, self, syns, how or Rejection())

    async def rejects_cookies(
        self, cookies: Sequence[tuple[str, Callable[[], bytes]]], how: Rejection | None = None
    ) -> Outcome:
        """``rejects`` for SYNs with these cookies and the whole payload."""
        data = self.payload.data
        return await self.rejects(
            [(name, rejection.syn_with(make, data)) for name, make in cookies], how
        )

    async def accepts_valid_cookie(self, label: str) -> Outcome:
        """One Fast Open with the valid cookie: pass when all of its data is acknowledged."""
        return await accepts_valid_cookie(self, label)

    async def silent_open(self) -> SilentOpen:
        """A Fast Open that was accepted and met with silence until the SYN-ACK was repeated."""
        return await silence.silent_open(self._session, self)

    # --- the route ----------------------------------------------------------------------------

    @property
    def known_route(self) -> Route | None:
        """The route, if anybody has looked for it."""
        return self._session.known_route

    async def route(self) -> Route:
        """The route to the server; looked for once."""
        return await tracer.route(self._session, self)

    async def where_it_ends(self) -> str | None:
        """Where on the route segments get lost that follow a Fast Open; None if unknown."""
        return await tracer.where_it_ends(self._session, self)

    async def closed_port(self) -> Flow | None:
        """A SYN to a port where nobody is likely to listen, and its answer; None if none came."""
        return await tracer.closed_port(self._session, self)
