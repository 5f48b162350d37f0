"""The packets of a report as pcapng, for Wireshark and tshark, each with comments.

Every packet that a case has among its evidence has a comment per case::

    forged.random: random cookie, attempt 1: SYN,ACK seq 0 ack 19 win 65160 (this decided: fail)

Where a single packet decided, that one is marked so, else all of its connection. A control that
belongs to no case has its label alone. Sequence numbers are relative in comments and absolute in
the packets. ICMP errors about our packets are there, too.

Rules that hold here:

* A packet is written once, however many cases cite it, in the order of the kernel's times.
* The bytes are those that were captured. Only where the kernel had left the TCP checksum to a
  network card is it filled in, and link padding is cut off. A segment that the kernel had merged
  from several (GRO) stays one.

Source: draft-ietf-opsawg-pcapng (block and option codes), LINKTYPE_RAW of the link-type registry.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tfocheck.model import escape
from tfocheck.report.ladder import describe_header, describe_options

if TYPE_CHECKING:
    from tfocheck.judging.grade import Judgement
    from tfocheck.model.report import AddressReport
    from tfocheck.wire.evidence import Captured, FlowRecord, IcmpError

_SECTION_HEADER = 0x0A0D0D0A
_INTERFACE_DESCRIPTION = 1
_ENHANCED_PACKET = 6
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_UNKNOWN_LENGTH = -1
_LINKTYPE_RAW = 101  # an IPv4 or IPv6 packet, told apart by its first four bits

_END_OF_OPTIONS = 0
_COMMENT = 1
_SECTION_APPLICATION = 4
_INTERFACE_NAME = 2
_INTERFACE_RESOLUTION = 9
_PACKET_FLAGS = 2
_INBOUND, _OUTBOUND = 1, 2
_NANOSECONDS = 9  # the negative power of ten

_COMMENT_WIDTH = 2000
_SECOND = 1_000_000_000

_Options = Iterable[tuple[int, bytes]]


@dataclass
class _Frame:
    """A packet and what is said of it; ``moment`` is in nanoseconds of Unix time."""

    moment: int
    packet: bytes
    interface: str
    sent: bool
    comments: list[str] = field(default_factory=list)


def dumps(judgement: Judgement) -> bytes:
    """All packets of a report as a pcapng file."""
    frames: dict[tuple[object, ...], _Frame] = {}
    for address in judgement.report.addresses:
        _collect(address, frames)
    interfaces = list(dict.fromkeys(frame.interface for frame in frames.values())) or [""]
    blocks = [
        _section_header(judgement),
        *(_interface(name) for name in interfaces),
        *(
            _packet(frame, interfaces.index(frame.interface))
            for frame in sorted(frames.values(), key=lambda frame: frame.moment)
        ),
    ]
    return b"".join(blocks)


def _collect(address: AddressReport, frames: dict[tuple[object, ...], _Frame]) -> None:
    for flow in address.controls:
        _add(flow, "", "", frames)
    for result in address.results:
        for flow in result.flows:
            mark = f" (this decided: {result.verdict.value})" if flow.decided else ""
            _add(flow, f"{result.case.id}: ", mark, frames)


def _add(
    flow: FlowRecord, before: str, mark: str, frames: dict[tuple[object, ...], _Frame]
) -> None:
    # Cases share flows; with its ISN a flow is told from another on the same port.
    name = (flow.client, flow.server, flow.client_isn)
    packets: list[Captured | IcmpError] = [*flow.packets, *flow.icmp]
    for number, packet in enumerate(packets):
        key = (*name, number)
        if key not in frames:
            frames[key] = _frame(packet)
        what = f"{before}{flow.label}: {_what(flow, packet)}"
        # Where no single packet decided, all of the connection's did.
        marked = flow.deciding is None or packet is flow.deciding
        frames[key].comments.append(escape.clip(what, _COMMENT_WIDTH) + (mark if marked else ""))


def _frame(packet: Captured | IcmpError) -> _Frame:
    from tfocheck.wire.evidence import Captured
    from tfocheck.wire.segment import without_padding

    moment = packet.nanoseconds or round(packet.time * _SECOND)
    if isinstance(packet, Captured):
        return _Frame(moment, packet.whole_packet, packet.interface, packet.sent)
    return _Frame(moment, without_padding(packet.packet), packet.interface, sent=False)


def _what(flow: FlowRecord, packet: Captured | IcmpError) -> str:
    from tfocheck.wire.evidence import Captured

    if not isinstance(packet, Captured):
        return f"ICMP from {packet.sender}: {packet.name}"
    options = describe_options(packet.segment)
    header = " ".join(describe_header(flow, packet).split())
    return f"{header} <{options}>" if options else header


def _section_header(judgement: Judgement) -> bytes:
    report = judgement.report
    comments = []
    for address, conclusion in zip(report.addresses, judgement.conclusions, strict=True):
        letter = f"grade {conclusion.grade}. " if conclusion.grade else ""
        line = f"{address.target} at {address.address}: {letter}{conclusion.headline}"
        comments.append((_COMMENT, _text(escape.clip(line, _COMMENT_WIDTH))))
    body = struct.pack("=IHHq", _BYTE_ORDER_MAGIC, 1, 0, _UNKNOWN_LENGTH)
    application = (_SECTION_APPLICATION, _text(f"tfocheck {report.version}"))
    return _block(_SECTION_HEADER, body, [*comments, application])


def _interface(name: str) -> bytes:
    body = struct.pack("=HHI", _LINKTYPE_RAW, 0, 0)
    options = [(_INTERFACE_NAME, _text(name))] if name else []
    return _block(
        _INTERFACE_DESCRIPTION, body, [*options, (_INTERFACE_RESOLUTION, bytes([_NANOSECONDS]))]
    )


def _packet(frame: _Frame, interface: int) -> bytes:
    size = len(frame.packet)
    high, low = divmod(frame.moment, 1 << 32)
    body = struct.pack("=IIIII", interface, high, low, size, size) + _padded(frame.packet)
    direction = struct.pack("=I", _OUTBOUND if frame.sent else _INBOUND)
    comments = [(_COMMENT, _text(comment)) for comment in frame.comments]
    return _block(_ENHANCED_PACKET, body, [*comments, (_PACKET_FLAGS, direction)])


def _block(kind: int, body: bytes, options: _Options) -> bytes:
    content = body + b"".join(_option(code, value) for code, value in options)
    content += struct.pack("=HH", _END_OF_OPTIONS, 0)
    length = struct.pack("=I", len(content) + 12)
    return struct.pack("=I", kind) + length + content + length


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + _padded(value)


def _text(value: str) -> bytes:
    return escape.text(value).encode("ascii")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
