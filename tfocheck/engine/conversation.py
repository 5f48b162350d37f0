"""What we say on a connection: the segments that a client would send next, or should not.

Rules that hold here:

* No IO: segments are returned, and the time is an argument (seconds that never run backwards).
* A SYN is never repeated by itself: a server repeats its SYN-ACK without the Fast Open option, so a
  repeated SYN would see "no cookie" where there was one. A retry is a new conversation.

Sources: RFC 9293, RFC 7323 (timestamps, window scale), RFC 2018, RFC 7413 section 4.2.2 (client).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from tfocheck.engine.allowance import Allowance
from tfocheck.engine.record import RECEIVE_WINDOW, WINDOW_SCALE
from tfocheck.engine.transcript import Transcript
from tfocheck.wire import options as tcp_options
from tfocheck.wire.evidence import FlowKey
from tfocheck.wire.numbers import SEQUENCE_SPACE, relative
from tfocheck.wire.options import FastOpen, Option
from tfocheck.wire.segment import DEFAULT_TTL, Flags, Segment

ROOM = 36
"""Bytes of options that an everyday SYN has at most: full headers are a test of their own."""


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


def _as_it_is(_place: int, data: bytes) -> bytes:
    return data


class Conversation(Transcript):
    """The client's side of a connection, from the SYN on."""

    def __init__(self, key: FlowKey, allowance: Allowance | None = None) -> None:
        super().__init__(key, secrets.randbelow(SEQUENCE_SPACE), allowance)
        self.stray_options: tuple[Option, ...] = ()
        """Sent on all segments after the SYN, where they may not belong."""
        self.introduce: Callable[[int, bytes], bytes] = _as_it_is
        """Given a place in our stream, from 0 on, and data for it: what leaves in its place. For
        what only this connection can say, as its port."""
        self.handshake_done = False
        """Whether we have sent the ACK that ends the handshake."""
        self._completed_at: float | None = None
        self._syn_area = b""
        self._last_byte = b""
        self._send_next = self.isn
        self._fin_sent = False
        self._clock_offset = secrets.randbelow(SEQUENCE_SPACE)

    # --- segments to send ---------------------------------------------------------------------

    def syn(
        self,
        options: bytes,
        data: bytes = b"",
        *,
        window: int = RECEIVE_WINDOW,
        ttl: int = DEFAULT_TTL,
    ) -> Segment:
        """The SYN with this option area, and this data behind it."""
        data = self.introduce(0, data)
        self.syn_data = data
        self.syn_options = tcp_options.walk(options)
        self._syn_area = options
        self._last_byte = data[-1:]
        self._send_next = (self.isn + 1 + len(data)) % SEQUENCE_SPACE
        return self._segment(
            self.isn, Flags.SYN, options=options, payload=data, window=window, ack=0, ttl=ttl
        )

    def syn_again(self, options: bytes | None = None, data: bytes | None = None) -> Segment:
        """The SYN again with the same ISN; as it was, unless told to change its parts."""
        return self._segment(
            self.isn,
            Flags.SYN,
            options=self._syn_area if options is None else options,
            payload=self.syn_data if data is None else self.introduce(0, data),
            ack=0,
        )

    def ack(self, now: float) -> Segment:
        """What acknowledges all that has come so far; the first one completes the handshake."""
        self._accept_acknowledgement(now)
        return self._later(self._send_next, Flags.ACK, now)

    def ack_of_syn(self, sacked: tuple[int, int] | None, now: float) -> Segment:
        """What acknowledges the server's SYN alone, and by SACK this part of its data, if agreed.

        So a client answers that has lost what comes before; ``sacked`` is in bytes from the first.
        """
        self._accept_acknowledgement(now)
        assert self.server_isn is not None
        base = (self.server_isn + 1) % SEQUENCE_SPACE
        blocks: list[tuple[int, int]] = []
        if sacked is not None and self.agreed_sack:
            blocks = [((base + sacked[0]) % SEQUENCE_SPACE, (base + sacked[1]) % SEQUENCE_SPACE)]
        options = self._later_options(now, blocks)
        return self._segment(self._send_next, Flags.ACK, options=options, ack=base)

    def data(self, data: bytes, now: float) -> Segment:
        """Data with an ACK; the first one completes the handshake as well."""
        self._accept_acknowledgement(now)
        start = self._send_next
        data = self.introduce(self._place(start), data)
        self._send_next = (start + len(data)) % SEQUENCE_SPACE
        self._last_byte = data[-1:] or self._last_byte
        return self._later(start, Flags.ACK | Flags.PSH, now, payload=data)

    def data_again(self, start: int, data: bytes, now: float, *, ttl: int = DEFAULT_TTL) -> Segment:
        """Data again, at a sequence number relative to our ISN."""
        seq = (self.isn + start) % SEQUENCE_SPACE
        data = self.introduce(self._place(seq), data)
        return self._later(seq, Flags.ACK | Flags.PSH, now, payload=data, ttl=ttl)

    def keep_alive(self, now: float) -> Segment:
        """What has the server say how far it has sent; see ``said_sent``.

        It is the form with one byte of old data (RFC 9293 section 3.8.4): Linux answers it each
        time, one without data twice a second at most (tcp_invalid_ratelimit).
        """
        self._accept_acknowledgement(now)
        start = (self._send_next - 1) % SEQUENCE_SPACE
        return self._later(start, Flags.ACK, now, payload=self._last_byte)

    def fin(self, now: float) -> Segment:
        """Our FIN; the same again when it was sent before."""
        self._accept_acknowledgement(now)
        if not self._fin_sent:
            self._fin_sent = True
            self._send_next = (self._send_next + 1) % SEQUENCE_SPACE
        return self._later((self._send_next - 1) % SEQUENCE_SPACE, Flags.FIN | Flags.ACK, now)

    def rst(self, now: float) -> Segment:
        """A reset of the connection; never to be sent on a pending Fast Open (RFC 7413 5.1)."""
        self._accept_acknowledgement(now)
        ack = self._receive_next()
        self.owes_ack = False
        return self._segment(self._send_next, Flags.RST | Flags.ACK, ack=ack, window=0)

    # --- where we are -------------------------------------------------------------------------

    def timestamp(self, now: float) -> int:
        """Our TSval: milliseconds from a random start (RFC 7323 section 5.4)."""
        return (int(now * 1000) + self._clock_offset) % SEQUENCE_SPACE

    def next_offset(self, now: float) -> int:
        """Where our next byte goes, relative to our ISN."""
        self._accept_acknowledgement(now)
        return relative(self._send_next, self.isn)

    @property
    def fin_acknowledged(self) -> bool:
        """True once the server has acknowledged our FIN."""
        return self._fin_sent and self.has_acknowledged(relative(self._send_next, self.isn))

    @property
    def is_closed(self) -> bool:
        """True once both sides have closed, or the server has reset the connection."""
        return (self.fin_acknowledged and self.server_has_closed) or self.reset is not None

    @property
    def may_be_pending(self) -> bool:
        """True while this could occupy a place in the server's queue of pending Fast Opens.

        Data acknowledged by the SYN-ACK, or a Fast Open option that was answered without a cookie:
        a server that needs no cookie may have taken it as an open.
        """
        if self.acknowledged is None or self.handshake_done or self.reset is not None:
            return False
        if self.syn_data:
            return self.acknowledged > 1
        return self.asked_for_fast_open and self.offered is None

    def was_pending_at(self, moment: float) -> bool:
        """True if this is an accepted Fast Open that we had not yet acknowledged at that moment."""
        if self.acknowledged is None or self.acknowledged == 1 or self.reset is not None:
            return False
        return self._completed_at is None or self._completed_at > moment

    def _accept_acknowledgement(self, now: float) -> None:
        """After the SYN-ACK, go on from what it acknowledged (RFC 7413 section 4.2.2, client)."""
        if not self.handshake_done and self.acknowledged is not None:
            self.handshake_done = True
            self._completed_at = now
            self._send_next = (self.isn + self.acknowledged) % SEQUENCE_SPACE

    def _place(self, seq: int) -> int:
        return relative(seq, self.isn) - 1

    # --- how a segment is made ----------------------------------------------------------------

    def _later(
        self,
        seq: int,
        flags: Flags,
        now: float,
        *,
        payload: bytes = b"",
        ttl: int = DEFAULT_TTL,
    ) -> Segment:
        options = self._later_options(now, self._sack_blocks())
        self.owes_ack = False
        return self._segment(
            seq, flags, options=options, payload=payload, ack=self._receive_next(), ttl=ttl
        )

    def _segment(
        self,
        seq: int,
        flags: Flags,
        *,
        ack: int,
        options: bytes = b"",
        payload: bytes = b"",
        window: int = RECEIVE_WINDOW,
        ttl: int = DEFAULT_TTL,
    ) -> Segment:
        key = self.key
        return Segment(
            source=key.client,
            source_port=key.client_port,
            destination=key.server,
            destination_port=key.server_port,
            seq=seq,
            ack=ack,
            flags=flags,
            window=window,
            options=options,
            payload=payload,
            ttl=ttl,
            ip_id=secrets.randbelow(1 << 16),
        )

    def _receive_next(self) -> int:
        if self.server_isn is None:
            return 0
        return (self.server_isn + 1 + self.stream_bytes + self.server_has_closed) % SEQUENCE_SPACE

    def _later_options(self, now: float, sacked: Sequence[tuple[int, int]]) -> bytes:
        """RFC 7323 section 3.2: once agreed upon, every segment carries timestamps."""
        options = self.stray_options
        nop = tcp_options.no_operation()
        if self.agreed_timestamps:
            stamps = tcp_options.timestamps(self.timestamp(now), self.last_timestamp)
            options = (nop, nop, stamps, *options)
        taken = sum(len(option.encode()) for option in options)
        blocks = sacked[: (tcp_options.MAX_OPTION_BYTES - taken - 4) // 8]
        if blocks:
            options = (*options, nop, nop, tcp_options.sack(blocks))
        return tcp_options.encode(options)

    def _sack_blocks(self) -> list[tuple[int, int]]:
        """What has come behind a gap, by sequence numbers (RFC 2018 section 4).

        Without it a server that was promised SACK waits for its timer, which may be seconds after
        an ACK of ours that we held back.
        """
        if not self.agreed_sack or self.server_isn is None:
            return []
        base = self.server_isn + 1
        return [
            ((base + start) % SEQUENCE_SPACE, (base + end) % SEQUENCE_SPACE)
            for start, end in self.stream_gaps
        ]
