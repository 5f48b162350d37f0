"""Which connection a segment belongs to, and a bounded memory of connections."""

from __future__ import annotations

from typing import Generic, TypeVar

from tfocheck.memory.impairment import TO_SERVER, Way
from tfocheck.wire.segment import Segment

FLOWS_REMEMBERED = 4096

Ends = tuple[tuple[str, int], tuple[str, int]]
"""Two ends, an address and a port each; of a segment the source first."""

_Value = TypeVar("_Value")


def ends_of(segment: Segment) -> Ends:
    """Source and destination."""
    return (
        (segment.source, segment.source_port),
        (segment.destination, segment.destination_port),
    )


def client_first(way: Way, segment: Segment) -> Ends:
    """The client's end and the server's, whichever way the segment goes."""
    near, far = ends_of(segment)
    return (near, far) if way == TO_SERVER else (far, near)


def end_as_bytes(end: tuple[str, int]) -> bytes:
    """An end for what hashes ends."""
    address, port = end
    return f"{address} {port}".encode()


class Tracked(Generic[_Value]):
    """Something for each connection; the oldest is forgotten when there are too many."""

    def __init__(self) -> None:
        self._known: dict[Ends, _Value] = {}

    def __contains__(self, ends: Ends) -> bool:
        return ends in self._known

    def __setitem__(self, ends: Ends, value: _Value) -> None:
        known = self._known
        if len(known) >= FLOWS_REMEMBERED and ends not in known:
            del known[next(iter(known))]
        known[ends] = value

    def get(self, ends: Ends) -> _Value | None:
        """What is known of the connection."""
        return self._known.get(ends)

    def forget(self, ends: Ends) -> None:
        """Nothing is known of the connection any more."""
        self._known.pop(ends, None)
