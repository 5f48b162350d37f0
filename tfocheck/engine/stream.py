"""The server's data in order, out of segments in any order."""

from __future__ import annotations

import heapq

STREAM_KEPT = 1 << 18
"""Bytes of the server's data that are kept; what follows is only counted."""

LATER_PIECES, LATER_BYTES = 4096, 1 << 22
"""What is kept behind a gap, in pieces and in bytes; the rest has to come again, as if lost."""


class Stream:
    """Data put together; places are in bytes from the first one."""

    def __init__(self) -> None:
        self.length = 0
        """So many bytes have come without a gap."""
        self._kept = bytearray()
        self._later: dict[int, bytes] = {}
        self._later_bytes = 0
        self._places: list[int] = []
        """The keys of ``_later``, as a heap."""

    @property
    def kept(self) -> bytes:
        """The first ``STREAM_KEPT`` of them."""
        return bytes(self._kept)

    def take(self, start: int, data: bytes) -> None:
        """Take in data that begins at this place; what came before may come again."""
        if start <= self.length:
            self._go_on(data[self.length - start :])
        else:
            self._put_by(start, data)
        while self._places and self._places[0] <= self.length:
            place = heapq.heappop(self._places)
            later = self._later.pop(place)
            self._later_bytes -= len(later)
            self._go_on(later[self.length - place :])

    def _go_on(self, new: bytes) -> None:
        self.length += len(new)
        self._kept += new[: max(0, STREAM_KEPT - len(self._kept))]

    def _put_by(self, start: int, data: bytes) -> None:
        known = self._later.get(start)
        grown = self._later_bytes + len(data) - len(known or b"")
        if len(data) <= len(known or b"") or grown > LATER_BYTES:
            return
        if known is None:
            if len(self._later) >= LATER_PIECES:
                return
            heapq.heappush(self._places, start)
        self._later[start] = data
        self._later_bytes = grown

    def blocks(self) -> list[tuple[int, int]]:
        """(start, end) of what has come behind a gap, in order (RFC 2018 section 4)."""
        blocks: list[tuple[int, int]] = []
        for start in sorted(self._later):
            end = start + len(self._later[start])
            if blocks and start <= blocks[-1][1]:
                blocks[-1] = (blocks[-1][0], max(blocks[-1][1], end))
            else:
                blocks.append((start, end))
        return blocks
