"""Round-trip times of a path, and how long it is worth waiting on it.

Source: RFC 6298 section 2 for the estimator.
"""

from __future__ import annotations

INITIAL_WAIT = 1.0
SHORTEST_WAIT = 0.25

REPEAT_MARGIN = 0.8
"""A SYN-ACK this much later than the fastest one may be a repeated one, which has no option: a
server repeats it a second after the first one, or later (RFC 6298 section 2.1)."""


class RoundTrips:
    """A path's round-trip time in seconds; ``smallest`` is None before the first sample."""

    def __init__(self) -> None:
        self.smallest: float | None = None
        self.smoothed = 0.0
        self.variation = 0.0

    def add(self, sample: float) -> None:
        """Count one measured round trip."""
        if self.smallest is None:
            self.smallest, self.smoothed, self.variation = sample, sample, sample / 2
            return
        self.smallest = min(self.smallest, sample)
        self.variation += (abs(self.smoothed - sample) - self.variation) / 4
        self.smoothed += (sample - self.smoothed) / 8

    @property
    def least(self) -> float:
        """The smallest one; 0 before the first sample."""
        return self.smallest or 0.0

    @property
    def spread(self) -> float:
        """Within this time an answer comes back, going by RFC 6298's retransmission timer."""
        return self.smoothed + 4 * self.variation

    def syn_wait(self, bound: float) -> float:
        """How long to wait for a SYN-ACK, at most ``bound`` seconds."""
        if self.smallest is None:
            return min(bound, INITIAL_WAIT)
        # Twice the timer, for hosts that are busy; beyond the margin it would be a repeated one.
        enough = max(SHORTEST_WAIT, 2 * self.spread)
        return min(bound, enough, self.smallest + REPEAT_MARGIN)

    def may_be_repeated(self, round_trip: float) -> bool:
        """True if a SYN-ACK that took so long may be a repeated one."""
        return self.smallest is not None and round_trip > self.smallest + REPEAT_MARGIN
