"""Whose a packet is, from a few of its bytes: asked of everything that is captured, so it is quick.

Ends are the addresses and ports as they stand in a packet: source, destination, source port,
destination port. Nothing is believed here that is not looked at again by whoever reads the packet.

Source: RFC 791, RFC 8200, RFC 9293 section 3.1; RFC 792 and RFC 4443 for quotes.
"""

from __future__ import annotations

import struct

from tfocheck.wire.evidence import FlowKey
from tfocheck.wire.segment import IP_PROTOCOL_TCP, packed

_ICMP = 1
_ICMP6 = 58
_ICMP_HEADER = 8
_LEAST_IPV4 = 20
_IPV6 = 40

Ends = bytes


def sent_by(key: FlowKey) -> Ends:
    """The ends of what we send on this connection, and of what is quoted of it."""
    ports = struct.pack("!HH", key.client_port, key.server_port)
    return packed(key.client) + packed(key.server) + ports


def received_by(key: FlowKey) -> Ends:
    """The ends of what we receive on this connection."""
    ports = struct.pack("!HH", key.server_port, key.client_port)
    return packed(key.server) + packed(key.client) + ports


def of_segment(packet: bytes | memoryview) -> Ends | None:
    """The ends of an IP packet with TCP in it, None for anything else; never raises."""
    return _ends(packet, 0)


def of_quote(packet: bytes | memoryview) -> Ends | None:
    """The ends of what an ICMP packet quotes, None for anything else; never raises."""
    version = packet[0] >> 4 if len(packet) else 0
    if version == 4 and len(packet) > _LEAST_IPV4 and packet[9] == _ICMP:
        return _ends(packet, (packet[0] & 15) * 4 + _ICMP_HEADER)
    if version == 6 and len(packet) > _IPV6 and packet[6] == _ICMP6:
        return _ends(packet, _IPV6 + _ICMP_HEADER)
    return None


def _ends(packet: bytes | memoryview, start: int) -> Ends | None:
    size = len(packet) - start
    if size < _LEAST_IPV4:
        return None
    version = packet[start] >> 4
    if version == 4 and packet[start + 9] == IP_PROTOCOL_TCP:
        addresses, ports = 12, (packet[start] & 15) * 4
    elif version == 6 and size >= _IPV6 and packet[start + 6] == IP_PROTOCOL_TCP:
        addresses, ports = 8, _IPV6
    else:
        return None
    if ports < _LEAST_IPV4 or size < ports + 4:
        return None
    last = 20 if version == 4 else _IPV6
    ends = packet[start + addresses : start + last], packet[start + ports : start + ports + 4]
    return b"".join(ends)
