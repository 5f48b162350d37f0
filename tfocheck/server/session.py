"""What is known of one address while it is checked: its path, its cookie, its application.

All cases of an address share a session; each has a ``Probe`` of its own on top of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tfocheck.engine.conversation import usual_options
from tfocheck.engine.flow import Flow
from tfocheck.engine.lane import Lane
from tfocheck.engine.ports import Port, Wire
from tfocheck.engine.roundtrip import RoundTrips
from tfocheck.errors import TfocheckError
from tfocheck.model.case import Verdict
from tfocheck.server.own_sources import further_addresses, is_on_link
from tfocheck.server.payload import Payload
from tfocheck.wire import options as tcp_options
from tfocheck.wire.evidence import FlowRecord

if TYPE_CHECKING:
    from tfocheck.server.route import Route

IPV4_MSS = 1460
IPV6_MSS = 1440

QUIET_FLOOR = 0.03
ACCEPTANCE_KEEPS = 60.0
"""Seconds for which an accepted valid cookie is the positive control of a rejection."""


@dataclass(frozen=True)
class Extras:
    """What the user asked for beyond the default run.

    ``thorough`` tries more of the same; ``soak`` is how long to replay a cookie, in seconds;
    ``alt_sources`` are further addresses of ours; ``no_nat`` vouches that no NAT is between them
    and the target; ``off_port`` is a port of the target without Fast Open; ``trace`` looks at the
    route hop by hop.
    """

    intrusive: bool = False
    thorough: bool = False
    soak: float | None = None
    alt_sources: tuple[str, ...] = ()
    no_nat: bool = False
    off_port: int | None = None
    trace: bool = False


@dataclass
class OrdinaryAnswer:
    """What the application answers on plain connections.

    ``signatures`` are the stable parts of the answers seen (``Payload.signature``), empty for an
    application that says nothing; ``delay`` is the longest time in seconds from the request, or the
    handshake, to the first byte, less a round trip.
    """

    signatures: set[bytes] = field(default_factory=set)
    delay: float = 0.0


@dataclass
class SilentOpen:
    """A Fast Open that was accepted and then met with silence, which several cases look at.

    ``early`` is how many bytes came before our ACK, ``later`` whether more came after it;
    ``not_repeated`` counts the tries without a repeated SYN-ACK.
    """

    flow: Flow | None = None
    early: int = 0
    later: bool = False
    not_repeated: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Siblings:
    """What the addresses of one name know of each other: their verdicts, once they are there."""

    def __init__(self) -> None:
        self._results: dict[str, dict[str, asyncio.Future[str]]] = {}

    def announce(self, address: str, case_ids: Sequence[str]) -> None:
        """This address is going to have verdicts on these cases."""
        loop = asyncio.get_running_loop()
        self._results[address] = {case_id: loop.create_future() for case_id in case_ids}

    def settle(self, address: str, case_id: str, verdict: str) -> None:
        """A verdict is there."""
        self._results[address][case_id].set_result(verdict)

    async def compare(self, case_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """Address → case → verdict, when all are there; "not run" for a case that is not run."""
        return {
            address: {
                case_id: await asyncio.shield(known[case_id]) if case_id in known else "not run"
                for case_id in case_ids
            }
            for address, known in list(self._results.items())
        }


class Session:
    """One address of a target.

    ``source`` is our address, ``scope_id`` the interface index for link-local ones; ``timeout`` in
    seconds bounds every single wait; ``attempts`` is how many must agree on an absence.
    """

    def __init__(
        self,
        *,
        wire: Wire,
        lane: Lane,
        address: str,
        port: int,
        source: str,
        scope_id: int,
        payload: Payload,
        attempts: int,
        timeout: float,
        extras: Extras,
        siblings: Siblings,
    ) -> None:
        self.wire = wire
        self.clock = wire.clock
        self.lane = lane
        self.address = address
        self.port = port
        self.source = source
        self.scope_id = scope_id
        self.payload = payload
        self.attempts = attempts
        self.timeout = timeout
        self.extras = extras
        self.siblings = siblings
        self.round_trips = RoundTrips()
        self.server_mss: int | None = None
        self.cookie: bytes | None = None
        self.accepted_at: float | None = None
        self.answers_early = False
        self.acknowledges_plain_data = False
        self.volunteers_cookies = False
        self.has_lost = False
        """Whether a SYN or SYN-ACK got lost: then one good answer may be that to a doubled SYN."""
        self.silent_open = SilentOpen()
        self.cookies_seen: set[bytes] = set()
        """The different cookies that our usual address was issued."""
        self.silences: dict[str, str] = {}
        """Path case → which SYNs are never answered, though plain ones are."""
        self.verdicts: dict[str, Verdict] = {}
        self.flows_by_case: dict[str, list[Flow]] = {}
        self.answerable: list[Flow] = []
        """Flows whose SYN any server answers, unless it gets lost."""
        self.known_route: Route | None = None
        self.tracing = asyncio.Lock()
        self.flows: list[Flow] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._ordinary: asyncio.Task[OrdinaryAnswer] | None = None
        self.ports = {port} | ({extras.off_port} if extras.off_port else set())
        for each in self.ports:
            wire.watch(address, each)

    @property
    def round_trip(self) -> float:
        """A cautious round-trip time in seconds; the timer's start value before a first sample."""
        known = self.round_trips
        return known.spread if known.smallest is not None else 0.3

    def new_flow(self, label: str, *, source: str | None = None, port: int | None = None) -> Flow:
        """A fresh connection: new port, new ISN.

        ``source`` and ``port`` replace our usual address and the target's port. Raises CannotError
        when no port is left.
        """
        reserved = self.wire.reserve(source or self.source, self.scope_id)
        return self._adopt(reserved, label, port or self.port)

    def follow(self, flow: Flow, label: str) -> Flow:
        """A new connection from the port of one that has ended."""
        return self._adopt(flow.port, label, flow.server[1])

    def _adopt(self, reserved: Port, label: str, port: int) -> Flow:
        server = (self.address, port)
        flow = Flow(self.wire, reserved, server, scope_id=self.scope_id, label=label)
        self.flows.append(flow)
        return flow

    @property
    def own_mss(self) -> int:
        """The MSS that we announce, in bytes."""
        return IPV6_MSS if ":" in self.address else IPV4_MSS

    def syn_options(
        self, *fast_open: tcp_options.FastOpen, flow: Flow, mss: int | None = None
    ) -> bytes:
        """The option area of an everyday SYN with these Fast Open options."""
        return tcp_options.encode(usual_options(mss or self.own_mss, flow.tsval, fast_open))

    def option_bytes(self, *fast_open: tcp_options.FastOpen) -> int:
        """How many bytes of options an everyday SYN with these Fast Open options has."""
        return len(tcp_options.encode(usual_options(self.own_mss, 0, fast_open)))

    @property
    def own_sources(self) -> tuple[str, ...]:
        """Our addresses to compare cookies across, the usual one first.

        The user's ``alt_sources`` of this family; without any, further addresses of the interface
        that the target is reached by, unless they could share a NAT with the usual one: that is so
        where private addresses reach a target that is none.
        """
        alternatives = [
            each for each in self.extras.alt_sources if (":" in each) == (":" in self.address)
        ]
        if not alternatives:
            alternatives = further_addresses(self.wire.own_addresses(), self.source, self.address)
        return (self.source, *(each for each in alternatives if each != self.source))

    @property
    def nat_is_ruled_out(self) -> bool:
        """True if different addresses of ours reach the target as different ones for certain."""
        return self.extras.no_nat or is_on_link(
            self.wire.own_addresses(), self.source, self.address
        )

    def learn_round_trip(self, flow: Flow) -> None:
        """Take the round trip of a flow into account, unless its SYN-ACK may be a repeated one."""
        sample = flow.round_trip
        if sample is not None and not self.round_trips.may_be_repeated(sample):
            self.round_trips.add(max(sample, 0.0))
            self.lane.widen_for(self.round_trips.smallest or 0.0)

    async def plain_syn(self, label: str) -> Flow:
        """A control: an everyday SYN, and the wait for its answer; never pending."""
        flow = self.new_flow(label)
        self.answerable.append(flow)
        await flow.send_syn(self.syn_options(flow=flow))
        await flow.wait(
            lambda: flow.is_answered,
            self.round_trips.syn_wait(self.timeout),
        )
        self.learn_round_trip(flow)
        return flow

    async def plain_connection(self, label: str) -> Flow:
        """A plain connection to talk on: SYNs that get lost are replaced.

        Its ``syn_ack`` is None when none of many was answered.
        """
        for _ in range(3 * max(self.attempts, 3)):
            flow = await self.plain_syn(label)
            if flow.syn_ack is not None:
                break
            self.close_later(flow)
        return flow

    async def is_answering(self, *, patiently: bool = False) -> bool:
        """True if a plain SYN is answered now, within a few attempts.

        A No that is to count as a failure must be had ``patiently``: after many attempts.
        """
        for _ in range((4 if patiently else 2) * self.attempts):
            flow = await self.plain_syn("control: plain SYN")
            self.close_later(flow)
            if flow.syn_ack is not None:
                return True
        return False

    async def ordinary_answer(self) -> OrdinaryAnswer:
        """What the application answers on a plain connection; asked once."""
        if self._ordinary is None:
            self._ordinary = asyncio.create_task(self._ask_ordinarily())
        return await asyncio.shield(self._ordinary)

    async def _ask_ordinarily(self) -> OrdinaryAnswer:
        answer = OrdinaryAnswer()
        if self.payload.answers:
            # Losses must not make an application look mute, however few attempts the user wants.
            for _ in range(max(self.attempts, 3)):
                if await self.ask_once_more(answer):
                    break
        return answer

    async def shows_its_input(self) -> bool:
        """True if the application answers a damaged request otherwise than a whole one.

        Else nothing can be told from its answer: not that data was lost, nor that it came twice.
        """
        ordinary = await self.ordinary_answer()
        data, split = self.payload.data, self.payload.split
        seconds = min(self.timeout, 0.5 + 10 * ordinary.delay + 4 * self.round_trip)

        async def shows(damaged: bytes) -> bool:
            flow = await self.plain_connection("control: a damaged request")
            try:
                if flow.syn_ack is None:
                    return False
                found = await self.converse(flow, damaged, seconds)
                if found is None and flow.reset is None and await self.is_owed_data(flow):
                    # No silence: an answer is under way, or got lost.
                    found = await self.await_answer(flow, self.patience(ordinary))
                return found not in ordinary.signatures
            finally:
                self.close_later(flow)

        return all(await asyncio.gather(shows(data[split:]), shows(data[:split] + data)))

    async def ask_once_more(self, answer: OrdinaryAnswer) -> bool:
        """Ask on another plain connection and add what comes; False when nothing came."""
        flow = await self.plain_connection("control: plain connection")
        try:
            if flow.syn_ack is None:
                return False
            signature = await self.converse(flow, self.payload.data, self.timeout)
            if signature is None:
                return False
            answer.signatures.add(signature)
            asked, first = flow.asked_time, flow.first_data_time
            if asked is not None and first is not None:
                delay = first - asked - (self.round_trips.smallest or 0.0)
                answer.delay = max(answer.delay, delay)
            return True
        finally:
            self.close_later(flow)

    def patience(self, answer: OrdinaryAnswer) -> float:
        """How long an application that answers like this may take once more, in seconds.

        A lost answer comes a retransmission later, which is a second while the server's timer has
        its first value (RFC 6298 section 2.1).
        """
        return 2.5 + 10 * min(answer.delay, self.timeout) + 4 * self.round_trip

    async def converse(self, flow: Flow, data: bytes, seconds: float) -> bytes | None:
        """Send data as the handshake's ACK and wait so long for the answer's stable part.

        Data that is not acknowledged is sent again, like any client would; None when no answer came
        in time, or the server reset the connection.
        """
        start = flow.offset
        await flow.send_data(data)
        return await self.await_answer(flow, seconds, resend=(start, data))

    async def await_answer(
        self, flow: Flow, seconds: float, *, resend: tuple[int, bytes] | None = None
    ) -> bytes | None:
        """Wait for the answer's stable part; None when the time is up or the server reset."""

        def ended() -> bool:
            answered = self.payload.signature(flow.stream) is not None
            return answered or flow.has_ended

        async def again() -> None:
            if resend is not None and not flow.has_acknowledged(resend[0] + len(resend[1])):
                await flow.resend_from(*resend)
            else:
                await flow.acknowledge()  # the first one may have been lost

        await self.insist(flow, ended, again, seconds)
        return self.payload.signature(flow.stream)

    async def insist(
        self,
        flow: Flow,
        seen: Callable[[], bool],
        again: Callable[[], Awaitable[None]],
        seconds: float,
    ) -> bool:
        """Wait until the condition holds, sending something again after longer and longer pauses.

        False when the time is up, in seconds, before it does.
        """
        deadline = self.clock.monotonic() + seconds
        pause = max(0.25, 2 * self.round_trip)
        while not await flow.wait(seen, min(pause, max(0.0, deadline - self.clock.monotonic()))):
            if self.clock.monotonic() >= deadline:
                return False
            await again()
            pause *= 1.5
        return True

    async def replies(self, flow: Flow) -> bool:
        """Have the server say how much it has sent; False if it says nothing.

        Whatever was sent before on this flow has had its effect then, unless it got lost.
        """
        since = len(flow.received)
        await flow.send_keep_alive()
        return await self.insist(
            flow,
            lambda: flow.said_sent(since) is not None or flow.has_ended,
            flow.send_keep_alive,
            self.timeout,
        )

    async def is_owed_data(self, flow: Flow) -> bool:
        """True if the server has sent more than has come."""
        since = len(flow.received)
        await self.replies(flow)
        return max(flow.reach, flow.said_sent(since) or 0) > flow.stream_bytes

    async def quiet(self) -> float:
        """How long to look for an answer before it may be called absent, in seconds."""
        ordinary = await self.ordinary_answer()
        jitter = 4 * self.round_trips.variation
        return min(self.timeout, QUIET_FLOOR + 3 * ordinary.delay + jitter)

    async def reply_wait(self) -> float:
        """How long to look for what answers a segment of ours, in seconds."""
        return min(self.timeout, await self.quiet() + self.round_trip)

    def watch_port(self, port: int) -> None:
        """Capture what goes to and comes from another port of the server, too."""
        if port not in self.ports:
            self.ports.add(port)
            self.wire.watch(self.address, port)

    def close_later(self, flow: Flow) -> None:
        """End the connection in the background; ``finish`` waits for it."""
        self.run_later(flow.close(self.round_trip))

    def run_later(self, work: Coroutine[Any, Any, None] | asyncio.Task[None]) -> None:
        """Let something go on in the background until ``finish``."""
        task = asyncio.ensure_future(work)
        self._closing.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        # A connection that could not be closed in order is no reason to lose what was found.
        if not task.cancelled():
            task.exception()

    async def finish(self) -> None:
        """Wait until every connection is closed; ports stay guarded until then."""
        if self._ordinary is not None:
            self._ordinary.cancel()
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    async def abandon(self) -> None:
        """Close what is open after an interruption; one packet or two for each, no long wait."""
        for flow in self.flows:
            with contextlib.suppress(TfocheckError):
                await flow.abandon()

    def controls(self, evidence: Iterable[Flow]) -> tuple[FlowRecord, ...]:
        """The packets of the flows that are not among the evidence of any case."""
        cited = set(map(id, evidence))
        return tuple(flow.record() for flow in self.flows if id(flow) not in cited)

    def release(self) -> None:
        """Give all ports back and stop capturing this address."""
        for task in self._closing:
            task.cancel()
        for flow in self.flows:
            flow.release()
        for port in self.ports:
            self.wire.unwatch(self.address, port)

    @property
    def kernel_resets(self) -> int:
        """Resets that the local kernel sent in our name: the guard has failed if there is one."""
        return sum(flow.kernel_resets for flow in self.flows)
