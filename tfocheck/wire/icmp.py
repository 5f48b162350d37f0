"""Which connection an ICMP error is about: read from what it quotes.

Source: RFC 792, RFC 4443; at least the ports are in every quote.
"""

from __future__ import annotations

from typing import NamedTuple

from tfocheck.wire import ends
from tfocheck.wire.evidence import FlowKey
from tfocheck.wire.segment import literal


class QuotingError(NamedTuple):
    """An ICMP or ICMPv6 error: the flow that it is about, who sent it, and the quoted packet."""

    key: FlowKey
    sender: str
    icmp_type: int
    code: int
    quote: bytes


def read(packet: bytes) -> QuotingError | None:
    """Read an IP packet as an ICMP error about a TCP segment; None for anything else.

    Never raises, whatever the bytes are.
    """
    quoted = ends.of_quote(packet)
    if quoted is None:
        return None
    start = ends.quoting_header(packet)
    sender = packet[12:16] if packet[0] >> 4 == 4 else packet[8:24]
    return QuotingError(
        ends.key_of_sent(quoted),
        literal(sender),
        packet[start],
        packet[start + 1],
        packet[start + ends.ICMP_HEADER :],
    )
