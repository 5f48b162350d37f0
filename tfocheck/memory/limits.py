"""Boxes that let pass a part of what comes: limits of rate, number and size, and bans.

What a host's own packet filter does at its input is a box on the router next to it.

Sources: nftables' ``limit rate``, ``ct count`` and dynamic sets with timeout; RFC 1191 and RFC 2923
(path MTU); RFC 5961 section 1 (blind resets).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from tfocheck.memory.impairment import TO_CLIENT, TO_SERVER, Way
from tfocheck.memory.path import Box, Passage, TooBig
from tfocheck.memory.rewriting import is_first_syn
from tfocheck.memory.tracking import Ends, Tracked, client_first
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.segment import Flags, Segment

BAN_SECONDS = 60.0
HALF_OPEN_SECONDS = 60.0
OUT_OF_WINDOW = 1 << 30
_HEADER4, _HEADER6 = 40, 60
"""IP and TCP header in bytes, without options."""


class SynRate(Box):
    """Lets SYNs pass by a token bucket: ``rate`` a second, ``burst`` at once; drops the others."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._filled_at = 0.0

    def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
        """Nothing, or the segment as it is."""
        if way == TO_SERVER and is_first_syn(segment.flags):
            gained = (now - self._filled_at) * self._rate
            self._tokens, self._filled_at = min(self._burst, self._tokens + gained), now
            if self._tokens < 1:
                return ()
            self._tokens -= 1
        return ((way, segment),)


class Ban(Box):
    """Drops all that a source sends for a while, once it has sent too many SYNs.

    That is more than ``after`` within ``window`` seconds.
    """

    def __init__(self, after: int, window: float = BAN_SECONDS, lasts: float = BAN_SECONDS) -> None:
        self._after = after
        self._window = window
        self._lasts = lasts
        self._times: dict[str, deque[float]] = {}
        self._banned: dict[str, float] = {}

    def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
        """Nothing, or the segment as it is."""
        if way == TO_SERVER and self._drops(segment, now):
            return ()
        return ((way, segment),)

    def _drops(self, segment: Segment, now: float) -> bool:
        if now < self._banned.get(segment.source, 0.0):
            return True
        if not is_first_syn(segment.flags):
            return False
        times = self._times.setdefault(segment.source, deque())
        times.append(now)
        while times[0] <= now - self._window:
            times.popleft()
        if len(times) <= self._after:
            return False
        self._banned[segment.source] = now + self._lasts
        times.clear()
        return True


class ConnectionLimit(Box):
    """Lets each source have so many connections; SYNs for more are dropped.

    A connection counts until it was reset or both ends have closed, or for a minute if it never was
    established.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._open: dict[str, dict[Ends, float]] = {}
        self._closed_by: Tracked[Way] = Tracked()

    def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
        """Nothing, or the segment as it is."""
        ends = client_first(way, segment)
        known = self._open.setdefault(ends[0][0], {})
        if way == TO_SERVER and is_first_syn(segment.flags):
            for each in [each for each, until in known.items() if until <= now]:
                del known[each]
            if len(known) >= self._at_once and ends not in known:
                return ()
            known[ends] = now + HALF_OPEN_SECONDS
            self._closed_by.forget(ends)
        elif ends in known:
            known[ends] = now + HALF_OPEN_SECONDS
            if segment.is_reset or self._is_closed(ends, way, segment):
                del known[ends]
        return ((way, segment),)

    def _is_closed(self, ends: Ends, way: Way, segment: Segment) -> bool:
        if not segment.flags & Flags.FIN:
            return False
        first = self._closed_by.get(ends)
        if first is None:
            self._closed_by[ends] = way
        return first is not None and first != way


class StrayReset(Box):
    """Sends a RST with a number far out of the window behind each SYN-ACK."""

    def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
        """The segment, and perhaps a RST that everybody has to ignore."""
        if way == TO_SERVER or not segment.is_syn_ack:
            return ((way, segment),)
        seq = (segment.seq + OUT_OF_WINDOW) % SEQUENCE_SPACE
        reset = replace(segment, seq=seq, ack=0, flags=Flags.RST, options=b"", payload=b"")
        return ((way, segment), (way, reset))


class EarlyDataDropped(Box):
    """Drops what a server sends behind its SYN-ACK until an ACK of the client has passed."""

    def __init__(self) -> None:
        self._confirmed: Tracked[bool] = Tracked()

    def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
        """Nothing, or the segment as it is."""
        ends = client_first(way, segment)
        if way == TO_SERVER:
            if is_first_syn(segment.flags):
                self._confirmed.forget(ends)
            elif segment.flags & Flags.ACK:
                self._confirmed[ends] = True
        elif not segment.flags & (Flags.SYN | Flags.RST) and ends not in self._confirmed:
            return ()
        return ((way, segment),)


class Mtu(Box):
    """A link that takes packets up to a size; larger ones are dropped.

    With ``tells`` the router says so: the client gets the message, and a server that has had it
    sends smaller segments, which is what is done to its large ones here. ``router`` is its address
    in IPv4 and IPv6.
    """

    def __init__(self, mtu: int, *, tells: bool, router: tuple[str, str]) -> None:
        self._mtu = mtu
        self._tells = tells
        self._router = router

    def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
        """Nothing, the segment as it is or in pieces, or the message about it."""
        is_ipv6 = ":" in segment.source
        room = self._mtu - (_HEADER6 if is_ipv6 else _HEADER4) - len(segment.options)
        if len(segment.payload) <= room:
            return ((way, segment),)
        if not self._tells:
            return ()
        if way == TO_SERVER:
            return ((TO_CLIENT, TooBig(self._router[is_ipv6], segment, mtu=self._mtu)),)
        return [(way, piece) for piece in _pieces(segment, room)]


def _pieces(segment: Segment, size: int) -> Iterable[Segment]:
    data = segment.payload
    for start in range(0, len(data), size):
        is_last = start + size >= len(data)
        flags = segment.flags if is_last else segment.flags & ~(Flags.FIN | Flags.PSH)
        seq = (segment.seq + start) % SEQUENCE_SPACE
        yield replace(segment, seq=seq, flags=flags, payload=data[start : start + size])
