"""The way between a client and a server: routers in a row, and a box behind some of them.

Rules that hold here:

* No clock, no delay and no loss: a packet passes all of it at the time that the caller names. What
  takes time is ``network``'s.
* A router decrements TTL or hop limit of what it forwards, in both directions. Where it runs out on
  the way to the server the router says so, and quotes the packet as it got there.
* A box stands on its router, behind the look at the TTL: that router quotes what the client sent,
  the next one what the box made of it. A box that ``takes_in`` packets has them before that look.
* What a router or a box sends by itself to the client is not decremented where it is made.

Sources: RFC 1812 sections 4.3.2.3 and 5.3.1, RFC 4443 section 3.3, RFC 792.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tfocheck.memory.impairment import TO_CLIENT, TO_SERVER, Way
from tfocheck.wire.segment import DEFAULT_TTL, Segment, build

_ICMP, _ICMPV6 = 1, 58
_HEADER4, _HEADER6 = struct.Struct("!BBHHHBBH"), struct.Struct("!IHBB")
# Linux quotes as much as makes an ICMP message of 576 bytes, an ICMPv6 message of 1,280.
_QUOTED4, _QUOTED6 = 576 - 20 - 8, 1280 - 40 - 8


@dataclass(frozen=True)
class TimeExceeded:
    """A router's word that a packet's TTL or hop limit ran out there.

    ``sender`` is the router's address, ``segment`` the packet as it got there.
    """

    sender: str
    segment: Segment
    ttl: int = DEFAULT_TTL

    @property
    def receiver(self) -> str:
        """Who gets it: the source of the packet that it is about."""
        return self.segment.source

    @property
    def icmp_type(self) -> int:
        """11 of ICMP, 3 of ICMPv6."""
        return 3 if ":" in self.sender else 11

    @property
    def code(self) -> int:
        """It ran out in transit."""
        return 0

    @property
    def rest(self) -> int:
        """What stands in the last four bytes of the message's header."""
        return 0

    @property
    def quote(self) -> bytes:
        """The quoted packet, from its IP header on, cut as Linux does."""
        return build(self.segment)[: _QUOTED6 if ":" in self.sender else _QUOTED4]

    @property
    def packet(self) -> bytes:
        """The whole message, from its own IP header on."""
        sender = ipaddress.ip_address(self.sender).packed
        receiver = ipaddress.ip_address(self.receiver).packed
        message = struct.pack("!BBHI", self.icmp_type, self.code, 0, self.rest) + self.quote
        if len(sender) == 4:
            message = _with_checksum(message, 2)
            header = _HEADER4.pack(0x45, 0xC0, 20 + len(message), 0, 0, self.ttl, _ICMP, 0)
            return _with_checksum(header + sender + receiver, 10) + message
        pseudo = sender + receiver + struct.pack("!II", len(message), _ICMPV6)
        header = _HEADER6.pack(6 << 28, len(message), _ICMPV6, self.ttl)
        return header + sender + receiver + _with_checksum(message, 2, pseudo)


@dataclass(frozen=True)
class TooBig(TimeExceeded):
    """A router's word that a packet, which may not be fragmented, is larger than ``mtu`` bytes.

    Source: RFC 1191 section 4, RFC 4443 section 3.2.
    """

    mtu: int = 0

    @property
    def icmp_type(self) -> int:
        """3 of ICMP, 2 of ICMPv6."""
        return 2 if ":" in self.sender else 3

    @property
    def code(self) -> int:
        """Fragmentation was needed; ICMPv6 has a type of its own for it."""
        return 0 if ":" in self.sender else 4

    @property
    def rest(self) -> int:
        """The MTU."""
        return self.mtu


Packet = Segment | TimeExceeded

Passage = tuple[Way, Packet]
"""A packet and where it goes from here: a router's message to the client, a segment either way."""


class Box:
    """Something on the way that segments pass; this one lets them pass as they are."""

    takes_in = False
    """Whether it has packets for the server before its router looks at their TTL."""

    def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
        """What becomes of a segment that came from the client (``TO_SERVER``) or the server."""
        return ((way, segment),)

    def carry_error(self, error: TimeExceeded) -> TimeExceeded:
        """What becomes of a router's message to the client."""
        return error

    def next_timer(self) -> float | None:
        """When ``fire`` is due next; None if nothing waits."""
        return None

    def fire(self, now: float) -> Iterable[Passage]:
        """What it sends by itself at ``now``."""
        return ()


@dataclass(frozen=True)
class Hop:
    """A router by its addresses, IPv4 first, on the side of the client, and the box on it."""

    addresses: tuple[str, str]
    box: Box | None = None


def routers(count: int = 4) -> tuple[Hop, ...]:
    """The first routers of the lab's way, with its addresses."""
    first = Hop(("10.77.0.254", "fd77::fe"))
    others = (Hop((f"10.77.{link}.2", f"fd77:{link}::2")) for link in range(1, count))
    return (first, *others)[:count]


def with_box(box: Box, hop: int = 2, count: int = 4) -> Path:
    """The lab's way with a box behind the router of that number, 1 being the client's next."""
    hops = list(routers(count))
    hops[hop - 1] = replace(hops[hop - 1], box=box)
    return Path(hops)


class Path:
    """Routers and boxes in the order of the way to the server; without any, a cable."""

    def __init__(self, hops: Sequence[Hop] = ()) -> None:
        self._hops = tuple(hops)
        self._boxes = tuple(
            (place, hop.box) for place, hop in enumerate(self._hops) if hop.box is not None
        )

    def from_client(self, segment: Segment, now: float) -> list[tuple[Way, Packet]]:
        """What a segment of the client ends in.

        ``TO_SERVER`` comes with what reaches the server, ``TO_CLIENT`` with what comes back from a
        router or a box, in the order in which they are sent.
        """
        return self._to_server(0, segment, now)

    def from_server(self, segment: Segment, now: float) -> list[tuple[Way, Packet]]:
        """What a segment of the server ends in, as in ``from_client``."""
        return self._to_client(len(self._hops) - 1, segment, now)

    def next_timer(self) -> float | None:
        """When ``fire`` is due next; None while no box waits for anything."""
        timers = (box.next_timer() for _, box in self._boxes)
        return min((timer for timer in timers if timer is not None), default=None)

    def fire(self, now: float) -> list[tuple[Way, Packet]]:
        """What boxes send by themselves at ``now``, and what it ends in."""
        ends: list[tuple[Way, Packet]] = []
        for place, box in self._boxes:
            ends += self._from_box(place, box.fire(now), now)
        return ends

    def _to_server(self, place: int, segment: Segment, now: float) -> list[tuple[Way, Packet]]:
        ttl = segment.ttl
        for at in range(place, len(self._hops)):
            box = self._hops[at].box
            if box is not None and box.takes_in:
                return self._from_box(at, box.carry(TO_SERVER, _with_ttl(segment, ttl), now), now)
            if ttl <= 1:
                return [(TO_CLIENT, self._time_exceeded(at, _with_ttl(segment, ttl)))]
            ttl -= 1
            if box is not None:
                return self._from_box(at, box.carry(TO_SERVER, _with_ttl(segment, ttl), now), now)
        return [(TO_SERVER, _with_ttl(segment, ttl))]

    def _to_client(self, place: int, segment: Segment, now: float) -> list[tuple[Way, Packet]]:
        ttl = segment.ttl
        for at in range(place, -1, -1):
            if ttl <= 1:
                return []  # the server would be told, which answers nothing to that
            ttl -= 1
            box = self._hops[at].box
            if box is not None:
                return self._from_box(at, box.carry(TO_CLIENT, _with_ttl(segment, ttl), now), now)
        return [(TO_CLIENT, _with_ttl(segment, ttl))]

    def _from_box(
        self, place: int, passages: Iterable[Passage], now: float
    ) -> list[tuple[Way, Packet]]:
        ends: list[tuple[Way, Packet]] = []
        for way, segment in passages:
            if not isinstance(segment, Segment):
                ends.append((TO_CLIENT, self._through_boxes(place, segment)))
            elif way == TO_SERVER:
                ends += self._to_server(place + 1, segment, now)
            else:
                ends += self._to_client(place - 1, segment, now)
        return ends

    def _time_exceeded(self, place: int, segment: Segment) -> TimeExceeded:
        router = self._hops[place].addresses[":" in segment.source]
        return self._through_boxes(place, TimeExceeded(router, segment, DEFAULT_TTL - place))

    def _through_boxes(self, place: int, error: TimeExceeded) -> TimeExceeded:
        for hop in reversed(self._hops[:place]):
            if hop.box is not None:
                error = hop.box.carry_error(error)
        return error


def _with_ttl(segment: Segment, ttl: int) -> Segment:
    return segment if segment.ttl == ttl else replace(segment, ttl=ttl)


def _with_checksum(data: bytes, place: int, also: bytes = b"") -> bytes:
    """The data with its Internet checksum (RFC 1071) where it has zeros."""
    covered = also + data + bytes(len(data) % 2)
    # 2**16 is 1 modulo 0xFFFF, so the sum of all words is the whole number modulo that.
    checksum = -int.from_bytes(covered) % 0xFFFF
    return data[:place] + checksum.to_bytes(2) + data[place + 2 :]
