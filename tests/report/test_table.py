"""The table, the explanations and the summary: piped, at terminals of several widths, in colour."""

import io
import re

import pytest
from sample import (
    make_address,
    make_case,
    make_flow,
    make_report,
    make_result,
    varied_results,
)

from tfocheck.case import Level, Verdict
from tfocheck.judging import grade
from tfocheck.model.report import AddressReport
from tfocheck.model.style import Style
from tfocheck.report.summary import summary
from tfocheck.report.table import case_list, render

PIPED = Style()
OTHER = "2001:db8:1234:5678:9abc:def0:1234:5678"
ROW = re.compile(r"^(\w+\.[\w-]+)( \*)? +\S")


def judged(*addresses: AddressReport) -> grade.Judgement:
    return grade.judge(make_report(*addresses))


def rows(text: str) -> list[str]:
    return [line for line in text.split("\n") if ROW.match(line)]


def test_piped_a_case_is_one_line() -> None:
    text = render(judged(make_address()), PIPED)
    assert len(rows(text)) == len(varied_results())
    assert re.search(r"^case +section +level +verdict +what was seen$", text, re.MULTILINE)
    assert re.search(
        r"^cookie\.synack-retransmit +4\.2\.1 +should +warn +the SYN-ACK repeated", text, re.M
    )


@pytest.mark.parametrize("style", [PIPED, Style(80), Style(140), Style(40)])
@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_nothing_hostile_comes_through(style: Style, verbose: bool, number: int) -> None:
    addresses = [make_address(address) for address in ("192.0.2.2", OTHER, "192.0.2.3")[:number]]
    text = render(judged(*addresses), style, verbose=verbose)
    assert all(character == "\n" or " " <= character <= "~" for character in text)
    assert "\\x1b[2J\\x9b31m\\u202egnp\\ud800\\xff" in text.replace("\n", "").replace(" ", "")


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("verbose", [False, True])
def test_a_terminal_is_never_overrun(width: int, number: int, verbose: bool) -> None:
    results = varied_results("seen " * 60)
    addresses = [make_address(a, results) for a in ("192.0.2.2", OTHER, "192.0.2.3")[:number]]
    text = render(judged(*addresses), Style(width), verbose=verbose)
    assert max(map(len, text.split("\n"))) <= width


@pytest.mark.parametrize("width", [None, 80, 140])
def test_colour_changes_no_layout(width: int | None) -> None:
    judgement = judged(make_address(), make_address(OTHER))
    coloured = render(judgement, Style(width, colour=True))
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render(judgement, Style(width))


def test_several_addresses_have_a_column_each_and_notes_below() -> None:
    text = render(judged(make_address(), make_address(OTHER, varied_results("other"))), PIPED)
    assert re.search(rf"^case +section +level +192\.0\.2\.2 +{OTHER}$", text, re.MULTILINE)
    assert re.search(r"^cookie\.request +4\.2\.1 +procedure +pass +pass$", text, re.MULTILINE)
    assert "\ninfo  open.early-answer: answer 0.5 ms" in text
    assert text.count("fail  cookie.port-independent") == 1
    assert f"  at           {OTHER}\n  seen         other\n" in text
    assert len(re.findall(r"^example\.com:443 at .*packets sent\)$", text, re.MULTILINE)) == 2


def test_many_addresses_are_split_into_tables_that_fit() -> None:
    addresses = [make_address(f"192.0.2.{number}") for number in range(20)]
    text = render(judged(*addresses), Style(80))
    assert "  #20  192.0.2.19\n" in text
    assert max(map(len, text.split("\n"))) <= 80
    assert "#20" in text.split("192.0.2.19\n", 1)[1]


def test_the_explanation_has_requirement_expected_seen_and_advice() -> None:
    text = render(judged(make_address()), PIPED)
    block = text[text.index("fail  cookie.port-independent") :].split("\n\n")[0]
    assert [line.split()[0] for line in block.split("\n")[1:]] == [
        "requirement", "expected", "seen", "advice",
    ]  # fmt: skip
    assert "(RFC 7413 section 4.1.2, procedure, major)" in block
    for verdict in ("warn", "inconclusive", "error"):
        assert re.search(rf"^{verdict}  \S+ \(RFC", text, re.MULTILINE)
    assert "what to do" not in text, "the advice stands in the explanations already"


def test_a_traceback_is_shown_whole_only_when_verbose() -> None:
    judgement = judged(make_address())
    assert "Traceback" not in render(judgement, PIPED)
    assert "    ValueError: x\n" in render(judgement, PIPED)
    assert "    Traceback (most recent" in render(judgement, PIPED, verbose=True)


def test_prerequisites_are_marked_and_explained() -> None:
    text = render(judged(make_address()), PIPED)
    assert "control.syn *" in text
    assert "* not selected" in text
    plain = render(judged(make_address(results=varied_results()[1:])), PIPED)
    assert "not selected" not in plain


def test_verbose_shows_the_ladders() -> None:
    result = make_result(make_case("forged.random"), Verdict.FAIL, flows=(make_flow(),))
    text = render(judged(make_address(results=(result,))), PIPED, verbose=True)
    assert "* random cookie, attempt 1 (this decided)" in text


def test_the_summary_has_grade_counts_time_and_packets() -> None:
    good = tuple(r for r in varied_results() if r.verdict in (Verdict.PASS, Verdict.INFO))
    good += (make_result(make_case("open.data-acked")),)
    line = summary(judged(make_address(results=good)), PIPED)
    assert line.startswith("example.com:443 at 192.0.2.2: grade A+. Fast Open works from here: ")
    assert line.endswith(" (4 pass, 1 info; 1.9 s, 143 packets sent)\n")
    literal = make_address(results=good, target="192.0.2.2:443")
    assert summary(judged(literal), PIPED).startswith("192.0.2.2:443: grade A+.")


def test_the_worst_address_counts_and_each_is_shown() -> None:
    good = (make_result(make_case("open.data-acked")),)
    bad = (make_result(make_case("forged.random"), Verdict.FAIL),)
    skipped = make_address("::1", not_tested="no route to IPv6 from here")
    text = summary(judged(make_address(results=good), make_address(OTHER, bad), skipped), PIPED)
    assert text.split("\n")[-2] == "example.com:443: grade C (the worst of 2 addresses)"
    assert "example.com:443 at ::1: not tested: no route" in text


def test_unresolved_targets_are_in_the_summary() -> None:
    report = make_report(errors=(("nosuch:443", "nosuch:443: the name does not resolve"),))
    assert render(grade.judge(report), PIPED) == "nosuch:443: the name does not resolve\n"
    both = make_report(make_address(), errors=(("x:1", "no such name\x1b"),))
    assert "\nx:1: no such name\\x1b\n" in render(grade.judge(both), PIPED)


def test_when_nothing_answers_one_explanation_is_enough() -> None:
    results = (
        make_result(make_case("control.syn"), Verdict.INCONCLUSIVE, "3 SYNs were reset"),
        make_result(make_case("cookie.request"), Verdict.INCONCLUSIVE, "nothing"),
    )
    text = render(judged(make_address(results=results)), PIPED)
    assert len(re.findall(r"^inconclusive  ", text, re.MULTILINE)) == 1
    assert "what to do:\n  - Check the port" in text
    assert "unreachable: 3 SYNs were reset" in text


def test_each_target_has_its_own_block() -> None:
    text = render(judged(make_address(), make_address(target="other:80")), PIPED)
    assert len(re.findall(r"^case +section", text, re.MULTILINE)) == 2
    assert "\nother:80 at 192.0.2.2\n" in text


def test_case_list_in_text_and_markdown() -> None:
    cases = [make_case("a.b", level=Level.INFO), make_case("pipe.d|d")]
    assert re.search(r"^a\.b +4\.2\.2 +info +- +the title of a\.b$", case_list(cases, PIPED), re.M)
    markdown = case_list(cases, PIPED, markdown=True)
    assert markdown.split("\n")[1].startswith("|:--")
    assert "the title of pipe.d\\|d" in markdown
    wrapped = case_list([make_case("long." + "x" * 20)] * 3, Style(90))
    assert max(map(len, wrapped.split("\n"))) <= 90


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "colour"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), {"CLICOLOR": "0"}, False),
        (io.StringIO(), {}, False),
        (io.StringIO(), {"CLICOLOR_FORCE": "1"}, True),
        (io.StringIO(), {"CLICOLOR_FORCE": "0"}, False),
        (io.StringIO(), {"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colour_is_for_terminals_unless_told_otherwise(
    stream: io.StringIO, environment: dict[str, str], colour: bool
) -> None:
    assert Style.of(stream, environment).colour is colour


def test_only_terminals_have_a_width() -> None:
    assert Style.of(io.StringIO(), {}).width is None
    assert Style.of(Terminal(), {}).width is not None
