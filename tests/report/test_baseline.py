"""The baseline: known failures break no build, everything else does, and typos are found."""

from __future__ import annotations

import datetime
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample import HOSTILE, SERVER, make_address, make_case, make_report, make_result

from tfocheck.case import Case, Level, Severity, Verdict
from tfocheck.errors import UsageError
from tfocheck.judging import baseline, grade, saving, trust
from tfocheck.judging.grade import Judgement
from tfocheck.judging.kind import Kind
from tfocheck.model.baseline import Allowed, Baseline, Entry
from tfocheck.model.report import CaseResult, Report
from tfocheck.model.style import Style
from tfocheck.report import json_report, junit
from tfocheck.report.summary import summary
from tfocheck.report.table import render
from tfocheck.runner.catalogue import load_cases
from tfocheck.runner.planning import read_baseline

PASS, FAIL, WARN, SKIP = Verdict.PASS, Verdict.FAIL, Verdict.WARN, Verdict.SKIP
INCONCLUSIVE = Verdict.INCONCLUSIVE
TODAY = datetime.date(2026, 11, 22)
OTHER = "2001:db8::2"
CATALOGUE = load_cases()
GOOD = {
    "control.syn": PASS,
    "cookie.request": PASS,
    "open.data-acked": PASS,
    "forged.random": PASS,
    "option.too-long": PASS,
    "farm.addresses": PASS,
}


def results(**changed: Verdict) -> tuple[CaseResult, ...]:
    """Every case passes but those named, with _ for the dot and the hyphens."""
    verdicts = {case: changed.get(re.sub(r"\W", "_", case), good) for case, good in GOOD.items()}
    assert len(changed) == sum(verdict is not PASS for verdict in verdicts.values())
    return tuple(make_result(make_case(case), verdict) for case, verdict in verdicts.items())


def report(**changed: Verdict) -> Report:
    return make_report(make_address(results=results(**changed)))


def entry(case: str = "forged.random", allowed: Allowed = Allowed.FAIL, **more: object) -> Entry:
    return Entry(case, str(more.pop("address", "*")), allowed, "we know", **more)  # type: ignore[arg-type]


def judge(found: Report, *entries: Entry, strict: bool = False, complete: bool = True) -> Judgement:
    marked, applied = trust.mark_known(found, Baseline("b.toml", entries), TODAY)
    return grade.judge(marked, strict=strict, complete=complete, baseline=applied)


# What an entry allows


@pytest.mark.parametrize("address", ["*", SERVER, f"{SERVER}:443"])
def test_a_known_failure_breaks_no_build_and_keeps_its_grade(address: str) -> None:
    judgement = judge(report(forged_random=FAIL), entry(address=address))
    [conclusion] = judgement.conclusions
    assert (judgement.exit_code, conclusion.kind, conclusion.grade) == (0, Kind.KNOWN, "C")
    assert conclusion.headline == "nothing fails but what is known: forged.random"


@pytest.mark.parametrize("address", [OTHER, f"{SERVER}:444", f"[{OTHER}]:443"])
def test_a_failure_elsewhere_is_not_known(address: str) -> None:
    assert judge(report(forged_random=FAIL), entry(address=address)).exit_code == 1


def test_a_new_failure_breaks_the_build_and_is_told_from_the_known_one() -> None:
    judgement = judge(report(forged_random=FAIL, option_too_long=FAIL), entry())
    assert judgement.exit_code == 1
    assert judgement.conclusions[0].headline == (
        "1 requirement failed: option.too-long; 1 more is known"
    )


@pytest.mark.parametrize(
    ("allowed", "verdict", "strict", "code"),
    [
        (Allowed.FAIL, FAIL, False, 0),
        (Allowed.FAIL, WARN, True, 0),
        (Allowed.FAIL, INCONCLUSIVE, False, 4),
        (Allowed.FAIL, Verdict.ERROR, False, 4),
        (Allowed.WARN, WARN, True, 0),
        (Allowed.WARN, FAIL, False, 1),
        (Allowed.INCONCLUSIVE, INCONCLUSIVE, False, 0),
        (Allowed.INCONCLUSIVE, FAIL, False, 1),
        (Allowed.INCONCLUSIVE, WARN, True, 1),
    ],
)
def test_an_entry_allows_its_verdict_only(
    allowed: Allowed, verdict: Verdict, strict: bool, code: int
) -> None:
    found = judge(report(forged_random=verdict), entry(allowed=allowed), strict=strict)
    assert found.exit_code == code


def test_an_unreachable_target_stays_one_whatever_is_known() -> None:
    everything = [entry(case, allowed) for case in GOOD for allowed in Allowed]
    gone = {re.sub(r"\W", "_", case): SKIP for case in GOOD} | {"control_syn": INCONCLUSIVE}
    unreachable = judge(report(**gone), *everything)
    assert unreachable.conclusions[0].kind is Kind.UNREACHABLE
    assert "known" not in render(unreachable, Style())
    untested = make_report(make_address(not_tested="no route"))
    assert judge(untested, *everything).exit_code == 4
    unresolved = make_report(errors=(("nosuch:443", "does not resolve"),))
    assert judge(unresolved, *everything).exit_code == 4


def test_not_offered_is_known_only_by_its_own_entry() -> None:
    gone = report(cookie_request=SKIP, open_data_acked=SKIP, forged_random=SKIP)
    assert judge(gone, entry("cookie.request")).exit_code == 3
    judgement = judge(gone, entry("cookie.request", Allowed.NOT_OFFERED))
    assert (judgement.exit_code, judgement.conclusions[0].kind) == (0, Kind.KNOWN)
    assert "not offered, which is known (we know): " in judgement.conclusions[0].headline


def test_what_rests_on_a_known_failure_alone_does_not_pass() -> None:
    found = (
        make_result(make_case("control.syn"), prerequisite=True),
        make_result(make_case("open.data-acked"), FAIL, prerequisite=True),
        make_result(make_case("forged.random"), SKIP),
    )
    judgement = judge(
        make_report(make_address(results=found)), entry("open.data-acked"), complete=False
    )
    assert (judgement.exit_code, judgement.conclusions[0].kind) == (4, Kind.INCONCLUSIVE)


def test_only_what_is_known_to_be_undecided_does_not_pass() -> None:
    found = (
        make_result(make_case("control.syn"), prerequisite=True),
        make_result(make_case("forged.random"), INCONCLUSIVE),
    )
    judgement = judge(make_report(make_address(results=found)), entry(allowed=Allowed.INCONCLUSIVE))
    assert judgement.exit_code == 4


def test_of_two_addresses_the_new_failure_counts() -> None:
    both = make_report(
        make_address(results=results(forged_random=FAIL)),
        make_address(OTHER, results=results(forged_random=FAIL)),
    )
    assert judge(both, entry(address=SERVER)).exit_code == 1
    assert judge(both, entry()).exit_code == 0


# What becomes of entries


def test_an_expired_entry_counts_again_and_says_so() -> None:
    last, over = TODAY, TODAY - datetime.timedelta(days=1)
    assert judge(report(forged_random=FAIL), entry(expires=last)).exit_code == 0
    judgement = judge(report(forged_random=FAIL), entry(expires=over, line=7))
    assert judgement.exit_code == 1
    assert judgement.baseline is not None
    assert judgement.baseline.notes == [
        "b.toml line 7: forged.random at * expired on 2026-11-21: its fail counts again"
    ]


def test_a_mended_case_is_reported_once_it_holds_wherever_it_was_run() -> None:
    mended = judge(report(), entry(line=3))
    assert mended.exit_code == 0
    assert mended.conclusions[0].kind is Kind.CONFORMS
    assert "b.toml line 3: forged.random at * is mended: the entry can go\n" in summary(
        mended, Style()
    )
    both = make_report(
        make_address(results=results(forged_random=FAIL)), make_address(OTHER, results=results())
    )
    applied = judge(both, entry()).baseline
    assert applied is not None
    assert applied.mended == ()
    skipped = judge(report(forged_random=SKIP), entry()).baseline
    assert skipped is not None
    assert skipped.notes == []


def test_entries_about_untested_addresses_are_counted() -> None:
    applied = judge(report(), entry(address=OTHER)).baseline
    assert applied is not None
    assert applied.notes == ["b.toml: 1 entry is about addresses that were not tested"]


def test_every_format_shows_what_is_known(tmp_path: Path) -> None:
    import json

    import junitparser

    judgement = judge(
        report(forged_random=FAIL, option_too_long=FAIL),
        Entry("forged.random", "*", Allowed.FAIL, HOSTILE, datetime.date(2027, 1, 31)),
    )
    text = render(judgement, Style())
    assert re.search(r"^forged\.random +4\.2\.2 +procedure +fail \(known\) ", text, re.M)
    assert re.search(r"^option\.too-long +4\.2\.2 +procedure +fail  ", text, re.M)
    assert "\\x1b[2J" in text
    assert "(until 2027-01-31)" in text
    assert "2 fail (1 known)" in text
    assert all(character == "\n" or " " <= character <= "~" for character in text)
    found = json.loads(json_report.dumps(judgement))
    known = {each["case"]: each["known"] for each in found["addresses"][0]["results"]}
    assert known["forged.random"].endswith("(until 2027-01-31)")
    assert known["option.too-long"] is None
    assert found["baseline"] == {"file": "b.toml", "mended": [], "expired": [], "elsewhere": 0}
    path = tmp_path / "x.xml"
    path.write_text(junit.dumps(judgement))
    [suite] = junitparser.JUnitXml.fromfile(str(path))
    assert (suite.failures, suite.skipped) == (1, 1)
    [skipped] = [case.result[0].message for case in suite if case.name == "forged.random"]
    assert skipped.startswith("known: \\x1b[2J")
    assert "; fail: SYN-ACK" in skipped


def test_what_is_known_here_and_new_there_is_two_explanations() -> None:
    both = make_report(
        make_address(results=results(forged_random=FAIL)),
        make_address(OTHER, results=results(forged_random=FAIL)),
    )
    text = render(judge(both, entry(address=SERVER)), Style())
    assert "\nfail (known)  forged.random" in text
    assert "\nfail  forged.random" in text


# Reading


def read(tmp_path: Path, text: str | bytes) -> Baseline:
    path = tmp_path / "b.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_baseline(str(path), "--baseline", CATALOGUE)


GOOD_ENTRY = """format = 1
# a comment
[[known]]
case = "forged.random"
address = "2001:DB8:0::1"
verdict = "fail"
reason = "known"
expires = 2027-01-31
"""


def test_a_good_file_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD_ENTRY).entries == (
        Entry(
            "forged.random",
            "2001:db8::1",
            Allowed.FAIL,
            "known",
            datetime.date(2027, 1, 31),
            3,
        ),
    )
    assert read(tmp_path, "").entries == ()
    inline = 'known = [{case="forged.random", address="[::1]:44", verdict="warn", reason="x"}]'
    [found] = read(tmp_path, inline).entries
    assert (found.address, found.allowed, found.line) == ("[::1]:44", Allowed.WARN, None)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"forged.random"', '"forged.randon"', "line 4: there is no case .* mean forged.random?"),
        ('"forged.random"', '"forged.*"', "line 4: there is no case 'forged.*'"),
        ('"forged.random"', '"control.syn"', "line 4: control.syn can't be known to fail"),
        ('"forged.random"', "7", "line 4: case is no text in quotes: 7"),
        ("2001:DB8:0::1", "example.com", "line 5: address 'example.com' is neither"),
        ("2001:DB8:0::1", "192.0.2.1:0", "line 5: address '192.0.2.1:0' is neither"),
        ("2001:DB8:0::1", "", "line 5: address is empty"),
        ('"fail"', '"fial"', "line 6: verdict 'fial': must be one of .* mean fail?"),
        ('"fail"', '"pass"', "line 6: verdict 'pass': that breaks no build"),
        ('"fail"', '"skip"', "line 6: verdict 'skip': .*write not-offered"),
        ('"fail"', '"error"', "line 6: verdict 'error': .*tfocheck's own fault"),
        ('"fail"', '"not-offered"', "line 6: .* goes with case 'cookie.request' only"),
        ("reason", "raeson", "line 7: unknown key 'raeson', did you mean reason?"),
        ('reason = "known"', "", "line 3: the entry has no reason"),
        ('"known"', '" "', "line 7: reason is empty"),
        ("2027-01-31", '"2027-01-31"', "line 8: expires is no date .*without quotes"),
        ("2027-01-31", "2027-01-31T00:00:00", "line 8: expires is no date"),
        ("2027-01-31", "2027-02-31", "line 8"),
        ("format = 1", "format = 2", "line 1: format 2 is not the one"),
        ("format = 1", "format = true", "line 1: format True is not the one"),
        ("format = 1", "fromat = 1", "line 1: unknown key 'fromat', did you mean format?"),
        ("[[known]]", "[[knwon]]", "line 3: unknown key 'knwon', did you mean known?"),
        ("[[known]]", "[known]", "known is no list"),
        ('case = "', "case = ", "line 4"),
    ],
)
def test_a_typo_is_one_line_with_file_and_line(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    assert old in GOOD_ENTRY
    with pytest.raises(UsageError, match=rf"^--baseline /.*/b\.toml: .*{reason}") as caught:
        read(tmp_path, GOOD_ENTRY.replace(old, new))
    assert "\n" not in str(caught.value)


def test_doubled_entries_bytes_and_missing_files_are_refused(tmp_path: Path) -> None:
    twice = GOOD_ENTRY + GOOD_ENTRY.partition("\n")[2]
    with pytest.raises(UsageError, match=r"line 10: .* is there twice, see line 3"):
        read(tmp_path, twice)
    with pytest.raises(UsageError, match=r"no UTF-8 text: byte 0 is 0xff"):
        read(tmp_path, b"\xff")
    with pytest.raises(UsageError, match="nosuch: No such file"):
        read_baseline("nosuch", "--baseline", CATALOGUE)
    with pytest.raises(UsageError, match="Is a directory"):
        read_baseline(str(tmp_path), "--baseline", CATALOGUE)
    with pytest.raises(UsageError, match=r"nested too deeply|no TOML"):
        read(tmp_path, "known = " + "[" * 20000)


def test_nothing_that_others_rest_on_can_be_known_to_be_undecided(tmp_path: Path) -> None:
    text = GOOD_ENTRY.replace("forged.random", "cookie.request").replace("fail", "inconclusive")
    with pytest.raises(UsageError, match=r"line 6: cookie.request .*nothing would be tested"):
        read(tmp_path, text)


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from(["format", "known", "case"]),
        st.recursive(
            st.integers() | st.text() | st.booleans() | st.dates(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["case", "address", "verdict", "reason", "expires", "x"]),
                    inner,
                    max_size=5,
                )
            ),
        ),
    )
)
def test_whatever_a_file_says_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]
) -> None:
    import tomlkit

    path = tmp_path_factory.mktemp("fuzz") / "b.toml"
    try:
        path.write_text(tomlkit.dumps(document), "utf-8")
    except (ValueError, UnicodeError):
        return
    said = f"--baseline {path}: "
    try:
        read_entries = read_baseline(str(path), "--baseline", CATALOGUE).entries
    except UsageError as refused:
        said = str(refused)
    else:
        assert len(read_entries) == len(document.get("known", ()))  # type: ignore[arg-type]
    assert said.startswith(f"--baseline {path}: ")
    assert "\n" not in said


# Saving


def saved(found: Report, old: str = "", *, strict: bool = False) -> saving.Saved:
    judgement = grade.judge(found, strict=strict)
    entries: tuple[Entry, ...] = ()
    if old:
        reader = baseline._Reader("b.toml", "--baseline", old, CATALOGUE)
        entries = tuple(reader.entries(tomllib.loads(old)))
    new = saving.save(judgement, Baseline("b.toml", entries, old), TODAY)
    assert new is not None
    return new


def known_case(case_id: str) -> Case:
    return next(case for case in CATALOGUE if case.id == case_id)


@pytest.mark.parametrize("strict", [False, True])
def test_what_is_saved_is_what_a_next_run_knows(tmp_path: Path, strict: bool) -> None:
    found = make_report(
        make_address(results=results(forged_random=FAIL, option_too_long=WARN)),
        make_address(OTHER, results=(make_result(known_case("forged.random"), FAIL, HOSTILE),)),
    )
    new = saved(found, strict=strict)
    assert new.added == (3 if strict else 2)
    again = read(tmp_path, new.text)
    assert [each.address for each in again.entries][-1] == f"[{OTHER}]:443"
    marked, _ = trust.mark_known(found, again, TODAY)
    assert grade.judge(marked, strict=strict).exit_code == 0
    assert "\x1b" not in new.text


def test_saving_again_keeps_every_line_that_is_there() -> None:
    new = saved(report(forged_random=FAIL, option_too_long=FAIL), GOOD_ENTRY)
    assert new.text.startswith(GOOD_ENTRY)
    assert new.added == 2, "the entry there is about another address"
    again = saved(report(forged_random=FAIL, option_too_long=FAIL), new.text)
    assert (again.added, again.text) == (0, new.text)
    # A last line without its end, as some editors leave it.
    unended = saved(report(forged_random=FAIL), GOOD_ENTRY.rstrip("\n"))
    assert unended.text.startswith(GOOD_ENTRY.rstrip("\n") + "\n")
    assert len(tomllib.loads(unended.text)["known"]) == 2
    two = saved(report(forged_random=FAIL, option_too_long=FAIL)).text
    assert two.count("\n\n[[known]]\n") == two.count("[[known]]") == 2
    assert "\n\n\n" not in two
    inline = "known = [\n  # why\n]\n"
    both = saved(report(forged_random=FAIL), inline).text
    assert "# why" in both
    assert [each["case"] for each in tomllib.loads(both)["known"]] == ["forged.random"]


def test_what_is_not_decided_or_not_offered_is_not_saved() -> None:
    new = saved(report(forged_random=INCONCLUSIVE, option_too_long=FAIL))
    assert [each["case"] for each in tomllib.loads(new.text)["known"]] == ["option.too-long"]
    assert new.left_out == ("1 case that was not decided",)
    gone = saved(report(cookie_request=SKIP, forged_random=SKIP))
    assert gone.added == 0
    assert "verdict not-offered" in gone.left_out[0]


def test_nothing_is_saved_when_nothing_answered() -> None:
    judgement = grade.judge(report(control_syn=INCONCLUSIVE, forged_random=FAIL))
    assert saving.save(judgement, Baseline("b.toml"), TODAY) is None


def test_severity_does_not_matter() -> None:
    case = make_case("forged.random", level=Level.MUST, severity=Severity.CRITICAL)
    found = make_report(make_address(results=(make_result(case, FAIL),)))
    judgement = judge(found, entry())
    assert judgement.exit_code == 0
    assert judgement.conclusions[0].grade == "F"
