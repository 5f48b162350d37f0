"""``tfocheck explain``: every case is explained, in full and in 80 columns."""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path

import pytest

from tfocheck.case import Case, Level, Verdict
from tfocheck.cli import main as cli
from tfocheck.errors import UsageError
from tfocheck.report.explain import LEGEND, WIDTH, explain, find
from tfocheck.runner.catalogue import load_cases

CASES = load_cases()
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)

MOST_LADDER_LINES = 11
LADDER_WIDTH = 72

JUDGED_BY_US = [
    *("forged.random", "forged.constant", "forged.truncated", "forged.bit-flip", "forged.extended"),
    *("cookie.source-bound", "cookie.unpredictable", "cookie.request-data"),
]

OWN_CASE = """
from tfocheck.case import Level, Outcome, Severity, Verdict, case

@case("own.bare", section="RFC 9293 3.5", level=Level.MUST, severity=Severity.MINOR,
      title="Mine", requirement="It answers.", expected="answers", needs=("control.syn",))
async def bare(probe):
    return Outcome(Verdict.PASS, "answered")

@case("own.prose", section="4.2.2", level=Level.INFO, title="Mine too",
      requirement="It answers.", expected="answers", needs=())
async def prose(probe):
    \"\"\"Sends a SYN and waits.\"\"\"
    return Outcome(Verdict.INFO, "answered")
"""


def sections(text: str) -> dict[str, str]:
    """Heading → what stands below it, without its indentation."""
    _, _, *parts = text.split("\n\n")
    split = [part.split("\n", 1) for part in parts]
    return {heading: textwrap.dedent(below) for heading, below in split}


def by_id(case_id: str) -> Case:
    [case] = find(case_id, CASES)
    return case


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["explain", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@EVERY_CASE
def test_every_case_has_all_headings_that_apply(case: Case) -> None:
    fails = case.breach("").verdict is Verdict.FAIL
    expected = [
        "What is asked",
        "What is sent, and what should come",
        "What holds",
        "Why it matters",
        "When it fails" if fails else "What to do about it",
        *(["Rests on"] if case.needs else []),
        *(["Only with"] if case.option else []),
        *(["See it fail"] if case.faults else []),
    ]
    assert list(sections(explain(case))) == expected


@EVERY_CASE
def test_every_line_fits(case: Case) -> None:
    assert [line for line in explain(case).splitlines() if len(line) > WIDTH] == []
    assert [line for line in explain(case).splitlines() if line != line.rstrip()] == []


@EVERY_CASE
def test_every_case_has_a_ladder(case: Case) -> None:
    ladder = inspect.getdoc(case.run) or ""
    lines = ladder.splitlines()
    assert lines[0].startswith("-> ")
    assert any(line.startswith("<- ") for line in lines)
    assert len(lines) <= MOST_LADDER_LINES
    assert max(map(len, lines)) <= LADDER_WIDTH
    shown = sections(explain(case))["What is sent, and what should come"]
    assert shown == f"{ladder}\n{LEGEND}"


@EVERY_CASE
def test_every_case_says_why_and_does_not_repeat_itself(case: Case) -> None:
    assert case.why.endswith(".")
    assert case.advice.endswith(".")
    assert case.why not in (case.requirement, case.advice)


def test_no_two_cases_matter_for_the_same_reason() -> None:
    assert len({case.why for case in CASES}) == len(CASES)


def test_a_severity_that_is_our_own_judgement_is_called_that() -> None:
    judged = [case.id for case in CASES if "tfocheck's own judgement" in case.why]
    assert sorted(judged) == sorted(JUDGED_BY_US)
    assert all("section 7.3" in by_id(case_id).why for case_id in judged)


def test_the_head_names_section_level_and_weight() -> None:
    head = explain(by_id("forged.random")).split("\n\n")
    assert head[0] == "forged.random: A random cookie opens nothing"
    assert " ".join(head[1].split()) == (
        "RFC 7413 section 4.1.2; a step of the RFC's procedure, to be kept like a MUST;"
        " a failure is critical."
    )
    assert "RFC 9293 3.5; the RFC says MUST; a failure is major." in explain(by_id("control.syn"))
    assert "a breach is minor, and a warning." in explain(by_id("cookie.synack-retransmit"))
    assert "SHOULD; a failure is critical." in explain(by_id("cookie.source-bound"))
    info = next(case for case in CASES if case.level is Level.INFO)
    assert "the RFC demands nothing." in explain(info)


def test_what_a_case_rests_on_and_how_to_break_it() -> None:
    shown = sections(explain(by_id("limit.pending")))
    assert shown["Rests on"] == "open.data-acked, path.after-open"
    assert shown["Only with"] == "--intrusive"
    assert shown["See it fail"].splitlines() == [
        "tfocheck lab run reference --fault no-limit",
        "tfocheck lab run reference --fault refuses-when-full",
    ]


def test_the_usual_causes_are_named() -> None:
    """Kernel, nginx, haproxy, shared key, firewall: each where it is the usual cause."""
    request = by_id("cookie.request").advice
    for setting in ("net.ipv4.tcp_fastopen=3", "fastopen=256", "bind ... tfo", "firewall"):
        assert setting in request
    for case_id in ("open.data-acked", "farm.one-key", "cookie.repeatable"):
        assert "tcp_fastopen_key" in by_id(case_id).advice


def test_globs_find_all_that_match() -> None:
    assert find("forged.*", CASES) == [case for case in CASES if case.id.startswith("forged.")]
    assert find("*", CASES) == list(CASES)


def test_an_unknown_name_is_answered_with_a_close_one() -> None:
    with pytest.raises(UsageError, match=r"did you mean forged\.random"):
        find("forged.randon", CASES)
    with pytest.raises(UsageError, match=r"'zzz\.\*': see tfocheck --list"):
        find("zzz.*", CASES)


def test_the_command_prints_what_explain_says(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "forged.random")
    assert (code, out, err) == (0, explain(by_id("forged.random")) + "\n", "")


def test_the_command_puts_a_rule_between_cases(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "*", "forged.random")
    assert code == 0
    rule = "\n\n" + "-" * WIDTH + "\n\n"
    assert out == rule.join(explain(case) for case in CASES) + "\n"


@pytest.mark.parametrize(
    ("arguments", "hint"), [(["forged.randon"], "forged.random"), ([], "name a case")]
)
def test_the_command_exits_2_for_a_wrong_name(
    capsys: pytest.CaptureFixture[str], arguments: list[str], hint: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert hint in err
    assert err.count("\n") == 1


def test_a_case_of_the_users_own_need_not_say_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.py").write_text(OWN_CASE)
    code, out, err = run(capsys, "--cases", str(tmp_path), "own.*")
    assert (code, err) == (0, "")
    bare, prose = out.split("\n\n" + "-" * WIDTH + "\n\n")
    assert bare == textwrap.dedent(
        """\
        own.bare: Mine

        RFC 9293 3.5; the RFC says MUST; a failure is minor.

        What is asked
          It answers.

        What holds
          The server answers.

        Rests on
          control.syn"""
    )
    shown = sections(prose)
    assert list(shown) == ["What is asked", "What is sent, and what should come", "What holds"]
    assert shown["What is sent, and what should come"] == "Sends a SYN and waits."
