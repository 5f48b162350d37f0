"""The machine's clock, as asyncio's event loop follows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class SystemClock:
    """Real time; see ``engine.ports.Clock``."""

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return time.monotonic()

    def time(self) -> float:
        """Unix time in seconds."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Come back after so many seconds."""
        await asyncio.sleep(seconds)

    def after(self, seconds: float, action: Callable[[], object]) -> asyncio.TimerHandle:
        """Call the action after so many seconds."""
        return asyncio.get_running_loop().call_later(seconds, action)
