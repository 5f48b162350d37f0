"""One crafted connection: open, expect, acknowledge, close.

Rules that hold here:

* A flow never re-sends a SYN by itself: a server repeats its SYN-ACK without the Fast Open option,
  so a repeated SYN would see "no cookie" where there was one. A retry is a new flow.
* A pending Fast Open is never reset (RFC 7413 section 5.1: a reset one keeps its place in the
  server's queue). ``close`` completes the handshake first; an ordinary half-open one is reset.
* Sequence arithmetic is modulo 2**32 everywhere.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable, Sequence

from tfocheck.engine.ports import Listener, Port, Wire
from tfocheck.wire import options as tcp_options
from tfocheck.wire.evidence import Captured, FlowKey, FlowRecord, IcmpError
from tfocheck.wire.options import FastOpen, Option
from tfocheck.wire.segment import DEFAULT_TTL, SEQUENCE_SPACE, Flags, Segment

RECEIVE_WINDOW = 65535
WINDOW_SCALE = 7
ROOM = 36
"""Bytes of options that an everyday SYN has at most: full headers are a test of their own."""

STREAM_KEPT = 1 << 18
"""Bytes of the server's data that are kept; what follows is only counted."""

LEAST_REPEAT = 0.5
"""A second SYN-ACK sooner than this many seconds after the first one was doubled on the way, or
answers a doubled SYN: timers start at a second (RFC 6298 section 2.1)."""

CLOSE_SECONDS = 1.0
"""How long a close waits for the server's FIN before it resets a completed connection."""


def relative(number: int, base: int) -> int:
    """The distance from base to number, -2**31 to 2**31 - 1 (RFC 9293 section 3.4)."""
    distance = (number - base) % SEQUENCE_SPACE
    return distance - SEQUENCE_SPACE if distance >= SEQUENCE_SPACE // 2 else distance


def usual_options(
    mss: int, timestamp: int, fast_open: Sequence[FastOpen] = ()
) -> tuple[Option, ...]:
    """The options of an everyday SYN, and these Fast Open options behind them.

    The order is Linux's. What leaves no room for a long cookie is left out: first the timestamps,
    then all but the MSS.
    """
    asked = [option.to_option() for option in fast_open]
    size = sum(len(option.encode()) for option in asked)
    everyday = (
        tcp_options.mss(mss),
        tcp_options.sack_permitted(),
        tcp_options.timestamps(timestamp, 0),
        tcp_options.no_operation(),
        tcp_options.window_scale(WINDOW_SCALE),
    )
    without_timestamps = (everyday[0], everyday[3], everyday[4])
    for choice in (everyday, without_timestamps, everyday[:1], ()):
        room = ROOM if choice else tcp_options.MAX_OPTION_BYTES
        if sum(len(option.encode()) for option in choice) + size <= room:
            return (*choice, *asked)
    raise ValueError(f"Fast Open options of {size} bytes do not fit into a TCP header")


class Flow(Listener):
    """A crafted connection from a guarded port of ours.

    Everything that was captured of it is in ``packets``, in order. Times are Unix seconds, waits
    are seconds.
    """

    def __init__(
        self, wire: Wire, port: Port, server: tuple[str, int], *, scope_id: int, label: str
    ) -> None:
        self._wire = wire
        self._clock = wire.clock
        self.port = port
        self._scope_id = scope_id
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self.server = server
        self.key = FlowKey(port.address, port.port, *server)
        self.label = label
        self.decided = False
        self.packets: list[Captured] = []
        self.received: list[Captured] = []
        """The server's segments in the order of their arrival."""
        self.isn = secrets.randbelow(SEQUENCE_SPACE)
        self.server_isn: int | None = None
        self.icmps: list[IcmpError] = []
        self.stray_options: tuple[Option, ...] = ()
        """Sent on all segments after the SYN, where they may not belong."""
        self.syn_data = b""
        self._last_byte = b""
        self._syn_options = b""
        self.kernel_resets = 0
        self._send_next = self.isn
        self._handshake_done = False
        self._completed_at: float | None = None
        self._fin_sent = False
        self._owes_ack = False
        self._timestamps = False
        self._sack_permitted = False
        self._last_timestamp = 0
        self._clock_offset = secrets.randbelow(SEQUENCE_SPACE)
        self._syn_acks: list[Captured] = []
        self.misfits: list[Captured] = []
        """SYN-ACKs from the server's port that acknowledge what we never sent."""
        self._reset: Captured | None = None
        self._later_data: dict[int, bytes] = {}
        self._server_fin: int | None = None
        self._stream = bytearray()
        self.stream_bytes = 0
        wire.attend(self.key, self)

    # --- what has been seen -------------------------------------------------------------------

    def segment_captured(self, captured: Captured) -> None:
        """Take in a captured segment; called by the link."""
        self.packets.append(captured)
        segment = captured.segment
        if captured.sent:
            # Ours always carry ACK; the kernel's reset to a segment with ACK never does.
            self.kernel_resets += segment.is_reset and not segment.has_ack
        else:
            self.received.append(captured)
            self._take_in(captured)
        self._look()

    def icmp_received(self, error: IcmpError) -> None:
        """Take in an ICMP error; called by the link."""
        self.icmps.append(error)
        self._look()

    def _take_in(self, captured: Captured) -> None:
        segment = captured.segment
        if segment.is_syn_ack and self._acknowledges_syn(segment):
            self._syn_acks.append(captured)
            if self.server_isn is None:
                self.server_isn = segment.seq
                self._timestamps = segment.option_list.timestamps is not None
                self._sack_permitted = bool(
                    segment.option_list.find(tcp_options.SACK_PERMITTED)
                    and tcp_options.walk(self._syn_options).find(tcp_options.SACK_PERMITTED)
                )
        elif segment.is_syn_ack:
            self.misfits.append(captured)
        may_be_believed = self.server_isn is not None or self._acknowledges_syn(segment)
        if segment.is_reset and self._reset is None and may_be_believed:
            self._reset = captured
        if self.server_isn is None or segment.is_reset:
            return
        # A repeated SYN-ACK or FIN as well: our ACK was lost.
        self._owes_ack = self._owes_ack or segment.sequence_length > 0
        stamps = segment.option_list.timestamps
        if stamps is not None:
            self._last_timestamp = stamps[0]
        start = relative(segment.seq, self.server_isn + 1)
        if segment.flags & Flags.SYN:
            start += 1
        if start < 0:
            return
        if segment.payload:
            self._take_data(start, segment.payload)
        if segment.flags & Flags.FIN:
            self._server_fin = start + len(segment.payload)

    def _take_data(self, start: int, data: bytes) -> None:
        if len(data) > len(self._later_data.get(start, b"")):
            self._later_data[start] = data
        for place in sorted(self._later_data):
            if place > self.stream_bytes:
                break
            new = self._later_data.pop(place)[self.stream_bytes - place :]
            self.stream_bytes += len(new)
            self._stream += new[: max(0, STREAM_KEPT - len(self._stream))]

    def _acknowledges_syn(self, segment: Segment) -> bool:
        return 1 <= relative(segment.ack, self.isn) <= 1 + len(self.syn_data)

    @property
    def stream(self) -> bytes:
        """The server's data so far, in order and without gaps; the first ``STREAM_KEPT`` bytes."""
        return bytes(self._stream)

    @property
    def syn_acks(self) -> list[Captured]:
        """Every SYN-ACK that answers our SYN, repeated ones included."""
        return self._syn_acks

    @property
    def syn_ack(self) -> Captured | None:
        """The first SYN-ACK."""
        return next(iter(self.syn_acks), None)

    @property
    def offered(self) -> FastOpen | None:
        """The Fast Open option of the first SYN-ACK."""
        first = self.syn_ack
        return first.segment.fast_open if first is not None else None

    @property
    def repeated_syn_ack(self) -> Captured | None:
        """The first SYN-ACK that the server's timer sent, not the network's doubling."""
        first = self.syn_ack
        for captured in self.syn_acks:
            if first is not None and captured.time - first.time >= LEAST_REPEAT:
                return captured
        return None

    @property
    def icmp(self) -> IcmpError | None:
        """The latest ICMP error about this flow."""
        return self.icmps[-1] if self.icmps else None

    @property
    def reset(self) -> Captured | None:
        """The server's RST, if one came that may be believed (RFC 9293 section 3.10.7.3)."""
        return self._reset

    @property
    def is_plain(self) -> bool:
        """True if our SYN brought neither data nor the Fast Open option."""
        return not self.syn_data and tcp_options.walk(self._syn_options).fast_open is None

    @property
    def is_answered(self) -> bool:
        """True once anything answers our SYN: a SYN-ACK, a reset, or an ICMP error."""
        return bool(self.syn_acks or self.reset or self.icmps)

    @property
    def syn_time(self) -> float | None:
        """When our first SYN left, by the kernel's clock."""
        for captured in self.packets:
            if captured.sent and captured.segment.flags & Flags.SYN:
                return captured.time
        return None

    @property
    def sent_timestamp(self) -> int | None:
        """TSval of our SYN."""
        for captured in self.packets:
            if captured.sent and captured.segment.flags & Flags.SYN:
                stamps = captured.segment.option_list.timestamps
                return stamps[0] if stamps else None
        return None

    @property
    def first_data_time(self) -> float | None:
        """When the server's first data came, by the kernel's clock."""
        return next((each.time for each in self.received if each.segment.payload), None)

    @property
    def handshake_done_time(self) -> float | None:
        """When our first ACK left, by the kernel's clock; from then on nothing is early."""
        for captured in self.packets:
            if captured.sent and captured.segment.flags & (Flags.SYN | Flags.ACK) == Flags.ACK:
                return captured.time
        return None

    @property
    def asked_time(self) -> float | None:
        """When we last sent before the server's first data came, by the kernel's clock.

        A request that got lost and was sent again counts from then on.
        """
        first = self.first_data_time
        before = [
            each.time
            for each in self.packets
            if each.sent and each.segment.has_ack and (first is None or each.time < first)
        ]
        return before[-1] if before else None

    @property
    def reach(self) -> int:
        """How far the server's data has come, in bytes from its first one, gaps included."""
        return max(map(self.end_of, self.received), default=0)

    def end_of(self, captured: Captured) -> int:
        """Where a segment's data ends, in bytes from the server's first one; 0 if it has none."""
        segment = captured.segment
        if self.server_isn is None or not segment.payload or segment.flags & Flags.SYN:
            return 0
        return relative(segment.seq, self.server_isn + 1) + len(segment.payload)

    @property
    def round_trip(self) -> float | None:
        """Seconds from our SYN to the first SYN-ACK."""
        first = self.syn_ack
        if first is None or self.syn_time is None:
            return None
        return first.time - self.syn_time

    @property
    def acknowledged(self) -> int | None:
        """How much the first SYN-ACK acknowledges, relative to our ISN: 1 is the SYN alone."""
        first = self.syn_ack
        return None if first is None else relative(first.segment.ack, self.isn)

    @property
    def early_data(self) -> list[Captured]:
        """The server's segments with data that came before our handshake was completed."""
        done = self.handshake_done_time
        return [
            captured
            for captured in self.received
            if captured.segment.payload and (done is None or captured.time < done)
        ]

    @property
    def fin_acknowledged(self) -> bool:
        """True once the server has acknowledged our FIN."""
        return self._fin_sent and self.has_acknowledged(relative(self._send_next, self.isn))

    @property
    def is_closed(self) -> bool:
        """True once both sides have closed, or the server has reset the connection."""
        return (self.fin_acknowledged and self.server_has_closed) or self.reset is not None

    @property
    def next_offset(self) -> int:
        """Where our next byte goes, relative to our ISN."""
        self._accept_acknowledgement()
        return relative(self._send_next, self.isn)

    def has_acknowledged(self, offset: int) -> bool:
        """True once the server has acknowledged everything before this offset from our ISN."""
        return any(
            relative(captured.segment.ack, self.isn) >= offset
            for captured in self.received
            if captured.segment.has_ack and not captured.segment.is_reset
        )

    @property
    def server_has_closed(self) -> bool:
        """True once the server's FIN has come and nothing before it is missing."""
        return self._server_fin is not None and self._server_fin == self.stream_bytes

    @property
    def has_ended(self) -> bool:
        """True once the server has closed or reset the connection."""
        return self.server_has_closed or self.reset is not None

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
        for seen, awaited in self._waiting:
            if awaited.done():
                continue
            try:
                if seen():
                    awaited.set_result(None)
            except Exception as problem:  # it is the waiter's, not the capture's
                awaited.set_exception(problem)

    # --- what we send -------------------------------------------------------------------------

    async def send_syn(
        self,
        options: bytes,
        data: bytes = b"",
        *,
        window: int = RECEIVE_WINDOW,
        ttl: int = DEFAULT_TTL,
    ) -> None:
        """Send the SYN with this option area, and this data behind it.

        ``ttl`` is this packet's alone: a low one ends at a router, which says so by ICMP.
        """
        self.syn_data = data
        self._last_byte = data[-1:]
        self._syn_options = options
        self._send_next = (self.isn + 1 + len(data)) % SEQUENCE_SPACE
        await self._send(
            self.isn, Flags.SYN, options=options, payload=data, window=window, ack=0, ttl=ttl
        )

    async def repeat_syn(self, options: bytes | None = None, data: bytes | None = None) -> None:
        """Send the SYN again with the same ISN; as it was, unless told to change its parts."""
        await self._send(
            self.isn,
            Flags.SYN,
            options=self._syn_options if options is None else options,
            payload=self.syn_data if data is None else data,
            ack=0,
        )

    async def acknowledge(self) -> None:
        """Acknowledge what has come so far; the first one completes the handshake."""
        self._accept_acknowledgement()
        await self._send(self._send_next, Flags.ACK)

    async def send_data(self, data: bytes) -> None:
        """Send data with an ACK; the first one completes the handshake as well."""
        self._accept_acknowledgement()
        start = self._send_next
        self._send_next = (start + len(data)) % SEQUENCE_SPACE
        self._last_byte = data[-1:] or self._last_byte
        await self._send(start, Flags.ACK | Flags.PSH, payload=data)

    def control_segments(self, since: int) -> list[Captured]:
        """What the server sent, from that place in ``received`` on, beside its stream.

        An answer to a repeated SYN is among it (SYN-ACK, RST, plain ACK), data under way is not.
        """
        return [
            captured
            for captured in self.received[since:]
            if captured.segment.flags & (Flags.SYN | Flags.RST)
            or not captured.segment.sequence_length
        ]

    def is_answer_to_copy(self, captured: Captured) -> bool:
        """Whether it can only be an answer to a repeated SYN.

        The network may have doubled what came earlier, so it must differ from that (by its
        timestamp at least); and the server's timer may have repeated the SYN-ACK.
        """
        first = self.syn_ack
        if first is None or (
            captured.segment.is_syn_ack and captured.time - first.time >= LEAST_REPEAT
        ):
            return False
        earlier = itertools.takewhile(lambda each: each is not captured, self.received)
        return _content(captured.segment) not in (_content(each.segment) for each in earlier)

    async def send_keep_alive(self) -> None:
        """Have the server say how far it has sent; see ``said_sent``.

        It is the form with one byte of old data (RFC 9293 section 3.8.4): Linux answers it each
        time, one without data twice a second at most (tcp_invalid_ratelimit).
        """
        self._accept_acknowledgement()
        start = (self._send_next - 1) % SEQUENCE_SPACE
        await self._send(start, Flags.ACK, payload=self._last_byte)

    def said_sent(self, since: int) -> int | None:
        """SND.NXT in the plain ACKs from that place in ``received`` on; None if there was none.

        Counted in bytes from the server's first one. More than ``stream_bytes`` means that
        something is under way, or got lost.
        """
        if self.server_isn is None:
            return None
        start = self.server_isn + 1
        plain = (each.segment for each in self.received[since:] if each.segment.flags == Flags.ACK)
        said = [relative(each.seq, start) for each in plain if not each.payload]
        # What is beyond our window is another connection's.
        most = self.stream_bytes + (RECEIVE_WINDOW << WINDOW_SCALE)
        return max((each for each in said if 0 <= each <= most), default=None)

    async def resend_from(self, start: int, data: bytes, *, ttl: int = DEFAULT_TTL) -> None:
        """Send data again, at a sequence number relative to our ISN."""
        seq = (self.isn + start) % SEQUENCE_SPACE
        await self._send(seq, Flags.ACK | Flags.PSH, payload=data, ttl=ttl)

    async def send_fin(self) -> None:
        """Send our FIN; calling it again repeats it."""
        self._accept_acknowledgement()
        if not self._fin_sent:
            self._fin_sent = True
            self._send_next = (self._send_next + 1) % SEQUENCE_SPACE
        await self._send((self._send_next - 1) % SEQUENCE_SPACE, Flags.FIN | Flags.ACK)

    async def send_reset(self) -> None:
        """Reset the connection; never to be called on a pending Fast Open."""
        self._accept_acknowledgement()
        await self._send(self._send_next, Flags.RST | Flags.ACK, window=0, plain=True)

    def _accept_acknowledgement(self) -> None:
        """After the SYN-ACK, go on from what it acknowledged (RFC 7413 section 4.2.2, client)."""
        if not self._handshake_done and self.acknowledged is not None:
            self._handshake_done = True
            self._completed_at = self._clock.monotonic()
            self._send_next = (self.isn + self.acknowledged) % SEQUENCE_SPACE

    async def _send(
        self,
        seq: int,
        flags: Flags,
        *,
        options: bytes | None = None,
        payload: bytes = b"",
        window: int = RECEIVE_WINDOW,
        ack: int | None = None,
        plain: bool = False,
        ttl: int = DEFAULT_TTL,
    ) -> None:
        if options is None:
            options = b"" if plain else self._later_options()
        if ack is None:
            ack = self._receive_next()
            self._owes_ack = False
        await self._wire.send(
            Segment(
                source=self.key.client,
                source_port=self.key.client_port,
                destination=self.key.server,
                destination_port=self.key.server_port,
                seq=seq,
                ack=ack,
                flags=flags,
                window=window,
                options=options,
                payload=payload,
                ttl=ttl,
                ip_id=secrets.randbelow(1 << 16),
            ),
            self._scope_id,
        )

    def _receive_next(self) -> int:
        if self.server_isn is None:
            return 0
        count = self.stream_bytes + self.server_has_closed
        return (self.server_isn + 1 + count) % SEQUENCE_SPACE

    @property
    def timestamp(self) -> int:
        """Our TSval now: milliseconds from a random start (RFC 7323 section 5.4)."""
        return (int(self._clock.monotonic() * 1000) + self._clock_offset) % SEQUENCE_SPACE

    def _later_options(self) -> bytes:
        """RFC 7323 section 3.2: once agreed upon, every segment carries timestamps."""
        options = self.stray_options
        if self._timestamps:
            stamps = tcp_options.timestamps(self.timestamp, self._last_timestamp)
            nop = tcp_options.no_operation()
            options = (nop, nop, stamps, *options)
        taken = len(b"".join(option.encode() for option in options))
        blocks = self._sack_blocks()[: (tcp_options.MAX_OPTION_BYTES - taken - 4) // 8]
        if blocks:
            nop = tcp_options.no_operation()
            options = (*options, nop, nop, tcp_options.sack(blocks))
        return tcp_options.encode(options)

    def _sack_blocks(self) -> list[tuple[int, int]]:
        """What has come behind a gap (RFC 2018 section 4).

        Without it a server that was promised SACK waits for its timer, which may be seconds after
        an ACK of ours that we held back.
        """
        if not self._sack_permitted or self.server_isn is None:
            return []
        blocks: list[list[int]] = []
        for start in sorted(self._later_data):
            end = start + len(self._later_data[start])
            if blocks and start <= blocks[-1][1]:
                blocks[-1][1] = max(blocks[-1][1], end)
            else:
                blocks.append([start, end])
        base = self.server_isn + 1
        return [
            ((base + start) % SEQUENCE_SPACE, (base + end) % SEQUENCE_SPACE)
            for start, end in blocks
        ]

    # --- the end ------------------------------------------------------------------------------

    @property
    def asked_for_fast_open(self) -> bool:
        """True if our SYN had a Fast Open option, request or cookie."""
        return any(
            captured.sent
            and captured.segment.flags & Flags.SYN
            and captured.segment.fast_open is not None
            for captured in self.packets
        )

    @property
    def may_be_pending(self) -> bool:
        """True while this could occupy a place in the server's queue of pending Fast Opens.

        Data acknowledged by the SYN-ACK, or a Fast Open option that was answered without a cookie:
        a server that needs no cookie may have taken it as an open.
        """
        if self.acknowledged is None or self._handshake_done or self.reset is not None:
            return False
        asked = self.asked_for_fast_open
        first = self.syn_ack
        refused = first is not None and first.segment.fast_open is not None
        if self.syn_data:
            return self.acknowledged > 1
        return asked and not refused

    def was_pending_at(self, moment: float) -> bool:
        """True if this is an accepted Fast Open that we had not yet acknowledged at that moment.

        ``moment`` is in ``time.monotonic`` seconds.
        """
        if self.acknowledged is None or self.acknowledged == 1 or self.reset is not None:
            return False
        return self._completed_at is None or self._completed_at > moment

    async def complete(self, round_trip: float) -> None:
        """Complete the handshake and close our side; returns once the server is known to have it.

        From then on the server counts no pending Fast Open for this flow. An ACK that gets lost is
        followed by FINs, at most for ``CLOSE_SECONDS`` and 4 RTT.
        """
        if not self._handshake_done:
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
        if not self._handshake_done and not self.may_be_pending:
            await self.send_reset()
            return
        if not self.fin_acknowledged:
            await self.complete(round_trip)
        deadline = self._clock.monotonic() + CLOSE_SECONDS + 4 * round_trip
        while self.reset is None:
            # Everything that arrives together is acknowledged by one segment.
            await self._clock.sleep(0)
            if self._owes_ack:
                await self.acknowledge()
            known = len(self.received)
            left = deadline - self._clock.monotonic()
            if (
                self.server_has_closed
                or left <= 0
                or not await self.wait(
                    lambda known=known: len(self.received) > known,  # type: ignore[misc]
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
        if self._handshake_done or self.may_be_pending:
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
        return FlowRecord(
            label=self.label,
            client=(self.key.client, self.key.client_port),
            server=self.server,
            client_isn=self.isn,
            server_isn=self.server_isn,
            packets=tuple(self.packets),
            decided=self.decided,
            icmp=tuple(self.icmps),
            deciding=(deciding or self._only_answer) if self.decided else None,
        )

    @property
    def _only_answer(self) -> Captured | None:
        """What the server said to the SYN, when there was nothing else that it could answer."""
        resets = [each for each in self.packets if each.sent and each.segment.is_reset]
        is_short = len(self.packets) == 2 + len(resets)
        return self.received[0] if is_short and len(self.received) == 1 else None


def _content(segment: Segment) -> tuple[object, ...]:
    """What stays the same on every way that a packet takes."""
    return (segment.flags, segment.seq, segment.ack, segment.options, segment.ip_id)
