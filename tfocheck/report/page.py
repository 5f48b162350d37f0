"""What a page shows of a judgement: targets, addresses, sections, cases, drawings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfocheck.judging import grade
from tfocheck.judging.grade import Conclusion, Judgement
from tfocheck.judging.kind import Kind, is_path_fault
from tfocheck.model import escape
from tfocheck.model.case import Severity, Verdict
from tfocheck.model.target import join
from tfocheck.report import svg
from tfocheck.report.behind import caveats
from tfocheck.report.drawn import ORDER, PROBLEMS, chart, choose_flows, left_out

if TYPE_CHECKING:
    from tfocheck.model.report import AddressReport, CaseResult
    from tfocheck.wire.evidence import FlowRecord

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


def targets(judgement: Judgement) -> tuple[TargetView, ...]:
    """Every target, in order."""
    reports = judgement.report.addresses
    drawn = zip(reports, judgement.conclusions, choose_flows(reports), strict=True)
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
        counts={v: n for v in ORDER if (n := grade.count(address.results).get(v))},
        sections=tuple(_sections(cases, anchor)),
        problems=tuple(sorted(filter(_is_problem, cases), key=_gravity)),
        chart=chart(address),
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


def is_open(result: CaseResult) -> bool:
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
        left_out=left_out(result.flows, chosen),
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
