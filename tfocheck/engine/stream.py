"""The server's data in order, out of segments in any order."""

from __future__ import annotations

STREAM_KEPT = 1 << 18
"""Bytes of the server's data that are kept; what follows is only counted."""


class Stream:
    """Data put together; places are in bytes from the first one."""

    def __init__(self) -> None:
        self.length = 0
        """So many bytes have come without a gap."""
        self._kept = bytearray()
        self._later: dict[int, bytes] = {}

    @property
    def kept(self) -> bytes:
        """The first ``STREAM_KEPT`` of them."""
        return bytes(self._kept)

    def take(self, start: int, data: bytes) -> None:
        """Take in data that begins at this place; what came before may come again."""
        if len(data) > len(self._later.get(start, b"")):
            self._later[start] = data
        for place in sorted(self._later):
            if place > self.length:
                break
            new = self._later.pop(place)[self.length - place :]
            self.length += len(new)
            self._kept += new[: max(0, STREAM_KEPT - len(self._kept))]

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
