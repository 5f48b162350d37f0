"""Known failures: what an entry of a baseline allows, and what became of it in a run."""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass

from tfocheck.model.case import Verdict
from tfocheck.model.report import AddressReport, CaseResult
from tfocheck.model.target import join

ANYWHERE = "*"


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
        place = join(address.address, address.port)
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

    def allows(self, address: AddressReport, result: CaseResult) -> bool:
        """Whether there is an entry for this verdict, be it one that has expired."""
        return any(entry.is_about(address) and entry.covers(result) for entry in self.entries)
