"""Places that are few: who is urgent comes in before the others, each kind in order of arrival."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator


class Places:
    """So many may be inside at the same time."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()

    @property
    def are_taken(self) -> bool:
        """Whether who comes now has to wait."""
        return not self._free

    async def acquire(self, *, urgent: bool = False) -> None:
        """Take a place as soon as there is one."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._urgent if urgent else self._others).append(turn)
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # the turn had come in the same moment: hand it on
            raise

    def release(self, count: int = 1) -> None:
        """So many more may come in."""
        self._free += count
        self._serve()

    @contextlib.asynccontextmanager
    async def urgently(self) -> AsyncIterator[None]:
        """A place, before all who are not urgent."""
        await self.acquire(urgent=True)
        try:
            yield
        finally:
            self.release()

    def _serve(self) -> None:
        for queue in (self._urgent, self._others):
            while queue and self._free:
                turn = queue.popleft()
                if not turn.done():
                    self._free -= 1
                    turn.set_result(None)
