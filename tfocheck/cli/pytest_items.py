"""The cases as pytest items, and how a verdict becomes an outcome of pytest.

Rules that hold here:

* An item is a case at a target, with all of the target's addresses; the worst counts.
* The first item to run starts one check of all that is selected, at all targets. With pytest-xdist
  one worker does so and the others wait for what it found.
* pass and info pass, warn passes with a warning, skip skips, fail and error fail. Inconclusive is
  an xfail: a lost packet must not turn a build red, and must not pass either.
* Nothing passes vacuously. A target that is unreachable, that does not offer Fast Open, or at which
  nothing could be decided fails once, and whatever else could not be tested there is skipped.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import fcntl
import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from tfocheck.cli import main as cli
from tfocheck.errors import TfocheckError
from tfocheck.judging import grade, trust
from tfocheck.judging.grade import Conclusion
from tfocheck.judging.kind import Kind
from tfocheck.model import escape
from tfocheck.model.case import Case, Level, Role, Verdict
from tfocheck.model.report import AddressReport, CaseResult, Report
from tfocheck.model.target import Target
from tfocheck.report.explanation import explanation, seen, verdict
from tfocheck.report.ladder import ladder
from tfocheck.runner.catalogue import with_prerequisites

if TYPE_CHECKING:
    from tfocheck.model.baseline import Applied
    from tfocheck.runner.run import Settings

ROOT = "tfocheck"
_DIRECTORY = "tfocheck_directory"
_MOST_FLOWS = 2
_BINDING = (Level.MUST, Level.PROCEDURE)
_DECIDED = (Verdict.PASS, Verdict.INFO, Verdict.WARN, Verdict.FAIL, Verdict.ERROR)


class TfoWarning(pytest.PytestWarning):
    """A SHOULD is not kept, or Fast Open brings no benefit."""


class CaseFailedError(Exception):
    """A case failed; the message is its whole explanation, with the packets."""


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


def markers(case: Case) -> list[str]:
    """The markers of a case: level, severity, and the section with those that it is a part of.

    A step of the RFC's procedure binds like a MUST, so it has the marker ``must``, too.
    """
    found = [ROOT, case.level.value]
    if case.level is Level.PROCEDURE:
        found.append(Level.MUST.value)
    if case.severity is not None:
        found.append(case.severity.value)
    rfc, _, number = case.section.lower().rpartition(" ")
    stem = re.sub(r"\W", "", rfc, flags=re.ASCII) or "section"
    parts = re.sub(r"[^\w.]", "", number, flags=re.ASCII).split(".")
    return found + ["_".join([stem, *parts[:end]]) for end in range(1, len(parts) + 1)]


def node_name(target: Target) -> str:
    """What a target is called in a node id, where brackets and double colons have a meaning."""
    return f"{target.host.replace(':', '-')}:{target.port}"


class Targets(pytest.Collector):
    """All targets, at the top of the collection tree."""

    def collect(self) -> Iterable[pytest.Collector]:
        """A collector for each target."""
        plugin = self.config.stash[PLUGIN]
        for target in plugin.targets:
            yield TargetCases.from_parent(self, target=target.text, name=node_name(target))


class TargetCases(pytest.Collector):
    """The cases of one target."""

    def __init__(self, *, target: str, **options: Any) -> None:
        super().__init__(**options)
        self.target = target

    def collect(self) -> Iterable[pytest.Item]:
        """An item for each case that the options select."""
        plugin = self.config.stash[PLUGIN]
        for case in plugin.selected:
            if plugin.is_wanted(self.nodeid, case):
                yield CaseItem.from_parent(self, name=case.id, target=self.target, case=case)


class CaseItem(pytest.Item):
    """One case at one target."""

    def __init__(self, *, target: str, case: Case, **options: Any) -> None:
        super().__init__(**options)
        self.target = target
        self.case = case
        for name in markers(case):
            self.add_marker(name)

    def setup(self) -> None:
        """Let the check run, if no item before has."""
        self.config.stash[PLUGIN].found(self)

    def runtest(self) -> None:
        """Report what the check has found."""
        ended = self.config.stash[PLUGIN].found(self)
        for text in ended.warnings:
            self.warn(TfoWarning(text))
        match ended.ending:
            case Ending.FAILED:
                raise CaseFailedError(ended.text)
            case Ending.SKIPPED:
                pytest.skip(ended.text)
            case Ending.UNDECIDED:
                pytest.xfail(ended.text)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The explanation, without a traceback through pytest."""
        if isinstance(excinfo.value, CaseFailedError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where the case stands, and what a failure is headed by."""
        return self.case.path or self.path, None, f"{self.case.id} at {self.target}"


class Plugin:
    """What a pytest run with targets has: its check, and what came of it."""

    def __init__(self, config: pytest.Config) -> None:
        names = config.getoption("tfo_target")
        try:
            given = [word for text in config.getoption("tfo_option") or () for word in _split(text)]
            prepared = cli.prepare([*given, "--", *names])
        except click.UsageError as error:
            raise pytest.UsageError(f"--tfo-option: {error.format_message()}") from None
        except click.exceptions.Exit:
            raise pytest.UsageError("--tfo-option: only options of a check go there") from None
        except TfocheckError as error:
            raise pytest.UsageError(escape.typed(str(error))) from None
        self.targets, self._settings, self._options, self._baseline = prepared
        if len(self._options.targets) > len(names):
            raise pytest.UsageError(f"--tfo-option: {self._options.targets[0]!r} is no option")
        if self._options.outputs or self._options.directory:
            raise pytest.UsageError("--tfo-option: pytest writes the reports here (--junitxml)")
        self._strict = self._options.strict or config.getoption("tfo_strict")
        self.selected = tuple(
            case for case in self._settings.cases if case.id in self._settings.selected
        )
        self._named = self._take_named(config.args)
        self._config = config
        self._found: Found | None = None
        self._shared: Path | None = None
        config.stash[PLUGIN] = self
        for name in sorted({name for case in self.selected for name in markers(case)}):
            config.addinivalue_line("markers", f"{name}: {_MEANINGS.get(name, 'a section')}")

    def _take_named(self, arguments: list[str]) -> frozenset[str]:
        """Take the node ids that are ours off the arguments, where pytest looks for files."""
        named = frozenset(each for each in arguments if each.startswith(f"{ROOT}::"))
        arguments[:] = [each for each in arguments if each not in named]
        targets = {f"{ROOT}::{node_name(target)}" for target in self.targets}
        cases = {f"{target}::{case.id}" for target in targets for case in self.selected}
        for unknown in sorted(named - targets - cases):
            raise pytest.UsageError(f"{escape.typed(unknown)}: no such target, or no such case")
        return named

    def is_wanted(self, node_id: str, case: Case) -> bool:
        """Whether a case of the target with this node id is one of those named, if any are."""
        return not self._named or bool(self._named & {node_id, f"{node_id}::{case.id}"})

    def found(self, item: CaseItem) -> Ended:
        """What this item has to report; the first one asked lets the check run."""
        if self._found is None:
            wanted = [
                (each.target, each.case.id)
                for each in item.session.items
                if isinstance(each, CaseItem)
            ]
            directory = getattr(self._config, "workerinput", {}).get(_DIRECTORY)
            if directory is None:
                self._found = self._check(wanted)
            else:
                self._found = _once(Path(directory), lambda: self._check(wanted))
        return self._found.items[item.target, item.case.id]

    def _check(self, wanted: Sequence[tuple[str, str]]) -> Found:
        ids = {case_id for _, case_id in wanted}
        names = {target for target, _ in wanted}
        chosen = [case for case in self.selected if case.id in ids]
        settings = dataclasses.replace(
            self._settings,
            cases=with_prerequisites(chosen, self._settings.cases),
            selected=frozenset(ids),
        )
        try:
            report = _run([each for each in self.targets if each.text in names], settings)
        except TfocheckError as error:
            return Found(_all_for_one(wanted, escape.text(str(error))))
        applied = None
        if self._baseline is not None:
            report, applied = trust.mark_known(report, self._baseline, datetime.date.today())
        return Found(endings(wanted, report, strict=self._strict), _notes(report, applied))

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Add the targets to what the command line made pytest collect."""
        report = yield
        if isinstance(collector, pytest.Session) and report.passed:
            report.result.append(Targets.from_parent(collector, name=ROOT, nodeid=ROOT))
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """A test's time is that of its case, not that of reporting it."""
        report = yield
        if isinstance(item, CaseItem) and call.when == "call" and self._found is not None:
            report.duration = self.found(item).seconds
        return report

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Under pytest-xdist: tell a worker where the workers share what was found."""
        if self._shared is None:
            self._shared = Path(tempfile.mkdtemp(prefix="tfocheck-pytest-"))
        node.workerinput[_DIRECTORY] = str(self._shared)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what each address came to, and what in the baseline somebody has to see to."""
        if self._found is None and self._shared is not None:
            self._found = _read(self._shared)
        if self._found is not None and self._found.notes:
            terminalreporter.section("tfocheck")
            for note in self._found.notes:
                terminalreporter.line(note)

    def pytest_unconfigure(self) -> None:
        """Leave nothing behind."""
        if self._shared is not None:
            shutil.rmtree(self._shared, ignore_errors=True)


PLUGIN = pytest.StashKey[Plugin]()

_MEANINGS = {
    ROOT: "all cases of tfocheck",
    "must": "a breach is non-conformance: the RFC's MUST, and the steps of its procedure",
    "procedure": "a step of the RFC's procedure that is written without a keyword",
    "should": "the RFC's SHOULD",
    "may": "the RFC's MAY",
    "info": "a fact worth reporting",
    "critical": "a failure lets attackers in or corrupts data",
    "major": "a failure means that Fast Open does not work or breaks connections",
    "minor": "a failure is a blemish",
}


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise pytest.UsageError(f"--tfo-option {text!r}: {error}") from None


def _run(targets: Sequence[Target], settings: Settings) -> Report:
    import asyncio

    from tfocheck.linux.link import Link
    from tfocheck.runner.run import run

    link = Link.open()
    try:
        return asyncio.run(run(targets, settings, link))
    finally:
        link.close()


# From verdicts to endings


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


def _all_for_one(wanted: Sequence[tuple[str, str]], text: str) -> dict[tuple[str, str], Ended]:
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

    counting = [Verdict.FAIL, Verdict.ERROR]
    if strict:
        counting += [Verdict.WARN, Verdict.INCONCLUSIVE]
    if broken := worst(*counting):
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


def _notes(report: Report, applied: Applied | None) -> list[str]:
    lines = []
    for address in report.addresses:
        found = grade.conclude(address, complete=False)
        lines.append(f"{address.target} at {address.address}: {found.headline}")
    return [escape.text(line) for line in lines] + [
        escape.text(note) for note in (applied.notes if applied else [])
    ]


# Between the workers of pytest-xdist


def _once(directory: Path, check: Callable[[], Found]) -> Found:
    """What the check found, which the first worker to ask lets run while the others wait."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # goes with the file, however its owner ends
        found = _read(directory)
        if found is None:
            found = check()
            _write(directory, found)
        return found


def _write(directory: Path, found: Found) -> None:
    items = [
        [target, case_id, dataclasses.asdict(ended)]
        for (target, case_id), ended in found.items.items()
    ]
    beside = directory / "found.new"
    beside.write_text(json.dumps({"items": items, "notes": list(found.notes)}))
    beside.rename(directory / "found")


def _read(directory: Path) -> Found | None:
    try:
        document = json.loads((directory / "found").read_text())
    except FileNotFoundError:
        return None
    return Found(
        {
            (target, case_id): Ended(
                Ending(ended["ending"]), ended["text"], tuple(ended["warnings"]), ended["seconds"]
            )
            for target, case_id, ended in document["items"]
        },
        document["notes"],
    )
