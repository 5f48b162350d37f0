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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them ``lab``; where a lab is built otherwise, the test says so itself."""
    for item in items:
        if KERNELS & set(getattr(item, "fixturenames", ())):
            item.add_marker("lab")
