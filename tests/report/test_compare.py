"""Two reports side by side: what counts as worse, and what is no report."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample import HOSTILE, SERVER, make_address, make_case, make_report, make_result

from tfocheck.case import Level, Severity, Verdict
from tfocheck.cli import main as cli
from tfocheck.errors import UsageError
from tfocheck.judging import grade
from tfocheck.model.report import AddressReport
from tfocheck.model.style import Style
from tfocheck.report import compare, json_report
from tfocheck.report.compare import Change, Comparison

OTHER = "2001:db8::2"
PASS, FAIL, WARN, SKIP = Verdict.PASS, Verdict.FAIL, Verdict.WARN, Verdict.SKIP


def address(
    place: str = SERVER, target: str = "example.com:443", **cases: Verdict
) -> AddressReport:
    results = tuple(
        make_result(make_case(name.replace("_", ".")), verdict, HOSTILE)
        for name, verdict in cases.items()
    )
    return make_address(place, results, target=target)


def written(folder: Path, name: str, *addresses: AddressReport) -> str:
    path = folder / name
    path.write_text(json_report.dumps(grade.judge(make_report(*addresses))))
    return str(path)


def compared(
    folder: Path, before: tuple[AddressReport, ...], after: tuple[AddressReport, ...]
) -> Comparison:
    return compare.compare(
        compare.read(written(folder, "a.json", *before)),
        compare.read(written(folder, "b.json", *after)),
    )


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ("pass", "fail", "worse"),
        ("info", "fail", "worse"),
        ("warn", "fail", "worse"),
        ("skip", "fail", "worse"),
        ("inconclusive", "fail", "worse"),
        (None, "fail", "worse"),
        ("pass", "warn", "worse"),
        ("pass", "inconclusive", "worse"),
        ("pass", "skip", "worse"),
        ("pass", "error", "worse"),
        ("pass", None, "worse"),
        ("warn", "inconclusive", "worse"),
        ("warn", None, "worse"),
        ("fail", "inconclusive", "other"),
        ("fail", "skip", "other"),
        ("fail", None, "other"),
        ("skip", "inconclusive", "other"),
        ("skip", None, "other"),
        ("skip", "warn", "other"),
        (None, "warn", "other"),
        ("fail", "pass", "better"),
        ("fail", "warn", "better"),
        ("warn", "pass", "better"),
        ("inconclusive", "pass", "better"),
        (None, "info", "better"),
        ("pass", "info", "same"),
        ("fail", "fail", "same"),
        ("skip", "skip", "same"),
    ],
)
def test_changes(before: str | None, after: str | None, change: str) -> None:
    old = None if before is None else Verdict(before)
    new = None if after is None else Verdict(after)
    assert compare.change_of(old, new) == change


def test_what_takes_nothing_from_the_letter_is_neither_worse_nor_better() -> None:
    held = compare.Finding(Verdict.PASS, "held", Level.INFO)
    open_ = compare.Finding(Verdict.INCONCLUSIVE, "not seen", Level.INFO)
    slower = compare.Finding(Verdict.WARN, "slower", Level.PATH)
    for case in (held, open_), (open_, held), (held, slower), (slower, held):
        assert compare.CaseChange("x.y", *case).change is Change.OTHER
    asked = compare.Finding(Verdict.INCONCLUSIVE, "not seen", Level.MUST)
    assert compare.CaseChange("x.y", held, asked).change is Change.WORSE


@given(*[st.sampled_from([*Verdict, None])] * 2)
def test_what_is_worse_one_way_is_never_worse_the_other_way(
    before: Verdict | None, after: Verdict | None
) -> None:
    there, back = compare.change_of(before, after), compare.change_of(after, before)
    assert (there, back) != (Change.WORSE, Change.WORSE)
    assert (there is Change.SAME) == (back is Change.SAME)


def test_an_address_that_is_gone_is_worse_and_a_new_one_that_holds_is_not(tmp_path: Path) -> None:
    one, two = address(a_b=PASS), address(OTHER, a_b=PASS)
    assert compared(tmp_path, (one, two), (one,)).got_worse
    assert not compared(tmp_path, (one,), (one, two)).got_worse
    assert compared(tmp_path, (one,), (one, address(OTHER, a_b=FAIL))).got_worse
    assert compared(tmp_path, (one,), ()).got_worse
    untested = make_address(OTHER, not_tested="no route")
    assert compared(tmp_path, (one, two), (one, untested)).got_worse
    assert not compared(tmp_path, (one, untested), (one,)).got_worse


def test_a_lower_letter_is_worse_even_with_the_same_verdicts(tmp_path: Path) -> None:
    def failing(severity: Severity) -> AddressReport:
        return make_address(results=(make_result(make_case("a.b", severity=severity), FAIL),))

    minor, major = failing(Severity.MINOR), failing(Severity.MAJOR)
    assert compared(tmp_path, (minor,), (major,)).got_worse
    assert not compared(tmp_path, (major,), (minor,)).got_worse


def test_what_is_left_alone_belongs_together(tmp_path: Path) -> None:
    moved = compared(tmp_path, (address(a_b=PASS),), (address(OTHER, a_b=FAIL),))
    [change] = moved.addresses
    assert change.count(Change.WORSE) == 1
    assert "example.com:443 at 192.0.2.2 -> example.com:443 at 2001:db8::2" in compare.render(
        moved, Style()
    )
    servers = compared(tmp_path, (address(a_b=PASS),), (address(OTHER, "y:80", a_b=PASS),))
    assert not servers.got_worse
    several = compared(
        tmp_path,
        (address(a_b=PASS), address("192.0.2.9", a_b=PASS)),
        (address(a_b=PASS), address(OTHER, "y:80", a_b=PASS)),
    )
    assert [each.after is None for each in several.addresses] == [False, True, False]


def test_the_table_has_what_changed_and_nothing_hostile(tmp_path: Path) -> None:
    before = address(a_b=PASS, c_d=FAIL, e_f=PASS, g_h=SKIP)
    after = address(a_b=FAIL, c_d=PASS, e_f=PASS, g_h=Verdict.INCONCLUSIVE)
    found = compared(tmp_path, (before,), (after,))
    text = compare.render(found, Style())
    rows = [line.split()[:4] for line in text.splitlines()[4:7]]
    assert rows == [
        ["a.b", "pass", "fail", "worse"],
        ["c.d", "fail", "pass", "better"],
        ["g.h", "skip", "inconclusive", "other"],
    ]
    assert text.endswith(": 1 worse, 1 better, 1 other, 1 the same\n")
    assert all(character == "\n" or " " <= character <= "~" for character in text)
    narrow = compare.render(found, Style(80))
    assert max(map(len, narrow.splitlines())) <= 80
    same = compared(tmp_path, (before,), (before,))
    assert "nothing changed in 4 cases" in compare.render(same, Style())


def test_the_command_exits_by_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = written(tmp_path, "a.json", address(a_b=PASS))
    bad = written(tmp_path, "b.json", address(a_b=FAIL))
    assert cli.main(["compare", good, bad]) == 1
    assert "a.b     pass      fail     worse" in capsys.readouterr().out
    assert cli.main(["compare", bad, good, "-q"]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    before = os.dup(0)
    with open(good) as file:
        os.dup2(file.fileno(), 0)
    try:
        assert cli.main(["compare", "-", good]) == 0
    finally:
        os.dup2(before, 0)
        os.close(before)
    assert cli.main(["compare", "--help"]) == 0
    assert "Worse is" in capsys.readouterr().out
    assert cli.main(["compare", good]) == 2
    assert cli.main(["compare", good, str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "Is a directory" in lines[1]


def broken(change: dict[str, Any]) -> dict[str, Any]:
    """A good report with one value changed; the key is the path to it, by dots."""
    document: dict[str, Any] = json.loads(
        json_report.dumps(grade.judge(make_report(address(a_b=PASS, c_d=PASS))))
    )
    for path, value in change.items():
        *way, last = path.split(".")
        place: Any = document
        for step in way:
            place = place[int(step)] if step.isdigit() else place[step]
        if value is KeyError:
            del place[last]
        else:
            place[last] = value
    return document


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("{", "no JSON"),
        ("", "no JSON"),
        ("\xff", "no JSON"),
        ("[" * 100000, "no JSON"),
        ("[]", "no report of tfocheck --json$"),
        ('{"addresses": []}', "no report of tfocheck --json$"),
        ({"format": 0}, "format 0; this tfocheck compares format"),
        ({"format": json_report.FORMAT + 1}, "same version"),
        ({"format": str(json_report.FORMAT)}, "same version"),
        ({"format": True}, "same version"),
        ({"addresses": {}}, "addresses: is {}"),
        ({"addresses": [7]}, r"addresses\[0\].grade: is missing"),
        ({"addresses.0.grade": "Z"}, r"addresses\[0\].grade: 'Z' is no grade"),
        ({"addresses.0.grade": KeyError}, r"addresses\[0\].grade: is missing"),
        ({"addresses.0.results.1.verdict": "maybe"}, r"results\[1\].verdict: 'maybe' is no"),
        ({"addresses.0.results.1.case": "a.b"}, r"results\[1\]: 'a.b' is there twice"),
        ({"addresses.0.results.1.seen": None}, r"results\[1\].seen: is None"),
    ],
)
def test_what_is_no_report_of_ours_is_one_line(
    tmp_path: Path, document: str | dict[str, Any], reason: str
) -> None:
    text = document if isinstance(document, str) else json.dumps(broken(document))
    (tmp_path / "x.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=reason) as caught:
        compare.read(str(tmp_path / "x.json"))
    assert "\n" not in str(caught.value)


def test_nothing_to_compare_is_no_pass(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no address was tested in either"):
        compared(tmp_path, (), ())


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
)


@given(st.sampled_from(["target", "address", "port", "kind", "grade", "results", "seen"]), _json)
def test_any_value_anywhere_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    place = "addresses.0.results.0." if key == "seen" else "addresses.0."
    path = tmp_path_factory.mktemp("fuzz") / "x.json"
    path.write_text(json.dumps(broken({place + key: value})))
    try:
        read = compare.read(str(path))
    except UsageError:
        return
    shown = compare.render(compare.compare(read, read), Style())
    assert all(character == "\n" or " " <= character <= "~" for character in shown)
