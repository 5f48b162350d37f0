"""TCP options as bytes, and the Fast Open option in both of its forms.

Rules that hold here:

* Options are built and walked as bytes. Scapy declares kind 34 as two 32-bit integers, so cookies
  that are not 8 bytes long cannot be expressed with it; this module is the only owner of the bytes.
* The walk never raises and always ends: what a server sends is hostile. It stops where RFC 9293
  section 3.1 says a list stops (End of Option List) or where a length makes no sense, and says so.

Sources: RFC 9293 section 3.1 and 3.2 (list, EOL, NOP, MSS), RFC 7323 (window scale, timestamps),
RFC 2018 (SACK permitted), RFC 7413 section 4.1.1 with errata 4238 and 4239 (kind 34), RFC 6994 and
RFC 7413 section 9 (the experimental kind 254 with ExID 0xF989).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

END_OF_LIST = 0
NO_OPERATION = 1
MAXIMUM_SEGMENT_SIZE = 2
WINDOW_SCALE = 3
SACK_PERMITTED = 4
SACK = 5
TIMESTAMPS = 8
FAST_OPEN = 34
EXPERIMENTAL = 254
FAST_OPEN_EXID = 0xF989

MAX_OPTION_BYTES = 40
"""What a TCP header has room for: 15 words less the 20 fixed bytes (RFC 9293 section 3.1)."""

MIN_COOKIE_BYTES = 4
MAX_COOKIE_BYTES = 16


@dataclass(frozen=True)
class Option:
    """One option: its kind and the bytes after the length octet (none for EOL and NOP)."""

    kind: int
    value: bytes = b""

    def encode(self) -> bytes:
        """The option on the wire; its length octet is always the true one."""
        if self.kind in (END_OF_LIST, NO_OPERATION):
            return bytes([self.kind])
        return bytes([self.kind, 2 + len(self.value)]) + self.value


@dataclass(frozen=True)
class OptionList:
    """What a walk over the option bytes of one header found.

    ``malformed`` is None, or says in a few words where the list stopped making sense; ``options``
    holds what was read before that.
    """

    options: tuple[Option, ...]
    malformed: str | None = None

    def find(self, kind: int) -> Option | None:
        """The first option of that kind."""
        return next((option for option in self.options if option.kind == kind), None)

    @property
    def mss(self) -> int | None:
        """The peer's maximum segment size in bytes (RFC 9293 section 3.7.1)."""
        option = self.find(MAXIMUM_SEGMENT_SIZE)
        return int.from_bytes(option.value) if option and len(option.value) == 2 else None

    @property
    def window_scale(self) -> int | None:
        """The shift count, capped at 14 as RFC 7323 section 2.3 demands."""
        option = self.find(WINDOW_SCALE)
        return min(option.value[0], 14) if option and len(option.value) == 1 else None

    @property
    def timestamps(self) -> tuple[int, int] | None:
        """(TSval, TSecr), RFC 7323 section 3.2."""
        option = self.find(TIMESTAMPS)
        if option is None or len(option.value) != 8:
            return None
        value, echo = struct.unpack("!II", option.value)
        return value, echo

    @property
    def fast_open(self) -> FastOpen | None:
        """The first Fast Open option in the list, whatever the length of its cookie."""
        for option in self.options:
            found = FastOpen.from_option(option)
            if found is not None:
                return found
        return None


@dataclass(frozen=True)
class FastOpen:
    """The Fast Open option: a cookie (empty: a cookie request) in one of its two forms.

    ``experimental`` is the form of before RFC 7413 (section 9): kind 254, ExID 0xF989.
    """

    cookie: bytes = b""
    experimental: bool = False

    @property
    def is_request(self) -> bool:
        """True for the empty option that asks for a cookie (RFC 7413 section 4.1.1)."""
        return not self.cookie

    @property
    def has_legal_cookie(self) -> bool:
        """4 to 16 bytes and even, RFC 7413 section 4.1.1."""
        size = len(self.cookie)
        return MIN_COOKIE_BYTES <= size <= MAX_COOKIE_BYTES and size % 2 == 0

    def to_option(self) -> Option:
        """The option that carries this cookie, at any length that fits the length octet."""
        if self.experimental:
            return Option(EXPERIMENTAL, struct.pack("!H", FAST_OPEN_EXID) + self.cookie)
        return Option(FAST_OPEN, self.cookie)

    @classmethod
    def from_option(cls, option: Option) -> FastOpen | None:
        """The Fast Open reading of an option, or None if it is another option."""
        if option.kind == FAST_OPEN:
            return cls(option.value)
        exid = struct.pack("!H", FAST_OPEN_EXID)
        if option.kind == EXPERIMENTAL and option.value.startswith(exid):
            return cls(option.value[2:], experimental=True)
        return None


def mss(size: int) -> Option:
    """A maximum segment size of so many bytes."""
    return Option(MAXIMUM_SEGMENT_SIZE, struct.pack("!H", size))


def window_scale(shift: int) -> Option:
    """A window scale with this shift count."""
    return Option(WINDOW_SCALE, bytes([shift]))


def sack_permitted() -> Option:
    """SACK permitted."""
    return Option(SACK_PERMITTED)


def sack(blocks: Iterable[tuple[int, int]]) -> Option:
    """Selective acknowledgement of these (first number, number behind the last), RFC 2018."""
    return Option(SACK, b"".join(struct.pack("!II", *block) for block in blocks))


def timestamps(value: int, echo: int) -> Option:
    """Timestamps with TSval and TSecr, both modulo 2**32."""
    return Option(TIMESTAMPS, struct.pack("!II", value & 0xFFFFFFFF, echo & 0xFFFFFFFF))


def no_operation() -> Option:
    """One byte of padding between options."""
    return Option(NO_OPERATION)


def encode(options: Iterable[Option]) -> bytes:
    """The option area of a header: the options in order, padded with EOL to a whole word.

    Raises ValueError when they need more than 40 bytes.
    """
    return pad(b"".join(option.encode() for option in options))


def pad(area: bytes) -> bytes:
    """Hand-made option bytes, padded with EOL to a whole word.

    Raises ValueError when they need more than 40 bytes.
    """
    padded = area + bytes(-len(area) % 4)
    if len(padded) > MAX_OPTION_BYTES:
        raise ValueError(f"the options take {len(padded)} bytes, a TCP header has room for 40")
    return padded


def walk(area: bytes) -> OptionList:
    """Read the option area of a header, however malformed; never raises."""
    options: list[Option] = []
    position = 0
    while position < len(area):
        kind = area[position]
        if kind == END_OF_LIST:
            break
        if kind == NO_OPERATION:
            options.append(Option(kind))
            position += 1
            continue
        if position + 1 >= len(area):
            return OptionList(tuple(options), f"option {kind} has no length")
        length = area[position + 1]
        if length < 2:
            return OptionList(tuple(options), f"option {kind} has length {length}")
        if position + length > len(area):
            return OptionList(tuple(options), f"option {kind} of length {length} leaves the header")
        options.append(Option(kind, area[position + 2 : position + length]))
        position += length
    return OptionList(tuple(options))
