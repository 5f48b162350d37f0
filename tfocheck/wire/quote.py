"""What an ICMP error quotes of a packet of ours, compared with what we sent.

A router quotes the packet as it got there, so the quotes of successive routers show between which
two of them something was changed. RFC 792 promises 8 bytes of TCP; RFC 1812 section 4.3.2.3 and RFC
4443 ask for as much as fits, and most routers of today give that.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tfocheck.wire import options as tcp_options
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.segment import IP_PROTOCOL_TCP, Segment

_FIXED_TCP = 20


@dataclass(frozen=True)
class Change:
    """One difference between what was sent and what a router got.

    ``field`` is a short name ("sequence", "fast-open", "mss", "data" ...), ``what`` says it in
    words.
    """

    field: str
    what: str


@dataclass(frozen=True)
class Quote:
    """What a quote shows: ``tcp_bytes`` of the TCP header are in it, with these changes."""

    tcp_bytes: int
    changes: tuple[Change, ...]

    @property
    def shows_options(self) -> bool:
        """True if there was enough of the header to see options in it, or their absence."""
        return self.tcp_bytes > _FIXED_TCP


def read(packet: bytes) -> tuple[int, int, bytes] | None:
    """Quoted bytes: (length of the packet, of its IP header, the TCP bytes); None if unreadable.

    Lengths are in bytes, the packet's as its header states it: a quote is usually cut.
    """
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 28 and packet[9] == IP_PROTOCOL_TCP:
        header = (packet[0] & 15) * 4
        if not 20 <= header <= len(packet) - 8:
            return None
        return struct.unpack_from("!H", packet, 2)[0], header, packet[header:]
    if version == 6 and len(packet) >= 48 and packet[6] == IP_PROTOCOL_TCP:
        return struct.unpack_from("!H", packet, 4)[0] + 40, 40, packet[40:]
    return None


def compare(sent: Segment, packet: bytes) -> Quote | None:
    """What became of the segment by the time it was quoted; None for a quote of something else.

    Never raises, whatever the bytes are.
    """
    found = read(packet)
    if found is None:
        return None
    total, header, tcp = found
    source_port, destination_port, seq = struct.unpack_from("!HHI", tcp)
    if (source_port, destination_port) != (sent.source_port, sent.destination_port):
        return None
    changes: list[Change] = []
    if seq != sent.seq:
        shift = (seq - sent.seq) % SEQUENCE_SPACE
        changes.append(Change("sequence", f"the sequence number is shifted by {shift}"))
    area = b""
    if len(tcp) >= _FIXED_TCP:
        offset = (tcp[12] >> 4) * 4
        ack, flags, window = struct.unpack_from("!I", tcp, 8)[0], tcp[13], tcp[14:16]
        if ack != sent.ack:
            changes.append(Change("ack", f"the acknowledgement number is {ack}"))
        if flags != int(sent.flags):
            changes.append(Change("flags", f"the flags are {flags:#04x}"))
        if int.from_bytes(window) != sent.window:
            changes.append(Change("window", f"the window is {int.from_bytes(window)}"))
        area = tcp[_FIXED_TCP : max(_FIXED_TCP, offset)]
        if len(area) == max(0, offset - _FIXED_TCP):  # else the quote ends within the options
            changes += _option_changes(sent.options, area)
        changes += _data_changes(sent, total - header - offset)
    return Quote(len(tcp), tuple(changes))


def _data_changes(sent: Segment, left: int) -> list[Change]:
    size = len(sent.payload)
    # Some stacks quote a length that they have already changed for themselves: believe plain ones.
    if size and left == 0:
        return [Change("data", f"the {size} bytes of data are gone")]
    return []


def _option_changes(sent: bytes, got: bytes) -> list[Change]:
    ours, theirs = _by_name(sent), _by_name(got)
    changes = []
    for name, value in ours.items():
        if name not in theirs:
            changes.append(Change(name, f"{_WORDS.get(name, name)} is removed"))
        elif theirs[name] != value:
            changes.append(Change(name, _changed(name, value, theirs[name])))
    changes += [
        Change(name, f"{_WORDS.get(name, name)} is added") for name in theirs if name not in ours
    ]
    if not changes and list(ours) != list(theirs):
        changes.append(Change("order", "the options are in another order"))
    return changes


_NAMES = {
    tcp_options.MAXIMUM_SEGMENT_SIZE: "mss",
    tcp_options.WINDOW_SCALE: "window-scale",
    tcp_options.SACK_PERMITTED: "sack-permitted",
    tcp_options.TIMESTAMPS: "timestamps",
}
_WORDS = {
    "mss": "the MSS option",
    "window-scale": "the window scale option",
    "sack-permitted": "the SACK-permitted option",
    "timestamps": "the timestamps option",
    "fast-open": "the Fast Open option",
}


def _by_name(area: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for option in tcp_options.walk(area).options:
        if option.kind == tcp_options.NO_OPERATION:
            continue
        fast_open = tcp_options.FastOpen.from_option(option)
        name = "fast-open" if fast_open else _NAMES.get(option.kind, f"option {option.kind}")
        found.setdefault(name, option.value)
    return found


def _changed(name: str, ours: bytes, theirs: bytes) -> str:
    if name == "mss":
        return f"the MSS is changed from {int.from_bytes(ours)} to {int.from_bytes(theirs)}"
    if name == "fast-open":
        return f"the cookie is changed from {ours.hex()} to {theirs.hex() or 'nothing'}"
    return f"{_WORDS.get(name, name)} is changed"
