"""Which case has which role, for cases that tests make by hand."""

from __future__ import annotations

from tfocheck.runner.catalogue import load_cases

ROLES = {case.id: case.role for case in load_cases() if case.role is not None}
