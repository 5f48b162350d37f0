"""How a verdict becomes the ending of a pytest item.

Rules that hold here:

* pass and info pass, warn passes with a warning, skip skips, fail and error fail. Inconclusive is
  an xfail: a lost packet must not turn a build red, and must not pass either.
* Nothing passes vacuously. A target that is unreachable, that does not offer Fast Open, or at which
  nothing could be decided fails once, and whatever else could not be tested there is skipped.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Mapping, Sequence

from tfocheck.judging import grade
from tfocheck.judging.grade import Conclusion, Judgement
from tfocheck.judging.kind import Kind, breaks_build
from tfocheck.model import escape
from tfocheck.model.case import Role, Verdict
from tfocheck.model.report import AddressReport, CaseResult, Report
from tfocheck.report.explanation import explanation, seen, verdict
from tfocheck.report.ladder import ladder

_MOST_FLOWS = 2
_DECIDED = (Verdict.PASS, Verdict.INFO, Verdict.WARN, Verdict.FAIL, Verdict.ERROR)


class Ending(enum.StrEnum):
    """How an item ends."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNDECIDED = "undecided"


@dataclasses.dataclass(frozen=True)
class Ended:
    """What an item is to report: ``text`` says why, ``seconds`` is what its case took."""

    ending: Ending
    text: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Found:
    """What a check found: (target, case) to ending, and lines for the end of the run."""

    items: Mapping[tuple[str, str], Ended]
    notes: Sequence[str] = ()


def endings(
    wanted: Sequence[tuple[str, str]], report: Report, *, strict: bool = False
) -> dict[tuple[str, str], Ended]:
    """How each of these (target, case) ends, in the order in which they are run."""
    found: dict[tuple[str, str], Ended] = {}
    for target in dict.fromkeys(target for target, _ in wanted):
        case_ids = [case_id for each, case_id in wanted if each == target]
        ended = _at_target(target, case_ids, report, strict)
        found.update({(target, case_id): each for case_id, each in ended.items()})
    return found


def _at_target(
    target: str, case_ids: Sequence[str], report: Report, strict: bool
) -> dict[str, Ended]:
    addresses = [
        (address, grade.conclude(address, strict=strict, complete=False))
        for address in report.addresses
        if address.target == target
    ]
    tested = [pair for pair in addresses if pair[1].kind is not Kind.NOT_TESTED]
    if not tested:
        lines = [message for name, message in report.errors if name == target]
        lines += [f"{address.address}: {found.headline}" for address, found in addresses]
        return _one_for_all(case_ids, escape.lines("\n".join(lines)))
    reached = [address for address, found in tested if found.kind is not Kind.UNREACHABLE]
    ended = {case_id: _ended(case_id, reached, strict) for case_id in case_ids}
    for home, text in _troubles(tested, case_ids):
        ended[home] = _also(ended[home], text)
    # Not offered, as somebody wrote into the baseline, is an answer; other silence is none.
    explicit = any(
        result.known is not None and result.verdict is Verdict.SKIP
        for address in reached
        for result in address.results
    )
    decided = any(
        result.verdict in _DECIDED
        for case_id in case_ids
        for address in reached
        if (result := address.result(case_id)) is not None
    )
    failed = any(each.ending is Ending.FAILED for each in ended.values())
    if not (decided or explicit or failed):
        first = case_ids[0]
        ended[first] = _also(ended[first], f"no selected case could be decided at {target}")
    return ended


def _troubles(
    tested: Sequence[tuple[AddressReport, Conclusion]], case_ids: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """What is wrong with whole addresses: (the case that reports it, a text)."""
    homes = {Kind.UNREACHABLE: Role.REACHABLE, Kind.NOT_OFFERED: Role.OFFERED}
    for address, found in tested:
        if found.kind in homes:
            standing = address.by_role(homes[found.kind])
            home = standing.case.id if standing and standing.case.id in case_ids else case_ids[0]
            lines = [f"{address.address}: {found.headline}", *found.advice]
            yield home, "\n".join(map(escape.text, lines))


def _one_for_all(case_ids: Sequence[str], text: str) -> dict[str, Ended]:
    """One failure that says it, and skips that refer to it."""
    first, *others = case_ids
    skipped = Ended(Ending.SKIPPED, f"could not be tested: see {first}")
    return {first: Ended(Ending.FAILED, text), **dict.fromkeys(others, skipped)}


def all_for_one(wanted: Sequence[tuple[str, str]], text: str) -> dict[tuple[str, str], Ended]:
    (target, first), *others = wanted
    skipped = Ended(Ending.SKIPPED, f"could not be tested: see {first} at {target}")
    return {(target, first): Ended(Ending.FAILED, text), **dict.fromkeys(others, skipped)}


def _also(ended: Ended, text: str) -> Ended:
    """The ending as a failure, with a further reason; what was skipped had only this one."""
    before = f"\n\n{ended.text}" if ended.text and ended.ending is not Ending.SKIPPED else ""
    return dataclasses.replace(ended, ending=Ending.FAILED, text=f"{text}{before}")


def _ended(case_id: str, reached: Sequence[AddressReport], strict: bool) -> Ended:
    """The ending of a case by its verdicts at the addresses that answered; the worst counts."""
    pairs = [
        (address, result) for address in reached if (result := address.result(case_id)) is not None
    ]
    if not pairs:
        return Ended(Ending.SKIPPED, "no address answered")
    seconds = sum(result.duration for _, result in pairs)

    def worst(*verdicts: Verdict, known: bool = False) -> list[tuple[AddressReport, CaseResult]]:
        return [
            (address, result)
            for address, result in pairs
            if result.verdict in verdicts and (result.known is not None) == known
        ]

    open_ = () if strict else (Verdict.INCONCLUSIVE,)
    if broken := [
        (address, result)
        for address, result in pairs
        if breaks_build(result, strict=strict) and result.verdict not in open_
    ]:
        text = "\n\n".join(_evidence(address, result) for address, result in broken)
        return Ended(Ending.FAILED, text, seconds=seconds)
    if known := worst(*Verdict, known=True):
        text = "; ".join(f"known: {escape.text(each.known or '')}" for _, each in known)
        return Ended(Ending.UNDECIDED, text, seconds=seconds)
    if undecided := worst(Verdict.INCONCLUSIVE):
        text = "; ".join(f"{address.address}: {seen(each)}" for address, each in undecided)
        return Ended(Ending.UNDECIDED, f"inconclusive: {text}", seconds=seconds)
    skipped = worst(Verdict.SKIP)
    if len(skipped) == len(pairs):
        return Ended(Ending.SKIPPED, "; ".join(dict.fromkeys(seen(each) for _, each in skipped)))
    warnings = tuple(
        f"{case_id} at {address.target} ({address.address}): {seen(each)}"
        for address, each in worst(Verdict.WARN)
    )
    return Ended(Ending.PASSED, warnings=warnings, seconds=seconds)


def _evidence(address: AddressReport, result: CaseResult) -> str:
    """What pytest shows of a failure: pytest's summary and CI systems cut it after its first line.

    A log has no room for every connection: the first ones that decided, shortened, and how many
    are not there.
    """
    flows = [flow for flow in result.flows if flow.decided] or list(result.flows)
    head = f"{verdict(result)} at {escape.text(address.address)}: {seen(result)}"
    lines = [head, explanation(result)]
    lines += [ladder(flow, shortened=True) for flow in flows[:_MOST_FLOWS]]
    if (hidden := len(flows) - _MOST_FLOWS) > 0:
        them = "1 more connection" if hidden == 1 else f"{hidden} more connections"
        lines.append(f"({them} not shown: see tfocheck -v --case {escape.text(result.case.id)})")
    return "\n".join(lines)


def notes(judgement: Judgement) -> list[str]:
    """What each address came to, and what in the baseline somebody has to see to."""
    lines = []
    for address in judgement.report.addresses:
        found = grade.conclude(address, complete=False)
        lines.append(f"{address.target} at {address.address}: {found.headline}")
    if judgement.baseline is not None:
        lines += judgement.baseline.notes
    return [escape.text(line) for line in lines]
