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

LONG_WAITS = {"test_difficult.py", "test_daemons.py", "test_hard_places.py"}
"""Tests of checks that last up to two minutes and use no processor meanwhile."""

BUILT_ONCE = {"test_reports_in_lab.py", "test_lab_http_server.py", "test_html.py"}
"""Tests that share something which takes seconds to make: these stay together."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark them ``lab``; where a lab is built otherwise, the test says so itself."""
    for item in items:
        if KERNELS & set(getattr(item, "fixturenames", ())):
            item.add_marker("lab")
    items[:] = in_order(items, getattr(config, "workerinput", {}).get("workercount", 1))


def in_order(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """What waits for the network beside what needs a processor, for each worker.

    A worker is given one slice of the list to begin with (xdist's worksteal). What takes a minute
    without using a processor would be the end of the last slice, when nobody has anything else: so
    that is begun with. The other tests of labs wait, too; each has some that do not behind it.
    """
    long_waits = [item for item in items if item.path.name in LONG_WAITS]
    waiting = [item for item in items if _waits(item)]
    busy = [item for item in items if item.path.name not in LONG_WAITS and not _waits(item)]
    return [
        item
        for worker in range(workers)
        for item in (
            *long_waits[worker::workers],
            *_spread(waiting[worker::workers], _slice(busy, worker, workers)),
        )
    ]


def _waits(item: pytest.Item) -> bool:
    name = item.path.name
    return item.get_closest_marker("lab") is not None and name not in LONG_WAITS | BUILT_ONCE


def _slice(items: list[pytest.Item], worker: int, workers: int) -> list[pytest.Item]:
    return items[worker * len(items) // workers : (worker + 1) * len(items) // workers]


def _spread(some: list[pytest.Item], others: list[pytest.Item]) -> list[pytest.Item]:
    """Each of some, with its share of the others behind it; the others alone if there are none."""
    parts = max(1, len(some))
    return [
        item
        for part in range(parts)
        for item in (*some[part : part + 1], *_slice(others, part, parts))
    ]
