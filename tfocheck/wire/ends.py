"""Whose a packet is, from a few of its bytes: asked of everything that is captured, so it is quick.

Ends are the addresses and ports as they stand in a packet: source, destination, source port,
destination port. Nothing is believed here that is not looked at again by whoever reads the packet.

Source: RFC 791, RFC 8200, RFC 9293 section 3.1; RFC 792 and RFC 4443 for quotes.
"""

from __future__ import annotations

import struct

from tfocheck.wire.evidence import FlowKey
from tfocheck.wire.segment import IP_PROTOCOL_TCP, literal, packed

_ICMP = 1
_ICMP6 = 58
ICMP_HEADER = 8
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


def key_of_sent(ends: Ends) -> FlowKey:
    """The connection on which we sent what has these ends."""
    size = (len(ends) - 4) // 2
    ours, theirs = struct.unpack_from("!HH", ends, 2 * size)
    return FlowKey(literal(ends[:size]), ours, literal(ends[size : 2 * size]), theirs)


def of_quote(packet: bytes | memoryview) -> Ends | None:
    """The ends of what an ICMP packet quotes, None for anything else; never raises."""
    start = quoting_header(packet)
    return _ends(packet, start + ICMP_HEADER) if start else None


def quoting_header(packet: bytes | memoryview) -> int:
    """How long the IP header of an ICMP packet is, in bytes; 0 for any other packet."""
    version = packet[0] >> 4 if len(packet) else 0
    if version == 4 and len(packet) > _LEAST_IPV4 and packet[9] == _ICMP:
        length = (packet[0] & 15) * 4
        return length if length >= _LEAST_IPV4 else 0
    if version == 6 and len(packet) > _IPV6 and packet[6] == _ICMP6:
        return _IPV6
    return 0


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
