"""The lane: one pending Fast Open at a time per target.

A server's queue of pending Fast Opens may have a single place, and while it is full Linux answers
even a cookie request without a cookie. So whatever leaves a Fast Open pending runs alone, and
whatever must not meet one (requests, forged cookies) runs side by side, but never beside it.

What was not meant to be accepted and was, is pending all the same: ``met_pending`` tells the others
that their rejection, seen in the same moment, proves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Hashable

MOST_HALF_OPEN = 64


class Lane:
    """A lock with an exclusive and a shared side, served in the order of arrival."""

    def __init__(self) -> None:
        self._exclusive = False
        self._shared = 0
        self._queue: deque[tuple[bool, asyncio.Future[None]]] = deque()
        self._pending: list[tuple[Hashable, float, float]] = []
        self._users: set[Hashable] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.half_open = asyncio.Semaphore(MOST_HALF_OPEN)
        """A listener's backlog may be short, and beyond it Linux answers with SYN cookies, which
        carry no Fast Open option."""
        self.sequence = asyncio.Lock()
        """For what must run one after another, whether it is in the lane or not."""

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Nobody else is in the lane meanwhile."""
        await self._enter(exclusive=True)
        try:
            yield
        finally:
            self._exclusive = False
            self._serve()

    @contextlib.asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Only others that share it are in the lane meanwhile."""
        await self._enter(exclusive=False)
        try:
            yield
        finally:
            self._shared -= 1
            self._serve()

    async def _enter(self, *, exclusive: bool) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((exclusive, turn))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The turn had come in the same moment: hand it on.
                if exclusive:
                    self._exclusive = False
                else:
                    self._shared -= 1
            self._serve()
            raise

    def _serve(self) -> None:
        while self._queue:
            exclusive, turn = self._queue[0]
            if turn.done():
                self._queue.popleft()
                continue
            if self._exclusive or (exclusive and self._shared):
                return
            self._queue.popleft()
            if exclusive:
                self._exclusive = True
            else:
                self._shared += 1
            turn.set_result(None)

    def begin_pending(self, flow: Hashable, since: float) -> None:
        """This flow's SYN was taken as a Fast Open; ``since`` is in ``time.monotonic`` seconds."""
        self._pending.append((flow, since, float("inf")))

    def end_pending(self, flow: Hashable) -> None:
        """The handshake of this flow is completed: it has left the server's queue."""
        now = time.monotonic()
        self._pending = [
            (known, start, min(end, now) if known is flow else end)
            for known, start, end in self._pending
        ]

    def met_pending(self, flow: Hashable, since: float) -> bool:
        """True if another flow was pending at any time from ``since`` until now."""
        return any(known is not flow and end >= since for known, _, end in self._pending)

    def join(self, user: Hashable) -> None:
        """Announce somebody who will use the lane."""
        self._users.add(user)
        self._idle.clear()

    def depart(self, user: Hashable) -> None:
        """Somebody will not use the lane any more."""
        self._users.discard(user)
        if not self._users:
            self._idle.set()

    async def all_departed(self) -> None:
        """Wait until all who joined have departed: then a long stay disturbs nobody."""
        await self._idle.wait()
