"""What the packets of a connection say: who acknowledged what, when, and how far data has come.

Everything here is derived from the record; nothing is remembered beside it.
"""

from __future__ import annotations

import itertools

from tfocheck.engine.record import RECEIVE_WINDOW, WINDOW_SCALE, Record
from tfocheck.wire.evidence import Captured, IcmpError
from tfocheck.wire.numbers import relative
from tfocheck.wire.options import FastOpen
from tfocheck.wire.segment import Flags, Segment

LEAST_REPEAT = 0.5
"""A second SYN-ACK sooner than this many seconds after the first one was doubled on the way, or
answers a doubled SYN: timers start at a second (RFC 6298 section 2.1)."""

SOONEST_RETRANSMISSION = 0.15
"""Seconds: no stack's retransmission timer is shorter than 0.2 s."""


class Transcript(Record):
    """A record that can be read. Places in the server's data are in bytes from its first one."""

    # --- the handshake ------------------------------------------------------------------------

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
    def offered_cookie(self) -> FastOpen | None:
        """The same, unless it is empty."""
        option = self.offered
        return option if option is not None and not option.is_request else None

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
    def is_plain(self) -> bool:
        """True if our SYN brought neither data nor the Fast Open option."""
        return not self.syn_data and self.syn_options.fast_open is None

    @property
    def is_answered(self) -> bool:
        """True once anything answers our SYN: a SYN-ACK, a reset, or an ICMP error."""
        return bool(self.syn_acks or self.reset or self.icmps)

    @property
    def first_syn(self) -> Captured | None:
        """Our SYN, as it left first."""
        return next(
            (each for each in self.packets if each.sent and each.segment.flags & Flags.SYN), None
        )

    @property
    def first_copy(self) -> Captured | None:
        """Our SYN, as it left for the second time."""
        syns = [each for each in self.packets if each.sent and each.segment.flags & Flags.SYN]
        return syns[1] if len(syns) > 1 else None

    @property
    def syn_time(self) -> float | None:
        """When our first SYN left, by the kernel's clock."""
        first = self.first_syn
        return first.time if first is not None else None

    @property
    def sent_timestamp(self) -> int | None:
        """TSval of our SYN."""
        first = self.first_syn
        stamps = first.segment.option_list.timestamps if first is not None else None
        return stamps[0] if stamps else None

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
    def asked_for_fast_open(self) -> bool:
        """True if our SYN had a Fast Open option, request or cookie."""
        return any(
            captured.sent
            and captured.segment.flags & Flags.SYN
            and captured.segment.fast_open is not None
            for captured in self.packets
        )

    @property
    def handshake_done_time(self) -> float | None:
        """When our first ACK left, by the kernel's clock; from then on nothing is early."""
        for captured in self.packets:
            if captured.sent and captured.segment.flags & (Flags.SYN | Flags.ACK) == Flags.ACK:
                return captured.time
        return None

    # --- the server's data --------------------------------------------------------------------

    @property
    def first_data_time(self) -> float | None:
        """When the server's first data came, by the kernel's clock."""
        return next((each.time for each in self.received if each.segment.payload), None)

    @property
    def asked_time(self) -> float | None:
        """When the server was last asked before its first data came, by the kernel's clock.

        That is by data behind the SYN: what got lost and was sent again counts from then on. An
        ACK asks only where there is no data.
        """
        first = self.first_data_time
        before = [
            each
            for each in self.packets
            if each.sent and each.segment.has_ack and (first is None or each.time < first)
        ]
        asked = [each for each in before if each.segment.payload] or before
        return asked[-1].time if asked else None

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
    def reach(self) -> int:
        """How far the server's data has come, in bytes from its first one, gaps included.

        What is beyond our window is another connection's.
        """
        most = self.stream_bytes + (RECEIVE_WINDOW << WINDOW_SCALE)
        kept = (end for end in map(self.end_of, self.received) if end <= most)
        return max(self._reach, max(kept, default=0))

    def end_of(self, captured: Captured) -> int:
        """Where a segment's data ends, in bytes from the server's first one; 0 if it has none."""
        segment = captured.segment
        if self.server_isn is None or not segment.payload:
            return 0
        start = segment.seq + segment.is_syn_ack  # the SYN comes before the data
        return relative(start, self.server_isn + 1) + len(segment.payload)

    def start_of(self, captured: Captured) -> int | None:
        """Where a segment's data starts, in bytes from the server's first one; None without any."""
        end = self.end_of(captured)
        return end - len(captured.segment.payload) if end else None

    def sent_again(self, since: int) -> Captured | None:
        """The server's first byte, if it came from that place in ``received`` on, and not doubled.

        What the network has doubled is the same in all its parts, and comes soon.
        """
        before = [each for each in self.received[:since] if self.start_of(each) == 0]
        for captured in self.received[since:]:
            if self.start_of(captured) != 0:
                continue
            same = [each for each in before if _content(each.segment) == _content(captured.segment)]
            if not same or captured.time - same[0].time >= SOONEST_RETRANSMISSION:
                return captured
        return None

    def has_acknowledged(self, offset: int) -> bool:
        """True once the server has acknowledged everything before this offset from our ISN."""
        most = self._most_acknowledged
        return most is not None and most >= offset

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

    # --- answers to what came twice -----------------------------------------------------------

    def control_segments(self, since: int) -> list[Captured]:
        """What the server sent, from that place in ``received`` on, beside its stream.

        An answer to a repeated SYN is among it (SYN-ACK, RST, plain ACK), data under way is not.
        """
        strays = set(map(id, self.stray_resets))
        return [
            captured
            for captured in self.received[since:]
            if id(captured) not in strays
            and (
                captured.segment.flags & (Flags.SYN | Flags.RST)
                or not captured.segment.sequence_length
            )
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

    @property
    def only_answer(self) -> Captured | None:
        """What the server said to the SYN, when there was nothing else that it could answer."""
        resets = [each for each in self.packets if each.sent and each.segment.is_reset]
        is_short = len(self.packets) == 2 + len(resets)
        return self.received[0] if is_short and len(self.received) == 1 else None


def _content(segment: Segment) -> tuple[object, ...]:
    """What stays the same on every way that a packet takes."""
    return (segment.flags, segment.seq, segment.ack, segment.options, segment.ip_id)
