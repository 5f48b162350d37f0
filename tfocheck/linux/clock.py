"""The machine's clock, as asyncio's event loop follows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

MOST_BEHIND = 0.5
"""Seconds for which a wait goes on, at most, while what was captured has not been read: a capture's
buffer holds less, and what it has no room for is counted as lost."""


class SystemClock:
    """Real time; see ``engine.ports.Clock``.

    While a capture ``is_behind``, no wait is over: who has not looked has not seen nothing.
    """

    def __init__(self, is_behind: Callable[[], bool]) -> None:
        self._is_behind = is_behind

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return time.monotonic()

    def time(self) -> float:
        """Unix time in seconds."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Come back after so many seconds."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def end() -> None:
            if not over.done():
                over.set_result(None)

        timer = self.after(seconds, end)
        try:
            await over
        finally:
            timer.cancel()

    def after(self, seconds: float, action: Callable[[], object]) -> _Due:
        """Call the action after so many seconds."""
        return _Due(self._is_behind, seconds, action)


class _Due:
    """A timer that waits for the capture, too."""

    def __init__(
        self, is_behind: Callable[[], bool], seconds: float, action: Callable[[], object]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_behind = is_behind
        self._action = action
        self._latest = self._loop.time() + seconds + MOST_BEHIND
        self._handle: asyncio.Handle = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        if self._is_behind() and self._loop.time() < self._latest:
            self._handle = self._loop.call_soon(self._look)
        else:
            self._action()

    def cancel(self) -> None:
        """Let it not happen."""
        self._handle.cancel()
