"""A case, and what it comes to: its place in the RFC, its weight, its verdict.

A case is an ``async def`` that gets a ``Probe`` and returns an ``Outcome``.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfocheck.model.facts import Fact


class Level(enum.StrEnum):
    """What the RFC says of a requirement.

    ``procedure`` is a step of section 4.2 written without a keyword: breaking it is non-conformance
    like breaking a MUST. ``path`` is no demand on the server but on what lies before it. ``info``
    is a fact worth reporting.
    """

    MUST = "must"
    SHOULD = "should"
    MAY = "may"
    PROCEDURE = "procedure"
    PATH = "path"
    INFO = "info"


class Severity(enum.StrEnum):
    """What a failure costs the user: attackers get in, TFO does not work, or a blemish."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"


class Verdict(enum.StrEnum):
    """What became of a case against one address."""

    PASS = "pass"
    FAIL = "fail"
    WARN = "warn"
    INFO = "info"
    SKIP = "skip"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


class Turn(enum.IntEnum):
    """When a case is run: the cases of one turn wait for those of the turns before.

    ``FREE`` cases run side by side. ``LONG`` ones keep a Fast Open pending for a second or more.
    ``RISKY`` ones could silence a broken server, and ``INTRUSIVE`` ones fill its queue: these two
    run one after another.
    """

    FREE = 0
    LONG = 1
    RISKY = 2
    INTRUSIVE = 3


class Option(enum.StrEnum):
    """An option of the command without which some cases are left out."""

    INTRUSIVE = "--intrusive"
    SOAK = "--soak"
    OFF_PORT = "--off-port"
    TRACE = "--trace"


class Role(enum.StrEnum):
    """What a case stands for where others look at more than its verdict: the letter, a headline.

    They ask for the role and not for the case's id, so that a case may be called what it likes.
    No two cases have the same role.
    """

    REACHABLE = "reachable"
    """A plain SYN is answered; without that nothing can be said."""
    UNKNOWN_OPTION = "unknown-option"
    """An option that nobody knows gets through."""
    OFFERED = "offered"
    """A cookie comes when it is asked for."""
    HONOURED = "honoured"
    """Data on a SYN with a valid cookie is accepted."""
    EARLY = "early"
    """The answer comes before the handshake has ended."""
    FORGED = "forged"
    """A cookie that was made up is refused."""
    ONE_KEY = "one-key"
    """All servers behind the address have the same key."""
    ONE_ADDRESS = "one-address"
    """Our address is the same on each connection, as the server sees it."""
    PROXY = "proxy"
    """Nobody on the way answers in the server's place."""
    BENEFIT = "benefit"
    """How much sooner the first byte comes."""


class Control(enum.StrEnum):
    """What is made beside the attempts of a case, so that they prove something.

    That plain SYNs are answered is the control of every silence (``Agreement.unanswered``), and
    that plain connections are served the control of every connection that does not work.
    """

    VALID_COOKIE = "valid-cookie"
    """Before the first attempt: the valid cookie was accepted within the last minute. After the
    last one, if any fell back without a cookie: it is accepted again, so the queue of pending
    requests is not full."""
    SAME_KEY = "same-key"
    """After an attempt that found a breach: the valid cookie still is accepted, no key changed."""
    SERVED = "served"
    """After an attempt that found a breach: a Fast Open with the whole request is answered as plain
    connections are. An application that closes early, errs, or allows so many connections and no
    more does so whatever was tried."""
    ISSUING = "issuing"
    """After an attempt that found a breach: an ordinary request gets a cookie. A listener whose
    queue of requests is full gives none, nor does one that answers by SYN cookies; that belongs to
    the listener and not to what was tried."""


@dataclass(frozen=True)
class Agreement:
    """How the attempts of a case are weighed against each other.

    They are made side by side if ``together``, else one after another until one is conclusive.
    ``need`` of them (default: ``--attempts``) must have the same verdict, ``more_where_lossy`` more
    on a path that loses packets. ``unanswered`` names the stimulus ("a SYN with data"): when it is
    never answered while plain SYNs are, that is a breach, or what the case ``path`` has to look
    into. ``other_key`` is the breach when every single attempt was turned down with another cookie.
    """

    together: bool = True
    need: int | None = None
    more_where_lossy: int = 0
    unanswered: str | None = None
    path: str | None = None
    other_key: str | None = None


IN_TURN = Agreement(together=False)
"""One attempt after another, until one is conclusive or enough agree."""


@dataclass(frozen=True)
class Outcome:
    """What a case returns: a verdict and, in one sentence, what was seen on the wire.

    ``conclusive`` marks what one observation proves (a forged cookie that was accepted). Anything
    else rests on something not having been seen, and counts only when several attempts agree.
    """

    verdict: Verdict
    seen: str
    conclusive: bool = False


CaseFunction = Callable[[Any], Awaitable[Outcome]]
"""A case as it is written: it gets a ``Probe``, which is of no room that a model may know."""


@dataclass(frozen=True)
class Case:
    """One requirement and the packet exchange that tests it.

    ``section`` is a section of RFC 7413 ("4.2.2") or another RFC's ("RFC 9293 3.1"); ``expected``
    completes "the server …"; ``needs`` are ids of cases without whose pass (or info) this one
    proves nothing; ``after`` are those whose verdicts, whatever they are, it wants to know;
    ``faults`` are the reference server's knobs that must turn it; ``option`` is
    the command's option without which the case is left out; ``agreement`` says how attempts are
    weighed, None for a case that is one attempt by itself; ``control`` is what is made beside them;
    ``learns`` and ``reads`` are facts that it finds out, or takes from cases it rests on; ``role``
    is what it stands for, if others look at it; ``why`` says what is at stake;
    ``is_users`` is one that is not the project's; the function's docstring is the packet exchange,
    as a ladder.
    """

    id: str
    section: str
    level: Level
    severity: Severity | None
    title: str
    requirement: str
    expected: str
    advice: str
    run: CaseFunction = field(repr=False, compare=False)
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    turn: Turn = Turn.FREE
    option: Option | None = None
    agreement: Agreement | None = None
    control: tuple[Control, ...] = ()
    learns: tuple[Fact, ...] = ()
    reads: tuple[Fact, ...] = ()
    role: Role | None = None
    why: str = ""
    path: Path | None = field(default=None, compare=False)
    is_users: bool = field(default=False, compare=False)

    def breach(self, seen: str, *, conclusive: bool = False) -> Outcome:
        """The outcome when the requirement was seen broken.

        A SHOULD that is not kept is a warning, unless keeping it is what keeps attackers out.
        """
        must = (
            self.level in (Level.MUST, Level.PROCEDURE, Level.PATH)
            or self.severity is Severity.CRITICAL
        )
        return Outcome(Verdict.FAIL if must else Verdict.WARN, seen, conclusive)


FAST_OPEN_WORKS = ("open.data-acked", "path.after-open")
"""What a case needs that looks at connections opened with a valid cookie."""
