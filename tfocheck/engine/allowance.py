"""How much of what a server sends is kept: enough to judge by, however much comes.

Rules that hold here:

* What is not kept is looked at all the same when it comes: how far the data has come, what is
  acknowledged, resets and FINs.
* Data is kept for readers, its counts for verdicts: half of the room is for data that goes on. What
  brings none, or the same again, may be what is waited for; so what is left out of that makes
  absences inconclusive, unless it is the copy of one that is kept.
"""

from __future__ import annotations

import math

from tfocheck.wire.evidence import Captured
from tfocheck.wire.segment import Segment

FREE_PACKETS, FREE_BYTES = 40, 1 << 16
"""The beginning of a connection, which is kept in any case."""

FLOW_PACKETS, FLOW_BYTES = 400, 1 << 19
"""What is kept of one connection at most; half of it may be data that goes on."""

ADDRESS_PACKETS, ADDRESS_BYTES = 6000, 1 << 24
"""What is kept of all connections to an address, beyond their beginnings."""


COPIES, COPY_SECONDS = 8, 0.05
"""More copies of a packet than this, each so soon after the one before, say nothing new."""


class Allowance:
    """What is left for all connections to an address."""

    def __init__(self) -> None:
        self.packets = ADDRESS_PACKETS
        self.bytes = ADDRESS_BYTES


class Share:
    """What one connection keeps, at the cost of all."""

    def __init__(self, allowance: Allowance | None = None) -> None:
        self._allowance = allowance or Allowance()
        self._packets = 0
        self._bytes = 0
        self._copies: dict[Segment, tuple[float, int]] = {}
        """When what has no data came last, and how many copies in a row."""
        self.left_out = 0
        """So many packets of the server's are not kept."""
        self.unheard = 0
        """So many of them brought no new data, nor were they copies."""

    def keeps(self, captured: Captured, *, goes_on: bool) -> bool:
        """Whether to keep a packet of the server's; ``goes_on`` says that it brings new data."""
        size, allowance = len(captured.segment.payload), self._allowance
        if not size and self._is_copy(captured):
            self.left_out += 1
            return False
        begins = self._packets < FREE_PACKETS and self._bytes + size <= FREE_BYTES
        if not begins and not self._has_room(size, goes_on=goes_on):
            self.left_out += 1
            self.unheard += not goes_on
            return False
        if not begins:
            allowance.packets -= 1
            allowance.bytes -= size
        self._packets += 1
        self._bytes += size
        return True

    def _is_copy(self, captured: Captured) -> bool:
        last, copies = self._copies.get(captured.segment, (-math.inf, 0))
        copies = copies + 1 if abs(captured.time - last) <= COPY_SECONDS else 0
        if copies or len(self._copies) < FLOW_PACKETS:
            self._copies[captured.segment] = (captured.time, copies)
        return copies > COPIES

    def _has_room(self, size: int, *, goes_on: bool) -> bool:
        share = 2 if goes_on else 1
        return (
            self._packets < FLOW_PACKETS // share
            and self._bytes + size <= FLOW_BYTES // share
            and self._allowance.packets > ADDRESS_PACKETS - ADDRESS_PACKETS // share
            and self._allowance.bytes >= size
        )
