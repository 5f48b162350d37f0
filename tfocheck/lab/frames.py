"""A TCP segment in an Ethernet frame, as a box on the way reads and rewrites it.

Kept apart from tfocheck.wire.segment: here headers stay as they came, but for what a rewriting box
changes on purpose, and it must be fast.

Sources: RFC 791 section 3.1, RFC 8200 section 3, RFC 9293 section 3.1, RFC 1071 (checksum).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tfocheck.wire.options import pad

SYN, RST, ACK = 0x02, 0x04, 0x10

_ETHERNET_BYTES = 14
_IPV6_BYTES = 40
_TCP = 6
_TCP_HEADER = struct.Struct("!HHIIBBHHH")
_FRAGMENT = 0x3FFF  # more-fragments bit and offset


@dataclass(frozen=True)
class TcpFrame:
    """One whole TCP segment.

    `ethernet` and `ip` are headers as they came (their lengths and checksums are made anew),
    `reserved` the four bits behind the data offset; the other fields are as in RFC 9293.
    """

    ethernet: bytes
    ip: bytes
    source_port: int
    destination_port: int
    seq: int
    ack: int
    reserved: int
    flags: int
    window: int
    urgent: int
    options: bytes
    payload: bytes

    @classmethod
    def parse(cls, frame: bytes) -> TcpFrame | None:
        """Read a frame; None if it isn't a TCP segment, or not a whole one."""
        found = _ip_bounds(frame)
        if found is None:
            return None
        start, end = found
        if end - start < _TCP_HEADER.size:
            return None
        source, destination, seq, ack, offset, flags, window, _, urgent = _TCP_HEADER.unpack_from(
            frame, start
        )
        data = start + (offset >> 4) * 4
        if not start + _TCP_HEADER.size <= data <= end:
            return None
        return cls(
            frame[:_ETHERNET_BYTES],
            frame[_ETHERNET_BYTES:start],
            source,
            destination,
            seq,
            ack,
            offset & 0x0F,
            flags,
            window,
            urgent,
            frame[start + _TCP_HEADER.size : data],
            frame[data:end],
        )

    @property
    def is_syn(self) -> bool:
        """SYN, without ACK."""
        return self.flags & (SYN | ACK | RST) == SYN

    @property
    def is_syn_ack(self) -> bool:
        """SYN and ACK."""
        return self.flags & (SYN | ACK | RST) == SYN | ACK

    @property
    def addresses(self) -> tuple[bytes, bytes]:
        """Source and destination, 4 or 16 bytes each."""
        if self.ip[0] >> 4 == 4:
            return self.ip[12:16], self.ip[16:20]
        return self.ip[8:24], self.ip[24:40]

    @property
    def flow(self) -> tuple[bytes, bytes]:
        """Both ends, source first: address and port as bytes."""
        source, destination = self.addresses
        return (
            source + self.source_port.to_bytes(2),
            destination + self.destination_port.to_bytes(2),
        )

    def encode(self) -> bytes:
        """The frame, with its lengths and checksums. Options are padded to a whole word."""
        options = pad(self.options)
        header = _TCP_HEADER.pack(
            self.source_port,
            self.destination_port,
            self.seq % (1 << 32),
            self.ack % (1 << 32),
            (5 + len(options) // 4) << 4 | self.reserved,
            self.flags,
            self.window,
            0,
            self.urgent,
        )
        segment = header + options + self.payload
        pseudo = b"".join(self.addresses) + struct.pack("!II", len(segment), _TCP)
        checksum = _checksum(pseudo + segment)
        segment = segment[:16] + checksum.to_bytes(2) + segment[18:]
        return self.ethernet + self._ip_header(len(segment)) + segment

    def _ip_header(self, length: int) -> bytes:
        ip = self.ip
        if ip[0] >> 4 == 6:
            return ip[:4] + length.to_bytes(2) + ip[6:]
        ip = ip[:2] + (len(ip) + length).to_bytes(2) + ip[4:10] + b"\0\0" + ip[12:]
        return ip[:10] + _checksum(ip).to_bytes(2) + ip[12:]


def _ip_bounds(frame: bytes) -> tuple[int, int] | None:
    """Where the segment starts and ends in a frame that holds an unfragmented TCP segment."""
    kind, ip = frame[12:14], _ETHERNET_BYTES
    if kind == b"\x08\x00" and len(frame) >= ip + 20:
        start = ip + (frame[ip] & 0x0F) * 4
        end = ip + int.from_bytes(frame[ip + 2 : ip + 4])
        whole = int.from_bytes(frame[ip + 6 : ip + 8]) & _FRAGMENT == 0
        is_tcp = frame[ip + 9] == _TCP and whole and start >= ip + 20
    elif kind == b"\x86\xdd" and len(frame) >= ip + _IPV6_BYTES:
        start = ip + _IPV6_BYTES
        end = start + int.from_bytes(frame[ip + 4 : ip + 6])
        is_tcp = frame[ip + 6] == _TCP
    else:
        return None
    return (start, end) if is_tcp and start <= end <= len(frame) else None


def _checksum(data: bytes) -> int:
    """The Internet checksum, RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    # 2**16 is 1 modulo 0xFFFF, so the sum of all words is the whole number modulo that.
    return -int.from_bytes(data) % 0xFFFF
