"""The receiving half of a reference connection: the RCV variables of RFC 9293 section 3.3.1.

What arrives out of order is dropped and asked for again (RFC 9293 section 3.10.7.4 allows it);
unread bytes are the receive window, so memory is bounded.
"""

from __future__ import annotations

from tfocheck.reference.application import Application
from tfocheck.reference.sender import distance
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.segment import Flags, Segment

RECEIVE_BUFFER = 65_535


class Receiver:
    """RCV.NXT, which starts at ``start``, and RCV.WND."""

    def __init__(self, start: int, application: Application) -> None:
        self.nxt = start
        self._application = application

    @property
    def window(self) -> int:
        """How many bytes more it takes."""
        return max(RECEIVE_BUFFER - self._application.unread, 0)

    def is_acceptable(self, segment: Segment) -> bool:
        """RFC 9293 table 6."""
        start, window = distance(segment.seq, self.nxt), self.window
        length = segment.sequence_length
        if length == 0:
            return 0 <= start < window or start == 0
        return start < window and start + length > 0

    def ends_with(self, segment: Segment) -> bool:
        """Whether it was taken to its end, and nothing behind it."""
        return distance(segment.seq + segment.sequence_length, self.nxt) == 0

    def take_text(self, segment: Segment) -> None:
        """Give the application the segment's text from RCV.NXT on, as far as the window reaches."""
        start = distance(segment.seq, self.nxt)
        if start > 0:
            return
        data = segment.payload[-start:][: self.window]
        self.nxt = (self.nxt + len(data)) % SEQUENCE_SPACE
        self._application.receive(data)

    def take_fin(self, segment: Segment) -> bool:
        """Whether there is a FIN whose turn it is; the application then gets no more."""
        end = segment.seq + len(segment.payload)
        if not segment.flags & Flags.FIN or distance(end, self.nxt) != 0:
            return False
        self.nxt = (self.nxt + 1) % SEQUENCE_SPACE
        self._application.end()
        return True
