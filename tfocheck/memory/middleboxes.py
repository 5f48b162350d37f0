"""What stands on the way in the lab's path scenarios, as boxes on segments.

``BOXES`` has them by the scenario's name, each made with nothing remembered. They do what the lab's
nftables rules, user-space boxes and proxies do, with these simplifications: connection tracking
forgets the oldest of 4,096 connections and none by time, and the transparent proxy answers from a
copy of the server in place of asking it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from tfocheck.memory import rewriting
from tfocheck.memory.hosts import OFF_PORT, PORT
from tfocheck.memory.impairment import TO_CLIENT, TO_SERVER, Fates, Impairment, Way, Weather
from tfocheck.memory.path import Box, Passage, TimeExceeded
from tfocheck.memory.rewriting import ChangeOptions, is_first_syn
from tfocheck.memory.synproxy import Synproxy
from tfocheck.memory.tracking import Tracked, client_first, end_as_bytes, ends_of
from tfocheck.reference.listener import ReferenceServer
from tfocheck.wire import options as tcp_options
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.options import FAST_OPEN, NO_OPERATION
from tfocheck.wire.segment import Flags, Segment

NAT_POOL_SIZE = 8
SYN_ACK_LOSS = 0.5


# Rules on forwarding


class Filter(Box):
    """Drops the segments that it is told to."""

    def __init__(self, drops: Callable[[Segment], bool]) -> None:
        self._drops = drops

    def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
        """Nothing, or the segment as it is."""
        return () if self._drops(segment) else ((way, segment),)


def _has_option(segment: Segment) -> bool:
    return segment.option_list.find(FAST_OPEN) is not None


def _drops_option(segment: Segment) -> bool:
    return _is_opening(segment) and _has_option(segment)


def _drops_data(segment: Segment) -> bool:
    return _is_opening(segment) and bool(segment.payload)


def _is_opening(segment: Segment) -> bool:
    """What nft calls flags & (syn | ack) == syn: with RST as well as without."""
    return segment.flags & (Flags.SYN | Flags.ACK) == Flags.SYN


class Stripper(Box):
    """Overwrites the first option of kind 34 by NOPs, where it is told to look."""

    def __init__(self, looks_at: Callable[[Segment], bool]) -> None:
        self._looks_at = looks_at

    def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
        """The segment, without the option."""
        if not self._looks_at(segment):
            return ((way, segment),)
        return ((way, replace(segment, options=_stripped(segment.options))),)


def _stripped(area: bytes) -> bytes:
    start = 0
    for option in tcp_options.walk(area).options:
        size = len(option.encode())
        if option.kind == FAST_OPEN:
            return area[:start] + bytes([NO_OPERATION]) * size + area[start + size :]
        start += size
    return area


class AfterOpenDropped(Box):
    """Lets a SYN with cookie and data pass, and then only SYNs and SYN-ACKs of its connection."""

    def __init__(self) -> None:
        self._marked = Tracked[bool]()

    def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
        """Nothing, or the segment as it is."""
        ends = client_first(way, segment)
        if _drops_data(segment):
            option = segment.option_list.find(FAST_OPEN)
            if option is not None and option.value:
                self._marked[ends] = True
        if ends in self._marked and not segment.flags & Flags.SYN:
            return ()
        return ((way, segment),)


class SynAckLoss(Box):
    """Loses half of the SYN-ACKs, and nothing else."""

    def __init__(self, seed: int = 0) -> None:
        weather = Weather(syn_ack_loss=SYN_ACK_LOSS)
        self._fates = Fates(Impairment(to_client=weather, seed=seed), TO_CLIENT)

    def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
        """Nothing, or the segment as it is."""
        if way == TO_CLIENT and not self._fates.due(now, ends_of(segment), segment.is_syn_ack):
            return ()
        return ((way, segment),)


# Boxes that rewrite


class OptionsChanged(Box):
    """Gives segments other options."""

    def __init__(self, change: ChangeOptions) -> None:
        self._change = change

    def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
        """The segment with the options that it has from here on."""
        if not segment.options:
            return ((way, segment),)
        options = rewriting.change_options(self._change, segment.flags, segment.options)
        return ((way, replace(segment, options=options)),)


class IsnShifted(Box):
    """Gives each side another initial sequence number, and keeps the books right."""

    def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
        """The segment with shifted numbers."""
        source, destination = (end_as_bytes(end) for end in ends_of(segment))
        seq = segment.seq + rewriting.isn_shift(source, destination)
        changed = replace(segment, seq=seq % SEQUENCE_SPACE)
        if segment.flags & Flags.ACK:
            back = rewriting.isn_shift(destination, source)
            options = rewriting.shifted_sack(segment.options, back)
            changed = replace(changed, ack=(segment.ack - back) % SEQUENCE_SPACE, options=options)
        return ((way, changed),)


class AckRewritten(Box):
    """Has each SYN-ACK acknowledge the SYN alone."""

    def __init__(self) -> None:
        self._known = rewriting.AcksOfSyns()

    def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
        """The segment; a SYN-ACK with another acknowledgment."""
        source, destination = ends_of(segment)
        if is_first_syn(segment.flags):
            self._known.note(source, destination, segment.seq)
        elif segment.is_syn_ack:
            ack = self._known.ack(source, destination, segment.ack)
            segment = replace(segment, ack=ack)
        return ((way, segment),)


class NatPool(Box):
    """Gives connections the addresses of a pool in turn, and keeps their ports."""

    def __init__(self, size: int = NAT_POOL_SIZE) -> None:
        self._size = size
        self._turn = 0
        self._outside = Tracked[str]()
        self._inside = Tracked[str]()

    def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
        """The segment with the connection's address on the other side."""
        ends = ends_of(segment)
        if way == TO_SERVER:
            address = self._outside.get(ends) or self._next_address(segment)
            self._outside[ends] = address
            self._inside[((address, segment.source_port), ends[1])] = segment.source
            return ((way, replace(segment, source=address)),)
        inside = self._inside.get((ends[1], ends[0]))
        if inside is None:
            return ()  # the pool's address is nobody's
        return ((way, replace(segment, destination=inside)),)

    def carry_error(self, error: TimeExceeded) -> TimeExceeded:
        """The message, about the packet as the client knows it."""
        source = self._inside.get(ends_of(error.segment)) or error.segment.source
        return replace(error, segment=replace(error.segment, source=source))

    def _next_address(self, segment: Segment) -> str:
        number = self._turn % self._size + 1
        self._turn += 1
        return f"fd78::{number}" if ":" in segment.source else f"10.78.0.{number}"


# Proxies


class TransparentProxy(Box):
    """Takes in every connection to these ports, whatever its TTL, and knows no Fast Open."""

    takes_in = True

    def __init__(self, ports: Iterable[int] = (PORT, OFF_PORT)) -> None:
        self._servers = {port: ReferenceServer(port, fast_open=False) for port in ports}

    def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
        """The proxy's own answers; other ports are none of its business."""
        server = self._servers.get(segment.destination_port) if way == TO_SERVER else None
        if server is None:
            return ((way, segment),)
        return [(TO_CLIENT, answer) for answer in server.receive(segment, now)]

    def next_timer(self) -> float | None:
        """The earliest timer of a connection."""
        timers = [each.next_timer() for each in self._servers.values()]
        return min((timer for timer in timers if timer is not None), default=None)

    def fire(self, now: float) -> Iterable[Passage]:
        """What is due at ``now``."""
        servers = self._servers.values()
        return [(TO_CLIENT, answer) for each in servers for answer in each.fire(now)]


BOXES: dict[str, Callable[[], Box]] = {
    "option-stripped": lambda: Stripper(lambda segment: bool(segment.flags & Flags.SYN)),
    "option-stripped-reply": lambda: Stripper(
        lambda segment: Flags.SYN | Flags.ACK in segment.flags
    ),
    "option-dropped": lambda: Filter(_drops_option),
    "syn-data-dropped": lambda: Filter(_drops_data),
    "after-open-dropped": AfterOpenDropped,
    "nat-pool": NatPool,
    "synproxy": Synproxy,
    "transparent-proxy": TransparentProxy,
    "synack-loss": SynAckLoss,
    "isn-shifted": IsnShifted,
    "ack-rewritten": AckRewritten,
    "cookie-changed": lambda: OptionsChanged(rewriting.changed_cookie),
    "option-moved": lambda: OptionsChanged(rewriting.moved_option),
    "mss-clamped": lambda: OptionsChanged(rewriting.clamped_mss),
    "timestamps-removed": lambda: OptionsChanged(rewriting.no_timestamps),
}
