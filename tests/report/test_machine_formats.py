"""JSON and JUnit: hostile bytes, several addresses, and counts that are the table's."""

import json
from pathlib import Path
from xml.etree import ElementTree

import junitparser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample import HOSTILE, make_address, make_case, make_flow, make_report, make_result

from tfocheck import grade
from tfocheck.case import Report, Verdict
from tfocheck.report import json_report, junit

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
    suites = list(read_junit(junit.dumps(judgement), tmp_path))
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
        assert [case.name for case in suite] == [result.case.id for result in address.results]
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
    root = ElementTree.fromstring(text.encode())
    assert len(root.findall(".//testcase")) == 2


@pytest.mark.parametrize("number", [1, 2, 3])
def test_json_has_everything(number: int) -> None:
    text = json_report.dumps(grade.judge(report_of(number)))
    document = json.loads(text)
    assert all(character == "\n" or " " <= character <= "~" for character in text)
    assert document["format"] == 1
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
    assert json.loads(text)["addresses"][0]["results"][0]["verdict"] == "info"
    assert all(character == "\n" or " " <= character <= "~" for character in text)
