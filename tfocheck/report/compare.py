"""What changed between two JSON reports, and whether it got worse.

Rules that hold here:

* A case is good (pass, info), fair (warn), open (skip, inconclusive, error, or not there) or bad
  (fail), in this order; a step down is worse, a step up is better. Two steps prove nothing: from
  bad to open, and from open to fair, are *other*.
* So nothing gets better by not being tested: an address that is gone, unreachable or deselected
  turns what was good into open.
* A lower letter is worse, too; a letter that is not there any more is told, and the cases decide.
* The files may come from anywhere: what is read is checked, and escaped when it is shown.
"""

from __future__ import annotations

import enum
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfocheck import inputs
from tfocheck.errors import UsageError
from tfocheck.judging.grade import GRADES
from tfocheck.judging.kind import is_weightless
from tfocheck.model import escape
from tfocheck.model.case import Level, Verdict
from tfocheck.model.style import Style
from tfocheck.report.grid import wrapped_grid
from tfocheck.report.json_report import FORMAT
from tfocheck.report.summary import at

ABSENT = "-"


class Change(enum.StrEnum):
    """What became of a case or of a letter."""

    WORSE = "worse"
    BETTER = "better"
    OTHER = "other"
    SAME = "same"


@dataclass(frozen=True)
class Finding:
    """One case of a report that was read: its verdict, what was seen, and its level."""

    verdict: Verdict
    seen: str
    level: Level = Level.MUST

    @property
    def is_weightless(self) -> bool:
        """Whether it takes nothing from the letter, though it is not good."""
        return is_weightless(self.level, self.verdict)


@dataclass(frozen=True)
class Tested:
    """One address of a report that was read; ``cases`` maps ids to findings, in order."""

    target: str
    address: str
    port: int
    kind: str
    grade: str | None
    headline: str
    cases: Mapping[str, Finding]


@dataclass(frozen=True)
class Read:
    """A report that was read: its name as given, and its addresses."""

    name: str
    addresses: tuple[Tested, ...]


@dataclass(frozen=True)
class CaseChange:
    """A case before and after; None where it was not run."""

    case: str
    before: Finding | None
    after: Finding | None

    @property
    def change(self) -> Change:
        """What the rules say of it; what takes nothing from the letter is neither of the two."""
        change = change_of(*self.verdicts)
        weightless = any(each.is_weightless for each in (self.before, self.after) if each)
        return Change.OTHER if weightless and change is not Change.SAME else change

    @property
    def verdicts(self) -> tuple[Verdict | None, Verdict | None]:
        """Before and after; they may differ and be as good."""
        return (
            self.before.verdict if self.before else None,
            self.after.verdict if self.after else None,
        )


@dataclass(frozen=True)
class AddressChange:
    """An address before and after; None where the report has no such address."""

    before: Tested | None
    after: Tested | None
    cases: tuple[CaseChange, ...]

    @property
    def letter(self) -> Change:
        """What became of the grade."""
        old = self.before.grade if self.before else None
        new = self.after.grade if self.after else None
        if old == new:
            return Change.SAME
        if old is None or new is None:
            return Change.OTHER
        return Change.WORSE if GRADES.index(new) > GRADES.index(old) else Change.BETTER

    def count(self, change: Change) -> int:
        """How many cases changed like this."""
        return sum(each.change is change for each in self.cases)

    @property
    def got_worse(self) -> bool:
        """Whether any case or the letter did."""
        return self.letter is Change.WORSE or self.count(Change.WORSE) > 0


@dataclass(frozen=True)
class Comparison:
    """Two reports side by side."""

    addresses: tuple[AddressChange, ...]

    @property
    def got_worse(self) -> bool:
        """Whether anything did."""
        return any(address.got_worse for address in self.addresses)


_GOOD, _FAIR, _OPEN, _BAD = range(4)
_RANKS = {
    Verdict.PASS: _GOOD,
    Verdict.INFO: _GOOD,
    Verdict.WARN: _FAIR,
    Verdict.SKIP: _OPEN,
    Verdict.INCONCLUSIVE: _OPEN,
    Verdict.ERROR: _OPEN,
    None: _OPEN,
    Verdict.FAIL: _BAD,
}


def change_of(before: Verdict | None, after: Verdict | None) -> Change:
    """What a change of verdict means; None stands for a case that was not run."""
    old, new = _RANKS[before], _RANKS[after]
    if old == new:
        return Change.SAME if before == after or old == _GOOD else Change.OTHER
    if (old, new) in ((_BAD, _OPEN), (_OPEN, _FAIR)):
        return Change.OTHER
    return Change.WORSE if new > old else Change.BETTER


def compare(before: Read, after: Read) -> Comparison:
    """Compare what belongs together: the same address of the same target.

    What is left is one and the same server if only one of a target, or of the whole report, is
    left on either side: its address changed, or two servers are compared on purpose.

    Raises UsageError when there is nothing to compare.
    """
    if not before.addresses and not after.addresses:
        raise UsageError(f"{before.name} and {after.name}: no address was tested in either")
    pairs = _pairs(before.addresses, after.addresses)
    return Comparison(tuple(AddressChange(old, new, _cases(old, new)) for old, new in pairs))


def _pairs(
    before: Sequence[Tested], after: Sequence[Tested]
) -> list[tuple[Tested | None, Tested | None]]:
    new_by_key = {(each.target, each.address): each for each in after}
    paired = {
        key: new_by_key[key]
        for each in before
        if (key := (each.target, each.address)) in new_by_key
    }
    old_left = [each for each in before if (each.target, each.address) not in paired]
    new_left = [each for each in after if (each.target, each.address) not in paired]
    for target in dict.fromkeys(each.target for each in old_left):
        olds = [each for each in old_left if each.target == target]
        news = [each for each in new_left if each.target == target]
        if len(olds) == len(news) == 1:
            paired[target, olds[0].address] = news[0]
            old_left.remove(olds[0])
            new_left.remove(news[0])
    if len(before) == len(after) == len(old_left) == len(new_left) == 1:
        paired[before[0].target, before[0].address] = new_left.pop()
    pairs = [(each, paired.get((each.target, each.address))) for each in before]
    return [*pairs, *((None, each) for each in new_left)]


def _cases(before: Tested | None, after: Tested | None) -> tuple[CaseChange, ...]:
    old = before.cases if before else {}
    new = after.cases if after else {}
    return tuple(CaseChange(case, old.get(case), new.get(case)) for case in {**new, **old})


# Showing


def render(comparison: Comparison, style: Style, *, quiet: bool = False) -> str:
    """A table of what changed for each address, then a line for each."""
    blocks = [] if quiet else [_block(each, style) for each in comparison.addresses]
    summary = "".join(f"{_summary(each, style)}\n" for each in comparison.addresses)
    return "\n".join(block for block in [*blocks, summary] if block)


def _block(address: AddressChange, style: Style) -> str:
    rows = [
        [
            escape.text(each.case),
            _shown(each.before, style),
            _shown(each.after, style),
            style.paint(each.change.value, _COLOURS[each.change]),
            escape.text(each.after.seen if each.after else "not run"),
        ]
        for each in sorted(address.cases, key=lambda each: _ORDER.index(each.change))
        if len(set(each.verdicts)) > 1
    ]
    if not rows:
        return ""
    header = ["case", "before", "after", "change", "what was seen after"]
    return f"{style.paint(_title(address), '1')}\n\n{wrapped_grid(header, rows, style)}"


_ORDER = list(Change)
_COLOURS = {Change.WORSE: "1;31", Change.BETTER: "32", Change.OTHER: "33", Change.SAME: "2"}


def _shown(finding: Finding | None, style: Style) -> str:
    return style.verdict(finding.verdict) if finding else ABSENT


def _title(address: AddressChange) -> str:
    places = dict.fromkeys(
        escape.text(at(each.target, each.address))
        for each in (address.before, address.after)
        if each
    )
    return " -> ".join(places)


def _summary(address: AddressChange, style: Style) -> str:
    words = [
        f"{number} {change.value}"
        for change in (Change.WORSE, Change.BETTER, Change.OTHER)
        if (number := address.count(change))
    ]
    same = address.count(Change.SAME)
    if not words:
        words = [f"nothing changed in {same} cases"]
    elif same:
        words.append(f"{same} the same")
    counts = ", ".join(words)
    line = f"{_title(address)}: {_states(address)}: {counts}"
    if style.width is not None:
        line = textwrap.fill(line, style.width, subsequent_indent="  ", break_on_hyphens=False)
    return line.replace(counts, style.paint(counts, "1;31" if address.got_worse else "32"))


def _states(address: AddressChange) -> str:
    states = [
        "not in this report" if each is None else _state(each)
        for each in (address.before, address.after)
    ]
    return " -> ".join(dict.fromkeys(states))


def _state(tested: Tested) -> str:
    letter = f", grade {tested.grade}" if tested.grade else ""
    return f"{escape.text(tested.kind)}{letter}"


# Reading


MOST_BYTES = 1 << 27
"""A report on sixty addresses, with all packets, has some 60 megabytes."""


def read(path: str) -> Read:
    """Read a report of ``--json``; ``-`` is standard input.

    Raises UsageError for a file that is none, or of a format that this version does not read.
    """
    data = inputs.read(path, MOST_BYTES, named=path)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: no JSON: {error}") from None
    return Read(path, tuple(_Reader(path).addresses(document)))


class _Reader:
    """Takes a report apart, and says where it is not what it should be."""

    def __init__(self, path: str) -> None:
        self._path = path

    def addresses(self, document: object) -> Iterator[Tested]:
        """Every address. Raises UsageError."""
        if not isinstance(document, dict) or not {"format", "addresses"} <= document.keys():
            raise UsageError(f"{self._path}: no report of tfocheck --json")
        number = document["format"]
        if number != FORMAT or isinstance(number, bool):
            raise UsageError(
                f"{self._path}: a report of format {number!r}; this tfocheck compares format "
                f"{FORMAT}: make both reports with the same version"
            )
        before: set[tuple[str, str]] = set()
        entries = self._list(document, "addresses", "")
        for index, entry in enumerate(entries):
            where = f"addresses[{index}]"
            tested = self._tested(entry, where)
            if (tested.target, tested.address) in before:
                raise self._error(where, "the same target and address as one before")
            before.add((tested.target, tested.address))
            yield tested

    def _tested(self, entry: object, where: str) -> Tested:
        letter = self._value(entry, "grade", (str, type(None)), where)
        if letter is not None and letter not in GRADES:
            raise self._error(f"{where}.grade", f"{letter!r} is no grade")
        cases: dict[str, Finding] = {}
        for index, result in enumerate(self._list(entry, "results", where)):
            place = f"{where}.results[{index}]"
            case = self._value(result, "case", str, place)
            verdict = self._value(result, "verdict", str, place)
            if verdict not in list(Verdict):
                raise self._error(f"{place}.verdict", f"{verdict!r} is no verdict")
            if case in cases:
                raise self._error(place, f"{case!r} is there twice")
            level = self._value(result, "level", str, place)
            if level not in list(Level):
                raise self._error(f"{place}.level", f"{level!r} is no level")
            seen = self._value(result, "seen", str, place)
            cases[case] = Finding(Verdict(verdict), seen, Level(level))
        return Tested(
            self._value(entry, "target", str, where),
            self._value(entry, "address", str, where),
            self._value(entry, "port", int, where),
            self._value(entry, "kind", str, where),
            letter,
            self._value(entry, "headline", str, where),
            cases,
        )

    def _list(self, entry: object, key: str, where: str) -> list[object]:
        found = self._value(entry, key, list, where)
        assert isinstance(found, list)
        return found

    def _value(self, entry: object, key: str, kind: Any, where: str) -> Any:
        name = f"{where}.{key}" if where else key
        if not isinstance(entry, dict) or key not in entry:
            raise self._error(name, "is missing")
        if not isinstance(entry[key], kind):
            raise self._error(name, f"is {entry[key]!r}")
        return entry[key]

    def _error(self, where: str, problem: str) -> UsageError:
        return UsageError(f"{self._path}: no report of tfocheck --json: {where}: {problem[:200]}")
