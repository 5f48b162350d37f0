"""What GitHub Actions shows of a run: annotations, and a summary of the job in Markdown.

Rules that hold here:

* The runner obeys every line of the log that begins with ``::`` or holds ``##[``. Text with a
  server's words in it goes out between ``::stop-commands::`` and a word that nobody can guess.
* GitHub shows ten errors and ten warnings of a step, so the worst come first and the last one tells
  how many there are besides.
* What a baseline knows has no annotation, and a fault of the path is not called the server's.
* In Markdown every character that could mean something stands as a number (``&#42;``): CommonMark
  takes such a character for text, never for structure.

Source: "Workflow commands for GitHub Actions" (commands, their escapes, the summary's 1 MiB);
CommonMark section 2.5, entities.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfocheck.judging.grade import count, whole_address, worst
from tfocheck.judging.kind import Kind, breaks_build
from tfocheck.model import escape
from tfocheck.model.case import Severity, Verdict
from tfocheck.model.report import CaseResult
from tfocheck.report import explanation, write

if TYPE_CHECKING:
    from tfocheck.judging.grade import Conclusion, Judgement
    from tfocheck.model.report import AddressReport

SUMMARY = "GITHUB_STEP_SUMMARY"
SUMMARY_BYTES = 1 << 20
SHOWN_PER_KIND = 10

_ERROR, _WARNING = "error", "warning"
_MESSAGE_WIDTH = 4000
_PLAIN = frozenset(" ,;()/%=?+-")
_WEIGHT = {Severity.CRITICAL: 0, Severity.MAJOR: 1, Severity.MINOR: 2, None: 3}
_NOT_GOOD = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.WARN)


def is_active(environment: Mapping[str, str]) -> bool:
    """Whether a runner of GitHub Actions reads what we print."""
    return environment.get("GITHUB_ACTIONS", "").lower() not in ("", "false")


def quoted(text: str) -> str:
    """The text such that the runner obeys nothing in it."""
    word = secrets.token_hex(16)
    return f"::stop-commands::{word}\n{text.rstrip()}\n::{word}::\n"


# Annotations


@dataclass(frozen=True)
class _Annotation:
    kind: str
    weight: int
    title: str
    lines: Sequence[str]

    def __str__(self) -> str:
        title = _data([self.title]).replace(":", "%3A").replace(",", "%2C")
        return f"::{self.kind} title={title}::{_data(self.lines)}\n"


def commands(judgement: Judgement) -> str:
    """A workflow command for everything that is not as it should be; each is a line.

    What breaks the build is an error, what does not a warning.
    """
    found = [*_of_addresses(judgement), *_of_cases(judgement)]
    lines: list[str] = []
    for kind in (_ERROR, _WARNING):
        ranked = sorted((each for each in found if each.kind == kind), key=lambda each: each.weight)
        if len(ranked) > SHOWN_PER_KIND:
            rest = ranked[SHOWN_PER_KIND - 1 :]
            titles = [each.title for each in rest]
            ranked[SHOWN_PER_KIND - 1 :] = [_Annotation(kind, 0, f"{len(rest)} more", titles)]
        lines += map(str, ranked)
    return "".join(lines)


def _of_addresses(judgement: Judgement) -> Iterator[_Annotation]:
    for target, message in judgement.report.errors:
        yield _Annotation(_ERROR, 0, f"{target}: no address", [message])
    pairs = zip(judgement.report.addresses, judgement.conclusions, strict=True)
    for address, conclusion in pairs:
        untested = conclusion.kind is Kind.NOT_TESTED
        if not untested and whole_address(address, conclusion, strict=judgement.strict) is None:
            continue
        # An address that can't be tried from here breaks no build, if the target has others.
        counts = not untested or address.target in judgement.untested
        lines = [conclusion.headline, *conclusion.advice]
        kind = _ERROR if counts else _WARNING
        yield _Annotation(kind, 0, f"{_place(address)}: {conclusion.kind.value}", lines)


def _of_cases(judgement: Judgement) -> Iterator[_Annotation]:
    """One per case and verdict of a target, however many addresses it has."""
    for target in judgement.targets:
        seen: dict[tuple[str, Verdict], list[tuple[AddressReport, CaseResult]]] = {}
        for address, conclusion in judgement.of(target):
            if conclusion.kind is Kind.UNREACHABLE:
                continue  # for that one reason every case is inconclusive
            for result in address.results:
                if _is_wrong(result):
                    seen.setdefault((result.case.id, result.verdict), []).append((address, result))
        for found in seen.values():
            yield _of_case(target, found, strict=judgement.strict)


def _of_case(
    target: str, found: Sequence[tuple[AddressReport, CaseResult]], *, strict: bool
) -> _Annotation:
    _, result = found[0]
    case = result.case
    kind = _ERROR if breaks_build(result, strict=strict) else _WARNING
    weight = f", {case.severity.value}" if case.severity else ""
    lines = [f"at {address.address}: {each.seen}" for address, each in found]
    lines.append(f"requirement: {case.requirement}")
    if advice := explanation.advice(result):
        lines.append(f"advice: {advice}")
    title = f"{case.id}: {explanation.verdict(result)}{weight}: {target}"
    return _Annotation(kind, _WEIGHT[case.severity], title, lines)


def _is_wrong(result: CaseResult) -> bool:
    return result.verdict in _NOT_GOOD and result.known is None


def _data(lines: Sequence[str]) -> str:
    """These lines as the value of a workflow command."""
    shown = "\n".join(map(escape.text, lines))
    shown = shown if len(shown) <= _MESSAGE_WIDTH else shown[: _MESSAGE_WIDTH - 3] + "..."
    return shown.replace("%", "%25").replace("\n", "%0A")


# The summary of the job


def append_summary(judgement: Judgement, path: str) -> None:
    """Add this run to the job's summary. Raises UsageError when that fails.

    What no longer fits into what GitHub takes is left out; nothing is written by half.
    """
    try:
        taken = os.stat(path).st_size
    except OSError:
        taken = 0
    write.append(SUMMARY, path, summary(judgement, SUMMARY_BYTES - taken))


def summary(judgement: Judgement, room: int = SUMMARY_BYTES) -> str:
    """The run as Markdown, in at most so many bytes: first what is not good, then everything."""
    pairs = list(zip(judgement.report.addresses, judgement.conclusions, strict=True))
    parts = [f"## tfocheck: {_text(_outcome(judgement))}\n\n"]
    parts += [f"- {_text(f'{target}: {message}')}\n" for target, message in judgement.report.errors]
    parts += [_section(address, conclusion) for address, conclusion in pairs]
    parts += [_all_cases(address) for address, _ in pairs if address.results]
    left_out = "\nThe rest is left out: the summary of a step has no more room.\n"
    kept: list[str] = []
    room -= len(left_out)
    for part in parts:
        room -= len(part)
        if room < 0:
            return "".join([*kept, left_out]) if kept else ""
        kept.append(part)
    return "".join(kept)


def _outcome(judgement: Judgement) -> str:
    pairs = zip(judgement.report.addresses, judgement.conclusions, strict=True)
    tested = [
        found
        for address, found in pairs
        if found.kind is not Kind.NOT_TESTED or address.target in judgement.untested
    ]
    letter = worst(each.grade for each in tested)
    if letter is not None and not judgement.report.errors:
        return f"grade {letter}"
    return ", ".join(dict.fromkeys(each.kind.value for each in tested)) or "nothing was tested"


def _section(address: AddressReport, conclusion: Conclusion) -> str:
    letter = f"grade {conclusion.grade}. " if conclusion.grade else ""
    lines = [
        f"### {_text(_place(address))}",
        "",
        f"**{_text(letter + conclusion.headline)}**",
        "",
    ]
    counts = ", ".join(f"{number} {verdict}" for verdict, number in count(address.results).items())
    if counts:
        lines += [f"{counts}; {address.duration:.1f} s, {address.traffic.sent} packets sent", ""]
    if conclusion.advice:
        lines += ["What to do:", "", *(f"- {_text(advice)}" for advice in conclusion.advice), ""]
    wrong = [result for result in address.results if _is_wrong(result)]
    if wrong and conclusion.kind is not Kind.UNREACHABLE:
        wrong.sort(key=lambda each: (_NOT_GOOD.index(each.verdict), _WEIGHT[each.case.severity]))
        rows = [
            [
                result.case.id,
                explanation.verdict(result),
                result.case.severity.value if result.case.severity else "-",
                result.seen,
            ]
            for result in wrong
        ]
        lines += _table(["case", "verdict", "severity", "what was seen"], rows)
    return "\n".join(lines) + "\n\n"


def _all_cases(address: AddressReport) -> str:
    rows = [
        [
            result.case.id,
            result.case.section,
            result.case.level.value,
            explanation.verdict(result),
            result.seen,
        ]
        for result in address.results
    ]
    table = "\n".join(_table(["case", "section", "level", "verdict", "what was seen"], rows))
    title = f"All {len(rows)} cases, {_place(address)}"
    # Without the empty lines the table would be taken for HTML.
    return f"<details><summary>{_text(title)}</summary>\n\n{table}\n\n</details>\n\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *([_text(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _place(address: AddressReport) -> str:
    return f"{address.target} at {address.address}"


def _text(value: str) -> str:
    """Any text as one line of Markdown that shows just that."""
    return "".join(
        character if character.isalnum() or character in _PLAIN else f"&#{ord(character)};"
        for character in escape.text(value)
    )
