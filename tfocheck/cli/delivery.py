"""Where a judgement goes: text for people, report files, GitHub, a baseline."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

from tfocheck.cli import signals
from tfocheck.cli.ending import complain, put, silence_stdout, stdout
from tfocheck.errors import UsageError
from tfocheck.model import escape
from tfocheck.report import formats

if TYPE_CHECKING:
    from tfocheck.judging.grade import Judgement
    from tfocheck.model.baseline import Baseline

SAVE_BASELINE = "--save-baseline"


@dataclass(frozen=True)
class Output:
    """What the command shows and writes; ``reports`` maps a format's option to the path given.

    The other fields are click's parameters.
    """

    reports: Mapping[str, str]
    list_cases: bool
    list_format: str | None
    directory: str | None
    save_baseline: str | None
    quiet: bool
    verbose: bool
    debug: bool

    @classmethod
    def taken(cls, parameters: dict[str, Any]) -> Output:
        """Take it out of click's parameters, of which nothing else is left."""
        asked = [(each.option, parameters.pop(each.parameter)) for each in formats.FORMATS]
        reports = {option: path for option, path in asked if path is not None}
        return cls(reports, **parameters)

    @property
    def files(self) -> list[tuple[str, str]]:
        """(option, path) of each file that the run writes by a name that was given."""
        files = list(self.reports.items())
        if self.save_baseline is None:
            return files
        return [*files, (SAVE_BASELINE, self.save_baseline)]

    def orders(self) -> list[tuple[str, ...]]:
        """All that may be written, as ``write.carry_out`` takes it."""
        from tfocheck.report import github

        found: list[tuple[str, ...]] = [("write", *each) for each in self.files]
        if self.directory is not None:
            found += [("into", "-o", self.directory, name) for name in formats.FILE_NAMES]
        if path := os.environ.get(github.SUMMARY):
            found.append(("append", github.SUMMARY, path))
        return found

    @property
    def is_on_stdout(self) -> bool:
        """Whether a file goes to standard output, so that nothing else may."""
        from tfocheck.report import write

        return any(write.is_stdout(path) for _, path in self.files)

    def check(self) -> None:
        """See that what is to be written can be. Raises UsageError."""
        from tfocheck.report import write

        write.check(self.files)
        pcap = self.reports.get("--pcap")
        if pcap and write.is_stdout(pcap) and stdout().isatty():
            raise UsageError("--pcap - is for a pipe, as in: --pcap - | tshark -r -")
        if self.directory is not None:
            write.check_directory("-o", self.directory, formats.FILE_NAMES)


def deliver(judgement: Judgement, output: Output, saved: Baseline | None) -> None:
    """The text for people, then the files: a full disk or a closed pipe costs only its own part."""
    from tfocheck.model.style import Style
    from tfocheck.report import github, write
    from tfocheck.report.summary import summary
    from tfocheck.report.table import render

    signals.remove_when_left(lambda: [*write.unfinished])
    was_cut = signals.have_come()
    to_stdout = output.is_on_stdout
    stream = sys.stderr if to_stdout else stdout()
    on_github = github.is_active(os.environ)
    problems: list[UsageError] = []
    if not (to_stdout and output.quiet) and stream is not None:
        style = Style.of(stream)
        text = (
            summary(judgement, style)
            if output.quiet
            else render(judgement, style, verbose=output.verbose or output.debug)
        )
        shown = github.quoted(text) if on_github else text
        problems += _attempt(lambda: put(stream, shown))
    if on_github:
        problems += _tell_github(judgement, stream)
    for name, make in _files(judgement, output, saved):
        if signals.have_come() and not was_cut:
            break
        found = _attempt(make)
        if not found:
            signals.note_written(escape.typed(name), incomplete=was_cut)
        problems += found
    for problem in problems[:-1]:
        complain(f"tfocheck: {problem}")
    if problems:
        raise problems[-1]


def _tell_github(judgement: Judgement, stream: TextIO | None) -> list[UsageError]:
    from tfocheck.report import github

    problems: list[UsageError] = []
    if stream is not None:
        problems += _attempt(lambda: put(stream, github.commands(judgement)))
    if path := os.environ.get(github.SUMMARY):
        # Nobody asked for it, so it breaks no build: the path may be that of another container.
        for problem in _attempt(lambda: github.append_summary(judgement, path)):
            complain(f"tfocheck: {problem}")
    return problems


def _attempt(action: Callable[[], None]) -> list[UsageError]:
    try:
        action()
    except BrokenPipeError:
        silence_stdout()  # as with "| head": who stopped reading knows what they have
    except UsageError as error:
        return [error]
    return []


def _files(
    judgement: Judgement, output: Output, saved: Baseline | None
) -> Iterator[tuple[str, Callable[[], None]]]:
    """(name, how to write it) of each file; what fails costs only its own."""
    from tfocheck.model.style import Style
    from tfocheck.report import write
    from tfocheck.report.table import render

    for option, path in output.reports.items():
        yield path, partial(_write, option, path, judgement)
    if (directory := output.directory) is not None:
        made: list[tuple[str, Callable[[], str | bytes]]] = [
            (formats.TEXT_NAME, lambda: render(judgement, Style(), verbose=output.verbose))
        ]
        made += [(each.file_name, partial(each.dumps, judgement)) for each in formats.FORMATS]
        for name, make in made:
            place = os.path.join(directory, name)
            yield place, lambda n=name, m=make: write.write_into("-o", directory, n, m())  # type: ignore[misc]
    if saved is not None:
        yield saved.path, partial(_save, judgement, saved)


def _write(option: str, path: str, judgement: Judgement) -> None:
    from tfocheck.report import write

    write.write(option, path, formats.dumps(option, judgement))


def _save(judgement: Judgement, old: Baseline) -> None:
    from tfocheck.judging import saving
    from tfocheck.report import write

    new = saving.save(judgement, old, datetime.date.today())
    if new is None:
        complain(f"tfocheck: {SAVE_BASELINE} {old.path}: nothing answered, so nothing was saved")
        return
    if new.added or not old.text:
        write.write(SAVE_BASELINE, old.path, new.text)
    entries = "1 new entry" if new.added == 1 else f"{new.added} new entries"
    left_out = f"; left out: {', '.join(new.left_out)}" if new.left_out else ""
    complain(f"tfocheck: {SAVE_BASELINE} {old.path}: {entries}{left_out}")
