"""When a connection repeats what was not acknowledged, and when it loses patience.

Source: RFC 6298, RFC 9293 sections 3.8.1 and 3.8.6.1.
"""

from __future__ import annotations

SYN_ACK_TIMEOUTS = (1.0, 2.0, 4.0, 8.0)
"""Seconds; repeats at 1, 3 and 7 s, and the connection is given up at 15 s."""

INITIAL_TIMEOUT = 1.0
MAX_TIMEOUT = 60.0
MAX_RETRANSMISSIONS = 8
IDLE_SECONDS = 60.0

ACK_DELAY = 0.04
"""Seconds that an ACK waits for something to go with (RFC 9293 section 3.8.6.3: below 0.5)."""


class Timers:
    """The retransmission timer and the idle timer; times are seconds on the clock of ``now``."""

    def __init__(self, now: float, *, delays_acks: bool = False) -> None:
        self._timeout = INITIAL_TIMEOUT
        self._retransmissions = 0
        self._repeat_at: float | None = now + SYN_ACK_TIMEOUTS[0]
        self._idle_at = now + IDLE_SECONDS
        self._delays_acks = delays_acks
        self._ack_at: float | None = None

    @property
    def deadline(self) -> float:
        """When one of them is due."""
        times = (self._repeat_at, self._ack_at, self._idle_at)
        return min(time for time in times if time is not None)

    @property
    def has_repeated(self) -> bool:
        """Something was sent again since the peer last acknowledged something."""
        return self._retransmissions > 0

    def is_idle(self, now: float) -> bool:
        """Nothing acceptable has come for too long."""
        return now >= self._idle_at

    def is_due(self, now: float) -> bool:
        """It is time to send something again."""
        return self._repeat_at is not None and now >= self._repeat_at

    def delay_ack(self, now: float) -> bool:
        """Whether what came may be acknowledged a little later; not while another waits for it."""
        if not self._delays_acks or self._ack_at is not None:
            return False
        self._ack_at = now + ACK_DELAY
        return True

    def ack_sent(self) -> None:
        """Whatever was sent acknowledged it."""
        self._ack_at = None

    def is_ack_due(self, now: float) -> bool:
        """The ACK has waited long enough."""
        return self._ack_at is not None and now >= self._ack_at

    def heard(self, now: float) -> None:
        """Something acceptable has come."""
        self._idle_at = now + IDLE_SECONDS

    def peer_answers(self) -> None:
        """The peer is there: patience begins anew."""
        self._retransmissions = 0

    def handshake_done(self) -> None:
        """The SYN-ACK need not be repeated any more."""
        self._retransmissions = 0
        self._repeat_at = None

    def acknowledged(self, now: float, *, everything: bool) -> None:
        """Something new was acknowledged, or all that was sent."""
        self._retransmissions = 0
        self._timeout = INITIAL_TIMEOUT
        self._repeat_at = None if everything else now + self._timeout

    def sent(self, now: float) -> None:
        """Something is under way that wants to be acknowledged."""
        if self._repeat_at is None:
            self._repeat_at = now + self._timeout

    def repeat_syn_ack(self, now: float) -> bool:
        """Whether the SYN-ACK, which is due, is to be sent once more."""
        self._retransmissions += 1
        if self._retransmissions >= len(SYN_ACK_TIMEOUTS):
            return False
        self._repeat_at = now + SYN_ACK_TIMEOUTS[self._retransmissions]
        return True

    def repeat(self, now: float) -> bool:
        """Whether what is due is to be sent once more; the next time is further away."""
        self._retransmissions += 1
        if self._retransmissions > MAX_RETRANSMISSIONS:
            return False
        self._timeout = min(2 * self._timeout, MAX_TIMEOUT)
        self._repeat_at = now + self._timeout
        return True

    def stop(self) -> None:
        """Nothing is to be sent again."""
        self._repeat_at = self._ack_at = None

    def wait_for_time_wait(self, now: float) -> None:
        """The TIME-WAIT state begins."""
        self._repeat_at = None
        self._idle_at = now + IDLE_SECONDS
