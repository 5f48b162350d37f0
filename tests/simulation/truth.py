"""What a ``seen`` states of numbers, held against the packets that it stands for.

Only what it states is looked at: an acknowledgment, bytes on a SYN, a cookie's length, bytes before
our ACK, what we announced. That the packets are all there is the engine's tests' to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tfocheck.model.report import CaseResult
from tfocheck.wire.evidence import Captured, FlowRecord
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.segment import Flags, Segment


def contradictions(result: CaseResult) -> Iterator[str]:
    """Each statement of the result's that none of its packets bears out."""
    if not result.flows:
        return
    for pattern, holds in _STATEMENTS:
        for found in pattern.finditer(result.seen):
            numbers = [int(number.replace(",", "")) for number in found.groups()]
            flows = result.flows if _is_without_data(result.seen, found) else _of_interest(result)
            if not any(holds(flow, *numbers) for flow in flows):
                yield f"no packet says {found.group(0)!r}"


def _is_without_data(seen: str, found: re.Match[str]) -> bool:
    """Whether a statement is said to be about a SYN without data."""
    rest = seen[found.end() :]
    return rest.startswith((" to a cookie request", ", then an ordinary connection"))


def _of_interest(result: CaseResult) -> tuple[FlowRecord, ...]:
    """With an acknowledgment the one of data is meant, if there was any."""
    with_data = tuple(flow for flow in result.flows if any(syn.payload for syn in _syns(flow)))
    return with_data or result.flows


def _syns(flow: FlowRecord) -> list[Segment]:
    return [each.segment for each in flow.packets if each.sent and _is_syn(each.segment)]


def _is_syn(segment: Segment) -> bool:
    return segment.flags & (Flags.SYN | Flags.ACK) == Flags.SYN


def _received(flow: FlowRecord) -> list[Captured]:
    return [each for each in flow.packets if not each.sent]


def _acknowledged(flow: FlowRecord, number: int) -> bool:
    return any(
        each.segment.is_syn_ack and (each.segment.ack - flow.client_isn) % SEQUENCE_SPACE == number
        for each in _received(flow)
    )


def _has_data(flow: FlowRecord, size: int) -> bool:
    return any(len(syn.payload) == size for syn in _syns(flow))


def _has_cookie(flow: FlowRecord, size: int) -> bool:
    options = (each.segment.fast_open for each in flow.packets)
    return any(option is not None and len(option.cookie) == size for option in options)


def _reach(flow: FlowRecord) -> int:
    """How far the server's data goes before anything but SYNs of ours."""
    if flow.server_isn is None:
        return 0
    reach = 0
    for each in flow.packets:
        segment = each.segment
        if each.sent and not _is_syn(segment):
            break
        if not each.sent and segment.payload:
            start = segment.seq + segment.is_syn_ack - flow.server_isn - 1
            reach = max(reach, start % SEQUENCE_SPACE + len(segment.payload))
    return reach


def _largest(flow: FlowRecord) -> int:
    return max((len(each.segment.payload) for each in _received(flow)), default=0)


_Holds = Callable[..., bool]

_STATEMENTS: tuple[tuple[re.Pattern[str], _Holds], ...] = (
    (re.compile(r"\back (\d+)\b"), _acknowledged),
    (
        re.compile(r"\b(\d+) of (\d+) bytes on the SYN acknowledged"),
        lambda flow, acked, size: _acknowledged(flow, 1 + acked) and _has_data(flow, size),
    ),
    (re.compile(r"\b(\d+) bytes on the SYN\b(?! acknowledged)"), _has_data),
    (re.compile(r"\bcookie and (\d+) bytes of data"), _has_data),
    (re.compile(r"\ba cookie of (\d+) bytes"), _has_cookie),
    (re.compile(r"^(\d+) bytes before our ACK"), lambda flow, size: _reach(flow) == size),
    (re.compile(r"no segment above (\d+) bytes"), lambda flow, size: _largest(flow) == size),
    (
        re.compile(r"we announced (\d+)"),
        lambda flow, size: any(syn.option_list.mss == size for syn in _syns(flow)),
    ),
    (
        re.compile(r"our window was (\d+)"),
        lambda flow, size: any(syn.window == size for syn in _syns(flow)),
    ),
)
