"""The cases as pytest items.

Rules that hold here:

* An item is a case at a target, with all of the target's addresses; the worst counts.
* The first item to run starts one check of all that is selected, at all targets. With pytest-xdist
  one worker does so and the others wait for what it found.
* ``pytest_endings`` says how a verdict becomes an ending.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
import tempfile
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from tfocheck.cli.check import prepare
from tfocheck.cli.pytest_endings import Ended, Ending, Found, all_for_one, endings, notes
from tfocheck.cli.pytest_sharing import once, read
from tfocheck.errors import TfocheckError
from tfocheck.judging import grade
from tfocheck.model import escape
from tfocheck.model.case import Case, Level
from tfocheck.model.target import Target
from tfocheck.runner.catalogue import with_prerequisites

if TYPE_CHECKING:
    from tfocheck.model.plan import Plan
    from tfocheck.model.report import Report

ROOT = "tfocheck"
_DIRECTORY = "tfocheck_directory"
_BINDING = (Level.MUST, Level.PROCEDURE)


class TfoWarning(pytest.PytestWarning):
    """A SHOULD is not kept, or Fast Open brings no benefit."""


class CaseFailedError(Exception):
    """A case failed; the message is its whole explanation, with the packets."""


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
            targets, plan, output = prepare([*given, "--", *names])
        except click.UsageError as error:
            raise pytest.UsageError(f"--tfo-option: {error.format_message()}") from None
        except click.exceptions.Exit:
            raise pytest.UsageError("--tfo-option: only options of a check go there") from None
        except TfocheckError as error:
            raise pytest.UsageError(escape.typed(str(error))) from None
        if len(targets) > len(names):
            raise pytest.UsageError(f"--tfo-option: {targets[0]!r} is no option")
        if output.files or output.directory:
            raise pytest.UsageError("--tfo-option: pytest writes the reports here (--junitxml)")
        strict = plan.strict or config.getoption("tfo_strict")
        self._plan = dataclasses.replace(plan, strict=strict)
        self.targets = plan.targets
        self.selected = tuple(case for case in plan.cases if case.id in plan.selected)
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
                self._found = once(Path(directory), lambda: self._check(wanted))
        return self._found.items[item.target, item.case.id]

    def _check(self, wanted: Sequence[tuple[str, str]]) -> Found:
        ids = {case_id for _, case_id in wanted}
        names = {target for target, _ in wanted}
        chosen = [case for case in self.selected if case.id in ids]
        plan = dataclasses.replace(
            self._plan,
            targets=tuple(each for each in self.targets if each.text in names),
            cases=with_prerequisites(chosen, self._plan.cases),
            selected=frozenset(ids),
            complete=False,
        )
        try:
            judgement = grade.judge_by(plan, _run(plan))
        except TfocheckError as error:
            return Found(all_for_one(wanted, escape.text(str(error))))
        return Found(endings(wanted, judgement.report, strict=plan.strict), notes(judgement))

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
            self._found = read(self._shared)
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


def _run(plan: Plan) -> Report:
    import asyncio

    from tfocheck.linux.link import Link
    from tfocheck.runner.run import run

    link = Link.open()
    try:
        return asyncio.run(run(plan, link))
    finally:
        link.close()
