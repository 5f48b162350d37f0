"""JSON, JSON Lines and JUnit: by their schemas, with hostile bytes and several addresses."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import junitparser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from read_back import check_junit, check_line, check_report
from sample import HOSTILE, make_address, make_case, make_flow, make_report, make_result

from tfocheck.case import Level, Severity, Verdict
from tfocheck.judging import grade
from tfocheck.judging.grade import STEPS
from tfocheck.judging.kind import Kind
from tfocheck.model.report import Report
from tfocheck.report import github, json_lines, json_report, junit, schema

ADDRESSES = ("192.0.2.2", "2001:db8::2", "192.0.2.3")


def report_of(number: int) -> Report:
    return make_report(
        *(make_address(address) for address in ADDRESSES[:number]),
        make_address("198.51.100.1", not_tested="no route"),
        errors=(("nosuch:443", "nosuch:443: does not resolve"),),
    )


def read_junit(text: str, folder: Path) -> junitparser.JUnitXml:
    path = folder / "report.xml"
    path.write_text(text, encoding="utf-8")
    return junitparser.JUnitXml.fromfile(str(path))


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("strict", [False, True])
def test_junit_counts_are_the_tables(number: int, strict: bool, tmp_path: Path) -> None:
    judgement = grade.judge(report_of(number), strict=strict)
    text = junit.dumps(judgement)
    check_junit(text)
    suites = list(read_junit(text, tmp_path))
    assert len(suites) == number + 2
    for suite, address in zip(suites, judgement.report.addresses, strict=False):
        counts = grade.count(address.results)
        if address.not_tested:
            assert (suite.tests, suite.skipped) == (1, 1)
            continue
        failures = counts[Verdict.FAIL] + (counts[Verdict.WARN] if strict else 0)
        assert suite.tests == len(address.results) == sum(counts.values())
        assert suite.failures == failures
        assert suite.errors == counts[Verdict.INCONCLUSIVE] + counts[Verdict.ERROR]
        assert suite.skipped == counts[Verdict.SKIP]
        where = f" [{suite.name}]" if number > 1 else ""
        expected = [f"{result.case.id}{where}" for result in address.results]
        assert [case.name for case in suite] == expected
    names = [(case.classname, case.name) for suite in suites for case in suite]
    assert len(set(names)) == len(names), "GitLab would drop all but the first of a name"
    assert (suites[-1].name, suites[-1].errors) == ("nosuch:443", 1)


def test_junit_says_what_was_expected_and_seen(tmp_path: Path) -> None:
    (suite, *_) = read_junit(junit.dumps(grade.judge(report_of(1))), tmp_path)
    cases = {case.name: case for case in suite}
    failed = cases["cookie.port-independent"]
    (failure,) = failed.result
    assert failed.classname == "rfc7413.4.1.2"
    assert failed.time == pytest.approx(0.123457)
    assert failure.type == "major"
    assert "expected: the server acks" in failure.text
    assert "seen: \\x1b[2J" in failure.text
    assert "this decided" in failed.system_out
    assert cases["control.syn"].classname == "rfc9293.3.1"
    assert "still has the cookie" in cases["cookie.synack-retransmit"].system_out
    assert cases["open.stream-integrity"].result[0].message == "payload none expects no answer"
    properties = {each.name: each.value for each in suite.properties()}  # type: ignore[no-untyped-call]
    assert properties["target"] == "example.com:443"
    assert properties["version"] == "0.1.0"
    assert properties["grade"] == "none"
    assert suite.timestamp == "2023-11-14T22:13:20"


def test_junit_with_nothing_seen_still_fails(tmp_path: Path) -> None:
    result = make_result(make_case("a.b"), Verdict.FAIL, "")
    text = junit.dumps(grade.judge(make_report(make_address(results=(result,)))))
    (suite,) = read_junit(text, tmp_path)
    assert suite.failures == 1
    assert len(list(suite)[0].result) == 1  # noqa: RUF015


@given(st.text(st.characters(exclude_categories=[])))
def test_junit_always_parses(seen: str) -> None:
    result = make_result(make_case("a.b"), Verdict.FAIL, seen, flows=(make_flow(seen.encode("utf-8", "surrogatepass")),))  # fmt: skip # noqa: E501
    address = make_address(seen, (result,), target=seen, not_tested=None)
    text = junit.dumps(grade.judge(make_report(address, errors=((seen, seen),))))
    check_junit(text)
    root = ElementTree.fromstring(text.encode())
    assert len(root.findall(".//testcase")) == 2


@pytest.mark.parametrize("number", [1, 2, 3])
def test_json_has_everything(number: int) -> None:
    text = json_report.dumps(grade.judge(report_of(number)))
    document = json.loads(text)
    check_report(document)
    assert all(character == "\n" or " " <= character <= "~" for character in text)
    assert (document["schema"], document["format"]) == ("urn:tfocheck:report:1", 1)
    assert document["exit_code"] == 1
    assert document["errors"] == [
        {"target": "nosuch:443", "message": "nosuch:443: does not resolve"}
    ]
    assert len(document["addresses"]) == number + 1
    first, last = document["addresses"][0], document["addresses"][-1]
    assert (last["kind"], last["not_tested"]) == ("not-tested", "no route")
    assert first["kind"] == "failed"
    assert first["traffic"]["sent"] == 143
    assert sum(first["counts"].values()) == len(first["results"])
    failed = next(r for r in first["results"] if r["verdict"] == "fail")
    assert failed["seen"].startswith("\\x1b[2J")
    syn, syn_ack, data, *_ = failed["flows"][0]["packets"]
    assert (syn["seq"], syn["ack"], syn["sent"], syn["flags"]) == (0, None, True, "SYN")
    assert syn["fast_open"] == {"cookie": "0a1b2c3d4e5f6071", "experimental": False}
    assert (syn_ack["seq"], syn_ack["ack"], syn_ack["time"]) == (0, 19, 0.000213)
    assert bytes.fromhex(data["payload"]) == HOSTILE.encode("utf-8", "surrogatepass") * 80
    assert failed["flows"][0]["server"] == ["192.0.2.2", 443]


@given(st.text(st.characters(exclude_categories=[])))
def test_json_always_loads_and_is_ascii(seen: str) -> None:
    result = make_result(make_case("a.b"), Verdict.INFO, seen)
    text = json_report.dumps(grade.judge(make_report(make_address(seen, (result,), target=seen))))
    document = json.loads(text)
    check_report(document)
    assert document["addresses"][0]["results"][0]["verdict"] == "info"
    assert all(character == "\n" or " " <= character <= "~" for character in text)


def test_junit_times_are_those_of_the_run_and_have_no_exponent() -> None:
    short = replace(make_result(make_case("a.b")), duration=2e-6)
    address = replace(make_address(results=(short, short)), duration=5e-6)
    text = junit.dumps(grade.judge(replace(make_report(address), duration=7e-6)))
    check_junit(text)
    root = ElementTree.fromstring(text)
    times = [each.get("time") for each in root.iter() if each.get("time")]
    assert times == ["0.000007", "0.000005", "0.000002", "0.000002"]


def problems_of(report: Report, *, strict: bool = False) -> list[tuple[str, str | None, str]]:
    """(failure or error, its type, the test case) of each in a report's JUnit XML."""
    text = junit.dumps(grade.judge(report, strict=strict))
    check_junit(text)
    return [
        (found.tag, found.get("type"), case.get("name", "").partition(" ")[0])
        for case in ElementTree.fromstring(text).iter("testcase")
        for found in case
        if found.tag in ("failure", "error")
    ]


PATH_CASE = make_case("path.option-dropped", section="7.1", level=Level.PATH)
REACHED = make_result(make_case("control.syn", section="RFC 9293 3.5", level=Level.MUST))
NO_COOKIE = make_result(make_case("cookie.request", section="4.2.1"), Verdict.SKIP, "no cookie")
SKIPPED = make_result(make_case("open.no-data"), Verdict.SKIP, "payload none")


def test_junit_calls_failure_only_what_is_the_servers() -> None:
    fault = make_result(PATH_CASE, Verdict.FAIL, "no SYN with option 34 gets past 10.77.1.2")
    assert problems_of(make_report(make_address(results=(REACHED, fault)))) == [
        ("error", "path", "path.option-dropped")
    ]
    slow = make_result(PATH_CASE, Verdict.WARN, "slow")
    assert problems_of(make_report(make_address(results=(REACHED, slow)))) == []
    assert problems_of(make_report(make_address(results=(REACHED, slow))), strict=True) == [
        ("error", "path", "path.option-dropped")
    ]
    fact = make_result(make_case("cookie.repeatable", level=Level.INFO), Verdict.INCONCLUSIVE, "?")
    for strict in (False, True):
        assert problems_of(make_report(make_address(results=(REACHED, fact))), strict=strict) == []
    silent = replace(REACHED, verdict=Verdict.INCONCLUSIVE, seen="no answer")
    assert problems_of(make_report(make_address(results=(silent,)))) == [
        ("error", "unreachable", "control.syn")
    ]


def test_junit_is_red_where_no_case_alone_is_to_blame() -> None:
    assert problems_of(make_report(make_address(results=(REACHED, NO_COOKIE, SKIPPED)))) == [
        ("error", "not-offered", "cookie.request")
    ]
    rested_on = replace(REACHED, prerequisite=True)
    assert problems_of(make_report(make_address(results=(rested_on, SKIPPED)))) == [
        ("error", "inconclusive", "open.no-data")
    ]
    reached = make_address(results=(REACHED,))
    other = make_address("2001:db8::1", not_tested="no route")
    assert problems_of(make_report(reached, other)) == []
    elsewhere = make_address("2001:db8::1", not_tested="no route", target="v6.example:443")
    assert problems_of(make_report(reached, elsewhere)) == [("error", "not-tested", "address")]


RESULTS = st.builds(
    lambda result, verdict, known, prerequisite: replace(
        result, verdict=verdict, known=known, prerequisite=prerequisite
    ),
    st.sampled_from((REACHED, NO_COOKIE, SKIPPED, make_result(PATH_CASE))),
    st.sampled_from(Verdict),
    st.sampled_from((None, "ticket 7")),
    st.booleans(),
)
REPORTS = st.builds(
    lambda addresses, errors: make_report(
        *(replace(each, address=f"192.0.2.{n}") for n, each in enumerate(addresses)), errors=errors
    ),
    st.lists(
        st.builds(
            lambda results, target: make_address(
                results=tuple(results), target=target, not_tested=None if results else "no route"
            ),
            st.lists(RESULTS, max_size=4, unique_by=lambda result: result.case.id),
            st.sampled_from(("a.example:443", "b.example:443")),
        ),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from(((), (("nosuch:443", "does not resolve"),))),
)


@given(REPORTS, st.booleans())
def test_junit_and_annotations_are_red_just_when_the_exit_code_is_not_0(
    report: Report, strict: bool
) -> None:
    judgement = grade.judge(report, strict=strict)
    breaks = judgement.exit_code != 0
    assert bool(problems_of(report, strict=strict)) == breaks
    assert ("::error " in github.commands(judgement)) == breaks
    if judgement.exit_code == 1:
        assert "failure" in {tag for tag, _, _ in problems_of(report, strict=strict)}


def test_json_lines_say_all_of_an_address_in_a_line() -> None:
    text = json_lines.dumps(grade.judge(report_of(2)))
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        check_line(line)
    assert [line["address"] for line in lines] == [*ADDRESSES[:2], "198.51.100.1", None]
    first, _, untested, unresolved = lines
    assert (first["target"], first["kind"], first["exit_code"]) == ("example.com:443", "failed", 1)
    assert first["verdicts"]["cookie.port-independent"] == "fail"
    assert (
        first["counts"]
        == json.loads(json_report.dumps(grade.judge(report_of(1))))["addresses"][0]["counts"]
    )
    found = {each["case"]: each for each in first["findings"]}
    assert "control.unknown-option" not in found
    assert found["cookie.port-independent"]["seen"].startswith("\\x1b[2J")
    assert (untested["kind"], untested["not_tested"]) == ("not-tested", "no route")
    assert (unresolved["target"], unresolved["kind"]) == ("nosuch:443", "unreachable")
    assert unresolved["headline"] == "nosuch:443: does not resolve"


@given(st.text(st.characters(exclude_categories=[])))
def test_json_lines_are_lines_whatever_is_in_them(seen: str) -> None:
    result = make_result(make_case("a.b"), Verdict.FAIL, seen)
    address = make_address(seen, (result,), target=seen)
    text = json_lines.dumps(grade.judge(make_report(address, errors=((seen, seen),))))
    assert len(text.splitlines()) == text.count("\n") == 2
    for line in text.splitlines():
        check_line(json.loads(line))
        assert line.isascii()
        assert line.isprintable()


@pytest.mark.parametrize("option", ["json", "jsonl"])
def test_a_schema_is_one_and_names_every_value_there_is(option: str) -> None:
    document = json.loads(schema.text(option))
    jsonschema.Draft202012Validator.check_schema(document)
    known = document["$defs"]
    assert set(known["verdict"]["enum"]) == set(Verdict)
    assert set(known["level"]["enum"]) == set(Level)
    assert set(known["severity"]["enum"]) == {*Severity, None}
    assert set(known["kind"]["enum"]) == set(Kind)
    assert known["grade"]["enum"] == [*STEPS, "F", None]
    assert document["properties"]["schema"]["const"] == document["$id"]


def test_the_schema_refuses_what_is_no_report() -> None:
    document = json.loads(json_report.dumps(grade.judge(report_of(1))))
    validator = jsonschema.Draft202012Validator(json.loads(schema.text("json")))
    validator.validate(document)
    validator.validate({**document, "a-key-of-a-later-version": 1})
    for change in ({"format": 2}, {"exit_code": 7}, {"addresses": [{"target": "x"}]}):
        assert not validator.is_valid({**document, **change})
    document["addresses"][0]["results"][0]["verdict"] = "good"
    assert not validator.is_valid(document)
