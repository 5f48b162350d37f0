"""Writing a baseline: what a run found, as entries beside those that are there."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfocheck.judging.baseline import FORMAT
from tfocheck.judging.grade import Judgement
from tfocheck.judging.kind import Against, Kind, counts_against, undecided
from tfocheck.model import escape
from tfocheck.model.baseline import Baseline
from tfocheck.model.case import Role, Verdict
from tfocheck.model.report import AddressReport, CaseResult
from tfocheck.model.target import join

_LONGEST_REASON = 1000
"""Characters: a line of a baseline has an end."""

HEAD = (
    "What tfocheck found and is known: it breaks no build, while anything else still does.",
    "Say in each reason why it may stay, and until when: expires = 2027-12-31 (optional).",
    'address is an IP address, with or without its port, or "*" for all.',
)


@dataclass(frozen=True)
class Saved:
    """A baseline to write: its text, how many entries are new, and what was left out and why."""

    text: str
    added: int
    left_out: tuple[str, ...] = ()


def save(judgement: Judgement, old: Baseline, today: datetime.date) -> Saved | None:
    """The old baseline with an entry more for each failure that it does not have.

    With ``strict`` warnings are failures. What is there stays, comments too. None when no address
    could be reached: what is not known then must not become an empty baseline.
    """
    import tomlkit

    # An entry that follows a last line without its end would become a part of that line.
    text = old.text if old.text.endswith("\n") else f"{old.text}\n"
    document = tomlkit.parse(text) if text.strip() else _new_document()
    reached = [
        address
        for address, found in zip(judgement.report.addresses, judgement.conclusions, strict=True)
        if found.kind not in (Kind.UNREACHABLE, Kind.NOT_TESTED)
    ]
    if not reached:
        return None
    wrong = (Against.SERVER, Against.PATH)
    added = 0
    for address in reached:
        for result in address.results:
            level, verdict = result.case.level, result.verdict
            against = counts_against(level, verdict, strict=judgement.strict)
            if against in wrong and not old.allows(address, result):
                _append(document, _table(address, result, today))
                added += 1
    return Saved(tomlkit.dumps(document), added, tuple(_left_out(judgement, reached)))


def _new_document() -> Any:
    import tomlkit

    document = tomlkit.document()
    for line in HEAD:
        document.add(tomlkit.comment(line))
    document["format"] = FORMAT
    document.add(tomlkit.nl())
    return document


def _table(address: AddressReport, result: CaseResult, today: datetime.date) -> dict[str, str]:
    return {
        "case": result.case.id,
        "address": join(address.address, address.port),
        "verdict": result.verdict.value,
        "reason": f"seen on {today}: {escape.clip(result.seen, _LONGEST_REASON)}",
    }


def _append(document: Any, values: Mapping[str, str]) -> None:
    import tomlkit

    if "known" not in document:
        document["known"] = tomlkit.aot()
    known = document["known"]
    inline = isinstance(known, tomlkit.items.Array)
    table = tomlkit.inline_table() if inline else tomlkit.table()
    if known and not inline:
        table.trivia.indent = "\n"  # an empty line between entries
    table.update(values)
    known.append(table)


def _left_out(judgement: Judgement, reached: Sequence[AddressReport]) -> Iterator[str]:
    number = sum(each.known is None for address in reached for each in undecided(address))
    if number:
        cases = "1 case that was" if number == 1 else f"{number} cases that were"
        yield f"{cases} not decided"
    for address in reached:
        offered = address.by_role(Role.OFFERED)
        if offered is not None and offered.verdict is Verdict.SKIP and offered.known is None:
            yield (
                f"that {address.address} does not offer Fast Open (if it need not, add an entry "
                f"for {offered.case.id} with the verdict not-offered)"
            )
    missing = len(judgement.report.addresses) - len(reached) + len(judgement.report.errors)
    if missing:
        yield "1 address without an answer" if missing == 1 else f"{missing} without an answer"
