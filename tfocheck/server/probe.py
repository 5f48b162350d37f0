"""The probe: what a case is handed. It opens crafted connections and weighs what was seen.

The rules of judging live here, so that a case reads as the packet exchange it tests:

* Presence is conclusive, absence needs agreement: an attempt returns an ``Outcome``; unless that is
  conclusive, several attempts on fresh flows must agree.
* No answer at all counts only while a plain control SYN, sent around the same time, is answered.
* A rejection counts only with a positive control: the valid cookie accepted within the same minute,
  and no other Fast Open pending at that moment.
* What can't be decided is *inconclusive*, with what was seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ipaddress
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tfocheck.engine.flow import Flow
from tfocheck.engine.stream import STREAM_KEPT
from tfocheck.engine.transcript import RECEIVE_WINDOW
from tfocheck.model.case import Case, Outcome, Verdict
from tfocheck.server.payload import Payload
from tfocheck.server.route import AFTER_OPEN, PAUSES, Route, Tracer
from tfocheck.server.session import ACCEPTANCE_KEEPS, QUIET_FLOOR, Session, SilentOpen
from tfocheck.wire.evidence import Captured, FlowRecord
from tfocheck.wire.options import FastOpen

_attempt_flows: contextvars.ContextVar[list[Flow] | None] = contextvars.ContextVar(
    "attempt_flows", default=None
)

FALLBACK_PAUSES = (0.0, 0.3, 1.0)
"""Seconds before each further attempt after an unexpected fallback: other clients' pending requests
may fill a short queue for a moment."""

UNUSED_PORTS = (30_000, 32_768)
"""No service is usually found in there, nor do systems take client ports from it."""

INSISTENCE = 3.5
"""Seconds for which an ACK is repeated until more data comes."""

LEAST_TO_BLAME = 3
"""So many attempts must agree that something is missing, however few the user wants."""

MORE_KEYS = 20
"""So many more attempts where each may meet another server of a farm, with a key of its own."""

_BAD = (Verdict.FAIL, Verdict.WARN)
_DECIDED = tuple(verdict for verdict in Verdict if verdict is not Verdict.INCONCLUSIVE)

SILENCE_CHECKS = 3
SILENCE_PAUSE = 1.0
"""Seconds between the attempts that confirm a silence."""

CONFIRMATIONS = 3
"""So often a server must say that it has nothing more to send where packets get lost: our ACKs may,
and without them it sends no more."""

ACK_COPIES = 3
ACK_PAUSE = 0.002
"""An ACK that nothing answers is sent so often, and so many seconds apart."""

REPEAT_WAIT = 3.5
"""Seconds to wait for a repeated SYN-ACK: RFC 6298's timer is 1 s, that of older stacks 3 s."""


WAVES = 3
WAVE = 8
"""So often, one after another, so many cookies are asked for at a time to tell a key that changes
from servers with a key each."""

MOST_CHANGES = 4
"""So many cookies a wave may bring if it takes its time: what got lost is asked for again."""


class SettledError(Exception):
    """Ends a case at once with an outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.seen)
        self.outcome = outcome


class UnansweredError(Exception):
    """A SYN got no SYN-ACK; ``how`` says what it got."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class UnusableError(Exception):
    """An attempt that proves nothing either way, with the reason; it is repeated."""


class OtherKeyError(UnusableError):
    """The valid cookie was turned down, and another one offered: there is another key."""


T = TypeVar("T")

OptionArea = bytes | Callable[[int], bytes]


@dataclass(frozen=True)
class Syn:
    """What a SYN carries.

    ``options`` replaces the everyday option area, ``fast_open`` with it; as a function it is given
    the flow's timestamp, which must go on from there on later segments.
    """

    fast_open: tuple[FastOpen, ...] = ()
    data: bytes = b""
    options: OptionArea | None = None
    mss: int | None = None
    window: int = RECEIVE_WINDOW


@dataclass(frozen=True)
class Issued:
    """A cookie, and between which times the server made it, in Unix seconds."""

    cookie: bytes
    asked: float
    came: float


Attempt = Callable[[], Awaitable[Outcome]]


class Probe:
    """One case's access to the target."""

    def __init__(self, session: Session, case: Case) -> None:
        self.session = session
        self.case = case
        self.flows: list[Flow] = []
        session.flows_by_case[case.id] = self.flows
        self._deciding: dict[Flow, Captured] = {}

    # --- what a case may ask ------------------------------------------------------------------

    @property
    def attempts(self) -> int:
        """How many attempts must agree on an absence."""
        return self.session.attempts

    @property
    def payload(self) -> Payload:
        """What the application is sent."""
        return self.session.payload

    def verdict_of(self, case_id: str) -> Verdict | None:
        """The verdict on a case that this one comes after; None if it is not run."""
        return self.session.verdicts.get(case_id)

    def flows_of(self, *case_ids: str) -> list[Flow]:
        """The connections of other cases, which this one comes after."""
        return [flow for each in case_ids for flow in self.session.flows_by_case.get(each, [])]

    def borrow(self, case_id: str, fits: Callable[[Flow], bool]) -> bool:
        """Take another case's connection for evidence, the first that fits; False if none does."""
        flow = next((flow for flow in self.flows_of(case_id) if fits(flow)), None)
        if flow is not None:
            self.adopt(flow)
        return flow is not None

    @property
    def cookie(self) -> bytes:
        """The target's latest legal cookie for our address."""
        if self.session.cookie is None:
            raise SettledError(Outcome(Verdict.SKIP, "no legal cookie to work with"))
        return self.session.cookie

    @property
    def own_address(self) -> bytes:
        """Our address as the server should see it, 4 or 16 bytes."""
        return ipaddress.ip_address(self.session.source).packed

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

    # --- crafted connections ------------------------------------------------------------------

    def new_flow(
        self,
        label: str,
        *,
        after: Flow | None = None,
        source: str | None = None,
        port: int | None = None,
    ) -> Flow:
        """A fresh flow whose packets are this case's evidence.

        ``after`` hands its port on; ``source`` and ``port`` as in ``Session.new_flow``.
        """
        session = self.session
        if after is None:
            flow = session.new_flow(label, source=source, port=port)
        else:
            flow = session.follow(after, label)
        self.adopt(flow)
        return flow

    def adopt(self, flow: Flow) -> None:
        """Count a flow's packets among this case's evidence."""
        self.flows.append(flow)
        tagged = _attempt_flows.get()
        if tagged is not None:
            tagged.append(flow)

    def records(self) -> tuple[FlowRecord, ...]:
        """The packets of this case's flows so far."""
        return tuple(flow.record(self._deciding.get(flow)) for flow in self.flows)

    def point_out(self, flow: Flow, packet: Captured | None) -> None:
        """This packet of the flow is the one that the verdict rests on, if the flow decides it."""
        if packet is not None:
            self._deciding[flow] = packet

    async def answered_syn(self, flow: Flow, syn: Syn) -> Flow:
        """Send the SYN and wait for its SYN-ACK.

        Raises UnansweredError when none comes in time, and UnusableError for one so late that it
        may be a repeated one, which has no option.
        """
        session = self.session
        area = syn.options
        session.answerable.append(flow)
        if area is None:
            area = session.syn_options(*syn.fast_open, flow=flow, mss=syn.mss)
        elif not isinstance(area, bytes):
            area = area(flow.tsval)
        await flow.send_syn(area, syn.data, window=syn.window)
        await flow.wait(
            lambda: flow.is_answered,
            session.round_trips.syn_wait(session.timeout),
        )
        round_trip = flow.round_trip
        if round_trip is None:
            session.has_lost = True
            raise UnansweredError(how_unanswered(flow))
        if session.round_trips.may_be_repeated(round_trip):
            session.has_lost = True
            raise UnusableError(f"a SYN-ACK after {round_trip:.1f} s may be a repeated one")
        session.learn_round_trip(flow)
        return flow

    @contextlib.asynccontextmanager
    async def beside_others(
        self,
        label: str,
        *fast_open: FastOpen,
        data: bytes = b"",
        options: OptionArea | None = None,
        rejected: bool = False,
        source: str | None = None,
        port: int | None = None,
    ) -> AsyncIterator[Flow]:
        """A connection whose SYN leaves no Fast Open pending on a correct server.

        The lane is shared from the SYN to the SYN-ACK only. If the server takes it as a Fast Open
        all the same, others learn that their rejections prove nothing; with ``rejected`` this one
        asks for the same and raises UnusableError if it met a pending one.
        """
        session, lane = self.session, self.session.lane
        flow = self.new_flow(label, source=source, port=port)
        syn = Syn(fast_open, data=data, options=options)
        await lane.half_open.acquire()
        try:
            async with lane.shared():
                since = self.session.clock.monotonic()
                await self.answered_syn(flow, syn)
                if flow.acknowledged != 1:
                    lane.begin_pending(flow, since)
                elif rejected and lane.met_full(flow, since):
                    raise UnusableError("another Fast Open was pending at that moment")
            if flow.offered is not None and fast_open == (FastOpen(),) and source is None:
                session.cookies_seen.add(flow.offered.cookie)
            yield flow
        finally:
            lane.half_open.release()
            session.run_later(self._close(flow, self._leave_queue(flow)))

    @contextlib.asynccontextmanager
    async def alone(
        self,
        label: str,
        *fast_open: FastOpen,
        data: bytes = b"",
        options: OptionArea | None = None,
        after: Flow | None = None,
        mss: int | None = None,
        window: int = RECEIVE_WINDOW,
        may_fall_back: bool = False,
    ) -> AsyncIterator[Flow]:
        """A connection that is meant to leave a Fast Open pending; the lane says how many may.

        The lane is left when the server is known to have completed the handshake. ``after`` is an
        ended flow whose port to use; ``mss`` and ``window`` are what we announce in bytes. Where a
        server ``may_fall_back`` rightly, that says nothing of its queue.
        """
        session, lane = self.session, self.session.lane
        flow = self.new_flow(label, after=after)
        syn = Syn(fast_open, data=data, options=options, mss=mss, window=window)
        async with lane.opening():
            since = self.session.clock.monotonic()
            try:
                lane.begin_pending(flow, since)
                await self.answered_syn(flow, syn)
                self._learn_places(flow, since, may_fall_back=may_fall_back)
                yield flow
            finally:
                leaving = asyncio.create_task(self._leave_queue(flow))
                session.run_later(self._close(flow, leaving))
                if flow.acknowledged is None:
                    # Accepted or not: its place is taken until that is known.
                    lane.widen_for(REPEAT_WAIT)
                await asyncio.wait([leaving])

    def _learn_places(self, flow: Flow, since: float, *, may_fall_back: bool) -> None:
        """What an opening beside others says of the server's queue.

        Raises UnusableError when it fell back and the others may be the reason.
        """
        lane = self.session.lane
        if flow.acknowledged != 1:
            # Our ACKs that are younger than this had not arrived when the server took this SYN.
            moment = self.session.clock.monotonic() - (self.session.round_trips.smallest or 0.0) / 2
            beside = (each for each in lane.pending if isinstance(each, Flow))
            lane.prove(sum(each.was_pending_at(moment) for each in beside))
            return
        if not flow.syn_data or _has_other_cookie(flow):
            return  # with a full queue there would be no cookie
        others = lane.beside(flow, since)
        if others == 0 or (may_fall_back and others < lane.places):
            return
        if not may_fall_back:
            lane.narrow(others)
        raise UnusableError("fell back beside other pending Fast Opens")

    async def _leave_queue(self, flow: Flow) -> None:
        """See that the flow is not pending at the server any more."""
        round_trip = self.session.round_trip
        try:
            if flow.acknowledged is None and flow.reset is None and flow.icmp is None:
                # The SYN-ACK may have been lost: its repetition must not stay unanswered, or the
                # request stays pending at the server for a minute.
                await flow.wait(lambda: bool(flow.syn_acks or flow.reset), REPEAT_WAIT)
            if flow.acknowledged not in (None, 1) and not flow.fin_acknowledged:
                await flow.complete(round_trip)
        finally:
            self.session.lane.end_pending(flow)

    async def _close(self, flow: Flow, leaving: Awaitable[None]) -> None:
        # The rest of the closing does not concern the server's queue.
        await leaving
        await flow.close(self.session.round_trip)

    # --- the route ----------------------------------------------------------------------------

    async def route(self) -> Route:
        """The route to the server; looked for once, with nobody else in the lane."""
        session = self.session
        async with session.tracing:
            if session.known_route is None:
                async with session.lane.exclusive():
                    tracer = Tracer(session, self.new_flow)
                    session.known_route = await tracer.trace(cookie=session.cookie)
            return session.known_route

    async def where_it_ends(self) -> str | None:
        """Where on the route segments get lost that follow a Fast Open; None if unknown."""
        route = await self.route()
        routers = route.routers
        opening = FastOpen(self.cookie)
        async with self.alone(
            "after an open, TTL 1, 2 ...", opening, data=self.payload.data
        ) as flow:
            reached: set[str] = set()
            for pause in PAUSES:
                await self.session.clock.sleep(pause)
                for ttl, router in routers.items():
                    if router not in reached:
                        await flow.resend_from(flow.offset, b"\r\n", ttl=ttl)
                await flow.wait(
                    lambda: {each.sender for each in flow.icmps} >= set(routers.values()),
                    self.session.round_trips.syn_wait(self.session.timeout),
                )
                reached = {each.sender for each in flow.icmps if each.is_time_exceeded}
        route.note_reached(AFTER_OPEN, reached)
        return route.vanished(AFTER_OPEN)

    async def closed_port(self) -> Flow | None:
        """A SYN to a port where nobody is likely to listen, and its answer; None if none came."""
        session = self.session
        for _ in range(self.attempts):
            port = UNUSED_PORTS[0] + secrets.randbelow(UNUSED_PORTS[1] - UNUSED_PORTS[0])
            session.watch_port(port)
            flow = self.new_flow(f"plain SYN to port {port}", port=port)
            await flow.send_syn(session.syn_options(flow=flow))
            wait = session.round_trips.syn_wait(session.timeout)
            await flow.wait(lambda flow=flow: flow.is_answered, wait)  # type: ignore[misc]
            session.close_later(flow)
            if flow.reset is not None or flow.syn_ack is not None:
                return flow
        return None

    # --- what an application does with it -----------------------------------------------------

    async def application_is_mute(self) -> bool:
        """True when acceptance can only be judged by the ack: nothing answers our payload."""
        if not self.payload.answers:
            return True
        return not (await self.session.ordinary_answer()).signatures

    async def early_answer(self, flow: Flow) -> bool:
        """Wait for data from the server before our ACK; False when none came in good time."""
        quiet = await self.session.quiet()
        await flow.wait(lambda: bool(flow.early_data) or flow.reset is not None, quiet)
        self.session.answers_early |= bool(flow.early_data)
        return bool(flow.early_data)

    async def serves(self, flow: Flow, data: bytes | None = None) -> str | None:
        """Finish the handshake with this data and see the connection work.

        Without data only the handshake is finished. Returns None when the answer is the one that
        plain connections get (for a mute application: when the data is acknowledged), else what is
        wrong with it. Raises UnusableError when plain connections fare no better now.
        """
        wrong = await self._what_is_wrong(flow, data)
        if wrong and not await self._plain_is_served():
            raise UnusableError(f"{wrong}; but plain connections are not served either")
        return wrong

    async def answers(self, flow: Flow) -> tuple[int, bool]:
        """Take in all that the server still sends.

        Returns how many answers it begins, and whether the server has confirmed that this is all.
        Raises UnusableError when a part of it stays missing.
        """
        wait = await self.session.reply_wait()
        confirmed = True
        while confirmed and not flow.has_ended and flow.stream_bytes < STREAM_KEPT:
            known = flow.stream_bytes
            await flow.acknowledge()
            if await flow.wait(lambda known=known: _goes_on(flow, known), wait):  # type: ignore[misc]
                continue
            # The end of it may have got lost, or our ACK that makes room for more: nothing tells.
            for _ in range(CONFIRMATIONS if self.session.has_lost else 1):
                confirmed = await self._confirms(flow)
                if not confirmed or _goes_on(flow, known):
                    break
            else:
                break
        return self.payload.answers_in(flow.stream), confirmed

    async def _confirms(self, flow: Flow) -> bool:
        """Have the server say how much it has sent, and wait for that; False if it says nothing."""
        session = self.session
        since = len(flow.received)
        for _ in range(ACK_COPIES):
            await flow.acknowledge()
            await self.session.clock.sleep(ACK_PAUSE)
        if not await session.replies(flow):
            return False
        missing = max(flow.reach, flow.said_sent(since) or 0)
        if await session.insist(
            flow, lambda: _goes_on(flow, missing - 1), flow.acknowledge, session.timeout
        ):
            return True
        raise UnusableError("a part of the answer does not come")

    async def _plain_is_served(self) -> bool:
        """A control for a connection that does not work: does a plain one?"""
        session = self.session
        if not await self.application_is_mute():
            return await session.ask_once_more(await session.ordinary_answer())
        # An application that closes by itself does so sooner or later: once is not enough.
        for _ in range(3):
            flow = await session.plain_connection("control: plain connection")
            try:
                if flow.syn_ack is None or await self._takes(flow, b"\r\n"):
                    return False
                await flow.wait(lambda flow=flow: flow.has_ended, QUIET_FLOOR)  # type: ignore[misc]
                if flow.has_ended:
                    return False
            finally:
                session.close_later(flow)
        return True

    async def _what_is_wrong(self, flow: Flow, data: bytes | None) -> str | None:
        session = self.session
        ordinary = await session.ordinary_answer()
        if await self.application_is_mute():
            return await self._takes(flow, data or b"\r\n")
        patience = session.patience(ordinary)
        if data:
            signature = await session.converse(flow, data, patience)
        else:
            await flow.acknowledge()
            signature = await session.await_answer(flow, patience)
        if signature is None:
            return "the server reset the connection" if flow.reset else "no answer came"
        if signature not in ordinary.signatures:
            # Perhaps the application has changed its mind: ask again before blaming the server.
            await session.ask_once_more(ordinary)
        # An application that answers now this, now that can't show more than that it answers.
        if signature not in ordinary.signatures and len(ordinary.signatures) == 1:
            return "the answer is not the one that plain connections get"
        return None

    async def _takes(self, flow: Flow, data: bytes) -> str | None:
        session = self.session
        start = flow.offset
        await flow.send_data(data)

        def taken() -> bool:
            return flow.has_acknowledged(start + len(data)) or flow.reset is not None

        async def again() -> None:
            await flow.resend_from(start, data)

        if not await session.insist(flow, taken, again, session.timeout):
            return "data after the handshake was not acknowledged"
        if flow.has_acknowledged(start + len(data)):
            return None
        return "the server reset the connection"

    def observing(self) -> None:
        """From here on the case only watches: whoever needs the lane for long need not wait."""
        self.session.lane.depart(self)

    # --- weighing -----------------------------------------------------------------------------

    async def agree(
        self,
        attempt: Attempt,
        *,
        unanswered: str | None = None,
        path: str | None = None,
        other_key: str | None = None,
        together: bool = True,
        need: int | None = None,
    ) -> Outcome:
        """Repeat an attempt until one is conclusive or enough of them agree.

        ``need`` attempts (default ``attempts``) must have the same verdict; ``together`` runs them
        side by side. ``unanswered`` names the stimulus ("a SYN with data"): when it is never
        answered while plain SYNs are, that is a breach, or what the case ``path`` has to look into.
        ``other_key`` is the breach when every
        single attempt was turned down with another cookie.
        """
        need = need or self.attempts
        tries = 3 * max(need, LEAST_TO_BLAME) + 2
        if other_key is not None:
            tries += MORE_KEYS
        agreed: dict[Verdict, list[tuple[Outcome, list[Flow]]]] = {}
        silent: list[tuple[str, list[Flow]]] = []
        unusable: list[UnusableError] = []
        made = 0
        looked_into = False
        while made < tries:
            best = max((len(found) for found in agreed.values()), default=0)
            batch = min(max(1, need - best) if together else 1, tries - made)
            # Who has just been given another cookie had better use it at once.
            is_fresh = bool(unusable) and isinstance(unusable[-1], OtherKeyError)
            if not is_fresh and (made >= need or (made and not together)):
                await self.session.clock.sleep(FALLBACK_PAUSES[min(made, len(FALLBACK_PAUSES) - 1)])
            results = await self._run(attempt, batch)
            # What one attempt has found is not undone by a good one beside it.
            results.sort(key=lambda each: not _is_bad(each[0]))
            for result, flows in results:
                if isinstance(result, UnansweredError):
                    silent.append((result.how, flows))
                elif isinstance(result, UnusableError):
                    unusable.append(result)
                elif isinstance(result, Outcome):
                    if result.conclusive:
                        _mark(flows)
                        return result
                    agreed.setdefault(result.verdict, []).append((result, flows))
            made += batch
            # An attempt that decides nothing stands in no other's way.
            decided = {each: found for each, found in agreed.items() if each in _DECIDED} or agreed
            if len(decided) == 1:
                [(verdict, found)] = decided.items()
                if len(found) >= (max(need, LEAST_TO_BLAME) if verdict in _BAD else need):
                    outcome, flows = found[0]
                    _mark(flows)
                    count = f" ({len(found)} of {made})" if need > 1 else ""
                    return Outcome(outcome.verdict, outcome.seen + count)
            if self.session.silences and len(silent) == made >= need:
                # What gets no answer here is known to get lost on the way.
                return self.skipped(f"no answer: see {next(iter(self.session.silences))}")
            # Enough to suspect the stimulus, which is looked into; loss would pass by.
            suspicious = len(silent) == made >= max(2 * need - 1, 5)
            if unanswered is not None and suspicious and not looked_into:
                looked_into = True
                refused = await self._refused(attempt, silent, unanswered, path)
                if refused is not None:
                    return refused
                if not await self.session.is_answering():
                    break
        turned_down = [reason for reason in unusable if isinstance(reason, OtherKeyError)]
        if other_key is not None and not agreed and unusable and len(turned_down) == len(unusable):
            if await self.has_one_key():
                return self.undecided(
                    f"{other_key} ({len(turned_down)} of {made}): it keeps changing"
                )
            return self.breach(f"{other_key} ({len(turned_down)} of {made})")
        return await self._without_agreement(agreed, silent, unusable, made)

    async def _run(
        self, attempt: Attempt, count: int
    ) -> list[tuple[Outcome | UnansweredError | UnusableError, list[Flow]]]:
        async def one() -> tuple[Outcome | UnansweredError | UnusableError, list[Flow]]:
            flows: list[Flow] = []
            _attempt_flows.set(flows)
            try:
                return await attempt(), flows
            except (UnansweredError, UnusableError) as reason:
                return reason, flows

        # A task for each, a single one too: each has its own idea of which attempt is running.
        tasks = [asyncio.create_task(one()) for _ in range(count)]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _refused(
        self,
        attempt: Attempt,
        silent: list[tuple[str, list[Flow]]],
        unanswered: str,
        path: str | None,
    ) -> Outcome | None:
        """What it means that a stimulus was not answered at all; None if that was the moment."""
        how = silent[0][0]
        same = len({how for how, _ in silent}) == 1
        if not same or not await self._stays_unanswered(attempt, how):
            return None
        _mark(silent[0][1])
        made = len(silent)
        seen = f"{unanswered} gets {how} ({made} of {made} attempts) while plain SYNs are answered"
        if path is not None:
            self.session.silences.setdefault(path, seen)
            return self.skipped(f"{seen}: see {path}")
        return self.breach(f"{seen}: the server, or a box on the way, refuses it")

    async def _stays_unanswered(self, attempt: Attempt, how: str) -> bool:
        """See that it is the stimulus that gets no answer, not the moment.

        Rate limits and short outages look alike within a second; so it is tried again at an easy
        pace, each time between two plain SYNs, which must all be answered at the first go.
        """
        for _ in range(SILENCE_CHECKS):
            await self.session.clock.sleep(SILENCE_PAUSE)
            if not await self._control_is_answered():
                return False
            [(result, _)] = await self._run(attempt, 1)
            if not isinstance(result, UnansweredError) or result.how != how:
                return False
            if not await self._control_is_answered():
                return False
        return True

    async def _control_is_answered(self) -> bool:
        flow = await self.session.plain_syn("control: plain SYN")
        self.session.close_later(flow)
        return flow.syn_ack is not None

    async def _without_agreement(
        self,
        agreed: dict[Verdict, list[tuple[Outcome, list[Flow]]]],
        silent: list[tuple[str, list[Flow]]],
        unusable: list[UnusableError],
        made: int,
    ) -> Outcome:
        if silent and not agreed and not unusable:
            how = silent[0][0]
            answering = await self.session.is_answering()
            also = "plain SYNs are answered" if answering else "nor do plain SYNs get one now"
            return self.undecided(f"{how} in {made} of {made} attempts; {also}")
        parts = [
            f"{found[0][0].seen} ({len(found)} of {made})" for _, found in sorted(agreed.items())
        ]
        if silent:
            parts.append(f"{silent[0][0]} ({len(silent)} of {made})")
        if unusable:
            parts.append(f"{unusable[0]} ({len(unusable)} of {made})")
        return self.undecided("attempts do not agree: " + "; ".join(parts))

    async def persistently(self, part: Callable[[], Awaitable[T]]) -> T:
        """One of several steps of an attempt: what got lost is done again, on another flow.

        Raises what the last one raised when all are lost.
        """
        for _ in range(0 if self.session.silences else self.attempts + 1):
            with contextlib.suppress(UnansweredError, UnusableError):
                return await part()
        return await part()

    async def cookies_now(
        self, count: int = 16, *, source: str | None = None, label: str = "cookie request"
    ) -> list[bytes]:
        """The legal cookies of so many requests at the same time, in the order of the requests.

        ``source`` replaces our usual address. What gets lost, or has no cookie, is asked for again.
        """
        return [each.cookie for each in await self._issued_now(count, source, label)]

    async def _issued_now(
        self, count: int, source: str | None = None, label: str = "cookie request"
    ) -> list[Issued]:
        async def one() -> Issued:
            async with self.beside_others(label, FastOpen(), rejected=True, source=source) as flow:
                option, syn_ack = flow.offered, flow.syn_ack
                if option is None or not option.has_legal_cookie:
                    raise UnusableError("no legal cookie this time")
                assert flow.syn_time is not None
                assert syn_ack is not None
                return Issued(option.cookie, flow.syn_time, syn_ack.time)

        async def surely() -> Issued | None:
            with contextlib.suppress(UnansweredError, UnusableError):
                return await self.persistently(one)
            return None

        found = await asyncio.gather(*(surely() for _ in range(count)))
        return [each for each in found if each is not None]

    async def has_one_key(self) -> bool:
        """True if all servers that answer now have the same key; then its cookie is taken over.

        A key that changes while we ask is not one that comes back.
        """
        issued = [Issued(self.cookie, 0.0, 0.0)]
        for _ in range(WAVES):
            wave = await self._issued_now(WAVE)
            issued += wave
            different = {each.cookie for each in wave}
            if not wave or len(different) > MOST_CHANGES or any_comes_back(issued):
                return False
        self.session.cookie = max(issued, key=lambda each: each.asked).cookie
        return True

    # --- verifications that several cases share -----------------------------------------------

    async def positive_control(self) -> None:
        """Make sure that the valid cookie was accepted within the last minute.

        Raises SettledError when it is not accepted: then a rejection would prove nothing.
        """
        at = self.session.accepted_at
        if at is not None and self.session.clock.monotonic() - at < ACCEPTANCE_KEEPS:
            return

        async def attempt() -> Outcome:
            return await self.accepts_valid_cookie("positive control: valid cookie")

        outcome = await self.agree(attempt, together=False)
        if outcome.verdict is not Verdict.PASS:
            raise SettledError(
                self.undecided(
                    "the valid cookie is not accepted now, so a rejection proves nothing"
                )
            )

    async def accepts_valid_cookie(self, label: str) -> Outcome:
        """One Fast Open with the valid cookie: pass when all of its data is acknowledged."""
        cookie, data = self.cookie, self.payload.data
        async with self.alone(label, FastOpen(cookie), data=data) as flow:
            self.point_out(flow, flow.syn_ack)
            if flow.acknowledged == 1 + len(data):
                self.accepted()
                return self.passed(
                    f"cookie and {len(data)} bytes of data: all acknowledged"
                    f" (ack {flow.acknowledged})",
                    conclusive=True,
                )
            if flow.acknowledged != 1:
                return self.breach(
                    f"only {(flow.acknowledged or 1) - 1} of {len(data)} bytes on the SYN"
                    " acknowledged"
                )
            return self.fell_back(flow)

    def must_be_open(self, flow: Flow) -> None:
        """Go on only if the valid cookie was honoured this time, with all of the SYN's data.

        Else the attempt proves nothing, and UnusableError is raised.
        """
        if flow.acknowledged != 1 + len(flow.syn_data):
            raise UnusableError("the valid cookie was not honoured this time")

    async def key_is_the_same(self) -> None:
        """Go on only if the cookie that was valid still is: the server's key has not changed."""
        data = self.payload.data
        async with self.alone("control: valid cookie", FastOpen(self.cookie), data=data) as flow:
            self.must_be_open(flow)

    async def still_offered(self) -> bool:
        """True if a cookie request is answered with a cookie now, within a few attempts.

        Linux stops issuing cookies while its queue of pending requests is full.
        """
        for _ in range(self.attempts):
            with contextlib.suppress(UnansweredError, UnusableError):
                async with self.beside_others("control: cookie request", FastOpen()) as flow:
                    option = flow.offered
                    if option is not None and not option.is_request:
                        return True
        return False

    def accepted(self) -> None:
        """Note that the valid cookie was accepted just now."""
        self.session.accepted_at = self.session.clock.monotonic()

    def fell_back(self, flow: Flow) -> Outcome:
        """What to make of a valid cookie that opened nothing; see ``refuse_other_key``."""
        self.refuse_other_key(flow)
        return self.breach("a cookie of this minute opens nothing: the data is not acknowledged")

    def refuse_other_key(self, flow: Flow) -> None:
        """Take over the other cookie that came with a rejection, if one did.

        Raises OtherKeyError then: the server's key has changed, or another server has answered.
        """
        fresh = flow.offered
        if fresh is not None and _has_other_cookie(flow):
            self.session.cookie = fresh.cookie
            raise OtherKeyError("turned down with another cookie (has the key changed?)")

    async def rejects(
        self,
        syns: Sequence[tuple[str, Callable[[], Syn]]],
        *,
        summary: str = "",
        is_request: bool = False,
        ignored: bool = False,
        each: int | None = None,
        watch: bool = True,
    ) -> Outcome:
        """See that none of these SYNs opens anything.

        Each is a name and a function that makes one for each attempt; ``summary`` names them all.
        With ``ignored`` the option must be treated as absent: the SYN-ACK may not carry a cookie
        either. ``each`` attempts (default: all of a single one, else one less) must agree. Without
        ``watch`` the ack decides alone, and no time is spent on looking for an early answer.
        """
        if not is_request:
            await self.positive_control()
        each = each or (self.attempts if len(syns) == 1 else max(2, self.attempts - 1))
        found = await asyncio.gather(
            *(
                self._rejects_one(name, make, ignored=ignored, need=each, watch=watch)
                for name, make in syns
            )
        )
        for verdict in (Verdict.FAIL, Verdict.WARN, Verdict.INCONCLUSIVE):
            worse = [outcome for outcome in found if outcome.verdict is verdict]
            if worse:
                return worse[0]
        names = summary or ", ".join(name for name, _ in syns)
        what = "ack 1, no early answer" if watch else "ack 1"
        what = "ignored: ack 1, no cookie in reply" if ignored else what
        return self.passed(f"{names}: {what} ({each} of {each} each)")

    async def rejects_cookies(
        self, cookies: Sequence[tuple[str, Callable[[], bytes]]], **how: Any
    ) -> Outcome:
        """``rejects`` for SYNs with these cookies and the whole payload."""
        data = self.payload.data

        def syn(make: Callable[[], bytes]) -> Callable[[], Syn]:
            return lambda: Syn((FastOpen(make()),), data=data)

        return await self.rejects([(name, syn(make)) for name, make in cookies], **how)

    async def _rejects_one(
        self, name: str, make: Callable[[], Syn], *, ignored: bool, need: int, watch: bool
    ) -> Outcome:
        async def attempt() -> Outcome:
            syn = make()
            opening = self.beside_others(
                name, *syn.fast_open, data=syn.data, options=syn.options, rejected=True
            )
            async with opening as flow:
                self.point_out(flow, flow.syn_ack)
                # Where data is acknowledged without a cookie too, only an early answer tells.
                if flow.acknowledged != 1 and not self.session.acknowledges_plain_data:
                    return self.breach(
                        f"{name} accepted: {(flow.acknowledged or 1) - 1} of {len(syn.data)} bytes"
                        " on the SYN acknowledged",
                        conclusive=True,
                    )
                answered = flow.offered is not None
                if ignored and answered and not self.session.volunteers_cookies:
                    return self.breach(
                        f"{name}: answered with a cookie, as if it were a request", conclusive=True
                    )
                if watch and await self.early_answer(flow):
                    self.point_out(flow, flow.early_data[0])
                    return self.breach(
                        f"{name}: ack 1, yet the data was answered before the handshake ended",
                        conclusive=True,
                    )
                if flow.acknowledged != 1 and (not watch or await self.application_is_mute()):
                    return self.undecided(f"{name}: data is acknowledged with or without it")
                return self.passed(f"{name}: rejected")

        # Silence is no acceptance: what refuses such a SYN may be a box on the way.
        return await self.agree(attempt, need=need)

    async def all_hold(self, checks: Sequence[Awaitable[Outcome]], seen: str) -> Outcome:
        """Pass with this text if all of these do; else the first that does not."""
        for outcome in await self.side_by_side(checks):
            if outcome.verdict is not Verdict.PASS:
                return outcome
        return self.passed(seen)

    async def side_by_side(self, checks: Sequence[Awaitable[Outcome]]) -> list[Outcome]:
        """Make all of these checks; their outcomes in the order of the checks.

        What opens a connection waits for its place in the lane, so that on a fast path, or with a
        server that has a short queue, they are made one after another all the same.
        """
        tasks = [asyncio.ensure_future(each) for each in checks]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def silent_open(self) -> SilentOpen:
        """A Fast Open that was accepted and met with silence until the SYN-ACK was repeated.

        It takes more than a second with the lane closed, so the cases that look at it share it.
        Raises UnusableError when the cookie was not honoured.
        """
        silent = self.session.silent_open
        async with silent.lock:
            if silent.flow is not None:
                self.adopt(silent.flow)
                return silent
            data = self.payload.data
            label = "valid cookie with data, then silence"
            async with self.alone(label, FastOpen(self.cookie), data=data) as flow:
                self.must_be_open(flow)
                if not await flow.wait(lambda: flow.repeated_syn_ack is not None, REPEAT_WAIT):
                    silent.not_repeated += 1
                    if self.session.has_lost and silent.not_repeated < self.attempts:
                        raise UnusableError("the SYN-ACK was not repeated, or that got lost")
                silent.early = flow.reach
                await flow.acknowledge()
                silent.later = await self.session.insist(
                    flow, lambda: flow.reach > silent.early, flow.acknowledge, INSISTENCE
                )
                silent.flow = flow
            return silent


def judge_repeated_syn_ack(probe: Probe, flow: Flow) -> Outcome:
    """Look at what the SYN-ACK carries that the server repeated after a silence.

    RFC 7413 section 4.2.2: neither data nor the Fast Open option.
    """
    first, repeated = flow.syn_ack, flow.repeated_syn_ack
    if first is None or repeated is None:
        return probe.skipped(f"the SYN-ACK was not repeated within {REPEAT_WAIT} s")
    probe.point_out(flow, repeated)
    after = f"repeated after {repeated.time - first.time:.1f} s"
    if repeated.segment.fast_open is not None:
        return probe.breach(f"{after}, with the Fast Open option", conclusive=True)
    if repeated.segment.payload:
        return probe.breach(f"{after}, with data", conclusive=True)
    return probe.passed(f"{after}, with neither data nor the option", conclusive=True)


def any_comes_back(issued: Sequence[Issued]) -> bool:
    """True if a cookie was made both before and after another one: there are two keys for certain.

    Requests of the same time prove nothing, whatever their order: each may have been delayed.
    """

    def may_end_before(one: bytes, other: bytes) -> bool:
        last = max(each.asked for each in issued if each.cookie == one)
        return last <= min(each.came for each in issued if each.cookie == other)

    return any(
        not may_end_before(one, other) and not may_end_before(other, one)
        for one, other in itertools.combinations({each.cookie for each in issued}, 2)
    )


def _has_other_cookie(flow: Flow) -> bool:
    """True if a legal cookie came back that is not the one that was sent."""
    fresh = flow.offered
    sent = next((each.segment.fast_open for each in flow.packets if each.sent), None)
    if fresh is None or not fresh.has_legal_cookie or sent is None:
        return False
    return fresh.cookie != sent.cookie


def how_unanswered(flow: Flow) -> str:
    """What a SYN got instead of a SYN-ACK."""
    if flow.reset is not None:
        return "a reset"
    if flow.icmp is not None:
        return f"ICMP {flow.icmp.name} from {flow.icmp.sender}"
    return "no answer"


def _is_bad(result: Outcome | Exception) -> bool:
    return isinstance(result, Outcome) and result.verdict in _BAD


def _mark(flows: Sequence[Flow]) -> None:
    for flow in flows:
        flow.decided = True


def _goes_on(flow: Flow, known: int) -> bool:
    """Whether more than so many bytes have come, or the end."""
    return flow.stream_bytes > known or flow.has_ended
