"""What all tests share: no deadlines, as CI machines stall, and an interrupt that works."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

settings.register_profile("tfocheck", deadline=None)
settings.load_profile("tfocheck")

# What is tested here is not the run that GitHub Actions watches.
for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
    os.environ.pop(name, None)

# A background job of a script is started with interrupts ignored, and so would be what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
