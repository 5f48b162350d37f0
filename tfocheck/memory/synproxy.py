"""A router that answers SYNs in the server's place, as Linux's SYNPROXY target does.

Source: Linux ``net/netfilter/nf_synproxy_core.c``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tfocheck.memory import rewriting
from tfocheck.memory.impairment import TO_CLIENT, TO_SERVER, Way
from tfocheck.memory.path import Box, Passage
from tfocheck.memory.rewriting import is_first_syn
from tfocheck.memory.tracking import Ends, Tracked, client_first, end_as_bytes
from tfocheck.wire import options as tcp_options
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.options import Option
from tfocheck.wire.segment import DEFAULT_TTL, Flags, Segment

_PROXY_WINDOW_SCALE = 7
_SMALLEST_MSS = 536


@dataclass
class _Proxied:
    """A connection that SYNPROXY has let through, from the client's ACK on.

    ``isn`` is the number that it gave the client, ``offset`` what the server's numbers are behind
    it, known once the server has answered; ``stamp_offset`` the same for timestamps.
    """

    isn: int
    ack: Segment
    offset: int | None = None
    stamp_offset: int = 0


class Synproxy(Box):
    """Answers SYNs itself, and opens to the server what the client completes.

    It is Linux's SYNPROXY target: no state before the client's ACK, no window until the server has
    answered, and what the client sends before that is thrown away. Where Linux
    keeps the client's options in its timestamp, this one remembers them.
    """

    def __init__(self, mss: int = 1460) -> None:
        self._mss = mss
        self._syns = Tracked[Segment]()
        self._connections = Tracked[_Proxied]()

    def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
        """What goes on, what it answers, or nothing."""
        ends = client_first(way, segment)
        if way == TO_SERVER:
            return self._from_client(ends, segment)
        return self._from_server(ends, segment)

    def _from_client(self, ends: Ends, segment: Segment) -> list[Passage]:
        if is_first_syn(segment.flags):
            self._syns[ends] = segment
            self._connections.forget(ends)
            return [(TO_CLIENT, self._syn_ack(ends, segment))]
        known = self._connections.get(ends)
        if known is None or known.offset is None:
            return self._complete(ends, segment)
        back = known.offset
        return [(TO_SERVER, _renumbered_ack(segment, back, known.stamp_offset))]

    def _syn_ack(self, ends: Ends, syn: Segment) -> Segment:
        stamps = syn.option_list.timestamps
        heard = stamps[0] if stamps else 0
        options = [tcp_options.mss(self._mss)]
        options += _negotiated(syn, self._stamp(ends), heard, _PROXY_WINDOW_SCALE)
        return Segment(
            syn.destination,
            syn.destination_port,
            syn.source,
            syn.source_port,
            seq=self._isn(ends),
            ack=(syn.seq + 1) % SEQUENCE_SPACE,
            flags=Flags.SYN | Flags.ACK,
            window=0,
            options=tcp_options.encode(options),
        )

    def _complete(self, ends: Ends, segment: Segment) -> list[Passage]:
        """The client's ACK of a SYN-ACK that it got from here: now the server gets a SYN."""
        syn, isn = self._syns.get(ends), self._isn(ends)
        is_ack = segment.flags & (Flags.ACK | Flags.RST | Flags.SYN) == Flags.ACK
        if syn is None or not is_ack or segment.ack != (isn + 1) % SEQUENCE_SPACE:
            return []
        if ends not in self._connections:
            self._connections[ends] = _Proxied(isn, segment)
        stamps = segment.option_list.timestamps
        options = [tcp_options.mss(syn.option_list.mss or _SMALLEST_MSS)]
        own = stamps[0] if stamps else 0
        options += _negotiated(syn, own, 0, syn.option_list.window_scale)
        opening = replace(
            segment,
            seq=syn.seq,
            ack=0,
            flags=Flags.SYN,
            options=tcp_options.encode(options),
            payload=b"",
            ttl=DEFAULT_TTL,
        )
        return [(TO_SERVER, opening)]

    def _from_server(self, ends: Ends, segment: Segment) -> list[Passage]:
        known = self._connections.get(ends)
        if known is None:
            return []
        stamps = segment.option_list.timestamps
        if segment.is_syn_ack and known.offset is None:
            known.offset = (segment.seq - known.isn) % SEQUENCE_SPACE
            if stamps is not None:
                known.stamp_offset = (stamps[0] - self._stamp(ends)) % SEQUENCE_SPACE
        if known.offset is None:
            return [(TO_CLIENT, segment)] if segment.is_reset else []
        if segment.is_syn_ack:
            return [
                (TO_SERVER, _acknowledgment(segment, known.ack)),
                (TO_CLIENT, self._opened(segment, known)),
            ]
        return [(TO_CLIENT, _renumbered_seq(segment, known.offset, known.stamp_offset))]

    def _opened(self, syn_ack: Segment, known: _Proxied) -> Segment:
        """What tells the client that it may send: an ACK that opens the window."""
        stamps = syn_ack.option_list.timestamps
        options = b""
        if stamps is not None:
            options = _timestamp_area(stamps[0] - known.stamp_offset, stamps[1])
        return replace(
            syn_ack,
            seq=(known.isn + 1) % SEQUENCE_SPACE,
            flags=Flags.ACK,
            options=options,
            payload=b"",
            ttl=DEFAULT_TTL,
        )

    def _isn(self, ends: Ends) -> int:
        return rewriting.isn_shift(*(end_as_bytes(end) for end in ends))

    def _stamp(self, ends: Ends) -> int:
        return rewriting.isn_shift(*(end_as_bytes(end) for end in reversed(ends)))


def _negotiated(syn: Segment, stamp: int, echo: int, scale: int | None) -> list[Option]:
    """SACK-permitted, timestamps and window scale, as far as a SYN has them."""
    offered = syn.option_list
    options: list[Option] = []
    if offered.find(tcp_options.SACK_PERMITTED):
        options.append(tcp_options.sack_permitted())
    if offered.timestamps is not None:
        options.append(tcp_options.timestamps(stamp, echo))
    if offered.window_scale is not None and scale is not None:
        options += [tcp_options.no_operation(), tcp_options.window_scale(scale)]
    return options


def _acknowledgment(syn_ack: Segment, ack: Segment) -> Segment:
    """The client's part of the handshake, as SYNPROXY does it for it."""
    stamps, own = syn_ack.option_list.timestamps, ack.option_list.timestamps
    options = b""
    if stamps is not None and own is not None:
        options = _timestamp_area(own[0], stamps[0])
    return replace(
        ack,
        seq=syn_ack.ack,
        ack=(syn_ack.seq + 1) % SEQUENCE_SPACE,
        flags=Flags.ACK,
        options=options,
        payload=b"",
        ttl=DEFAULT_TTL,
    )


def _renumbered_seq(segment: Segment, offset: int, stamp_offset: int) -> Segment:
    seq = (segment.seq - offset) % SEQUENCE_SPACE
    return replace(segment, seq=seq, options=_stamped(segment, -stamp_offset, 0))


def _renumbered_ack(segment: Segment, offset: int, stamp_offset: int) -> Segment:
    options = rewriting.shifted_sack(_stamped(segment, 0, stamp_offset), -offset)
    if not segment.flags & Flags.ACK:
        return replace(segment, options=options)
    return replace(segment, ack=(segment.ack + offset) % SEQUENCE_SPACE, options=options)


def _stamped(segment: Segment, value: int, echo: int) -> bytes:
    """The option area with both timestamps moved by so much."""
    found = segment.option_list
    stamps = found.timestamps
    if stamps is None or found.malformed or not (value or echo):
        return segment.options
    moved = tcp_options.timestamps(stamps[0] + value, stamps[1] + echo)
    return tcp_options.encode(
        moved if option.kind == tcp_options.TIMESTAMPS else option for option in found.options
    )


def _timestamp_area(value: int, echo: int) -> bytes:
    nop = tcp_options.no_operation()
    return tcp_options.encode([nop, nop, tcp_options.timestamps(value, echo)])
