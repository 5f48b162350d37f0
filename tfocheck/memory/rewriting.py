"""What boxes on the way are known to do to options and numbers, as functions of header fields.

The lab's boxes apply them to frames, those in memory to segments. Options that can't be read pass
as they are.

Source: Honda et al., "Is it still possible to extend TCP?", IMC 2011; Hesmans et al., "Are TCP
extensions middlebox-proof?", HotMiddlebox 2013.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Hashable
from dataclasses import replace

from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.options import (
    END_OF_LIST,
    MAX_OPTION_BYTES,
    MAXIMUM_SEGMENT_SIZE,
    NO_OPERATION,
    SACK,
    TIMESTAMPS,
    FastOpen,
    Option,
    mss,
    no_operation,
    pad,
    walk,
)
from tfocheck.wire.segment import Flags

CLAMPED_MSS = 1200
_FLOWS_REMEMBERED = 4096

ChangeOptions = Callable[[int, list[Option]], list[Option]]
"""Given a segment's flags and options: the options that it has from here on."""


def change_options(change: ChangeOptions, flags: int, area: bytes) -> bytes:
    """The option area as ``change`` makes it; as it was where that can't be."""
    found = walk(area)
    before = list(found.options)
    after = change(flags, before)
    changed = b"".join(option.encode() for option in after)
    if found.malformed or after == before or len(changed) > MAX_OPTION_BYTES:
        return area
    return pad(changed)


def changed_cookie(flags: int, options: list[Option]) -> list[Option]:
    """Of a client's SYN: another cookie of the same length."""

    def change(option: Option) -> Option:
        found = FastOpen.from_option(option)
        if found is None:
            return option
        return replace(found, cookie=bytes(byte ^ 0xA5 for byte in found.cookie)).to_option()

    return [change(option) for option in options] if is_first_syn(flags) else options


def moved_option(flags: int, options: list[Option]) -> list[Option]:
    """Of SYNs and SYN-ACKs: Fast Open first, the others behind it in reverse, NOPs at the end."""
    fast_open = [option for option in options if FastOpen.from_option(option)]
    if not fast_open or not flags & Flags.SYN:
        return options
    padding = (NO_OPERATION, END_OF_LIST)
    others = [o for o in reversed(options) if o not in fast_open and o.kind not in padding]
    moved = fast_open + others
    gap = -sum(len(option.encode()) for option in moved) % 4
    return moved + [no_operation()] * gap


def clamped_mss(flags: int, options: list[Option]) -> list[Option]:
    """Of SYNs and SYN-ACKs: an MSS of at most CLAMPED_MSS."""
    if not flags & Flags.SYN:
        return options
    return [
        mss(min(CLAMPED_MSS, int.from_bytes(option.value)))
        if option.kind == MAXIMUM_SEGMENT_SIZE
        else option
        for option in options
    ]


def no_timestamps(_flags: int, options: list[Option]) -> list[Option]:
    """NOPs in place of timestamps."""
    kept: list[Option] = []
    for option in options:
        is_one = option.kind == TIMESTAMPS
        kept += [no_operation()] * len(option.encode()) if is_one else [option]
    return kept


def isn_shift(source: bytes, destination: bytes) -> int:
    """By how much a firewall shifts what one end of a connection sends, given both ends.

    It is reckoned from the ends: nothing needs to be remembered.
    """
    return int.from_bytes(hashlib.blake2b(source + destination, digest_size=4).digest())


def shifted_sack(area: bytes, shift: int) -> bytes:
    """Option bytes with the edges of SACK blocks less the shift (RFC 2018 section 3)."""
    found = walk(area)
    sack = found.find(SACK)
    if sack is None or found.malformed or len(sack.value) % 4:
        return area
    edges = [(edge - shift) % SEQUENCE_SPACE for (edge,) in struct.iter_unpack("!I", sack.value)]
    shifted = Option(SACK, struct.pack(f"!{len(edges)}I", *edges))
    return pad(b"".join((shifted if each is sack else each).encode() for each in found.options))


class AcksOfSyns:
    """A firewall that knows no data on SYNs: a SYN-ACK acknowledges the SYN, and that alone."""

    def __init__(self) -> None:
        self._expected: dict[tuple[Hashable, Hashable], int] = {}

    def note(self, source: Hashable, destination: Hashable, seq: int) -> None:
        """A SYN with that number passed from one end to the other."""
        if len(self._expected) >= _FLOWS_REMEMBERED:
            self._expected.pop(next(iter(self._expected)))
        self._expected[source, destination] = (seq + 1) % SEQUENCE_SPACE

    def ack(self, source: Hashable, destination: Hashable, ack: int) -> int:
        """What a SYN-ACK from one end to the other acknowledges behind the firewall."""
        return self._expected.get((destination, source), ack)


def is_first_syn(flags: int) -> bool:
    """SYN, without ACK or RST."""
    return flags & (Flags.SYN | Flags.ACK | Flags.RST) == Flags.SYN
