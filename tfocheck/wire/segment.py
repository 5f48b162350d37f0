"""A TCP segment with its addresses: built and dissected with Scapy, carried as a frozen value.

Rules that hold here:

* ``Segment`` has no clock and no socket; ``evidence.Captured`` adds what a capture knows of one.
* Options stay bytes (see ``options``): any list can be sent, any list can be received.
* Sequence numbers are absolute; whoever shows them to a human makes them relative.

Source: RFC 9293 section 3.1 (header), RFC 791, RFC 8200.
"""

from __future__ import annotations

import enum
import ipaddress
import logging
import struct
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import IP, TCP  # noqa: E402  (Scapy warns while it is imported)
from scapy.layers.inet6 import IPv6  # noqa: E402

from tfocheck.wire import options as tcp_options  # noqa: E402
from tfocheck.wire.numbers import SEQUENCE_SPACE  # noqa: E402

DEFAULT_TTL = 64
_FIXED_HEADER = 20
_NUMBERS = struct.Struct("!HHII")  # ports, sequence and acknowledgement number
_TCP = struct.Struct("!HHIIBBH")  # the same, data offset, flags, window
_REMEMBERED = 4096
"""So many addresses and headers are kept ready: a scan must not keep all that it meets."""
IP_PROTOCOL_TCP = 6


class Flags(enum.IntFlag):
    """The control bits of RFC 9293 section 3.1 (with RFC 3168's two)."""

    NONE = 0
    FIN = 0x01
    SYN = 0x02
    RST = 0x04
    PSH = 0x08
    ACK = 0x10
    URG = 0x20
    ECE = 0x40
    CWR = 0x80

    def __str__(self) -> str:
        return _flags_in_words(self)

    # Looked up: enum's own way to a member is the most of what a segment costs in memory.

    def __and__(self, other: int) -> Flags:
        return _FLAGS[int.__and__(self, other)]

    def __or__(self, other: int) -> Flags:
        return _FLAGS[int.__or__(self, other)]


@cache
def _flags_in_words(flags: Flags) -> str:
    """Worked out once: a report names the flags of thousands of segments."""
    names = (flag.name or "" for flag in Flags if flag in flags)
    order = {"SYN": 0, "FIN": 1, "RST": 2, "PSH": 3, "URG": 4, "ACK": 5}
    return ",".join(sorted(names, key=lambda name: order.get(name, 9))) or "none"


_FLAGS = tuple(map(Flags, range(256)))


class NotTcpError(ValueError):
    """These bytes are no TCP segment that could be read."""


@dataclass(frozen=True)
class Segment:
    """One TCP segment and the addresses it travels between.

    Addresses are literals without a zone; ``seq``, ``ack`` absolute modulo 2**32; ``window`` as in
    the header (unscaled); ``options`` the option area, a whole number of words, at most 40 bytes.
    """

    source: str
    source_port: int
    destination: str
    destination_port: int
    seq: int
    ack: int = 0
    flags: Flags = Flags.NONE
    window: int = 65535
    options: bytes = b""
    payload: bytes = b""
    ttl: int = DEFAULT_TTL
    ip_id: int = 0

    @cached_property
    def option_list(self) -> tcp_options.OptionList:
        """The options, as far as they can be read."""
        return tcp_options.walk(self.options)

    @cached_property
    def fast_open(self) -> tcp_options.FastOpen | None:
        """The Fast Open option of this segment, in either form."""
        return self.option_list.fast_open

    @property
    def sequence_length(self) -> int:
        """SEG.LEN of RFC 9293 section 3.4: the payload, and one each for SYN and FIN."""
        flags = self.flags
        return len(self.payload) + bool(flags & Flags.SYN) + bool(flags & Flags.FIN)

    @cached_property
    def is_syn_ack(self) -> bool:
        """SYN and ACK, and no RST."""
        return self.flags & (Flags.SYN | Flags.ACK | Flags.RST) == Flags.SYN | Flags.ACK

    @cached_property
    def is_reset(self) -> bool:
        """RST, with or without ACK."""
        return Flags.RST in self.flags

    @cached_property
    def has_ack(self) -> bool:
        """ACK: the acknowledgement number means something."""
        return Flags.ACK in self.flags


def build(segment: Segment) -> bytes:
    """The IPv4 or IPv6 packet that carries the segment, checksums included."""
    area = tcp_options.pad(segment.options)
    header = _tcp_template(5 + len(area) // 4, int(segment.flags), segment.window)
    numbers = _NUMBERS.pack(
        segment.source_port,
        segment.destination_port,
        segment.seq % SEQUENCE_SPACE,
        segment.ack % SEQUENCE_SPACE,
    )
    # Options go behind Scapy's fixed header as bytes, whatever they hold.
    data = numbers + header[_NUMBERS.size :] + area + segment.payload
    data = _with_checksum(data, 16, _pseudo_header(segment, len(data)))
    return _ip_header(segment, len(data)) + data


@lru_cache(_REMEMBERED)
def _tcp_template(data_offset: int, flags: int, window: int) -> bytes:
    """The fixed header, its ports, numbers and checksum still open."""
    return bytes(TCP(dataofs=data_offset, flags=flags, window=window, chksum=0))[:_FIXED_HEADER]


def _ip_header(segment: Segment, length: int) -> bytes:
    header = _ip_template(segment.source, segment.destination, segment.ttl)
    if header[0] >> 4 == 6:
        return header[:4] + struct.pack("!H", length) + header[6:]
    header = header[:2] + struct.pack("!HH", len(header) + length, segment.ip_id) + header[6:]
    return _with_checksum(header, 10)


@lru_cache(_REMEMBERED)
def _ip_template(source: str, destination: str, ttl: int) -> bytes:
    """The header that all packets between two addresses share, its length still open."""
    if ":" in destination:
        return bytes(IPv6(src=source, dst=destination, hlim=ttl, nh=IP_PROTOCOL_TCP, plen=0))
    ip = IP(
        src=source, dst=destination, ttl=ttl, proto=IP_PROTOCOL_TCP, flags="DF", len=0, chksum=0
    )
    return bytes(ip)


def _pseudo_header(segment: Segment, length: int) -> bytes:
    """What the TCP checksum covers besides the segment (RFC 9293 section 3.1)."""
    addresses = packed(segment.source) + packed(segment.destination)
    return addresses + struct.pack("!II", length, IP_PROTOCOL_TCP)


@lru_cache(_REMEMBERED)
def packed(address: str) -> bytes:
    """An address literal as its 4 or 16 bytes."""
    return ipaddress.ip_address(address).packed


def _with_checksum(data: bytes, place: int, also: bytes = b"") -> bytes:
    """The data with its Internet checksum (RFC 1071) put where it has zeros."""
    covered = also + data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(covered) // 2}H", covered))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return data[:place] + struct.pack("!H", ~total & 0xFFFF) + data[place + 2 :]


def with_checksum_filled_in(packet: bytes, segment: Segment) -> bytes:
    """The IP packet of this segment, its TCP checksum worked out."""
    start = (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40
    tcp = packet[start : start + 16] + bytes(2) + packet[start + 18 :]
    return packet[:start] + _with_checksum(tcp, 16, _pseudo_header(segment, len(tcp)))


def without_padding(packet: bytes) -> bytes:
    """An IP packet without what follows its own length, which the link has put there.

    A length of 0 in the IP header is that of a packet too large for the field.
    """
    if packet[0] >> 4 == 4:
        end = int.from_bytes(packet[2:4])
    else:
        length = int.from_bytes(packet[4:6])
        end = 40 + length if length else 0
    return packet[:end] if end else packet


def dissect(packet: bytes) -> Segment:
    """Read an IPv4 or IPv6 packet; bytes after the packet's own length (link padding) are cut.

    Raises NotTcpError for anything that is not a whole, first-fragment TCP segment.
    """
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        length, ip_id, fragment, ttl, protocol = struct.unpack_from("!HHHBB", packet, 2)
        start, end = (packet[0] & 15) * 4, length or len(packet)
        is_tcp = protocol == IP_PROTOCOL_TCP and not fragment & 0x1FFF and start >= 20
        source, destination = packet[12:16], packet[16:20]
    elif version == 6 and len(packet) >= 40:
        length, protocol, ttl = struct.unpack_from("!HBB", packet, 4)
        start, end, ip_id = 40, 40 + length if length else len(packet), 0
        is_tcp = protocol == IP_PROTOCOL_TCP
        source, destination = packet[8:24], packet[24:40]
    else:
        raise NotTcpError("no IPv4 or IPv6 header")
    end = min(end, len(packet))
    if not is_tcp or end < start + _FIXED_HEADER:
        raise NotTcpError("no whole TCP header")
    # Scapy's parsers of options and payload are left out: what comes is hostile.
    source_port, destination_port, seq, ack, offset, flags, window = _TCP.unpack_from(packet, start)
    data = start + (offset >> 4) * 4
    if data < start + _FIXED_HEADER or data > end:
        raise NotTcpError("the TCP data offset makes no sense")
    return Segment(
        source=literal(source),
        source_port=source_port,
        destination=literal(destination),
        destination_port=destination_port,
        seq=seq,
        ack=ack,
        flags=_FLAGS[flags],
        window=window,
        options=packet[start + _FIXED_HEADER : data],
        payload=packet[data:end],
        ttl=ttl,
        ip_id=ip_id,
    )


@lru_cache(_REMEMBERED)
def literal(address: bytes) -> str:
    """4 or 16 bytes of address as they are written."""
    return str(ipaddress.ip_address(address))
