"""SYN cookies: a SYN is answered and forgotten, and the client's ACK brings back what matters.

Source: RFC 4987 section 3.6. As in Linux without timestamps only the MSS comes back, roughly.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from tfocheck.wire import options as tcp_options
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.segment import Segment

_MSS_TABLE = (536, 1220, 1440, 1460)
"""What two bits of the sequence number can say."""


class SynCookieMaker:
    """Makes ISNs and knows its own again."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def reduced(self, syn: Segment) -> Segment:
        """What of a SYN is not forgotten: numbers and MSS, neither data nor any other option."""
        place = self._place(syn.option_list.mss or _MSS_TABLE[0])
        return _with_mss(syn, _MSS_TABLE[place])

    def isn(self, syn: Segment) -> int:
        """The ISN that tells everything."""
        place = self._place(syn.option_list.mss or _MSS_TABLE[0])
        return self._isn(syn, syn.seq, place)

    def syn_of(self, segment: Segment) -> Segment | None:
        """The SYN that this segment's SYN-ACK was for; None if it acknowledges no ISN of ours."""
        isn, client_isn = (segment.ack - 1) % SEQUENCE_SPACE, (segment.seq - 1) % SEQUENCE_SPACE
        place = isn & 3
        if isn != self._isn(segment, client_isn, place):
            return None
        return _with_mss(replace(segment, seq=client_isn, ack=0), _MSS_TABLE[place])

    def _place(self, mss: int) -> int:
        return max((i for i, known in enumerate(_MSS_TABLE) if known <= mss), default=0)

    def _isn(self, segment: Segment, client_isn: int, place: int) -> int:
        ends = (segment.source, segment.source_port, segment.destination, client_isn, place)
        digest = hashlib.blake2b(repr(ends).encode(), key=self._key, digest_size=4).digest()
        return int.from_bytes(digest) & ~3 | place


def _with_mss(segment: Segment, mss: int) -> Segment:
    return replace(segment, options=tcp_options.encode([tcp_options.mss(mss)]), payload=b"")
