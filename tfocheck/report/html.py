"""The report as one HTML page that needs nothing else: no network and no other file.

Rules that hold here:

* Every text went through ``escape`` and then through Jinja's autoescape; nothing is marked as safe
  but our own style sheet and script. A content security policy forbids whatever is not those two,
  by their hashes.
* What is not drawn is counted and said: a page is read, and a run has thousands of packets. The
  graver the verdict, the more of its connections are drawn.
* Filters and folding work without the script, which only opens what a link points to.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from tfocheck.judging import grade
from tfocheck.judging.grade import Conclusion, Judgement
from tfocheck.judging.kind import Kind, is_path_fault
from tfocheck.model import escape
from tfocheck.model.case import Role, Severity, Verdict
from tfocheck.model.target import join
from tfocheck.report import explanation, svg
from tfocheck.report.ladder import MOST_RUNGS, relative_numbers
from tfocheck.report.table import caveats

if TYPE_CHECKING:
    from tfocheck.model.report import AddressReport, CaseResult
    from tfocheck.wire.evidence import FlowRecord

MOST_FLOWS = 6
MOST_FLOWS_OF_PROBLEMS = 12
MOST_PACKETS = 3000
"""So many packets are drawn in a page of however many addresses: about a megabyte."""

PROBLEMS = (Verdict.FAIL, Verdict.ERROR, Verdict.WARN, Verdict.INCONCLUSIVE)
_ORDER = (*PROBLEMS, Verdict.PASS, Verdict.INFO, Verdict.SKIP)
_SIGNS = {
    Verdict.PASS: "\N{CHECK MARK}",
    Verdict.FAIL: "\N{MULTIPLICATION X}",
    Verdict.WARN: "!",
    Verdict.INFO: "i",
    Verdict.SKIP: "\N{EN DASH}",
    Verdict.INCONCLUSIVE: "?",
    Verdict.ERROR: "\N{DOUBLE EXCLAMATION MARK}",
}
_SECTIONS = {
    "1": "What Fast Open brings",
    "4.1.1": "The option's format",
    "4.1.2": "What makes a cookie valid",
    "4.2": "Fast Open off",
    "4.2.1": "Requesting a cookie",
    "4.2.2": "Opening with a cookie",
    "5": "Limits and abuse",
    "5.1": "Limits",
    "5.2": "Amplification",
    "6.3.4": "Several servers behind one name",
    "7.1": "The path",
    "9": "The option of before the RFC",
    "RFC 7323": "TCP timestamps",
    "RFC 9293": "TCP itself",
}


@dataclass(frozen=True)
class Drawing:
    """A flow with its ladder."""

    label: str
    client: str
    server: str
    decided: bool
    ladder: svg.Ladder


@dataclass(frozen=True)
class CaseView:
    """A case at one address, as the page shows it; ``left_out`` says what is not drawn of it."""

    anchor: str
    id: str
    section: str
    rfc: str
    rfc_url: str
    result: CaseResult
    drawings: tuple[Drawing, ...]
    left_out: str


@dataclass(frozen=True)
class SectionView:
    """The cases of one RFC section (all of another RFC's), worst last as in the run."""

    anchor: str
    name: str
    title: str
    cases: tuple[CaseView, ...]


@dataclass(frozen=True)
class AddressView:
    """An address with its conclusion and its cases."""

    anchor: str
    place: str
    report: AddressReport
    conclusion: Conclusion
    tone: str
    counts: Mapping[Verdict, int]
    sections: tuple[SectionView, ...]
    problems: tuple[CaseView, ...]
    chart: svg.Chart | None
    caveats: tuple[str, ...]


@dataclass(frozen=True)
class TargetView:
    """A target with all of its addresses; ``grade`` is the worst when there are several."""

    name: str
    grade: str | None
    addresses: tuple[AddressView, ...]


def dumps(judgement: Judgement) -> str:
    """The report as the text of an HTML page, ending in a line feed."""
    page = _page()
    targets = _targets(judgement)
    report = judgement.report
    results = [result for address in report.addresses for result in address.results]
    started = datetime.datetime.fromtimestamp(report.started, datetime.UTC)
    text = page.template.render(
        style=page.style,
        script=page.script,
        policy=page.policy,
        judgement=judgement,
        report=report,
        targets=targets,
        counts={v: n for v in _ORDER if (n := grade.count(results).get(v))},
        total=len(results),
        started=started,
        text=escape.text,
        lines=escape.lines,
        signs=_SIGNS,
        width=svg.WIDTH,
        opened=PROBLEMS,
        verdict_of=explanation.verdict,
        is_open=_is_open,
        advice_for=explanation.advice,
    )
    return text + "\n"


# The template


@dataclass(frozen=True)
class _Page:
    template: jinja2.Template
    style: Markup
    script: Markup
    policy: str


@cache
def _page() -> _Page:
    """Read once: when the report is written, this process may have lost the right to read it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfocheck.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loader = environment.loader
    assert loader is not None
    style, script = (
        loader.get_source(environment, name)[0] for name in ("report.css", "report.js")
    )
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    template = environment.get_template("report.html")
    return _Page(template, Markup(style), Markup(script), policy)


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


# From the judgement to what the page shows


def _targets(judgement: Judgement) -> tuple[TargetView, ...]:
    reports = judgement.report.addresses
    drawn = zip(reports, judgement.conclusions, _choose_flows(reports), strict=True)
    views: dict[str, list[AddressView]] = {target: [] for target in judgement.targets}
    for number, (report, conclusion, flows) in enumerate(drawn, 1):
        views[report.target].append(_address(report, conclusion, f"a{number}", flows))
    return tuple(
        TargetView(escape.text(target), _worst(addresses), tuple(addresses))
        for target, addresses in views.items()
    )


def _worst(addresses: Iterable[AddressView]) -> str | None:
    # An address that could not be tried from here says nothing about the server.
    conclusions = [address.conclusion for address in addresses]
    return grade.worst(found.grade for found in conclusions if found.kind is not Kind.NOT_TESTED)


def _address(
    address: AddressReport,
    conclusion: Conclusion,
    anchor: str,
    drawn: Sequence[Sequence[FlowRecord]],
) -> AddressView:
    cases = tuple(
        _case(result, anchor, flows) for result, flows in zip(address.results, drawn, strict=True)
    )
    return AddressView(
        anchor=anchor,
        place=escape.text(join(address.address, address.port)),
        report=address,
        conclusion=conclusion,
        tone=_tone(conclusion.grade),
        counts={v: n for v in _ORDER if (n := grade.count(address.results).get(v))},
        sections=tuple(_sections(cases, anchor)),
        problems=tuple(sorted(filter(_is_problem, cases), key=_gravity)),
        chart=_chart(address),
        caveats=tuple(escape.text(line) for line in caveats(address)),
    )


def _is_problem(view: CaseView) -> bool:
    return view.result.verdict in PROBLEMS


def _gravity(view: CaseView) -> tuple[bool, bool, int, int]:
    """What is known comes last, and a fault of the path first: what follows may be its doing."""
    result = view.result
    severity = result.case.severity
    weight = list(Severity).index(severity) if severity else len(Severity)
    known = result.known is not None
    return known, not is_path_fault(result), PROBLEMS.index(result.verdict), weight


def _is_open(result: CaseResult) -> bool:
    """Whether a case is worth to be read without being asked for."""
    return result.verdict in PROBLEMS and result.known is None


def _tone(letter: str | None) -> str:
    """The class that colours a grade."""
    return f"grade-{letter[0].lower()}" if letter else "grade-none"


def _case(result: CaseResult, anchor: str, chosen: Sequence[FlowRecord]) -> CaseView:
    case = result.case
    case_id = escape.text(case.id)
    section = escape.text(case.section)
    rfc, number = _rfc(section)
    return CaseView(
        anchor=f"{anchor}.{re.sub(r'[^A-Za-z0-9._-]', '_', case_id)}",
        id=case_id,
        section=section,
        rfc=f"RFC {rfc}" + (f" section {number}" if number else ""),
        rfc_url=f"https://www.rfc-editor.org/rfc/rfc{rfc}"
        + (f"#section-{number}" if number else ""),
        result=result,
        drawings=tuple(_drawing(flow, result.verdict) for flow in chosen),
        left_out=_left_out(result.flows, chosen),
    )


def _rfc(section: str) -> tuple[str, str]:
    """The number of the RFC, and of the section in it (empty when it names none)."""
    other = re.fullmatch(r"RFC (\d{1,5})(?: ([0-9A-Z.]{1,20}))?", section)
    if other:
        return other[1], other[2] or ""
    return "7413", section if re.fullmatch(r"[0-9A-Z.]{1,20}", section) else ""


def _drawing(flow: FlowRecord, verdict: Verdict) -> Drawing:
    return Drawing(
        label=escape.text(flow.label),
        client=escape.text(join(*flow.client)),
        server=escape.text(join(*flow.server)),
        decided=flow.decided,
        ladder=svg.ladder(flow, verdict.value),
    )


def _sections(cases: Sequence[CaseView], anchor: str) -> Iterator[SectionView]:
    groups: dict[str, list[CaseView]] = {}
    for view in cases:
        # Another RFC's cases are few: they stand together.
        name = " ".join(view.section.split(" ")[:2])
        groups.setdefault(name, []).append(view)
    for number, name in enumerate(sorted(groups, key=_section_order)):
        yield SectionView(f"{anchor}-s{number}", name, _SECTIONS.get(name, ""), tuple(groups[name]))


def _section_order(name: str) -> tuple[bool, list[tuple[int, str]]]:
    parts = re.split(r"[. ]", name.removeprefix("RFC "))
    return name.startswith("RFC"), [(int(p) if p.isdecimal() else 1 << 20, p) for p in parts]


# What is drawn


def _choose_flows(reports: Sequence[AddressReport]) -> list[list[list[FlowRecord]]]:
    """The flows to draw, of each case of each address; grave verdicts get the room first.

    Within a case they stay in the order in which they were opened.
    """
    chosen: list[list[list[FlowRecord]]] = [[[] for _ in report.results] for report in reports]
    places = [(a, r) for a, report in enumerate(reports) for r in range(len(report.results))]
    places.sort(key=lambda place: _ORDER.index(reports[place[0]].results[place[1]].verdict))
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


def _left_out(flows: Sequence[FlowRecord], chosen: Sequence[FlowRecord]) -> str:
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


def _chart(address: AddressReport) -> svg.Chart | None:
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
