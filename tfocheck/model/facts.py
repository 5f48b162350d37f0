"""What cases find out of an address for the cases that rest on them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Fact(enum.StrEnum):
    """One thing to know. A case says which it ``learns`` and which it ``reads``.

    Loading sees to it that whoever reads a fact rests on a case that learns it.
    """

    COOKIE = "cookie"
    """The target's latest legal cookie for our usual address."""
    SERVER_MSS = "server_mss"
    """The MSS that the server announces, in bytes; None for one that announces none."""
    ANSWERS_EARLY = "answers_early"
    """Whether an answer was ever seen to come before our ACK."""
    ACKNOWLEDGES_PLAIN_DATA = "acknowledges_plain_data"
    """Whether data on a SYN without the option is acknowledged: then only an early answer tells."""
    VOLUNTEERS_COOKIES = "volunteers_cookies"
    """Whether cookies come that nobody asked for: then they are no answer to what was sent."""
    SILENCES = "silences"
    """Path case → which SYNs are never answered, though plain ones are."""
    COOKIES_SEEN = "cookies_seen"
    """The different cookies that our usual address was issued."""


@dataclass
class Facts:
    """All that is known of one address; the fields are the values of ``Fact``."""

    cookie: bytes | None = None
    server_mss: int | None = None
    answers_early: bool = False
    acknowledges_plain_data: bool = False
    volunteers_cookies: bool = False
    silences: dict[str, str] = field(default_factory=dict)
    cookies_seen: set[bytes] = field(default_factory=set)
