"""Sequence numbers: arithmetic modulo 2**32 (RFC 9293 section 3.4)."""

from __future__ import annotations

SEQUENCE_SPACE = 1 << 32


def relative(number: int, base: int) -> int:
    """The distance from base to number, -2**31 to 2**31 - 1."""
    distance = (number - base) % SEQUENCE_SPACE
    return distance - SEQUENCE_SPACE if distance >= SEQUENCE_SPACE // 2 else distance
