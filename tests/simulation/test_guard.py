"""Whole checks in memory find what they found: ids, verdicts, ``seen`` and packets."""

from __future__ import annotations

import json

import pytest
from guarded import GUARD, found, runs

KNOWN = json.loads(GUARD.read_text())
RUNS = runs()


def test_every_run_is_guarded() -> None:
    assert set(KNOWN) == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_finds_what_it_found(name: str) -> None:
    assert found(RUNS[name]()) == KNOWN[name]
