"""What the lab's tests share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

# Loaded once, for all the labs that are forked.
import pyroute2.iproute.linux  # noqa: F401
import pytest

from tfocheck.lab.errors import LabError
from tfocheck.lab.runner import run_in_lab
from tfocheck.lab.scenario import SYSTEM_PROGRAMS, Setup
from tfocheck.lab.scenarios import SCENARIOS

InLab = Callable[..., Any]

_AS_IT_IS = Setup()

# An ordinary user's PATH often lacks these, where sysctl is.
os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_PROGRAMS))


def unavailable(reason: str) -> None:
    """Skip the test, or fail where nothing may be missing (TFOCHECK_REQUIRE_ALL=1)."""
    if os.environ.get("TFOCHECK_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def _lab_possible() -> str:
    """Why no lab can be built here; empty when it can."""
    try:
        run_in_lab(SCENARIOS["linux-0"], lambda _target: 0)
    except LabError as error:
        return str(error)
    return ""


@pytest.fixture
def in_lab(_lab_possible: str) -> InLab:
    """`in_lab(name, function, *arguments)`: what function gives back inside the lab.

    The function runs in a forked process in the client's namespace; its result travels as JSON.
    `setup=` says how the lab is to be built.
    """
    if _lab_possible:
        unavailable(_lab_possible)

    def call(
        name: str, function: Callable[..., Any], *arguments: object, setup: Setup = _AS_IT_IS
    ) -> Any:
        scenario = SCENARIOS[name]
        lacking = scenario.lacking()
        if lacking:
            unavailable(f"{name} needs {lacking}")
        read_end, write_end = os.pipe()

        def action(_target: str) -> int:
            os.write(write_end, json.dumps(function(*arguments)).encode())
            return 0

        try:
            assert run_in_lab(scenario, action, setup) == 0
        finally:
            os.close(write_end)
            with os.fdopen(read_end, "rb") as results:
                result = results.read()
        return json.loads(result)

    return call
