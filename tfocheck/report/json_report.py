"""The report as JSON: one object, whose structure is in ``schemas/report.json``.

``format`` is the structure's number and ``schema`` the id of its JSON Schema, which ``tfocheck
schema`` prints. Within a number keys are only added, and readers ignore those that they do not
know; whatever else could break a reader raises the number, and changes the id.

Texts are escaped as everywhere (``escape``): a server's bytes come out as printable ASCII.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tfocheck.judging.grade import Conclusion, Judgement, count
from tfocheck.model import escape
from tfocheck.report.ladder import describe_options, relative_numbers

if TYPE_CHECKING:
    from tfocheck.model.baseline import Applied, Entry
    from tfocheck.model.case import Case
    from tfocheck.model.report import AddressReport, CaseResult, Hop
    from tfocheck.wire.evidence import Captured, FlowRecord

SCHEMA = "urn:tfocheck:report:1"
FORMAT = 1

Value = None | bool | int | float | str | Sequence["Value"] | Mapping[str, "Value"]


def dumps(judgement: Judgement) -> str:
    """The report as JSON text, indented, ending in a line feed."""
    report = judgement.report
    document: dict[str, Value] = {
        "schema": SCHEMA,
        "format": FORMAT,
        "version": report.version,
        "started": round(report.started, 6),
        "duration": round(report.duration, 6),
        "strict": judgement.strict,
        "complete": judgement.complete,
        "exit_code": int(judgement.exit_code),
        "baseline": None if judgement.baseline is None else _baseline(judgement.baseline),
        "errors": [
            {"target": escape.text(target), "message": escape.text(message)}
            for target, message in report.errors
        ],
        "addresses": [
            _address(address, conclusion)
            for address, conclusion in zip(report.addresses, judgement.conclusions, strict=True)
        ],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _baseline(applied: Applied) -> dict[str, Value]:
    return {
        "file": escape.text(applied.path),
        "mended": [_entry(entry) for entry in applied.mended],
        "expired": [_entry(entry) for entry in applied.expired],
        "elsewhere": applied.elsewhere,
    }


def _entry(entry: Entry) -> dict[str, Value]:
    return {
        "case": escape.text(entry.case),
        "address": entry.address,
        "verdict": entry.allowed.value,
        "expires": None if entry.expires is None else entry.expires.isoformat(),
        "line": entry.line,
    }


def _address(address: AddressReport, conclusion: Conclusion) -> dict[str, Value]:
    results = [_result(result) for result in address.results]
    return {**summary(address, conclusion), "results": results}


def summary(address: AddressReport, conclusion: Conclusion) -> dict[str, Value]:
    """What is to be said of an address besides its results."""
    return {
        "target": escape.text(address.target),
        "address": escape.text(address.address),
        "port": address.port,
        "kind": conclusion.kind.value,
        "grade": conclusion.grade,
        "headline": escape.text(conclusion.headline),
        "advice": [escape.text(advice) for advice in conclusion.advice],
        "exit_code": int(conclusion.exit_code),
        "not_tested": _text(address.not_tested),
        "payload": escape.text(address.payload),
        "rtt": None if address.rtt is None else round(address.rtt, 6),
        "cookie_bytes": address.cookie_bytes,
        "started": round(address.started, 6),
        "duration": round(address.duration, 6),
        "counts": {verdict.value: number for verdict, number in count(address.results).items()},
        "traffic": dataclasses.asdict(address.traffic),
        "hops": [_hop(hop) for hop in address.hops],
    }


def _hop(hop: Hop) -> dict[str, Value]:
    return {
        "ttl": hop.ttl,
        "router": _text(hop.router),
        "rtt": None if hop.rtt is None else round(hop.rtt, 6),
        "changes": [escape.text(change) for change in hop.changes],
    }


def identity(case: Case) -> dict[str, Value]:
    """Which case it is, and its weight."""
    return {
        "case": escape.text(case.id),
        "section": escape.text(case.section),
        "level": case.level.value,
        "severity": case.severity.value if case.severity else None,
    }


def _result(result: CaseResult) -> dict[str, Value]:
    case = result.case
    return {
        **identity(case),
        "title": escape.text(case.title),
        "requirement": escape.text(case.requirement),
        "expected": escape.text(case.expected),
        "advice": escape.text(case.advice),
        "verdict": result.verdict.value,
        "seen": escape.text(result.seen),
        "conclusive": result.conclusive,
        "duration": round(result.duration, 6),
        "prerequisite": result.prerequisite,
        "known": _text(result.known),
        "traceback": None if result.traceback is None else escape.lines(result.traceback),
        "flows": [_flow(flow) for flow in result.flows],
    }


def _flow(flow: FlowRecord) -> dict[str, Value]:
    start = min((packet.time for packet in flow.packets), default=0.0)
    return {
        "label": escape.text(flow.label),
        "decided": flow.decided,
        "deciding": next((n for n, each in enumerate(flow.packets) if each is flow.deciding), None),
        "client": list(flow.client),
        "server": list(flow.server),
        "client_isn": flow.client_isn,
        "server_isn": flow.server_isn,
        "packets": [_packet(flow, packet, start) for packet in flow.packets],
        "left_out": flow.left_out,
    }


def _packet(flow: FlowRecord, packet: Captured, start: float) -> dict[str, Value]:
    segment = packet.segment
    seq, ack = relative_numbers(flow, packet)
    fast_open = segment.fast_open
    return {
        "time": round(packet.time - start, 6),
        "sent": packet.sent,
        "flags": str(segment.flags),
        "seq": seq,
        "ack": ack,
        "window": segment.window,
        "ttl": segment.ttl,
        "options": segment.options.hex(),
        "described": describe_options(segment),
        "payload": segment.payload.hex(),
        "gso_size": packet.gso_size,
        "fast_open": None
        if fast_open is None
        else {"cookie": fast_open.cookie.hex(), "experimental": fast_open.experimental},
    }


def _text(value: str | None) -> str | None:
    return None if value is None else escape.text(value)
