"""What is captured of one connection, as it comes: the server's stream, its SYN-ACKs, its reset.

Rules that hold here:

* Nothing is sent here, and nothing is waited for: segments are taken in, in the order of capture.
* Sequence arithmetic is modulo 2**32 everywhere.
* What can't belong to this connection is kept as evidence, and believed in nothing.
* What is kept is bounded (``allowance``); what is not is taken in all the same. The lists hold what
  is kept, so whoever counts what comes asks ``received_count``.

Sources: RFC 9293 sections 3.4 and 3.10.7, RFC 2018 (selective acknowledgement), RFC 5961 (blind
resets), RFC 7323.
"""

from __future__ import annotations

from collections import deque

from tfocheck.engine.allowance import Allowance, Share
from tfocheck.engine.stream import Stream
from tfocheck.wire import options as tcp_options
from tfocheck.wire.evidence import Captured, FlowKey, IcmpError
from tfocheck.wire.numbers import relative
from tfocheck.wire.options import OptionList
from tfocheck.wire.segment import Flags, Segment

RECEIVE_WINDOW = 65535
WINDOW_SCALE = 7

ERRORS_KEPT = 200
"""ICMP errors about a connection, of which each router on a long route sends a few."""

LAST_KEPT = 4
"""So many packets are kept of the end of what was left out."""


class Record:
    """The packets of a connection between both ends of ``key``, ours with this ISN.

    ``packets`` is what was captured, ``received`` the server's part of it, both in the order of
    capture, as far as the allowance goes. Times are Unix seconds.
    """

    def __init__(self, key: FlowKey, isn: int, allowance: Allowance | None = None) -> None:
        self.share = Share(allowance)
        self.received_count = 0
        """How many packets of the server's have come."""
        self.last_left_out: deque[Captured] = deque(maxlen=LAST_KEPT)
        self.key = key
        self.isn = isn
        self.server_isn: int | None = None
        self.packets: list[Captured] = []
        self.received: list[Captured] = []
        self.icmps: list[IcmpError] = []
        self.syn_acks: list[Captured] = []
        """Every SYN-ACK that answers our SYN, repeated ones included."""
        self.misfits: list[Captured] = []
        """SYN-ACKs from the server's port that acknowledge what we never sent."""
        self.reset: Captured | None = None
        """The server's RST, if one came that may be believed (RFC 9293 section 3.10.7.3)."""
        self.stray_resets: list[Captured] = []
        """RSTs with numbers that are not this connection's: whoever sent them does not see it."""
        self.kernel_resets = 0
        """Resets that the local kernel sent in our name: the port was not guarded."""
        self.syn_data = b""
        self.syn_options = OptionList(())
        """What our SYN brought."""
        self.agreed_timestamps = False
        self.agreed_sack = False
        self.last_timestamp = 0
        """The server's latest TSval."""
        self.owes_ack = False
        """Whether something has come since our last ACK that wants one."""
        self._stream = Stream()
        self._server_fin: int | None = None
        self._most_acknowledged: int | None = None
        self._reach = 0
        """How far data has come that lay in our window then."""

    def segment_captured(self, captured: Captured) -> None:
        """Take in a captured segment, ours or the server's."""
        segment = captured.segment
        if captured.sent:
            self.packets.append(captured)
            # Ours always carry ACK; the kernel's reset to a segment with ACK never does.
            self.kernel_resets += segment.is_reset and not segment.has_ack
            return
        self.received_count += 1
        kept = self.share.keeps(captured, goes_on=self._goes_on(segment))
        if kept:
            self.packets.append(captured)
            self.received.append(captured)
        else:
            self.last_left_out.append(captured)
        self._take_in(captured, kept=kept)

    def _goes_on(self, segment: Segment) -> bool:
        """Whether a segment brings data that did not come before."""
        if not segment.payload or self.server_isn is None:
            return False
        start = relative(segment.seq, self.server_isn + 1)
        return start + len(segment.payload) > self.stream_bytes

    def icmp_received(self, error: IcmpError) -> None:
        """Take in an ICMP error about one of our segments."""
        if len(self.icmps) < ERRORS_KEPT:
            self.icmps.append(error)

    def _take_in(self, captured: Captured, *, kept: bool) -> None:
        segment = captured.segment
        if segment.is_syn_ack:
            self._take_syn_ack(captured, kept=kept)
        if segment.is_reset:
            self._take_reset(captured, kept=kept)
        elif segment.has_ack:
            acknowledged = relative(segment.ack, self.isn)
            if self._most_acknowledged is None or acknowledged > self._most_acknowledged:
                self._most_acknowledged = acknowledged
        if self.server_isn is None or segment.is_reset or not self._is_near(segment):
            return
        # A repeated SYN-ACK or FIN as well: our ACK was lost.
        self.owes_ack = self.owes_ack or segment.sequence_length > 0
        stamps = segment.option_list.timestamps
        if stamps is not None:
            self.last_timestamp = stamps[0]
        self._take_data(segment, self.server_isn)

    def _take_reset(self, captured: Captured, *, kept: bool) -> None:
        """Believe a RST, unless its numbers are nobody's who takes part (RFC 9293 3.10.7.3).

        A server that has forgotten the connection takes its number from an ACK of ours, which may
        be one from before: an older number of this connection is as good as the next one. What
        answers a SYN of ours has no number, but acknowledges it.
        """
        segment = captured.segment
        answers_syn = segment.has_ack and self._acknowledges_syn(segment)
        if not answers_syn and (self.server_isn is None or not self._is_near(segment)):
            if kept:
                self.stray_resets.append(captured)
        elif self.reset is None:
            self.reset = captured

    def _is_near(self, segment: Segment) -> bool:
        """Whether a segment begins inside of the window, or where it was before."""
        assert self.server_isn is not None
        most = 1 + self.stream_bytes + (RECEIVE_WINDOW << WINDOW_SCALE)
        return 0 <= relative(segment.seq, self.server_isn) <= most

    def _take_syn_ack(self, captured: Captured, *, kept: bool) -> None:
        segment = captured.segment
        if not self._acknowledges_syn(segment):
            if kept:
                self.misfits.append(captured)
            return
        if kept or not self.syn_acks:
            self.syn_acks.append(captured)
        if self.server_isn is None:
            self.server_isn = segment.seq
            offered = segment.option_list
            self.agreed_timestamps = offered.timestamps is not None
            self.agreed_sack = bool(
                offered.find(tcp_options.SACK_PERMITTED)
                and self.syn_options.find(tcp_options.SACK_PERMITTED)
            )

    def _take_data(self, segment: Segment, server_isn: int) -> None:
        start = relative(segment.seq, server_isn + 1) + bool(segment.flags & Flags.SYN)
        if start < 0:
            return
        if segment.payload:
            self._reach = max(self._reach, start + len(segment.payload))
            self._stream.take(start, segment.payload)
        if segment.flags & Flags.FIN:
            self._server_fin = start + len(segment.payload)

    def _acknowledges_syn(self, segment: Segment) -> bool:
        return 1 <= relative(segment.ack, self.isn) <= 1 + len(self.syn_data)

    @property
    def stream(self) -> bytes:
        """The server's data so far, in order and without gaps; the first ``STREAM_KEPT`` bytes."""
        return self._stream.kept

    @property
    def stream_bytes(self) -> int:
        """How many bytes of the server's data have come in order."""
        return self._stream.length

    @property
    def stream_gaps(self) -> list[tuple[int, int]]:
        """(start, end) of what has come behind a gap, in bytes from the server's first one."""
        return self._stream.blocks()

    @property
    def server_has_closed(self) -> bool:
        """True once the server's FIN has come and nothing before it is missing."""
        return self._server_fin is not None and self._server_fin == self.stream_bytes

    @property
    def has_ended(self) -> bool:
        """True once the server has closed or reset the connection."""
        return self.server_has_closed or self.reset is not None
