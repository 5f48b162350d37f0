"""Which connections a page draws, and the chart of first-byte times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tfocheck.model.case import Role, Verdict
from tfocheck.report import svg
from tfocheck.report.ladder import MOST_RUNGS, relative_numbers

if TYPE_CHECKING:
    from tfocheck.model.report import AddressReport
    from tfocheck.wire.evidence import FlowRecord

MOST_FLOWS = 6
MOST_FLOWS_OF_PROBLEMS = 12
MOST_PACKETS = 3000
"""So many packets are drawn in a page of however many addresses: about a megabyte."""

PROBLEMS = (Verdict.FAIL, Verdict.ERROR, Verdict.WARN, Verdict.INCONCLUSIVE)
ORDER = (*PROBLEMS, Verdict.PASS, Verdict.INFO, Verdict.SKIP)


def choose_flows(reports: Sequence[AddressReport]) -> list[list[list[FlowRecord]]]:
    """The flows to draw, of each case of each address; grave verdicts get the room first.

    Within a case they stay in the order in which they were opened.
    """
    chosen: list[list[list[FlowRecord]]] = [[[] for _ in report.results] for report in reports]
    places = [(a, r) for a, report in enumerate(reports) for r in range(len(report.results))]
    places.sort(key=lambda place: ORDER.index(reports[place[0]].results[place[1]].verdict))
    room = MOST_PACKETS
    for a, r in places:
        result = reports[a].results[r]
        most = MOST_FLOWS_OF_PROBLEMS if result.verdict in PROBLEMS else MOST_FLOWS
        taken: list[int] = []
        for index in _telling(result.flows)[:most]:
            room -= min(len(result.flows[index].packets), MOST_RUNGS)
            if room >= 0:
                taken.append(index)
        chosen[a][r] = [result.flows[index] for index in sorted(taken)]
    return chosen


def _telling(flows: Sequence[FlowRecord]) -> list[int]:
    """Places of flows, the most telling first: deciding ones, one of a kind before a second.

    Of many of one rank, as when a queue is filled, the first and the last tell most.
    """
    seen: Counter[tuple[bool, str]] = Counter()
    ranks: list[tuple[bool, int, int, int]] = []
    for index, flow in enumerate(flows):
        key = (flow.decided, flow.label)
        seen[key] += 1
        from_end = min(index, len(flows) - 1 - index)
        ranks.append((not flow.decided, seen[key], from_end, index))
    return [rank[-1] for rank in sorted(ranks)]


def left_out(flows: Sequence[FlowRecord], chosen: Sequence[FlowRecord]) -> str:
    """Which of a case's connections are not drawn, in words; empty when all are."""
    hidden = len(flows) - len(chosen)
    if not hidden:
        return ""
    packets = sum(len(flow.packets) for flow in flows) - sum(len(flow.packets) for flow in chosen)
    deciding = sum(flow.decided for flow in flows) - sum(flow.decided for flow in chosen)
    them = "1 connection is" if hidden == 1 else f"{hidden} connections are"
    decided = f", {deciding} of which decided as well" if deciding else ""
    return (
        f"{len(chosen)} of {len(flows)} connections drawn: {them} not "
        f"({packets} packets{decided}). -v and --json FILE show them all."
    )


def chart(address: AddressReport) -> svg.Chart | None:
    """First-byte times of the benefit case, where it was run."""
    result = address.by_role(Role.BENEFIT)
    if result is None:
        return None
    plain: list[float] = []
    fast: list[float] = []
    for ordinary, opened in _timed_pairs(result.flows):
        plain.append(ordinary)
        fast.append(opened)
    return svg.chart(plain, fast)


def _timed_pairs(flows: Iterable[FlowRecord]) -> Iterator[tuple[float, float]]:
    """Seconds to the first byte, plain and with Fast Open; a pair counts if both of it worked."""
    waiting: list[float | None] = []
    for flow in flows:
        seconds = _first_byte(flow)
        if not any(packet.segment.fast_open for packet in flow.packets[:1]):
            waiting.append(seconds)
        elif waiting:
            ordinary = waiting.pop()
            if ordinary is not None and seconds is not None and _is_accepted(flow):
                yield ordinary, seconds


def _first_byte(flow: FlowRecord) -> float | None:
    """Seconds from the SYN to the first byte of the answer, by the kernel's clock."""
    began = next((packet.time for packet in flow.packets if packet.sent), None)
    answers = (each.time for each in flow.packets if not each.sent and each.segment.payload)
    answered = next(answers, None)
    return None if began is None or answered is None else answered - began


def _is_accepted(flow: FlowRecord) -> bool:
    """Whether the server's first segment acknowledges all the data of the SYN."""
    syn, answer = flow.packets[0], next(each for each in flow.packets if not each.sent)
    _, ack = relative_numbers(flow, answer)
    return ack == 1 + len(syn.segment.payload)
