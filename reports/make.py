"""Makes the sample reports in this directory and the table of docs/servers.md: ``make reports``.

Each lab scenario is checked as ``tfocheck lab run`` does, and what chance put into the report is
taken out (``normal``), so that making them twice gives the same files.
"""

from __future__ import annotations

import fnmatch
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import normal  # noqa: E402

import tfocheck  # noqa: E402
from tfocheck.errors import TfocheckError, UsageError  # noqa: E402
from tfocheck.judging.grade import Judgement  # noqa: E402
from tfocheck.lab.daemons import DAEMONS  # noqa: E402
from tfocheck.lab.difficult import DIFFICULT  # noqa: E402
from tfocheck.lab.scenarios import SCENARIOS  # noqa: E402
from tfocheck.model.case import Verdict  # noqa: E402
from tfocheck.model.report import AddressReport, Report  # noqa: E402
from tfocheck.runner.catalogue import load_cases  # noqa: E402
from tfocheck.runner.options import CheckOptions  # noqa: E402

SHOWN = ("linux", "nginx", "haproxy", "linux-cookieless")

IN_FULL = (*SHOWN, "farm-three-keys", "option-stripped")
"""With JSON and HTML beside the text."""

BY_CHANCE = ("synack-loss", "nghttpx")
"""What is lost there, or answered before our FIN is heard, differs from run to run, and with it
what was seen."""

IN_SHORT = tuple(scenario.name for scenario in DAEMONS if scenario.name not in BY_CHANCE)
"""With a line of JSON beside the text."""

SERVERS = (*SHOWN[:3], *IN_SHORT, *SHOWN[3:])
"""The rows of the table in docs/servers.md."""

WITH_PACKETS = ("linux",)
LEFT_TO_CHANCE = {
    "farm-three-keys": "farm.one-key",
    "farm-dnat": "farm.one-key",
    "nat-pool": "path.source-changes",
}
"""Which server or address a connection meets is chance: of these samples only ``SETTLED`` cases and
the one that fails are shown, and a run is repeated in which chance had anything else fail. The
conclusion is that of the whole run."""

SETTLED = ("control.*", "cookie.request", "path.source-changes")
MOST_RUNS = 10
# Which cookie a connection gets is chance, what a server says to that of another one is not.
SETTLED_LABEL = "one cookie, another port"

MIDDLEBOXES = tuple(
    name
    for name, each in SCENARIOS.items()
    if each.path is not None and name not in BY_CHANCE and each not in DIFFICULT
)
NAMES = tuple(dict.fromkeys((*IN_FULL, *IN_SHORT, *MIDDLEBOXES)))

PAGE = HERE.parent / "docs" / "servers.md"
BEGIN, END = "<!-- made by make reports -->\n", "<!-- up to here -->\n"
_BY_CHANCE = 1
_IN_CELLS = ("pass", "fail", "warn", "inconclusive", "error", "skip", "info")


def main() -> int:
    """Make all samples, or those that are named, and the table of docs/servers.md."""
    names = sys.argv[1:] or NAMES
    for name in names:
        if name not in NAMES:
            raise UsageError(f"there is no sample {name}: name some of {', '.join(NAMES)}")
        print(name, flush=True)
        make(name, HERE)
    PAGE.write_text(with_table(PAGE.read_text(), HERE))
    return 0


def make(name: str, folder: Path) -> None:
    """Check a scenario and write its sample reports into a folder."""
    from tfocheck.lab.runner import run_in_lab

    failing = LEFT_TO_CHANCE.get(name)

    def in_lab(target: str) -> int:
        options: CheckOptions = {"families": [4], **SCENARIOS[name].options()}
        checked = tfocheck.check(target, **options).run()
        report = checked.judgement.report
        if failing is not None and _failed(report) != {failing}:
            return _BY_CHANCE
        _write(_judge(report, failing), name, folder)
        return 0

    for _ in range(MOST_RUNS):
        code = run_in_lab(SCENARIOS[name], in_lab)
        if code != _BY_CHANCE:
            break
    if code != 0:
        raise TfocheckError(f"{name}: no report was made")


def _failed(report: Report) -> set[str]:
    results = [result for address in report.addresses for result in address.results]
    return {result.case.id for result in results if result.verdict is Verdict.FAIL}


def _judge(report: Report, failing: str | None) -> Judgement:
    from tfocheck.judging import grade

    judgement = grade.judge(normal.normal(report))
    if failing is None:
        return judgement
    return replace(judgement, report=normal.normal(_only(report, (*SETTLED, failing))))


def _only(report: Report, globs: Sequence[str]) -> Report:
    def of(address: AddressReport) -> AddressReport:
        results = tuple(
            replace(each, flows=tuple(f for f in each.flows if f.label == SETTLED_LABEL))
            for each in address.results
            if any(fnmatch.fnmatchcase(each.case.id, glob) for glob in globs)
        )
        return replace(address, results=results, hops=())

    return replace(report, addresses=tuple(map(of, report.addresses)))


def file_names(name: str) -> tuple[str, ...]:
    """The files of a sample."""
    kinds = [".txt"]
    kinds += [".json", ".html"] if name in IN_FULL else []
    kinds += [".jsonl"] if name in IN_SHORT else []
    kinds += [".pcapng"] if name in WITH_PACKETS else []
    return tuple(f"{name}{kind}" for kind in kinds)


def _write(judgement: Judgement, name: str, folder: Path) -> None:
    from tfocheck.model.style import Style
    from tfocheck.report import html, json_lines, json_report, pcapng
    from tfocheck.report.table import render

    made: dict[str, Callable[[], str | bytes]] = {
        ".txt": lambda: render(judgement, Style(width=100)),
        ".json": lambda: json_report.dumps(judgement),
        ".jsonl": lambda: json_lines.dumps(judgement),
        ".html": lambda: html.dumps(judgement),
        ".pcapng": lambda: pcapng.dumps(judgement),
    }
    for file_name in file_names(name):
        content = made[Path(file_name).suffix]()
        data = content if isinstance(content, bytes) else content.encode()
        (folder / file_name).write_bytes(data)


# The table of docs/servers.md


def with_table(page: str, folder: Path) -> str:
    """The page with the table that the samples in this folder give."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise TfocheckError(f"{PAGE.name} has no lines {BEGIN.strip()} and {END.strip()}")
    return f"{head}{begin}{table({name: Sample.read(name, folder) for name in SERVERS})}{end}{tail}"


class Sample(NamedTuple):
    """What the table shows of a sample: its letter, and (section, verdict) of each case."""

    grade: str | None
    verdicts: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, name: str, folder: Path) -> Sample:
        """The sample of that name, from JSON or from its line of JSON."""
        if name in IN_SHORT:
            line = json.loads((folder / f"{name}.jsonl").read_text())
            sections = {case.id: _section(case.section) for case in load_cases()}
            found = [(sections[case], verdict) for case, verdict in line["verdicts"].items()]
            return cls(line["grade"], tuple(found))
        [address] = json.loads((folder / f"{name}.json").read_text())["addresses"]
        found = [(_section(each["section"]), each["verdict"]) for each in address["results"]]
        return cls(address["grade"], tuple(found))


def table(samples: Mapping[str, Sample]) -> str:
    """Server by section, in Markdown: how many cases of the section have which verdict."""
    sections = dict.fromkeys(name for each in samples.values() for name, _ in each.verdicts)
    ordered = sorted(sections, key=lambda name: (name.startswith("RFC"), name))
    rows = [["server", "grade", *ordered]]
    rows.append(["---"] * len(rows[0]))
    for name, sample in samples.items():
        cells = [
            _cell(verdict for section, verdict in sample.verdicts if section == shown)
            for shown in ordered
        ]
        rows.append([f"`{name}`", f"**{sample.grade or '-'}**", *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _section(text: str) -> str:
    return " ".join(text.split(" ")[:2])


def _cell(verdicts: Iterable[str]) -> str:
    found = Counter(verdicts)
    return ", ".join(f"{found[each]} {each}" for each in _IN_CELLS if found[each])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TfocheckError as error:
        sys.exit(f"make reports: {error}")
