"""The plan of a check: what to test, and how. Everything that was asked for, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tfocheck.model.baseline import Baseline
from tfocheck.model.case import Case
from tfocheck.model.payload import PayloadChoice
from tfocheck.model.target import Target


@dataclass(frozen=True)
class Plan:
    """What the command line, the library and the pytest plugin make, and what a check reads.

    ``cases`` is everything to run, prerequisites included, in order; ``selected`` are the ids that
    were asked for, and ``complete`` says that no case was deselected. ``attempts`` must agree on an
    absence; ``timeout`` in seconds bounds any single wait, ``max_time`` the run at one address
    (without ``intrusive`` and ``soak``); ``rate`` is how many connections may begin in a second.
    ``source`` is our address, without a zone; ``families`` are 4, 6 or both; ``addresses`` are
    literals to use instead of resolving the name.

    Beyond the default run: ``intrusive`` fills the server's queue, ``thorough`` tries more of the
    same; ``soak`` is how long to replay a cookie, in seconds; ``alt_sources`` are further addresses
    of ours; ``no_nat`` vouches that no NAT is between them and the target; ``off_port`` is a port
    of the target without Fast Open; ``trace`` looks at the route hop by hop.

    For who judges: ``strict`` counts warnings as failures, ``baseline`` are known failures.
    """

    targets: tuple[Target, ...]
    cases: tuple[Case, ...]
    selected: frozenset[str]
    payload: PayloadChoice = field(default_factory=PayloadChoice)
    attempts: int = 3
    timeout: float = 3.0
    rate: float | None = None
    max_time: float = 120.0
    source: str | None = None
    families: tuple[int, ...] = (4, 6)
    addresses: tuple[str, ...] = ()
    intrusive: bool = False
    thorough: bool = False
    soak: float | None = None
    alt_sources: tuple[str, ...] = ()
    no_nat: bool = False
    off_port: int | None = None
    trace: bool = False
    strict: bool = False
    complete: bool = True
    baseline: Baseline | None = None

    @property
    def longest(self) -> float:
        """Seconds that a run at one address may take."""
        return math.inf if self.intrusive or self.soak else self.max_time
