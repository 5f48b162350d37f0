"""What one server does this way and another that way, and both rightly: none of it is a fault.

A conformance case must find no failure in any of them.

Sources: RFC 7413 sections 4.1.1, 4.1.2 and 4.2.2 (MAY), RFC 9293 section 3.10.7.2 (data on a SYN),
RFC 4987 section 3.6 (SYN cookies), RFC 6928 (initial window), RFC 9293 section 3.8.6.3 (delayed
ACKs).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

COOKIE_BYTES = 8
"""The length of a cookie, if nothing else was asked for: Linux's."""

NONCE_SHARE = 4
"""Of a fresh cookie one byte in so many is the nonce."""

SMALLEST_FRESH = 8
"""A fresh cookie of fewer bytes would leave a MAC that is soon guessed."""


class SynCookies(enum.Enum):
    """When a listener answers without remembering the SYN, and so without any option but MSS."""

    NEVER = enum.auto()
    """It drops the SYN when its backlog is full."""
    WHEN_FULL = enum.auto()
    """When the backlog is full, as Linux does by default."""
    ALWAYS = enum.auto()
    """As Linux does with net.ipv4.tcp_syncookies=2."""


@dataclass(frozen=True)
class Variations:
    """How a server makes use of what the RFCs leave to it.

    ``cookie_bytes`` is 4, 6, ... 16; ``fresh_cookies`` are different each time and all of them
    valid; ``refreshes_cookies``: an acceptance comes with a cookie; ``offers_on_fallback``: a
    rejection does; ``old_kind_only``: option kind 34 is not known, kind 254 is;
    ``keeps_plain_data``: SYN data that opens nothing is acknowledged, and kept until the handshake
    ends; ``answers_early``: what is accepted is answered before that; ``initial_segments`` is the
    initial window, None for RFC 3390's; ``delays_acks``: what is not answered at once is
    acknowledged a little later; ``timestamps``, ``window_scale`` and ``sack_permitted`` are the
    options that are agreed to when a client offers them.
    """

    cookie_bytes: int = COOKIE_BYTES
    fresh_cookies: bool = False
    refreshes_cookies: bool = False
    offers_on_fallback: bool = True
    old_kind_only: bool = False
    keeps_plain_data: bool = False
    answers_early: bool = True
    initial_segments: int | None = None
    delays_acks: bool = False
    timestamps: bool = True
    window_scale: bool = True
    sack_permitted: bool = False
    syn_cookies: SynCookies = SynCookies.WHEN_FULL

    def __post_init__(self) -> None:
        if self.cookie_bytes not in range(4, 17, 2):
            raise ValueError(f"no legal cookie has {self.cookie_bytes} bytes")
        if self.fresh_cookies and self.cookie_bytes < SMALLEST_FRESH:
            raise ValueError(f"a fresh cookie has at least {SMALLEST_FRESH} bytes")

    @property
    def nonce_bytes(self) -> int:
        """How many bytes of a cookie are different each time."""
        return self.cookie_bytes // NONCE_SHARE if self.fresh_cookies else 0


USUAL = Variations()
"""A server as one would write it."""
