"""GitHub Actions: commands that the runner reads as meant, a summary that shows text as text."""

from __future__ import annotations

import os
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from read_back import obey
from sample import HOSTILE, make_address, make_case, make_report, make_result, varied_results

from tfocheck.case import Level, Severity, Verdict
from tfocheck.errors import UsageError
from tfocheck.judging import grade
from tfocheck.model import escape
from tfocheck.report import github

any_text = st.text(st.characters(exclude_categories=[]))


class Rendered(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[str] = []
        self._in_cell = False
        self.feed(MarkdownIt("commonmark").enable("table").render(markdown))

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        self._in_cell = tag == "td"
        if self._in_cell:
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.cells[-1] += data.removesuffix("\n")


OURS = {
    "h2", "h3", "p", "strong", "ul", "li", "table", "thead", "tbody", "tr", "th", "td",
    "details", "summary",
}  # fmt: skip


@pytest.mark.parametrize("strict", [False, True])
def test_everything_that_is_not_good_has_its_annotation(strict: bool) -> None:
    report = make_report(
        make_address("192.0.2.2"),
        make_address("192.0.2.3"),
        make_address("198.51.100.1", not_tested="no route"),
        errors=(("nosuch:443", "nosuch:443: does not resolve"),),
    )
    found = obey(github.commands(grade.judge(report, strict=strict)))
    titles = {title: command for command, title, _ in found}
    assert titles["cookie.port-independent: fail, major: example.com:443"] == "error"
    assert titles["forged.fallback: inconclusive, major: example.com:443"] == "error"
    assert titles["option.odd-length: error, major: example.com:443"] == "error"
    warned = titles["cookie.synack-retransmit: warn, minor: example.com:443"]
    assert warned == ("error" if strict else "warning")
    assert titles["nosuch:443: no address"] == "error"
    assert titles["example.com:443 at 198.51.100.1: not-tested"] == "warning"
    assert len(found) == 6
    [message] = [text for _, title, text in found if title.startswith("cookie.port")]
    assert message.startswith("at 192.0.2.2: \\x1b[2J")
    assert "\nat 192.0.2.3: \\x1b[2J" in message
    assert message.endswith("advice: Mend the key.")


def test_an_unreachable_address_is_one_annotation() -> None:
    silent = make_result(
        make_case("control.syn", level=Level.MUST), Verdict.INCONCLUSIVE, "silence"
    )
    blocked = make_result(make_case("cookie.request"), Verdict.INCONCLUSIVE, "silence")
    report = make_report(make_address(results=(silent, blocked)))
    [(command, title, message)] = obey(github.commands(grade.judge(report)))
    assert (command, title) == ("error", "example.com:443 at 192.0.2.2: unreachable")
    assert "silence" in message


def test_the_worst_ten_are_shown_and_the_others_counted() -> None:
    results = [make_result(make_case(f"a.{number}"), Verdict.FAIL, "x") for number in range(30)]
    results.append(make_result(make_case("z.worst", severity=Severity.CRITICAL), Verdict.FAIL, "x"))
    found = obey(github.commands(grade.judge(make_report(make_address(results=tuple(results))))))
    assert len(found) == 10
    assert found[0][1].startswith("z.worst: fail, critical")
    assert found[-1][1] == "22 more"
    assert "a.29: fail" in found[-1][2]


def test_what_is_known_has_no_annotation() -> None:
    known = replace(make_result(make_case("a.b"), Verdict.FAIL, "x"), known="ticket 7")
    judgement = grade.judge(make_report(make_address(results=(known, make_result(make_case("c"))))))
    assert github.commands(judgement) == ""
    page = Rendered(github.summary(judgement))
    assert "fail (known)" in page.cells
    assert page.cells.count("a.b") == 1, "only among all cases, not among what is wrong"


def test_a_fault_of_the_path_is_called_one() -> None:
    case = make_case("path.option-dropped", level=Level.PATH, severity=Severity.CRITICAL)
    fault = make_result(case, Verdict.FAIL, "no SYN with option 34 gets past 10.77.1.2")
    judgement = grade.judge(make_report(make_address(results=(fault,))))
    [(command, title, _)] = obey(github.commands(judgement))
    assert (command, title) == (
        "error",
        "path.option-dropped: path fault, critical: example.com:443",
    )
    page = Rendered(github.summary(judgement))
    assert page.cells[:2] == ["path.option-dropped", "path fault"]


def test_all_good_says_nothing() -> None:
    report = make_report(make_address(results=(make_result(make_case("a.b")),)))
    assert github.commands(grade.judge(report)) == ""


def test_a_target_that_could_not_be_tried_is_no_good_outcome() -> None:
    good = make_address(results=(make_result(make_case("a.b")),))
    other = make_address("2001:db8::1", not_tested="no route")
    judgement = grade.judge(make_report(good, other))
    assert github.summary(judgement).startswith("## tfocheck: grade A\n")
    judgement = grade.judge(make_report(good, replace(other, target="v6.example:443")))
    assert github.summary(judgement).startswith("## tfocheck: conforms, not-tested\n")
    [(command, title, _)] = obey(github.commands(judgement))
    assert (command, title) == ("error", "v6.example:443 at 2001:db8::1: not-tested")


@given(any_text)
def test_nothing_that_a_server_says_is_obeyed(seen: str) -> None:
    said = f"{seen}::add-mask::x\n::error::{seen}\n##[warning]{seen}"
    result = make_result(make_case("a.b"), Verdict.FAIL, said)
    judgement = grade.judge(make_report(make_address("::1", (result,), target=said)))
    found = obey(github.quoted(said) + github.commands(judgement))
    [(command, title, message)] = found
    assert command == "error"
    assert title == f"a.b: fail, major: {escape.text(said)}"[: len(title)]
    assert message.startswith(f"at ::1: {escape.text(said)}"[: len(message) - 3])


def test_text_in_between_is_given_back_to_the_runner() -> None:
    log = github.quoted("::error::no\n") + "::error::yes\n"
    assert obey(log) == [("error", "", "yes")]
    assert github.quoted("") != github.quoted("")


@given(any_text)
def test_the_summary_shows_any_text_as_text(seen: str) -> None:
    said = f"{seen}|`*_<b>[x](y) &amp; {HOSTILE}"
    results = (make_result(make_case("a.b", advice=said), Verdict.FAIL, said),)
    address = make_address(said, results, target=said)
    judgement = grade.judge(make_report(address, errors=((said, said),)))
    page = Rendered(github.summary(judgement))
    assert page.tags <= OURS
    shown = " ".join(escape.text(said).split())
    assert ["a.b", "fail", "major", shown] == [" ".join(c.split()) for c in page.cells[:4]]


def test_the_summary_has_every_case_and_what_to_do() -> None:
    report = make_report(make_address("192.0.2.2"), make_address("2001:db8::2"))
    page = Rendered(github.summary(grade.judge(report)))
    assert page.tags == OURS
    for result in varied_results():
        times = 4 if result.verdict in ("fail", "warn", "inconclusive", "error") else 2
        assert page.cells.count(result.case.id) == times


def test_the_summary_keeps_to_its_room(tmp_path: Path) -> None:
    report = make_report(*(make_address(f"192.0.2.{number}") for number in range(30)))
    judgement = grade.judge(report)
    whole = github.summary(judgement)
    assert len(github.summary(judgement, 5000)) <= 5000
    assert github.summary(judgement, 5000).endswith("has no more room.\n")
    assert github.summary(judgement, 10) == ""
    path = tmp_path / "summary.md"
    path.write_text("of another step\n")
    github.append_summary(judgement, str(path))
    assert path.read_text() == f"of another step\n{whole}"
    path.write_text("x" * (github.SUMMARY_BYTES - 5000))
    github.append_summary(judgement, str(path))
    assert path.read_text().endswith("has no more room.\n")
    assert path.stat().st_size <= github.SUMMARY_BYTES


def test_a_summary_that_cant_be_written_is_one_line(tmp_path: Path) -> None:
    judgement = grade.judge(make_report(make_address()))
    for path, reason in (
        ("/dev/full", "No space left"),
        (str(tmp_path), "Is a directory"),
        (str(tmp_path / "no" / "where"), "No such file"),
    ):
        with pytest.raises(UsageError, match=rf"^GITHUB_STEP_SUMMARY {path}: .*{reason}"):
            github.append_summary(judgement, path)


def test_a_disk_that_fills_up_leaves_the_summary_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    real = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(UsageError, match="No space left"):
        github.append_summary(grade.judge(make_report(make_address())), str(path))
    assert path.read_text() == "before\n"


def test_it_is_for_a_runner_only() -> None:
    assert github.is_active({"GITHUB_ACTIONS": "true"})
    assert not github.is_active({"GITHUB_ACTIONS": "false"})
    assert not github.is_active({})
