"""The baseline: a TOML file that people edit, of failures that are known and break no build.

::

    format = 1

    [[known]]
    case = "forged.random"          # an id, no glob
    address = "192.0.2.1:443"       # or "192.0.2.1", or "*" for every address
    verdict = "fail"                # fail, warn, inconclusive or not-offered
    reason = "fixed in the release of March"
    expires = 2027-03-31            # optional, the last day on which it holds

Rules that hold here:

* An entry allows its verdict and no other, except that ``fail`` also allows ``warn``.
* Nothing may pass that tested nothing. That an address is unreachable can't be known. That Fast
  Open is not offered can, but only by an entry that says ``not-offered``, which is never written by
  ``--save-baseline``. ``inconclusive`` is refused for a case that others rest on.
* Whoever mistypes is told, with the file and the line.
"""

from __future__ import annotations

import datetime
import difflib
import enum
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfocheck.errors import UsageError
from tfocheck.judging import grade
from tfocheck.model import target as targets
from tfocheck.model.case import Case, Verdict
from tfocheck.model.report import AddressReport, CaseResult, Report

if TYPE_CHECKING:
    from tfocheck.judging.grade import Judgement

FORMAT = 1
ANYWHERE = "*"

_REQUIRED = ("case", "address", "verdict", "reason")
_KEYS = (*_REQUIRED, "expires")
_ENTRY = re.compile(r"\s*\[\[\s*(?:known|\"known\"|'known')\s*\]\]")
HEAD = (
    "What tfocheck found and is known: it breaks no build, while anything else still does.",
    "Say in each reason why it may stay, and until when: expires = 2027-12-31 (optional).",
    'address is an IP address, with or without its port, or "*" for all.',
)


class Allowed(enum.StrEnum):
    """What an entry can allow."""

    FAIL = "fail"
    WARN = "warn"
    INCONCLUSIVE = "inconclusive"
    NOT_OFFERED = "not-offered"


_COVERED = {
    Allowed.FAIL: (Verdict.FAIL, Verdict.WARN),
    Allowed.WARN: (Verdict.WARN,),
    Allowed.INCONCLUSIVE: (Verdict.INCONCLUSIVE,),
    Allowed.NOT_OFFERED: (Verdict.SKIP,),
}


@dataclass(frozen=True)
class Entry:
    """One known verdict; ``address`` is a literal, literal:port or ``*``; ``line`` counts from 1.

    ``line`` is None where the file is written so that it can't be told.
    """

    case: str
    address: str
    allowed: Allowed
    reason: str
    expires: datetime.date | None = None
    line: int | None = None

    def is_about(self, address: AddressReport) -> bool:
        """Whether the entry holds at this address."""
        place = targets.join(address.address, address.port)
        return self.address in (ANYWHERE, address.address, place)

    def covers(self, result: CaseResult) -> bool:
        """Whether the entry allows this verdict, at whatever address."""
        return self.case == result.case.id and result.verdict in _COVERED[self.allowed]

    def has_expired(self, today: datetime.date) -> bool:
        """Whether its last day is over."""
        return self.expires is not None and self.expires < today

    @property
    def precision(self) -> int:
        """Of two entries for one verdict, the one that names the place better gives the reason."""
        return 0 if self.address == ANYWHERE else len(self.address)

    @property
    def shown_reason(self) -> str:
        """The reason, and until when it holds."""
        return self.reason if self.expires is None else f"{self.reason} (until {self.expires})"


@dataclass(frozen=True)
class Applied:
    """What became of a baseline's entries in a run.

    ``mended`` are those whose cases hold now wherever they were run; ``expired`` those that would
    have allowed something but have run out; ``elsewhere`` is the number of entries about addresses
    that were not tested.
    """

    path: str
    mended: tuple[Entry, ...] = ()
    expired: tuple[Entry, ...] = ()
    elsewhere: int = 0

    def where(self, entry: Entry) -> str:
        """File and line of an entry."""
        return self.path if entry.line is None else f"{self.path} line {entry.line}"

    @property
    def notes(self) -> list[str]:
        """A line for each thing that somebody has to see to."""
        lines = [
            f"{self.where(entry)}: {entry.case} at {entry.address} is mended: the entry can go"
            for entry in self.mended
        ]
        lines += [
            f"{self.where(entry)}: {entry.case} at {entry.address} expired on {entry.expires}: "
            f"its {entry.allowed} counts again"
            for entry in self.expired
        ]
        if self.elsewhere:
            entries = "1 entry is" if self.elsewhere == 1 else f"{self.elsewhere} entries are"
            lines.append(f"{self.path}: {entries} about addresses that were not tested")
        return lines


@dataclass(frozen=True)
class Baseline:
    """A baseline file: its entries, and its text to keep the comments of."""

    path: str
    entries: tuple[Entry, ...] = ()
    text: str = ""

    def apply(self, report: Report, today: datetime.date) -> tuple[Report, Applied]:
        """The report with ``CaseResult.known`` set where an entry allows the verdict."""
        expired: dict[Entry, None] = {}

        def marked(address: AddressReport, result: CaseResult) -> CaseResult:
            found = [e for e in self.entries if e.is_about(address) and e.covers(result)]
            live = [entry for entry in found if not entry.has_expired(today)]
            if live:
                best = max(live, key=lambda entry: entry.precision)
                return replace(result, known=best.shown_reason)
            expired.update(dict.fromkeys(found))
            return result

        addresses = tuple(
            address
            if grade.conclude(address).kind is grade.Kind.UNREACHABLE
            else replace(address, results=tuple(marked(address, each) for each in address.results))
            for address in report.addresses
        )
        applied = Applied(
            self.path,
            mended=tuple(entry for entry in self.entries if _is_mended(entry, report)),
            expired=tuple(expired),
            elsewhere=sum(not any(map(e.is_about, report.addresses)) for e in self.entries),
        )
        return replace(report, addresses=addresses), applied

    def allows(self, address: AddressReport, result: CaseResult) -> bool:
        """Whether there is an entry for this verdict, be it one that has expired."""
        return any(entry.is_about(address) and entry.covers(result) for entry in self.entries)


def _is_mended(entry: Entry, report: Report) -> bool:
    verdicts = [
        result.verdict
        for address in report.addresses
        if entry.is_about(address)
        for result in address.results
        if result.case.id == entry.case
    ]
    return bool(verdicts) and all(v in (Verdict.PASS, Verdict.INFO) for v in verdicts)


# Reading


def read(path: str, option: str, catalogue: Sequence[Case]) -> Baseline:
    """Read and check a baseline; ``catalogue`` is all cases there are, selected or not.

    Raises UsageError, with the file and where possible the line, for whatever is wrong with it.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
        document = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or _one_line(error)
        raise UsageError(f"{option} {path}: {reason}") from None
    return Baseline(path, tuple(_Reader(path, option, text, catalogue).entries(document)), text)


def _one_line(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"no UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}"
    if isinstance(error, RecursionError):
        return "no baseline: it is nested too deeply"
    return f"no TOML: {error}"


class _Reader:
    """Checks a parsed baseline, and knows where in the file what stands."""

    def __init__(self, path: str, option: str, text: str, catalogue: Sequence[Case]) -> None:
        self._place = f"{option} {path}"
        self._lines = text.splitlines()
        self._catalogue = {case.id: case for case in catalogue}
        self._rested_on = {need for case in catalogue for need in case.needs}

    def entries(self, document: Mapping[str, Any]) -> Iterator[Entry]:
        """All entries, checked. Raises UsageError."""
        for key in document:
            if key not in ("format", "known"):
                self._refuse_key(key, ("format", "known"), self._line_of(key, 0))
        if (number := document.get("format", FORMAT)) != FORMAT or isinstance(number, bool):
            raise self._error(
                f"format {number!r} is not the one that this tfocheck reads, {FORMAT}",
                self._line_of("format", 0),
            )
        tables = document.get("known", [])
        if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
            raise self._error("known is no list of tables: write [[known]] above each entry", None)
        starts = [i for i, line in enumerate(self._lines) if _ENTRY.match(line)]
        before: dict[tuple[str, str, Allowed], str] = {}
        for index, table in enumerate(tables):
            # With inline tables, or a [[known]] inside of a long string, lines can't be told.
            start = starts[index] if len(starts) == len(tables) else None
            entry = self._entry(table, start, index + 1)
            here = f"line {entry.line}" if entry.line else f"entry {index + 1}"
            other = before.setdefault((entry.case, entry.address, entry.allowed), here)
            if other != here:
                raise self._error(
                    f"{entry.case} at {entry.address} is there twice, see {other}: remove one",
                    entry.line,
                )
            yield entry

    def _entry(self, table: Mapping[str, Any], start: int | None, number: int) -> Entry:
        def line(key: str) -> int | None:
            return None if start is None else self._line_of(key, start + 1) or start + 1

        name = "" if start is not None else f"entry {number}: "
        for key in table:
            if key not in _KEYS:
                self._refuse_key(key, _KEYS, line(key), name)
        for key in _REQUIRED:
            if key not in table:
                raise self._error(f"{name}the entry has no {key}", line(key))
            if not isinstance(table[key], str):
                raise self._error(f"{name}{key} is no text in quotes: {table[key]!r}", line(key))
            if not table[key].strip():
                raise self._error(f"{name}{key} is empty", line(key))
        case = self._case(table["case"], line("case"), name)
        return Entry(
            case,
            self._address(table["address"], line("address"), name),
            self._allowed(table["verdict"], case, line("verdict"), name),
            " ".join(table["reason"].split()),
            self._expires(table.get("expires"), line("expires"), name),
            None if start is None else start + 1,
        )

    def _case(self, case: str, line: int | None, name: str) -> str:
        if case not in self._catalogue:
            raise self._error(
                f"{name}there is no case {case!r}{_meant(case, self._catalogue)} "
                "(see tfocheck --list)",
                line,
            )
        if case == grade.REACHABLE:
            raise self._error(
                f"{name}{case} can't be known to fail: without it a target is unreachable", line
            )
        return case

    def _address(self, text: str, line: int | None, name: str) -> str:
        if text == ANYWHERE:
            return text
        has_port = "]:" in text or text.count(":") == 1
        try:
            if not has_port:
                return targets.parse_literal(text, "address").partition("%")[0]
            place = targets.parse(text)
            if place.family is not None:
                return targets.join(place.host.partition("%")[0], place.port)
        except UsageError:
            pass
        raise self._error(
            f"{name}address {text!r} is neither an IP address, nor one with its port such as "
            f'192.0.2.1:443, nor "{ANYWHERE}"',
            line,
        )

    def _allowed(self, text: str, case: str, line: int | None, name: str) -> Allowed:
        if text not in list(Allowed):
            raise self._error(f"{name}verdict {text!r}: {self._why_not(text)}", line)
        allowed = Allowed(text)
        if allowed is Allowed.NOT_OFFERED and case != grade.OFFERED:
            raise self._error(
                f"{name}verdict 'not-offered' goes with case {grade.OFFERED!r} only", line
            )
        if allowed is Allowed.INCONCLUSIVE and case in self._rested_on:
            raise self._error(
                f"{name}{case} can't be known to be inconclusive: other cases rest on it, and "
                "nothing would be tested",
                line,
            )
        return allowed

    def _why_not(self, text: str) -> str:
        match text:
            case Verdict.PASS | Verdict.INFO:
                return "that breaks no build"
            case Verdict.SKIP:
                return f"that breaks no build; for {grade.OFFERED} write not-offered"
            case Verdict.ERROR:
                return "that is tfocheck's own fault, please report it instead"
        return f"must be one of {', '.join(Allowed)}{_meant(text, list(Allowed))}"

    def _expires(self, value: object, line: int | None, name: str) -> datetime.date | None:
        if value is None:
            return None
        if not isinstance(value, datetime.date) or isinstance(value, datetime.datetime):
            raise self._error(
                f"{name}expires is no date such as 2027-12-31, without quotes: {value!r}", line
            )
        return value

    def _refuse_key(self, key: str, known: Sequence[str], line: int | None, name: str = "") -> None:
        raise self._error(f"{name}unknown key {key!r}{_meant(key, known)}", line)

    def _line_of(self, key: str, start: int) -> int | None:
        """The line, from 1, that sets a key in the table that begins at this index."""
        pattern = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=|\s*\[+\s*{re.escape(key)}\s*\]")
        for index in range(start, len(self._lines)):
            if pattern.match(self._lines[index]):
                return index + 1
            if start and self._lines[index].lstrip().startswith("["):
                return None
        return None

    def _error(self, problem: str, line: int | None) -> UsageError:
        return UsageError(f"{self._place}: {f'line {line}: ' if line else ''}{problem}")


def _meant(typed: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(typed, list(known), n=1)
    return f", did you mean {close[0]}?" if close else ""


# Saving


@dataclass(frozen=True)
class Saved:
    """A baseline to write: its text, how many entries are new, and what was left out and why."""

    text: str
    added: int
    left_out: tuple[str, ...] = ()


def save(judgement: Judgement, old: Baseline, today: datetime.date) -> Saved | None:
    """The old baseline with an entry more for each failure that it does not have.

    With ``strict`` warnings are failures. What is there stays, comments too. None when no address
    could be reached: what is not known then must not become an empty baseline.
    """
    import tomlkit

    # An entry that follows a last line without its end would become a part of that line.
    text = old.text if old.text.endswith("\n") else f"{old.text}\n"
    document = tomlkit.parse(text) if text.strip() else _new_document()
    reached = [
        address
        for address, found in zip(judgement.report.addresses, judgement.conclusions, strict=True)
        if found.kind not in (grade.Kind.UNREACHABLE, grade.Kind.NOT_TESTED)
    ]
    if not reached:
        return None
    counting = (Verdict.FAIL, Verdict.WARN) if judgement.strict else (Verdict.FAIL,)
    added = 0
    for address in reached:
        for result in address.results:
            if result.verdict in counting and not old.allows(address, result):
                _append(document, _table(address, result, today))
                added += 1
    return Saved(tomlkit.dumps(document), added, tuple(_left_out(judgement, reached)))


def _new_document() -> Any:
    import tomlkit

    document = tomlkit.document()
    for line in HEAD:
        document.add(tomlkit.comment(line))
    document["format"] = FORMAT
    document.add(tomlkit.nl())
    return document


def _table(address: AddressReport, result: CaseResult, today: datetime.date) -> dict[str, str]:
    from tfocheck.model import escape

    return {
        "case": result.case.id,
        "address": targets.join(address.address, address.port),
        "verdict": result.verdict.value,
        "reason": f"seen on {today}: {escape.text(result.seen)}",
    }


def _append(document: Any, values: Mapping[str, str]) -> None:
    import tomlkit

    if "known" not in document:
        document["known"] = tomlkit.aot()
    known = document["known"]
    inline = isinstance(known, tomlkit.items.Array)
    table = tomlkit.inline_table() if inline else tomlkit.table()
    if known and not inline:
        table.trivia.indent = "\n"  # an empty line between entries
    table.update(values)
    known.append(table)


def _left_out(judgement: Judgement, reached: Sequence[AddressReport]) -> Iterator[str]:
    undecided = sum(
        result.verdict in (Verdict.INCONCLUSIVE, Verdict.ERROR) and result.known is None
        for address in reached
        for result in address.results
    )
    if undecided:
        cases = "1 case that was" if undecided == 1 else f"{undecided} cases that were"
        yield f"{cases} not decided"
    for address in reached:
        offered = address.result(grade.OFFERED)
        if offered is not None and offered.verdict is Verdict.SKIP and offered.known is None:
            yield (
                f"that {address.address} does not offer Fast Open (if it need not, add an entry "
                f"for {grade.OFFERED} with the verdict not-offered)"
            )
    missing = len(judgement.report.addresses) - len(reached) + len(judgement.report.errors)
    if missing:
        yield "1 address without an answer" if missing == 1 else f"{missing} without an answer"
