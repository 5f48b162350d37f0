"""Drives a conversation over a wire: sends, waits for what comes, closes in order.

Rules that hold here:

* A pending Fast Open is never reset (RFC 7413 section 5.1: a reset one keeps its place in the
  server's queue). ``close`` completes the handshake first; an ordinary half-open one is reset.
* Every wait has an end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tfocheck.engine.allowance import Allowance
from tfocheck.engine.conversation import Conversation
from tfocheck.engine.pace import Pace
from tfocheck.engine.ports import Port, Wire
from tfocheck.engine.record import RECEIVE_WINDOW
from tfocheck.engine.stream import STREAM_KEPT
from tfocheck.wire.evidence import Captured, FlowKey, FlowRecord, IcmpError
from tfocheck.wire.segment import DEFAULT_TTL, Segment

ACK_DELAY = 0.001
"""Seconds: what arrives together is acknowledged together (RFC 1122 section 4.2.3.2)."""

CLOSE_SECONDS = 1.0
"""How long a close waits for the server's FIN before it resets a completed connection."""


class Flow(Conversation):
    """A crafted connection from a reserved port of ours to ``server``, an (address, port).

    ``label`` says what it is for; ``decided`` marks it as what a verdict rests on; ``pace`` is what
    its SYN waits for; ``allowance`` is what its address may have kept. Waits are in seconds.
    """

    def __init__(
        self,
        wire: Wire,
        port: Port,
        server: tuple[str, int],
        *,
        scope_id: int,
        label: str,
        pace: Pace | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        super().__init__(FlowKey(port.address, port.port, *server), allowance)
        self.port = port
        self.server = server
        self.label = label
        self.decided = False
        self.asked_at: float | None = None
        """When our SYN was sent, in the clock's monotonic seconds."""
        self.packets_sent = 0
        self.resets_sent = 0
        self._wire = wire
        self._clock = wire.clock
        self._scope_id = scope_id
        self._pace = pace
        self._looks_soon = False
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        wire.attend(self.key, self)

    # --- what comes ---------------------------------------------------------------------------

    def segment_captured(self, captured: Captured) -> None:
        """Take in a captured segment; called by the wire."""
        super().segment_captured(captured)
        if not self.share.left_out:
            self._look()
        elif not self._looks_soon:
            # More than anybody reads: those who wait look once at all that comes together.
            self._looks_soon = True
            asyncio.get_running_loop().call_soon(self._look)

    def icmp_received(self, error: IcmpError) -> None:
        """Take in an ICMP error; called by the wire."""
        super().icmp_received(error)
        self._look()

    async def wait(self, seen: Callable[[], bool], seconds: float) -> bool:
        """Wait until the condition holds; False when the time is up before it does."""
        if seen():
            return True
        if seconds <= 0:
            return False
        awaited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = (seen, awaited)
        self._waiting.append(waiting)

        def time_is_up() -> None:
            if not awaited.done():
                awaited.set_result(None)

        timer = self._clock.after(seconds, time_is_up)
        try:
            await awaited
        finally:
            timer.cancel()
            self._waiting.remove(waiting)
        return seen()

    def _look(self) -> None:
        """Something has been captured: wake those who have waited for it."""
        self._looks_soon = False
        for seen, awaited in self._waiting:
            if awaited.done():
                continue
            try:
                if seen():
                    awaited.set_result(None)
            except Exception as problem:  # it is the waiter's, not the capture's
                awaited.set_exception(problem)

    # --- what we send -------------------------------------------------------------------------

    @property
    def tsval(self) -> int:
        """Our TSval now."""
        return self.timestamp(self._clock.monotonic())

    @property
    def offset(self) -> int:
        """Where our next byte goes, relative to our ISN."""
        return self.next_offset(self._clock.monotonic())

    async def send_syn(
        self,
        options: bytes,
        data: bytes = b"",
        *,
        window: int = RECEIVE_WINDOW,
        ttl: int = DEFAULT_TTL,
    ) -> None:
        """Send the SYN with this option area, and this data behind it.

        ``ttl`` is this packet's alone: a low one ends at a router, which says so by ICMP. It waits
        for its turn where the pace is known. Raises UnreachableError when nothing gets through.
        """
        if self._pace is not None:
            await self._pace.turn()
        self.asked_at = self._clock.monotonic()
        await self._send(self.syn(options, data, window=window, ttl=ttl))

    async def repeat_syn(self, options: bytes | None = None, data: bytes | None = None) -> None:
        """Send the SYN again with the same ISN; as it was, unless told to change its parts."""
        await self._send(self.syn_again(options, data))

    async def acknowledge(self) -> None:
        """Acknowledge what has come so far; the first one completes the handshake."""
        await self._send(self.ack(self._clock.monotonic()))

    async def acknowledge_syn(self, sacked: tuple[int, int] | None = None) -> None:
        """Complete the handshake as if the server's data had not come, but for this part of it."""
        await self._send(self.ack_of_syn(sacked, self._clock.monotonic()))

    async def send_data(self, data: bytes) -> None:
        """Send data with an ACK; the first one completes the handshake as well."""
        await self._send(self.data(data, self._clock.monotonic()))

    async def resend_from(self, start: int, data: bytes, *, ttl: int = DEFAULT_TTL) -> None:
        """Send data again, at a sequence number relative to our ISN."""
        await self._send(self.data_again(start, data, self._clock.monotonic(), ttl=ttl))

    async def send_keep_alive(self) -> None:
        """Have the server say how far it has sent; see ``said_sent``."""
        await self._send(self.keep_alive(self._clock.monotonic()))

    async def send_fin(self) -> None:
        """Send our FIN; calling it again repeats it."""
        await self._send(self.fin(self._clock.monotonic()))

    async def send_reset(self) -> None:
        """Reset the connection; never to be called on a pending Fast Open."""
        await self._send(self.rst(self._clock.monotonic()))

    async def _send(self, segment: Segment) -> None:
        await self._wire.send(segment, self._scope_id)
        self.packets_sent += 1
        self.resets_sent += segment.is_reset

    # --- the end ------------------------------------------------------------------------------

    async def complete(self, round_trip: float) -> None:
        """Complete the handshake and close our side; returns once the server is known to have it.

        From then on the server counts no pending Fast Open for this flow. An ACK that gets lost is
        followed by FINs, at most for ``CLOSE_SECONDS`` and 4 RTT.
        """
        if not self.handshake_done:
            await self.acknowledge()
        pause = max(0.2, 2 * round_trip)
        deadline = self._clock.monotonic() + CLOSE_SECONDS + 4 * round_trip
        while self._clock.monotonic() < deadline:
            await self.send_fin()
            if await self.wait(lambda: self.fin_acknowledged or self.reset is not None, pause):
                return

    async def close(self, round_trip: float) -> None:
        """End the connection as a polite client would; ``round_trip`` in seconds paces the waits.

        A half-open connection is reset, a pending Fast Open is completed first, a completed one is
        closed by FIN, acknowledging what still comes.
        """
        if self.acknowledged is None or self.reset is not None:
            return
        if not self.handshake_done and not self.may_be_pending:
            await self.send_reset()
            return
        if not self.fin_acknowledged:
            await self.complete(round_trip)
        deadline = self._clock.monotonic() + CLOSE_SECONDS + 4 * round_trip
        while self.reset is None:
            if self.owes_ack:
                await self._clock.sleep(ACK_DELAY)
                await self.acknowledge()
            known = self.received_count
            left = deadline - self._clock.monotonic()
            if (
                self.server_has_closed
                or left <= 0
                or self.stream_bytes >= STREAM_KEPT  # nobody reads on
                or not await self.wait(
                    lambda known=known: self.received_count > known,  # type: ignore[misc]
                    left,
                )
            ):
                break
        if not self.is_closed and self.fin_acknowledged:
            await self.send_reset()

    async def abandon(self) -> None:
        """End the connection at once, without a wait, and still never reset a pending Fast Open."""
        if self.acknowledged is None or self.is_closed:
            return
        if self.handshake_done or self.may_be_pending:
            await self.acknowledge()
            await self.send_fin()
        else:
            await self.send_reset()

    def release(self) -> None:
        """Stop listening and give the port back."""
        self._wire.leave(self.key)
        self.port.release()

    def record(self, deciding: Captured | None = None) -> FlowRecord:
        """The packets so far, as evidence, and which of them decided the verdict, if known."""
        packets = self.packets
        if self.last_left_out:
            packets = sorted([*packets, *self.last_left_out], key=lambda each: each.time)
        return FlowRecord(
            label=self.label,
            client=(self.key.client, self.key.client_port),
            server=self.server,
            client_isn=self.isn,
            server_isn=self.server_isn,
            packets=tuple(packets),
            left_out=max(0, self.share.left_out - len(self.last_left_out)),
            decided=self.decided,
            icmp=tuple(self.icmps),
            deciding=(deciding or self.only_answer) if self.decided else None,
        )
