"""The connections that a verdict rests on: those of a case, and of each attempt of it."""

from __future__ import annotations

from tfocheck.engine.flow import Flow
from tfocheck.wire.evidence import Captured, FlowRecord


class Evidence:
    """The flows of a case; those of an attempt are the case's as well.

    ``whole`` is the evidence that this one is a part of.
    """

    def __init__(self, whole: Evidence | None = None) -> None:
        self.flows: list[Flow] = []
        self._whole = whole
        self._deciding: dict[Flow, Captured] = {} if whole is None else whole._deciding

    def part(self) -> Evidence:
        """The evidence of one attempt."""
        return Evidence(self)

    @property
    def of_case(self) -> list[Flow]:
        """The flows of all attempts."""
        return self.flows if self._whole is None else self._whole.of_case

    def adopt(self, flow: Flow) -> None:
        """Count a flow's packets among the evidence."""
        self.flows.append(flow)
        if self._whole is not None:
            self._whole.adopt(flow)

    def point_out(self, flow: Flow, packet: Captured | None) -> None:
        """This packet of the flow is the one that the verdict rests on, if the flow decides it."""
        if packet is not None:
            self._deciding[flow] = packet

    def decide(self) -> None:
        """The verdict rests on these flows."""
        for flow in self.flows:
            flow.decided = True

    def records(self) -> tuple[FlowRecord, ...]:
        """The packets so far."""
        return tuple(flow.record(self._deciding.get(flow)) for flow in self.flows)
