"""The report as JSON: one object, whose structure is stable under its ``format`` number.

::

    format        1; a change that breaks a reader raises it, new keys do not
    version       of tfocheck
    started       Unix time in seconds; all other times are seconds, too
    duration
    strict        whether a warning counted as a failure
    complete      whether the default selection of cases was run (only then is there a grade)
    exit_code     the command's
    baseline      null, or {file, mended, expired, elsewhere}: what became of --baseline's entries
      mended, expired  [{case, address, verdict, expires, line}]; expires and line may be null
      elsewhere        how many are about addresses that were not tested
    errors        [{target, message}]: targets without an address
    addresses     [{target, address, port, kind, grade, headline, advice, exit_code, not_tested,
                    payload, rtt, cookie_bytes, started, duration, counts, traffic, results}]
      kind        conforms, known (nothing fails but what the baseline allows), failed,
                  not-offered, unreachable, inconclusive or not-tested
      counts      {verdict: number}, verdicts that occur
      traffic     {sent, received, resets_sent, capture_drops, kernel_resets}, packets
      results     [{case, section, level, severity, title, requirement, expected, advice, verdict,
                    seen, conclusive, duration, prerequisite, known, traceback, flows}]
        known           null, or the baseline's reason to allow this verdict
        conclusive      one observation proved it; otherwise attempts had to agree
        flows     [{label, decided, client, server, client_isn, server_isn, packets}]
          client, server   [address, port]
          packets          [{time, sent, flags, seq, ack, window, ttl, options, described, payload,
                             gso_size, fast_open}]
            time           since the flow's first packet
            sent           true: ours, false: the server's
            seq, ack       relative to the ISNs; null where there is none to relate to
            options, payload   bytes as hex; described: the options in words
            fast_open      null or {cookie (hex, empty for a request), experimental}

Texts are escaped as everywhere (``escape``): a server's bytes come out as printable ASCII.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tfocheck.grade import Conclusion, Judgement, count
from tfocheck.report import escape
from tfocheck.report.ladder import describe_options, relative_numbers

if TYPE_CHECKING:
    from tfocheck.baseline import Applied, Entry
    from tfocheck.case import AddressReport, CaseResult, FlowRecord, Hop
    from tfocheck.tcp.segment import Captured

FORMAT = 1

Value = None | bool | int | float | str | Sequence["Value"] | Mapping[str, "Value"]


def dumps(judgement: Judgement) -> str:
    """The report as JSON text, indented, ending in a line feed."""
    report = judgement.report
    document: dict[str, Value] = {
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
        "results": [_result(result) for result in address.results],
    }


def _hop(hop: Hop) -> dict[str, Value]:
    return {
        "ttl": hop.ttl,
        "router": _text(hop.router),
        "rtt": None if hop.rtt is None else round(hop.rtt, 6),
        "changes": [escape.text(change) for change in hop.changes],
    }


def _result(result: CaseResult) -> dict[str, Value]:
    case = result.case
    return {
        "case": escape.text(case.id),
        "section": escape.text(case.section),
        "level": case.level.value,
        "severity": case.severity.value if case.severity else None,
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
        "client": list(flow.client),
        "server": list(flow.server),
        "client_isn": flow.client_isn,
        "server_isn": flow.server_isn,
        "packets": [_packet(flow, packet, start) for packet in flow.packets],
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
