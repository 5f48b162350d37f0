"""What all tests share: no deadlines, as CI machines stall, and an interrupt that works."""

from __future__ import annotations

import signal

from hypothesis import settings

settings.register_profile("tfocheck", deadline=None)
settings.load_profile("tfocheck")

# A background job of a script is started with interrupts ignored, and so would be what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
