"""What is true of a world by its making, and how a report differs from that.

Without a fault nothing fails, whatever application, listener and network are like: at most it could
not be judged. With one the cases that name it do not pass. A path is accused only where a box on it
deserves it.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass

import truth
from worlds import World, cases_of

from tfocheck.judging.grade import conclude
from tfocheck.model.case import Level, Verdict
from tfocheck.model.report import AddressReport, CaseResult
from tfocheck.reference.variations import SynCookies

MAX_SECONDS = 120.0
BAD = (Verdict.FAIL, Verdict.WARN, Verdict.ERROR)


class Kind(enum.StrEnum):
    """What can be wrong with a report."""

    FALSE_VERDICT = "false verdict"
    MISSED_FAULT = "missed fault"
    UNTRUE_SEEN = "untrue seen"
    HANG = "hang"
    ERROR = "error"


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a report: which case says what."""

    kind: Kind
    case: str
    said: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.case}: {self.said}"


FOLLOWS: dict[str, frozenset[str]] = {
    "accepts-any-cookie": frozenset(
        (
            *("forged.random", "forged.constant", "forged.truncated", "forged.bit-flip"),
            *("forged.lengths", "forged.extended", "option.duplicate", "cookie.source-bound"),
        )
    ),
    "answers-rejected-data": frozenset(
        (
            *("forged.constant", "forged.truncated", "forged.bit-flip", "forged.extended"),
            *("forged.lengths", "forged.fallback", "option.duplicate", "cookie.source-bound"),
            *("option.odd-length", "option.too-short", "option.too-long"),
        )
    ),
    "binds-port": frozenset(("open.data-acked", "option.experimental")),
    "never-accepts": frozenset(("option.experimental",)),
    "constant-cookie": frozenset(("cookie.source-bound",)),
    "cookie-is-address": frozenset(("forged.constant",)),
    "many-keys": frozenset(("cookie.repeatable", "cookie.port-independent", "option.experimental")),
    "second-connection": frozenset(("open.syn-without-option",)),
    "loses-syn-data": frozenset(("open.sizes", "open.syn-without-option", "open.fin-after-data")),
    "doubles-syn-data": frozenset(("open.sizes", "open.duplicate-syn")),
    "ignores-fin": frozenset(("option.without-syn",)),
}
"""What a fault breaks as well, by its nature."""

PATH_FAULTS: dict[str, frozenset[str]] = {
    "option-stripped": frozenset(("path.option-stripped",)),
    "option-stripped-reply": frozenset(("path.option-stripped",)),
    "option-dropped": frozenset(("path.option-dropped",)),
    "syn-data-dropped": frozenset(("path.syn-data-dropped",)),
    "after-open-dropped": frozenset(("path.after-open",)),
    "nat-pool": frozenset(("path.source-changes",)),
    "synproxy": frozenset(("path.proxy",)),
    "transparent-proxy": frozenset(("path.proxy",)),
    "ack-rewritten": frozenset(("path.sequence-rewritten",)),
    "cookie-changed": frozenset(("path.cookie-changed",)),
    "early-data-dropped": frozenset(("path.early-data", "path.slower")),
}
"""Which case rightly accuses the path for a box."""


EASY_BOXES = ("option-moved", "isn-shifted")


def deserved(world: World) -> set[str]:
    """The cases that may fail or warn in it."""
    cases = {case for box in world.boxes for case in PATH_FAULTS.get(box, ())}
    if not world.variations.answers_early:
        cases.add("open.early-answer")
    if world.fault is not None:
        cases.update(cases_of(world.fault), FOLLOWS.get(world.fault, ()))
    return cases


def is_easy(world: World, boxes: Collection[str] = EASY_BOXES) -> bool:
    """Nothing but its fault makes the world hard to judge: the fault has to be found.

    ``boxes`` are those that count for nothing.
    """
    variations = world.variations
    return (
        world.application == "answers"
        and world.backlog is None
        and world.pending_limit >= 16
        and not world.weather.loss
        and not world.weather.jitter
        and not world.weather.reorder
        and not world.weather.duplicate
        and set(world.boxes) <= set(boxes)
        and variations.syn_cookies is not SynCookies.ALWAYS
        and not variations.old_kind_only
        and not variations.keeps_plain_data
        and variations.answers_early
    )


def problems(
    world: World, report: AddressReport, max_seconds: float = MAX_SECONDS
) -> list[Problem]:
    """All that is wrong with what was found in the world."""
    found = [*_false(world, report), *_missed(world, report), *_missed_on_path(world, report)]
    for result in report.results:
        found += [
            Problem(Kind.UNTRUE_SEEN, result.case.id, f"{result.verdict}: {result.seen}: {why}")
            for why in truth.contradictions(result)
        ]
    is_long = any(option.startswith(("--intrusive", "--soak")) for option in world.options)
    if report.duration > max_seconds and not is_long:
        found.append(Problem(Kind.HANG, "the whole check", f"took {report.duration:.0f} s"))
    if not found:
        found += [*_undecided(world, report), *_misjudged(world, report)]
    return found


def _false(world: World, report: AddressReport) -> list[Problem]:
    right = deserved(world)
    return [
        Problem(
            Kind.ERROR if result.verdict is Verdict.ERROR else Kind.FALSE_VERDICT,
            result.case.id,
            f"{result.verdict}: {result.seen}",
        )
        for result in report.results
        if result.verdict in BAD
        and (result.case.id not in right or result.verdict is Verdict.ERROR)
    ]


def _missed(world: World, report: AddressReport) -> list[Problem]:
    if world.fault is None:
        return []
    named = [each for each in report.results if each.case.id in cases_of(world.fault)]
    if any(each.verdict in BAD for each in named) or _is_turned(world.fault, named):
        return []
    return [
        Problem(Kind.MISSED_FAULT, each.case.id, f"{each.verdict}: {each.seen}")
        for each in named
        if _holds(each) or is_easy(world)
    ]


def _holds(result: CaseResult) -> bool:
    """A case that has nothing to look at may say so as *info*, unless it is no more than that."""
    is_info = result.case.level is Level.INFO and result.verdict is Verdict.INFO
    return result.verdict is Verdict.PASS or is_info


def _missed_on_path(world: World, report: AddressReport) -> list[Problem]:
    """A box that breaks Fast Open is found where nothing else is in the way."""
    if world.fault is not None or len(world.boxes) != 1 or not is_easy(world, world.boxes):
        return []
    cases = PATH_FAULTS.get(world.boxes[0], frozenset())
    named = [each for each in report.results if each.case.id in cases]
    if not cases or any(each.verdict in BAD for each in named):
        return []
    found = [
        Problem(Kind.MISSED_FAULT, each.case.id, f"{each.verdict}: {each.seen}") for each in named
    ]
    return found or [Problem(Kind.MISSED_FAULT, "the path", f"no case of {sorted(cases)}")]


def _undecided(world: World, report: AddressReport) -> list[Problem]:
    """Where nothing is in the way everything can be decided."""
    if world.fault is not None or not is_easy(world):
        return []
    return [
        Problem(Kind.FALSE_VERDICT, each.case.id, f"{each.verdict}: {each.seen}")
        for each in report.results
        if each.verdict is Verdict.INCONCLUSIVE
    ]


def _is_turned(fault: str, named: list[CaseResult]) -> bool:
    """Faults that leave nothing to be judged: the case is skipped, or can't decide."""
    undecided = {
        "never-issues": Verdict.SKIP,
        "resets-syn": Verdict.INCONCLUSIVE,
        "no-limit": Verdict.INCONCLUSIVE,
    }
    return fault in undecided and any(each.verdict is undecided[fault] for each in named)


def _misjudged(world: World, report: AddressReport) -> list[Problem]:
    """The letter, where nothing else is wrong."""
    if world.fault is not None or any(box in PATH_FAULTS for box in world.boxes):
        return []
    conclusion = conclude(report)
    usual = ("A+", "A", None) if world.variations.answers_early else ("A", "A-", None)
    if conclusion.grade in usual:
        return []
    said = f"grade {conclusion.grade}: {conclusion.headline}"
    return [Problem(Kind.FALSE_VERDICT, "the letter", said)]
