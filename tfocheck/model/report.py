"""What a run found: packets, verdicts, addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfocheck.model.case import Case, Role, Verdict

if TYPE_CHECKING:  # it brings Scapy along, which a report that is shown needs not
    from tfocheck.wire.evidence import FlowRecord


@dataclass(frozen=True)
class Revision:
    """Why a result is not what its case returned: the verdict and the finding that it had."""

    verdict: Verdict
    seen: str
    reason: str


@dataclass(frozen=True)
class CaseResult:
    """The verdict on one case at one address.

    ``address`` is the literal that was tested; ``duration`` is in seconds; ``flows`` are the
    packets that prove the verdict; ``prerequisite`` is set when the user did not select the case
    but another case rests on it; ``traceback`` is there for verdict *error* only; ``conclusive`` as
    in ``Outcome``; ``known`` is the baseline's reason when it allows this verdict;
    ``revisions`` are what ``judging.trust`` made of it, in order.
    """

    case: Case
    verdict: Verdict
    seen: str
    duration: float
    flows: tuple[FlowRecord, ...] = ()
    prerequisite: bool = False
    traceback: str | None = None
    conclusive: bool = False
    address: str = ""
    known: str | None = None
    revisions: tuple[Revision, ...] = ()


@dataclass(frozen=True)
class Traffic:
    """What one address cost, and whether the capture can be trusted.

    Packets and resets that we sent, packets received, packets that the capture itself dropped,
    resets that the local kernel sent on a guarded port (always 0 unless the guard failed), and how
    many of the received packets were only counted, as they were too many.
    """

    sent: int = 0
    received: int = 0
    resets_sent: int = 0
    capture_drops: int = 0
    kernel_resets: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class Hop:
    """One hop of the route to an address.

    ``ttl`` counts from 1; ``router`` is None for one that does not answer; ``rtt`` is in seconds;
    ``changes`` is what was changed before it got here, and shows here first.
    """

    ttl: int
    router: str | None
    rtt: float | None
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class AddressReport:
    """All verdicts on one address of a target.

    ``rtt`` is the smallest round-trip time seen, in seconds, None when nothing answered;
    ``not_tested`` gives the reason when the address could not even be tried (no route from here);
    ``hops`` is the route, where one was looked for; ``controls`` are the packets that no case has
    among its evidence, such as control SYNs; ``interrupted`` says that not all of it was done.
    """

    target: str
    address: str
    port: int
    results: tuple[CaseResult, ...] = ()
    payload: str = ""
    rtt: float | None = None
    cookie_bytes: int | None = None
    traffic: Traffic = Traffic()
    started: float = 0.0
    duration: float = 0.0
    not_tested: str | None = None
    hops: tuple[Hop, ...] = ()
    controls: tuple[FlowRecord, ...] = ()
    interrupted: bool = False

    def by_role(self, role: Role) -> CaseResult | None:
        """The result of the case that has that role, if it was run or skipped here."""
        return next((result for result in self.results if result.case.role is role), None)

    def result(self, case_id: str) -> CaseResult | None:
        """The result of the case with that id, if it was run or skipped here."""
        return next((result for result in self.results if result.case.id == case_id), None)


@dataclass(frozen=True)
class Report:
    """Everything that one run found: an entry per address, targets in the order given.

    ``started`` is Unix time, ``duration`` seconds; ``errors`` maps targets that could not be
    resolved to the line that says why.
    """

    addresses: tuple[AddressReport, ...]
    started: float
    duration: float
    version: str
    errors: tuple[tuple[str, str], ...] = ()
