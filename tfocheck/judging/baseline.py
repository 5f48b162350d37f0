"""Reading a baseline: a TOML file that people edit, of failures that are known and break no build.

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
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tfocheck.errors import UsageError
from tfocheck.model.baseline import ANYWHERE, Allowed, Baseline, Entry
from tfocheck.model.case import Case, Role, Verdict
from tfocheck.model.target import join, parse, parse_literal

FORMAT = 1

_REQUIRED = ("case", "address", "verdict", "reason")
_KEYS = (*_REQUIRED, "expires")
_ENTRY = re.compile(r"\s*\[\[\s*(?:known|\"known\"|'known')\s*\]\]")


MOST_BYTES = 1 << 19


def parse_baseline(data: bytes, path: str, option: str, catalogue: Sequence[Case]) -> Baseline:
    """Check a baseline that was read; ``catalogue`` is all cases there are, selected or not.

    Raises UsageError, with the file and where possible the line, for whatever is wrong with it.
    """
    try:
        text = data.decode("utf-8")
        _check_lines(text)
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{option} {path}: {_one_line(error)}") from None
    return Baseline(path, tuple(_Reader(path, option, text, catalogue).entries(document)), text)


LONGEST_LINE = 2000
"""A parser takes long over a key of thousands of dots, and makes a table of each."""


def _check_lines(text: str) -> None:
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > LONGEST_LINE:
            raise ValueError(f"line {number} has more than {LONGEST_LINE:,} characters")


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
        self._offered = next((c.id for c in catalogue if c.role is Role.OFFERED), "")

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
        if self._catalogue[case].role is Role.REACHABLE:
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
                return parse_literal(text, "address").partition("%")[0]
            place = parse(text)
            if place.family is not None:
                return join(place.host.partition("%")[0], place.port)
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
        if allowed is Allowed.NOT_OFFERED and case != self._offered:
            raise self._error(
                f"{name}verdict 'not-offered' goes with case {self._offered!r} only", line
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
                return f"that breaks no build; for {self._offered} write not-offered"
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
