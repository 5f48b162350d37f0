"""Cases, and what comes of running them: the types that everything else exchanges.

A case is an ``async def`` that gets a ``Probe`` and returns an ``Outcome``; the ``case`` decorator
gives it its id, its place in the RFC and its weight. Case files are loaded by path, the project's
own and the user's (``--cases DIR``) the same way.
"""

from __future__ import annotations

import enum
import fnmatch
import importlib.util
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tfocheck.errors import UsageError

if TYPE_CHECKING:
    from tfocheck.server.probe import Probe
    from tfocheck.wire.evidence import FlowRecord


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


@dataclass(frozen=True)
class Outcome:
    """What a case returns: a verdict and, in one sentence, what was seen on the wire.

    ``conclusive`` marks what one observation proves (a forged cookie that was accepted). Anything
    else rests on something not having been seen, and counts only when several attempts agree.
    """

    verdict: Verdict
    seen: str
    conclusive: bool = False


CaseFunction = Callable[["Probe"], Awaitable[Outcome]]


@dataclass(frozen=True)
class Case:
    """One requirement and the packet exchange that tests it.

    ``section`` is a section of RFC 7413 ("4.2.2") or another RFC's ("RFC 9293 3.1"); ``expected``
    completes "the server …"; ``needs`` are ids of cases without whose pass (or info) this one
    proves nothing; ``after`` are those whose verdicts, whatever they are, it wants to know;
    ``faults`` are the reference server's knobs that must turn it; ``option`` is
    the command's option without which the case is left out; ``why`` says what is at stake; the
    function's docstring is the packet exchange, as a ladder.
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
    why: str = ""
    path: Path | None = field(default=None, compare=False)

    def breach(self, seen: str, *, conclusive: bool = False) -> Outcome:
        """The outcome when the requirement was seen broken.

        A SHOULD that is not kept is a warning, unless keeping it is what keeps attackers out.
        """
        must = (
            self.level in (Level.MUST, Level.PROCEDURE, Level.PATH)
            or self.severity is Severity.CRITICAL
        )
        return Outcome(Verdict.FAIL if must else Verdict.WARN, seen, conclusive)


@dataclass(frozen=True)
class CaseResult:
    """The verdict on one case at one address.

    ``address`` is the literal that was tested; ``duration`` is in seconds; ``flows`` are the
    packets that prove the verdict; ``prerequisite`` is set when the user did not select the case
    but another case rests on it; ``traceback`` is there for verdict *error* only; ``conclusive`` as
    in ``Outcome``; ``known`` is the baseline's reason when it allows this verdict.
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


@dataclass(frozen=True)
class Traffic:
    """What one address cost, and whether the capture can be trusted.

    Packets and resets that we sent, packets received, packets that the capture itself dropped, and
    resets that the local kernel sent on a guarded port (always 0 unless the guard failed).
    """

    sent: int = 0
    received: int = 0
    resets_sent: int = 0
    capture_drops: int = 0
    kernel_resets: int = 0


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
    among its evidence, such as control SYNs.
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


FAST_OPEN_WORKS = ("open.data-acked", "path.after-open")
"""What a case needs that looks at connections opened with a valid cookie."""

_DECLARED: list[Case] = []


def case(
    case_id: str,
    *,
    section: str,
    level: Level,
    severity: Severity | None = None,
    title: str,
    requirement: str,
    expected: str,
    advice: str = "",
    needs: Sequence[str] = ("cookie.request",),
    after: Sequence[str] = (),
    faults: Sequence[str] = (),
    turn: Turn = Turn.FREE,
    option: Option | None = None,
    why: str = "",
) -> Callable[[CaseFunction], CaseFunction]:
    """Declare an ``async def`` as the case with this id; see ``Case`` for the arguments."""

    def declare(function: CaseFunction) -> CaseFunction:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"case {case_id} is no async def")
        if (severity is None) != (level in (Level.INFO, Level.MAY)):
            raise ValueError(f"case {case_id}: give a severity, unless the level is info or may")
        _DECLARED.append(
            Case(
                id=case_id,
                section=section,
                level=level,
                severity=severity,
                title=title,
                requirement=requirement,
                expected=expected,
                advice=advice,
                run=function,
                needs=tuple(needs),
                after=tuple(after),
                faults=tuple(faults),
                turn=turn,
                option=option,
                why=why,
                path=Path(function.__code__.co_filename),
            )
        )
        return function

    return declare


def own_case_directory() -> Path:
    """Where the project's cases are: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "cases"
    return installed if installed.is_dir() else package.parent / "cases"


def load_cases(directories: Iterable[Path] = ()) -> tuple[Case, ...]:
    """The project's cases, then those in the given directories, in the order of their files.

    Raises UsageError for a directory without case files, a file that does not load, a doubled id,
    or a need that no case meets.
    """
    cases: list[Case] = []
    for directory in (own_case_directory(), *directories):
        paths = sorted(directory.glob("*.py")) if directory.is_dir() else []
        if not paths:
            raise UsageError(f"no case files (*.py) in {directory}: name a folder that has some")
        for path in paths:
            cases.extend(_load_file(path))
    by_id: dict[str, Case] = {}
    for loaded in cases:
        other = by_id.setdefault(loaded.id, loaded)
        if other is not loaded:
            raise UsageError(
                f"case {loaded.id} is declared in {other.path} and in {loaded.path}: rename one"
            )
    for loaded in cases:
        for need in (*loaded.needs, *loaded.after):
            if need not in by_id:
                raise UsageError(f"case {loaded.id} ({loaded.path}) needs {need}, which is nowhere")
            if loaded.id in _all_needs(need, by_id):
                raise UsageError(f"case {loaded.id} ({loaded.path}) needs itself, by way of {need}")
            if by_id[need].turn > loaded.turn:
                raise UsageError(
                    f"case {loaded.id} ({loaded.path}) needs {need}, which has a later turn"
                )
    return tuple(cases)


def _all_needs(case_id: str, by_id: dict[str, Case]) -> set[str]:
    """The case and all that it rests on, as far as that exists."""
    found: set[str] = set()
    left = [case_id]
    while left:
        each = left.pop()
        if each not in found and each in by_id:
            found.add(each)
            left.extend((*by_id[each].needs, *by_id[each].after))
    return found


def _load_file(path: Path) -> list[Case]:
    # A name of its own for each path: user files may have the same stem as ours.
    name = f"tfocheck_cases_{abs(hash(str(path.resolve()))):x}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"can't load the case file {path}")
    module = importlib.util.module_from_spec(spec)
    before = len(_DECLARED)
    # A case file may hold dataclasses, and those look their module up by name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        return _DECLARED[before:]
    except (Exception, SystemExit) as problem:
        raise UsageError(f"the case file {path} does not load: {problem!r}") from problem
    finally:
        del _DECLARED[before:]


@dataclass(frozen=True)
class Selection:
    """Which cases the user asked for; empty tuples ask for all."""

    globs: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    levels: tuple[Level, ...] = ()
    options: frozenset[Option] = frozenset()

    def choose(self, cases: Sequence[Case]) -> tuple[Case, ...]:
        """The selected cases; UsageError if none is left, or a pattern matches nothing."""
        for patterns, option in ((self.globs, "--case"), (self.excludes, "--exclude")):
            for glob in patterns:
                if not any(fnmatch.fnmatchcase(known.id, glob) for known in cases):
                    raise UsageError(f"{option} {glob!r} matches no case: see tfocheck --list")
        for section in self.sections:
            if not any(_in_section(known, section) for known in cases):
                raise UsageError(f"--section {section!r} has no case: see tfocheck --list")
        wanted = [known for known in cases if self._wants(known)]
        chosen = tuple(
            known for known in wanted if known.option is None or known.option in self.options
        )
        if wanted and not chosen:
            missing = wanted[0]
            raise UsageError(f"{missing.id} is run with {missing.option} only: add that option")
        if not chosen:
            raise UsageError("this selection leaves no case to run: see tfocheck --list")
        return chosen

    def _wants(self, known: Case) -> bool:
        return (
            (not self.globs or any(fnmatch.fnmatchcase(known.id, glob) for glob in self.globs))
            and not any(fnmatch.fnmatchcase(known.id, glob) for glob in self.excludes)
            and (not self.sections or any(_in_section(known, want) for want in self.sections))
            and (not self.levels or known.level in self.levels)
        )


def _in_section(known: Case, section: str) -> bool:
    return known.section == section or known.section.startswith(section + ".")


def with_prerequisites(chosen: Sequence[Case], cases: Sequence[Case]) -> tuple[Case, ...]:
    """The chosen cases and all that they rest on, in the order of ``cases``."""
    by_id = {known.id: known for known in cases}
    wanted: set[str] = set()

    def add(case_id: str) -> None:
        if case_id not in wanted:
            wanted.add(case_id)
            for need in (*by_id[case_id].needs, *by_id[case_id].after):
                add(need)

    for known in chosen:
        add(known.id)
    return tuple(known for known in cases if known.id in wanted)
