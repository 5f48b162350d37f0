"""docs/coverage.md names every case, and no case that isn't there."""

from __future__ import annotations

import re
from pathlib import Path

from tfocheck.runner.catalogue import load_cases

PAGE = (Path(__file__).parent.parent / "docs" / "coverage.md").read_text()
GROUPS = "control|path|option|cookie|forged|open|off|farm|limit|abuse|benefit"
NAMED = set(re.findall(rf"`((?:{GROUPS})\.[a-z0-9-]+)`", PAGE))


def test_every_case_is_on_the_coverage_page() -> None:
    assert [case.id for case in load_cases() if f"`{case.id}`" not in PAGE] == []


def test_every_id_on_the_coverage_page_is_a_case() -> None:
    known = {case.id for case in load_cases()}
    assert NAMED
    assert sorted(NAMED - known) == []
