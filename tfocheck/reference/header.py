"""The headers of what a reference connection sends: addresses, numbers and options.

Sources: RFC 9293 section 3.1 and 3.7.1 (MSS), RFC 7323 (timestamps, window scale), RFC 6691 (MSS
and options).
"""

from __future__ import annotations

from collections.abc import Sequence

from tfocheck.reference.faults import ActiveFaults
from tfocheck.reference.sender import distance
from tfocheck.reference.variations import USUAL, Variations
from tfocheck.wire import options as tcp_options
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.options import Option
from tfocheck.wire.segment import Flags, Segment

_TIMESTAMP_BYTES = 12
_SMALLEST_SEGMENT = 8
_OWN_MSS4, _OWN_MSS6 = 1460, 1440
# What a peer takes that does not say (RFC 9293 section 3.7.1).
_DEFAULT_MSS4, _DEFAULT_MSS6 = 536, 1220


class Header:
    """What a SYN negotiated for a connection, and the segments that follow from it."""

    def __init__(
        self, syn: Segment, isn: int, faults: ActiveFaults, variations: Variations = USUAL
    ) -> None:
        self._syn = syn
        self._isn = isn
        self._faults = faults
        offered = syn.option_list
        self._is_ipv6 = ":" in syn.source
        self._own_mss = _OWN_MSS6 if self._is_ipv6 else _OWN_MSS4
        self._scale = offered.window_scale if variations.window_scale else None
        is_permitted = offered.find(tcp_options.SACK_PERMITTED) is not None
        self._permits_sack = variations.sack_permitted and is_permitted
        stamps = offered.timestamps if variations.timestamps else None
        self._recent_stamp = stamps[0] if stamps else None
        self._stamp_offset = isn ^ 0x5C0FFEE
        self._last_ack_sent = 0
        self._later_options = (-1, -1, b"")
        self.segment_size = self._segment_size(offered.mss)
        """How many bytes of data the peer takes in one segment."""

    def _segment_size(self, announced: int | None) -> int:
        """The peer's MSS less the options that we send on every segment (RFC 6691).

        To obey an MSS of a few bytes would only make a flood.
        """
        if announced is None:
            announced = _DEFAULT_MSS6 if self._is_ipv6 else _DEFAULT_MSS4
        if "ignores-mss" in self._faults:
            announced = self._own_mss
        taken = _TIMESTAMP_BYTES if self._recent_stamp is not None else 0
        return max(min(announced, self._own_mss) - taken, _SMALLEST_SEGMENT)

    # What comes

    def window(self, segment: Segment) -> int:
        """The peer's window in bytes."""
        return segment.window << (self._scale or 0)

    def is_old_duplicate(self, segment: Segment) -> bool:
        """PAWS, RFC 7323 section 5.3."""
        if self._recent_stamp is None or segment.is_reset:
            return False
        stamps = segment.option_list.timestamps
        return stamps is not None and distance(stamps[0], self._recent_stamp) < 0

    def note_timestamp(self, segment: Segment) -> None:
        """RFC 7323 section 4.3, rule 2; PAWS already saw to it that it isn't older."""
        if self._recent_stamp is None or distance(segment.seq, self._last_ack_sent) > 0:
            return
        stamps = segment.option_list.timestamps
        if stamps is not None:
            self._recent_stamp = stamps[0]

    # What goes

    def syn_ack(
        self, now: float, ack: int, window: int, fast_open: Option | None, payload: bytes
    ) -> Segment:
        """The SYN-ACK, with that Fast Open option."""
        options = [tcp_options.mss(self._own_mss)]
        if self._permits_sack:
            options += [*[tcp_options.no_operation()] * 2, tcp_options.sack_permitted()]
        if self._recent_stamp is not None:
            echo = 0 if "wrong-tsecr" in self._faults else self._recent_stamp
            options += [tcp_options.no_operation()] * 2
            options.append(tcp_options.timestamps(self._stamp(now), echo))
        if self._scale is not None:
            options += [tcp_options.no_operation(), tcp_options.window_scale(0)]
        if fast_open is not None:
            options.append(fast_open)
        flags = Flags.SYN | Flags.ACK
        return self._build(flags, self._isn, ack, window, _fitting(options), payload)

    def segment(
        self, now: float, flags: Flags, seq: int, ack: int, window: int, payload: bytes = b""
    ) -> Segment:
        """A segment after the SYN-ACK."""
        return self._build(flags, seq, ack, window, self._area(now), payload)

    def _build(
        self, flags: Flags, seq: int, ack: int, window: int, area: bytes, payload: bytes
    ) -> Segment:
        self._last_ack_sent = ack
        syn = self._syn
        return Segment(
            source=syn.destination,
            source_port=syn.destination_port,
            destination=syn.source,
            destination_port=syn.source_port,
            seq=seq,
            ack=ack,
            flags=flags,
            window=window,
            options=area,
            payload=payload,
        )

    def _area(self, now: float) -> bytes:
        """RFC 7323 section 3.2: once negotiated, timestamps are on every segment."""
        recent = self._recent_stamp
        if recent is None:
            return b""
        stamp = self._stamp(now)
        if self._later_options[:2] != (stamp, recent):
            nop = tcp_options.no_operation()
            area = tcp_options.encode([nop, nop, tcp_options.timestamps(stamp, recent)])
            self._later_options = (stamp, recent, area)
        return self._later_options[2]

    def _stamp(self, now: float) -> int:
        return (int(now * 1000) + self._stamp_offset) % SEQUENCE_SPACE


def _fitting(options: Sequence[Option]) -> bytes:
    """The option area, less the first options if a long cookie leaves no room for them."""
    while True:
        area = b"".join(option.encode() for option in options)
        if len(area) <= tcp_options.MAX_OPTION_BYTES:
            return tcp_options.pad(area)
        options = options[1:]


def reset_for(segment: Segment) -> Segment:
    """The RST that answers a segment of no connection (RFC 9293 section 3.10.7.1)."""
    acknowledges = bool(segment.flags & Flags.ACK)
    end = (segment.seq + segment.sequence_length) % SEQUENCE_SPACE
    return Segment(
        source=segment.destination,
        source_port=segment.destination_port,
        destination=segment.source,
        destination_port=segment.source_port,
        seq=segment.ack if acknowledges else 0,
        ack=0 if acknowledges else end,
        flags=Flags.RST if acknowledges else Flags.RST | Flags.ACK,
        window=0,
    )
