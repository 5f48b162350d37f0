"""A baseline whose entries stand in one line: they are told by their number."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfocheck.errors import UsageError
from tfocheck.model.baseline import Allowed
from tfocheck.runner.catalogue import load_cases
from tfocheck.runner.planning import read_baseline

CATALOGUE = load_cases()
GOOD = '{case="forged.random", address="*", verdict="fail", reason="known"}'


def refused(tmp_path: Path, *entries: str) -> str:
    path = tmp_path / "b.toml"
    path.write_text(f"known = [{', '.join(entries)}]")
    with pytest.raises(UsageError) as caught:
        read_baseline(str(path), "--baseline", CATALOGUE)
    return str(caught.value).removeprefix(f"--baseline {path}: ")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("forged.random", "nosuch.case", "there is no case 'nosuch.case'"),
        ("forged.random", "control.syn", "control.syn can't be known to fail"),
        ('"*"', '"here"', "address 'here' is neither an IP address"),
        ('"fail"', '"bad"', "verdict 'bad': must be one of"),
        ('"fail"', '"not-offered"', "verdict 'not-offered' goes with case 'cookie.request' only"),
        ("reason", "why", "unknown key 'why'"),
        (', reason="known"', "", "the entry has no reason"),
        ('"known"', '""', "reason is empty"),
        ('"known"', "7", "reason is no text in quotes: 7"),
        ('"known"', '"known", expires="soon"', "expires is no date"),
    ],
)
def test_what_is_wrong_is_told_with_the_number_of_the_entry(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in GOOD
    wrong = GOOD.replace(old, new)
    other = GOOD.replace("*", "192.0.2.1")
    assert refused(tmp_path, wrong).startswith(f"entry 1: {said}")
    assert refused(tmp_path, other, wrong).startswith(f"entry 2: {said}")


def test_an_entry_that_is_there_twice_names_the_first(tmp_path: Path) -> None:
    other = GOOD.replace("*", "192.0.2.1")
    assert refused(tmp_path, other, GOOD, GOOD) == (
        "forged.random at * is there twice, see entry 2: remove one"
    )


def test_one_case_may_be_known_in_several_ways(tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    entries = [GOOD, GOOD.replace('"fail"', '"warn"'), GOOD.replace('"*"', '"[::1]:443"')]
    path.write_text(f"known = [{', '.join(entries)}]")
    found = read_baseline(str(path), "--baseline", CATALOGUE).entries
    assert [(each.allowed, each.address) for each in found] == [
        (Allowed.FAIL, "*"),
        (Allowed.WARN, "*"),
        (Allowed.FAIL, "[::1]:443"),
    ]
