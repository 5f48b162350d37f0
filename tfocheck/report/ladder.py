"""The packets of a flow as a ladder of text, with relative numbers, at most 80 columns wide."""

from __future__ import annotations

import struct
import textwrap
from typing import TYPE_CHECKING

from tfocheck.model import escape
from tfocheck.model.target import join
from tfocheck.wire import options as tcp_options

if TYPE_CHECKING:
    from tfocheck.model.report import CaseResult
    from tfocheck.wire.evidence import Captured, FlowRecord
    from tfocheck.wire.segment import Segment

WIDTH = 80
MOST_RUNGS = 11
"""A shortened ladder has the first packets, the last ones and the deciding one of a longer flow."""

_FIRST, _LAST = 8, 2
_DETAIL_INDENT = 22
_SHOWN_PAYLOAD = 24
_SHOWN_OPTION_BYTES = 16
_HALF = 1 << 31
_ACK = 0x10  # Flags.ACK, without importing Scapy for it


def ladders(result: CaseResult) -> str:
    """All flows of a case, the deciding ones marked; empty when it sent nothing."""
    return "\n".join(ladder(flow) for flow in result.flows)


def ladder(flow: FlowRecord, *, shortened: bool = False) -> str:
    """One flow: a heading, then a rung per packet, time in ms since the first."""
    mark = "*" if flow.decided else " "
    label = f"{escape.text(flow.label)} (this decided)" if flow.decided else escape.text(flow.label)
    ends = f"{join(*flow.client)} -> {join(*flow.server)}"
    heading = _fold(f"{mark} {label}: {escape.text(ends)}", indent="    ")
    if not flow.packets:
        return f"{heading}\n    no packets were captured"
    start = min(packet.time for packet in flow.packets)
    lines, before = [heading], -1
    for index in telling_packets(flow) if shortened else range(len(flow.packets)):
        if hidden := words_for_hidden(flow, before, index):
            lines.append(f"{' ' * _DETAIL_INDENT}({hidden} not shown)")
        lines.append(_rung(flow, flow.packets[index], start))
        before = index
    if flow.left_out:
        lines.append(f"{' ' * _DETAIL_INDENT}({flow.left_out} more packets were only counted)")
    return "\n".join(lines)


def telling_packets(flow: FlowRecord) -> list[int]:
    """Which packets a shortened ladder has: places in the flow, in order."""
    total = len(flow.packets)
    if total <= MOST_RUNGS:
        return list(range(total))
    deciding = [i for i, packet in enumerate(flow.packets) if packet is flow.deciding]
    return sorted({*range(_FIRST), *deciding, *range(total - _LAST, total)})


def words_for_hidden(flow: FlowRecord, before: int, index: int) -> str:
    """How many packets, and bytes, lie between two places in a flow; empty when none do."""
    hidden = flow.packets[before + 1 : index]
    if not hidden:
        return ""
    packets = "1 packet" if len(hidden) == 1 else f"{len(hidden)} packets"
    return f"{packets} with {sum(len(packet.segment.payload) for packet in hidden)} bytes"


def relative(number: int, initial: int | None) -> int | None:
    """A sequence number relative to an ISN, negative below it; None when the ISN is not known."""
    if initial is None:
        return None
    return (number - initial + _HALF) % (2 * _HALF) - _HALF


def relative_numbers(flow: FlowRecord, packet: Captured) -> tuple[int | None, int | None]:
    """(seq, ack) of a packet, relative to its flow's ISNs; None where there is no ISN or no ack."""
    own, other = flow.client_isn, flow.server_isn
    if not packet.sent:
        seq, ack = relative(packet.segment.seq, other), relative(packet.segment.ack, own)
    else:
        seq, ack = relative(packet.segment.seq, own), relative(packet.segment.ack, other)
    return seq, ack if int(packet.segment.flags) & _ACK else None


def describe_options(segment: Segment) -> str:
    """The options of a segment in a few words each, escaped; empty when it has none."""
    return ", ".join(options_in_words(segment))


def options_in_words(segment: Segment) -> list[str]:
    """The options of a segment, each in a few words, escaped; those that only fill are left out."""
    words = [word for word in map(_option, segment.option_list.options) if word]
    malformed = segment.option_list.malformed
    if malformed:
        words.append(f"malformed: {malformed}")
    return [escape.text(word) for word in words]


def describe_header(flow: FlowRecord, packet: Captured) -> str:
    """Flags, relative numbers, data length and window of a packet in a few words."""
    segment = packet.segment
    words = [f"{segment.flags!s:<8}", *numbers_in_words(flow, packet)]
    if segment.payload:
        words.append(f"len {len(segment.payload)}")
    words.append(f"win {segment.window}")
    if packet.gso_size:
        words.append(f"gso {packet.gso_size}")
    return " ".join(words)


def _rung(flow: FlowRecord, packet: Captured, start: float) -> str:
    segment = packet.segment
    arrow = "->" if packet.sent else "<-"
    details = describe_options(segment)
    header = describe_header(flow, packet)
    line = f"  {(packet.time - start) * 1000:10.3f} ms  {arrow}  {header}"
    indent = " " * _DETAIL_INDENT
    rung = [_fold(line, indent=indent)]
    if details:
        rung.append(_fold(f"{indent}<{details}>", indent=indent + " "))
    if segment.payload:
        rung.append(f"{indent}{preview(segment.payload)}")
    return "\n".join(rung)


def numbers_in_words(flow: FlowRecord, packet: Captured) -> list[str]:
    """Sequence and acknowledgement number, relative where there is something to relate to."""
    segment = packet.segment
    seq, ack = relative_numbers(flow, packet)
    words = [f"seq {seq}" if seq is not None else f"seq {segment.seq} (absolute)"]
    if int(segment.flags) & _ACK:
        words.append(f"ack {ack}" if ack is not None else f"ack {segment.ack} (absolute)")
    return words


def _option(option: tcp_options.Option) -> str:
    fast_open = tcp_options.FastOpen.from_option(option)
    if fast_open is not None:
        form = " (exp)" if fast_open.experimental else ""
        return (
            f"TFO{form} {'request' if fast_open.is_request else f'cookie {fast_open.cookie.hex()}'}"
        )
    value = option.value
    match option.kind:
        case tcp_options.END_OF_LIST | tcp_options.NO_OPERATION:
            described = ""
        case tcp_options.MAXIMUM_SEGMENT_SIZE if len(value) == 2:
            described = f"mss {int.from_bytes(value)}"
        case tcp_options.WINDOW_SCALE if len(value) == 1:
            described = f"wscale {value[0]}"
        case tcp_options.SACK_PERMITTED if not value:
            described = "sackOK"
        case tcp_options.TIMESTAMPS if len(value) == 8:
            described = "TS {} {}".format(*struct.unpack("!II", value))
        case _:
            rest = "..." if len(value) > _SHOWN_OPTION_BYTES else ""
            shown = value[:_SHOWN_OPTION_BYTES].hex()
            described = f"option {option.kind} {shown}".rstrip() + rest
    return described


def preview(payload: bytes) -> str:
    """The first bytes of a payload, escaped: as text where most of it is, else in hex."""
    head = payload[:_SHOWN_PAYLOAD]
    rest = "..." if len(payload) > len(head) else ""
    readable = sum(byte in escape.PRINTABLE or byte in b"\r\n\t" for byte in head)
    if readable * 4 < len(head) * 3:
        return head[: _SHOWN_PAYLOAD // 2 + 4].hex(" ") + rest
    shown = head.decode("latin-1").replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escape.text(shown)}"{rest}'


def _fold(line: str, indent: str) -> str:
    if len(line) <= WIDTH:
        return line
    return textwrap.fill(
        line,
        WIDTH,
        subsequent_indent=indent,
        break_on_hyphens=False,
        drop_whitespace=True,
        replace_whitespace=False,
    )
