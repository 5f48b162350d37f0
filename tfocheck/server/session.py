"""One address while it is checked: its connections, its path, and what is known of it.

All cases of an address share a session; what each of them does with it is in the rooms on top.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from tfocheck.engine.allowance import Allowance
from tfocheck.engine.conversation import usual_options
from tfocheck.engine.flow import Flow
from tfocheck.engine.lane import Lane
from tfocheck.engine.pace import Pace
from tfocheck.engine.ports import Port, Wire
from tfocheck.engine.roundtrip import RoundTrips
from tfocheck.errors import TfocheckError
from tfocheck.model.case import Verdict
from tfocheck.model.facts import Facts
from tfocheck.model.plan import Plan
from tfocheck.model.route import Route
from tfocheck.server import proxy_protocol
from tfocheck.server.evidence import Evidence
from tfocheck.server.manners import Manners
from tfocheck.server.payload import Payload
from tfocheck.server.siblings import Siblings
from tfocheck.server.silent_open import SilentOpen
from tfocheck.wire import options as tcp_options
from tfocheck.wire.evidence import FlowRecord

IPV4_MSS = 1460
IPV6_MSS = 1440


async def _nothing() -> bool:
    """Nobody wants to know."""
    return False


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
        plan: Plan,
        siblings: Siblings,
    ) -> None:
        self.wire = wire
        self.clock = wire.clock
        self.lane = lane
        self.pace = Pace(wire.clock, plan.rate)
        self.limit: str | None = None
        """The limit on new connections that was met, in words."""
        self.on_refusal: Callable[[], Awaitable[bool]] = _nothing
        """Is told that plain connections are not served any more, which were before."""
        self.on_silence: Callable[[], Awaitable[bool]] = _nothing
        """Is told that plain SYNs are not answered; True if it has looked into that."""
        self.on_fate: Callable[[Flow], None] = lambda flow: None
        """Is told of each SYN that any server answers, when it was, or was not in time."""
        self.address = address
        self.port = port
        self.source = source
        self.scope_id = scope_id
        self.payload = payload
        self.plan = plan
        self._proxy = plan.payload.proxy_protocol
        if self._proxy is not None:
            nominal = (source, proxy_protocol.NOMINAL_PORT)
            self.payload = payload.behind(
                proxy_protocol.header(self._proxy, nominal, (address, port))
            )
        self.attempts = plan.attempts
        self.timeout = plan.timeout
        self.siblings = siblings
        self.round_trips = RoundTrips()
        self.facts = Facts()
        self.manners = Manners()
        self.verdicts: dict[str, Verdict] = {}
        self.evidence: dict[str, Evidence] = {}
        """Case → its connections."""
        self.flows: list[Flow] = []
        self.allowance = Allowance()
        self.answerable: list[Flow] = []
        """Flows whose SYN any server answers, unless it gets lost."""
        self.has_lost = False
        """Whether a SYN or SYN-ACK got lost: then one good answer may be that to a doubled SYN."""
        self.accepted_at: float | None = None
        """When the SYN was sent whose valid cookie was accepted last, in monotonic seconds."""
        self.asking_for_room = asyncio.Lock()
        self.silent_open = SilentOpen()
        self.known_route: Route | None = None
        self.tracing = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self.ports = {port} | ({plan.off_port} if plan.off_port else set())
        for each in self.ports:
            wire.watch(address, each)

    @property
    def round_trip(self) -> float:
        """A cautious round-trip time in seconds; the timer's start value before a first sample."""
        known = self.round_trips
        return known.spread if known.smallest is not None else 0.3

    def new_flow(
        self,
        label: str,
        *,
        source: str | None = None,
        port: int | None = None,
        paced: bool = True,
    ) -> Flow:
        """A fresh connection: new port, new ISN.

        ``source`` and ``port`` replace our usual address and the target's port; its SYN waits for
        its turn unless it is not ``paced``. Raises CannotError when no port is left.
        """

        def reserve() -> Port:
            return self.wire.reserve(source or self.source, self.scope_id)

        reserved = reserve() if self._proxy is None else proxy_protocol.reserve(reserve)
        return self._adopt(reserved, label, port or self.port, paced=paced)

    def follow(self, flow: Flow, label: str) -> Flow:
        """A new connection from the port of one that has ended."""
        return self._adopt(flow.port, label, flow.server[1], paced=True)

    def _adopt(self, reserved: Port, label: str, port: int, *, paced: bool) -> Flow:
        server = (self.address, port)
        flow = Flow(
            self.wire,
            reserved,
            server,
            scope_id=self.scope_id,
            label=label,
            pace=self.pace if paced else None,
            allowance=self.allowance,
        )
        if self._proxy is not None:
            true = proxy_protocol.header(self._proxy, (reserved.address, reserved.port), server)
            flow.introduce = proxy_protocol.Introduction(self.payload.header, true)
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

    def note_acceptance(self, flow: Flow) -> None:
        """A valid cookie was accepted: that is the positive control of what is rejected."""
        self.accepted_at = max(self.accepted_at or 0.0, flow.asked_at or 0.0)

    def learn_round_trip(self, flow: Flow) -> None:
        """Take the round trip of a flow into account, unless its SYN-ACK may be a repeated one."""
        sample = flow.round_trip
        if sample is not None and not self.round_trips.may_be_repeated(sample):
            self.round_trips.add(max(sample, 0.0))
            self.lane.widen_for(self.round_trips.least)

    async def plain_syn(self, label: str) -> Flow:
        """A control: an everyday SYN, and the wait for its answer; never pending."""
        flow = await self.send_plain_syn(label)
        await self.await_syn_ack(flow)
        self.learn_round_trip(flow)
        self.on_fate(flow)
        return flow

    async def await_syn_ack(self, flow: Flow) -> None:
        """Wait for what answers a SYN, as long as that may take on this path."""
        await flow.wait(lambda: flow.is_answered, self.round_trips.syn_wait(self.timeout))

    async def send_plain_syn(self, label: str, *, paced: bool = True) -> Flow:
        """An everyday SYN, its answer still to come."""
        flow = self.new_flow(label, paced=paced)
        self.answerable.append(flow)
        await flow.send_syn(self.syn_options(flow=flow))
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
            if await self.answers_once():
                return True
        return await self.on_silence() and await self.answers_once()

    async def answers_once(self) -> bool:
        """True if a plain SYN is answered at the first go."""
        flow = await self.plain_syn("control: plain SYN")
        self.close_later(flow)
        return flow.syn_ack is not None

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

    async def finish(self, ends: float = math.inf) -> None:
        """Wait until every connection is closed; ports stay guarded until then.

        At the end of the run's time, in the clock's seconds, what is still open gets a last packet.
        """
        self.manners.forget()
        while self._closing and (left := ends - self.clock.monotonic()) > 0:
            await asyncio.wait(self._closing, timeout=None if left == math.inf else left)
        if self._closing:
            for task in self._closing:
                task.cancel()
            await self.abandon()

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
        self.manners.forget()
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
