"""How fast new connections begin: at once, until a limit is known or the user names one.

Rules that hold here:

* Whoever sends a SYN takes a turn first, in the order of asking.
* While somebody looks into a silence, nobody else sends one (``held``).
* When nothing gets through any more, whoever asks for a turn is told why.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from tfocheck.engine.ports import Clock
from tfocheck.errors import UnreachableError


class Pace:
    """Turns for new connections; ``rate`` is how many a second, None for as many as there are."""

    def __init__(self, clock: Clock, rate: float | None = None) -> None:
        self.rate = rate
        self._clock = clock
        self._next = 0.0
        self._free = asyncio.Event()
        self._free.set()
        self._blocked: str | None = None

    async def turn(self) -> None:
        """Wait for one's turn. Raises UnreachableError when nothing gets through any more."""
        await self._free.wait()
        if self._blocked is not None:
            raise UnreachableError(self._blocked)
        if self.rate is None:
            return
        now = self._clock.monotonic()
        mine = max(now, self._next)
        self._next = mine + 1 / self.rate
        if mine > now:
            await self._clock.sleep(mine - now)
            # Somebody may have begun to look into a silence meanwhile.
            await self._free.wait()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nobody gets a turn meanwhile."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def slow_down(self, rate: float) -> None:
        """So many a second from now on, unless that is faster than now."""
        self.rate = rate if self.rate is None else min(self.rate, rate)

    def block(self, reason: str) -> None:
        """Nothing gets through any more."""
        self._blocked = reason
