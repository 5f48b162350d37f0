"""Which connection an ICMP error is about: read from what it quotes.

Source: RFC 792, RFC 4443; at least the ports are in every quote.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from tfocheck.wire.evidence import FlowKey
from tfocheck.wire.segment import IP_PROTOCOL_TCP, literal

_ICMP = 1
_ICMP6 = 58
_ICMP_HEADER = 8


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
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20 and packet[9] == _ICMP:
        start, sender = (packet[0] & 15) * 4, packet[12:16]
        quote = packet[start + _ICMP_HEADER :]
        if len(quote) < 20 or quote[9] != IP_PROTOCOL_TCP:
            return None
        ports, ours, theirs = (quote[0] & 15) * 4, quote[12:16], quote[16:20]
    elif version == 6 and len(packet) >= 40 and packet[6] == _ICMP6:
        start, sender = 40, packet[8:24]
        quote = packet[start + _ICMP_HEADER :]
        if len(quote) < 44 or quote[6] != IP_PROTOCOL_TCP:
            return None
        ports, ours, theirs = 40, quote[8:24], quote[24:40]
    else:
        return None
    if len(quote) < ports + 4:
        return None
    client_port, server_port = struct.unpack_from("!HH", quote, ports)
    key = FlowKey(literal(ours), client_port, literal(theirs), server_port)
    return QuotingError(key, literal(sender), packet[start], packet[start + 1], quote)
