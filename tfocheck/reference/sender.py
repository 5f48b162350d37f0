"""The sending half of a reference connection: the SND variables of RFC 9293 section 3.3.1.

What may go out, and when it is done: the peer's window, the congestion window, the queue of bytes
that are not yet acknowledged. No timers and no headers in here.

Sources: RFC 9293 section 3.8 (window, silly windows, probes), RFC 5681 (congestion control),
RFC 3390 (initial window).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tfocheck.reference.faults import ActiveFaults
from tfocheck.reference.variations import USUAL, Variations
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.segment import Segment

SEND_BUFFER = 65_536

_NO_LIMIT = 1 << 40


def distance(number: int, base: int) -> int:
    """From base to number in sequence space, -2**31 to 2**31 - 1 (RFC 9293 section 3.4)."""
    half = SEQUENCE_SPACE // 2
    return (number - base + half) % SEQUENCE_SPACE - half


@dataclass(frozen=True)
class Chunk:
    """Bytes to send at a sequence number; ``is_last`` when nothing is queued behind them."""

    seq: int
    data: bytes
    is_last: bool


class Sender:
    """SND.UNA, SND.NXT, SND.WND and what follows from them.

    ``mss`` is what one segment may carry; the window of the SYN is never scaled.
    """

    def __init__(
        self,
        isn: int,
        mss: int,
        syn: Segment,
        faults: ActiveFaults,
        variations: Variations = USUAL,
    ) -> None:
        self._faults = faults
        self._mss = mss
        self.una = isn
        # max is the highest number sent; nxt goes back behind it when a timeout starts over.
        self.nxt = self.max = self._queue_seq = (isn + 1) % SEQUENCE_SPACE
        self._queue = bytearray()
        self.fin_sent = False
        self.window = self._largest_window = syn.window
        # SND.WL1 and SND.WL2: the segment that the window is from.
        self._wl1, self._wl2 = syn.seq, isn
        self._duplicate_acks = 0
        # RFC 7413 section 4.2.2 step 6 names the limit of RFC 3390 for what goes out early.
        self._cwnd = min(4 * mss, max(2 * mss, 4380))
        if variations.initial_segments is not None:
            self._cwnd = variations.initial_segments * mss
        if "floods" in faults:
            self._cwnd = _NO_LIMIT
        self._ssthresh = _NO_LIMIT

    @property
    def room(self) -> int:
        """How many bytes the queue still takes."""
        return SEND_BUFFER - len(self._queue)

    @property
    def is_done(self) -> bool:
        """All that was queued and sent is acknowledged."""
        return not self._queue and self.una == self.max

    @property
    def fin_acknowledged(self) -> bool:
        """The peer has our FIN."""
        return self.fin_sent and self.una == self.max

    def queue(self, data: bytes) -> None:
        """Append to what is to be sent."""
        self._queue += data

    def start(self, size: int) -> bytes:
        """The first unacknowledged bytes, at most so many."""
        return bytes(self._queue[:size])

    def clear(self) -> None:
        """Forget what was to be sent."""
        self._queue.clear()

    # Acknowledgments

    def has_sent(self, ack: int) -> bool:
        """False for the acknowledgment of something that was never sent."""
        return distance(ack, self.una) <= distance(self.max, self.una)

    def handshake_done(self, *, syn_ack_was_lost: bool) -> None:
        """The SYN is acknowledged."""
        if "loses-early-data" in self._faults:
            del self._queue[: distance(self.max, self._queue_seq)]
            self._queue_seq = self.nxt = self.max
        self.una = self._queue_seq
        if syn_ack_was_lost:
            self._cwnd = self._mss  # RFC 5681 section 3.1

    def acknowledge(self, ack: int) -> bool:
        """Take note of an ACK that ``has_sent`` allows; True when it is news."""
        acked = distance(ack, self.una)
        if acked <= 0:
            return False
        self.una = ack
        if distance(self.nxt, ack) < 0:
            self.nxt = ack
        del self._queue[: distance(ack, self._queue_seq)]
        self._queue_seq = (ack - self.fin_acknowledged) % SEQUENCE_SPACE
        self._duplicate_acks = 0
        if self._cwnd < self._ssthresh:
            self._cwnd += min(acked, 2 * self._mss)  # slow start, with RFC 3465's byte counting
        else:
            self._cwnd += max(1, self._mss * self._mss // self._cwnd)
        return True

    def note_duplicate(self, segment: Segment, window: int) -> Chunk | None:
        """Count duplicate ACKs (RFC 5681 section 2); what to send again at the third."""
        is_duplicate = (
            segment.ack == self.una
            and not segment.sequence_length
            and window == self.window
            and self.una != self.max
        )
        self._duplicate_acks += is_duplicate
        if not is_duplicate or self._duplicate_acks != 3:
            return None
        self._halve_threshold()
        self._cwnd = min(self._cwnd, self._ssthresh)
        # With the window shut these only answered probes.
        data = self.start(min(self._mss, self.window))
        return Chunk(self._queue_seq, data, is_last=False) if data else None

    def update_window(self, segment: Segment, window: int) -> None:
        """The peer's window, in bytes, as this segment has it."""
        self.window = window
        self._largest_window = max(self._largest_window, window)
        self._wl1, self._wl2 = segment.seq, segment.ack

    def update_window_if_newer(self, segment: Segment, window: int) -> None:
        """The same, unless the segment is older than the one that the window is from."""
        ahead = distance(segment.seq, self._wl1)
        if ahead > 0 or (ahead == 0 and distance(segment.ack, self._wl2) >= 0):
            self.update_window(segment, window)

    # Sending

    def chunks(self) -> Iterator[Chunk]:
        """All that may be sent now, in order."""
        limit = self._cwnd
        if "ignores-window" not in self._faults:
            limit = min(limit, self.window)
        while True:
            in_flight = distance(self.nxt, self._queue_seq)
            left = len(self._queue) - in_flight
            size = min(self._mss, left, limit - in_flight)
            # RFC 9293 section 3.8.6.2.1, against silly windows: no small segment while an
            # acknowledgment is under way that will make room for a larger one.
            is_small = size < min(self._mss, left) and size < self._largest_window // 2
            if size <= 0 or (is_small and in_flight > 0):
                return
            data = bytes(self._queue[in_flight : in_flight + size])
            yield Chunk(self.nxt, data, is_last=size == left)
            self._sent_up_to(self.nxt + size)

    def send_fin(self) -> int | None:
        """The FIN's sequence number, if it is its turn."""
        if self.fin_acknowledged or distance(self.nxt, self._queue_seq) != len(self._queue):
            return None
        seq = self.nxt
        self.fin_sent = True
        self._sent_up_to(seq + 1)
        return seq

    def start_over(self) -> None:
        """After a timeout begin again with one segment from SND.UNA on (RFC 5681 section 3.1)."""
        self._halve_threshold()
        self._cwnd = self._mss
        self.nxt = self._queue_seq

    def probe(self) -> Chunk | None:
        """One byte to find out whether the window is still shut (RFC 9293 section 3.8.6.1)."""
        if not self._queue:
            return None
        self._sent_up_to(self._queue_seq + 1)
        self.nxt = self._queue_seq  # the peer need not have kept the byte
        return Chunk(self._queue_seq, self.start(1), is_last=False)

    def _sent_up_to(self, number: int) -> None:
        self.nxt = number % SEQUENCE_SPACE
        if distance(self.nxt, self.max) > 0:
            self.max = self.nxt

    def _halve_threshold(self) -> None:
        self._ssthresh = max(distance(self.max, self.una) // 2, 2 * self._mss)
