"""What boxes on the way are known to do to TCP segments, as functions for the impairment box.

Each is named as its scenario says, and gets a direction and a frame. Frames that are no TCP, and
options that can't be read, pass as they are.

Source: Honda et al., "Is it still possible to extend TCP?", IMC 2011; Hesmans et al., "Are TCP
extensions middlebox-proof?", HotMiddlebox 2013.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import replace

from tfocheck.lab.box import Rewrite
from tfocheck.lab.frames import ACK, SYN, TcpFrame
from tfocheck.memory.impairment import Way
from tfocheck.wire.options import (
    END_OF_LIST,
    MAX_OPTION_BYTES,
    MAXIMUM_SEGMENT_SIZE,
    NO_OPERATION,
    TIMESTAMPS,
    FastOpen,
    Option,
    mss,
    no_operation,
    pad,
    walk,
)

CLAMPED_MSS = 1200
_SACK = 5
_FLOWS_REMEMBERED = 4096

ChangeOptions = Callable[[TcpFrame, list[Option]], list[Option]]


def _by_options(change: ChangeOptions) -> Rewrite:
    """A box that gives a segment other options, where `change` returns any."""

    def rewrite(_way: Way, frame: bytes) -> list[bytes]:
        segment = TcpFrame.parse(frame)
        if segment is None:
            return [frame]
        found = walk(segment.options)
        before = list(found.options)
        after = change(segment, before)
        area = b"".join(option.encode() for option in after)
        if found.malformed or after == before or len(area) > MAX_OPTION_BYTES:
            return [frame]
        return [replace(segment, options=pad(area)).encode()]

    return rewrite


def _changed_cookie(segment: TcpFrame, options: list[Option]) -> list[Option]:
    """Of a client's SYN: another cookie of the same length."""

    def change(option: Option) -> Option:
        found = FastOpen.from_option(option)
        if found is None:
            return option
        return replace(found, cookie=bytes(byte ^ 0xA5 for byte in found.cookie)).to_option()

    return [change(option) for option in options] if segment.is_syn else options


def _moved_option(segment: TcpFrame, options: list[Option]) -> list[Option]:
    """Of SYNs and SYN-ACKs: Fast Open first, the others behind it in reverse, NOPs at the end."""
    fast_open = [option for option in options if FastOpen.from_option(option)]
    if not fast_open or not segment.flags & SYN:
        return options
    padding = (NO_OPERATION, END_OF_LIST)
    others = [o for o in reversed(options) if o not in fast_open and o.kind not in padding]
    moved = fast_open + others
    gap = -sum(len(option.encode()) for option in moved) % 4
    return moved + [no_operation()] * gap


def _clamped_mss(segment: TcpFrame, options: list[Option]) -> list[Option]:
    """Of SYNs and SYN-ACKs: an MSS of at most CLAMPED_MSS."""
    if not segment.flags & SYN:
        return options
    return [
        mss(min(CLAMPED_MSS, int.from_bytes(option.value)))
        if option.kind == MAXIMUM_SEGMENT_SIZE
        else option
        for option in options
    ]


def _no_timestamps(_segment: TcpFrame, options: list[Option]) -> list[Option]:
    """NOPs in place of timestamps."""
    kept: list[Option] = []
    for option in options:
        is_one = option.kind == TIMESTAMPS
        kept += [no_operation()] * len(option.encode()) if is_one else [option]
    return kept


def shift_isn() -> Rewrite:
    """A firewall that gives each side another initial sequence number, and keeps the books right.

    The shift is reckoned from the flow's ends: nothing needs to be remembered.
    """

    def rewrite(_way: Way, frame: bytes) -> list[bytes]:
        segment = TcpFrame.parse(frame)
        if segment is None:
            return [frame]
        source, destination = segment.flow
        back = _shift(destination, source)
        changed = replace(segment, seq=segment.seq + _shift(source, destination))
        if segment.flags & ACK:
            changed = replace(
                changed, ack=segment.ack - back, options=_shifted_sack(segment.options, back)
            )
        return [changed.encode()]

    return rewrite


def _shift(source: bytes, destination: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(source + destination, digest_size=4).digest())


def _shifted_sack(area: bytes, shift: int) -> bytes:
    """Option bytes with the edges of SACK blocks shifted (RFC 2018 section 3)."""
    found = walk(area)
    sack = found.find(_SACK)
    if sack is None or found.malformed or len(sack.value) % 4:
        return area
    edges = [(edge - shift) % (1 << 32) for (edge,) in struct.iter_unpack("!I", sack.value)]
    shifted = Option(_SACK, struct.pack(f"!{len(edges)}I", *edges))
    return b"".join((shifted if each is sack else each).encode() for each in found.options)


def rewrite_ack() -> Rewrite:
    """A firewall that knows no data on SYNs: a SYN-ACK acknowledges the SYN, and that alone."""
    expected: dict[tuple[bytes, bytes], int] = {}

    def rewrite(_way: Way, frame: bytes) -> list[bytes]:
        segment = TcpFrame.parse(frame)
        if segment is None:
            return [frame]
        if segment.is_syn:
            if len(expected) >= _FLOWS_REMEMBERED:
                expected.pop(next(iter(expected)))
            expected[segment.flow] = segment.seq + 1
        elif segment.is_syn_ack:
            source, destination = segment.flow
            ack = expected.get((destination, source), segment.ack)
            return [replace(segment, ack=ack).encode()]
        return [frame]

    return rewrite


REWRITES: dict[str, Callable[[], Rewrite]] = {
    "isn-shifted": shift_isn,
    "ack-rewritten": rewrite_ack,
    "cookie-changed": lambda: _by_options(_changed_cookie),
    "option-moved": lambda: _by_options(_moved_option),
    "mss-clamped": lambda: _by_options(_clamped_mss),
    "timestamps-removed": lambda: _by_options(_no_timestamps),
}
"""The boxes by name; each call makes one with nothing remembered."""
