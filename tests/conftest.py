"""What all tests share: no deadlines, as CI machines stall, and an interrupt that works."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

settings.register_profile("tfocheck", deadline=None)
settings.load_profile("tfocheck")

# What is tested here is not the run that GitHub Actions watches.
for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
    os.environ.pop(name, None)

# A background job of a script is started with interrupts ignored, and so would be what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

KERNELS = {"in_lab", "browser"}
"""What takes one of these fixtures needs the kernel, or a program that is more than we can fake."""

WAITING = {"test_difficult.py", "test_daemons.py"}
"""Tests of checks that last up to two minutes and use no processor meanwhile."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark them ``lab``; where a lab is built otherwise, the test says so itself."""
    for item in items:
        if KERNELS & set(getattr(item, "fixturenames", ())):
            item.add_marker("lab")
    items[:] = in_order(items, getattr(config, "workerinput", {}).get("workercount", 1))


def in_order(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Begin with what waits for the network most: each worker with its part of that.

    A worker is given one slice of the list to begin with (xdist's worksteal). What takes a minute
    without using a processor would be the end of the last slice, when nobody has anything else.
    """
    waiting = [item for item in items if item.path.name in WAITING]
    others = [item for item in items if item.path.name not in WAITING]
    return [
        item
        for worker in range(workers)
        for item in (
            *waiting[worker::workers],
            *others[worker * len(others) // workers : (worker + 1) * len(others) // workers],
        )
    ]
