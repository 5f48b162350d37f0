"""The lane: how many Fast Opens may be pending at a time, and who may be beside them.

A server's queue of pending Fast Opens may have a single place, and while it is full Linux answers
even a cookie request without a cookie. So whatever leaves a Fast Open pending (an *opening*) starts
alone, and whatever must not meet a full queue (requests, forged cookies: *shared*) runs side by
side, but never beside it.

But one at a time a path of 300 ms would take a round trip for each, a lossy one seconds for each
that is lost, and what stays pending on purpose for a second would hold up everybody. So the lane
widens, as TCP's slow start does, to a few on any path, and to more on a slow one: openings that
were seen pending together prove so many places, and with one place to spare the shared ones may
run beside them. An opening that falls back beside others proves nothing of the server, is made
again, and narrows the lane for good.

What was not meant to be accepted and was, is pending all the same: ``met_full`` tells the others
that their rejection, seen in the same moment, proves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections import deque
from collections.abc import AsyncIterator, Hashable

from tfocheck.engine.places import Places
from tfocheck.engine.ports import Clock

FEW_OPENINGS = 4
"""With so many places what stays pending for long leaves room for the others."""

MOST_OPENINGS = 16
"""Enough for a path of 300 ms; a queue of pending requests has hundreds of places, as a rule."""

FAST_GROWTH, SLOW_GROWTH = 2, 4
"""So many times the places that are proven are tried, on a fast path and on a slow one."""

SLOW_PATH = 0.005
"""Seconds of round trip from which on it pays to have several openings at a time."""


class Side(enum.Enum):
    """What somebody in the lane is there for."""

    OPENING = enum.auto()
    BARE = enum.auto()
    SHARED = enum.auto()
    EXCLUSIVE = enum.auto()


class Lane:
    """Who may be on the way to a server at the same time; see the module's text."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._inside = dict.fromkeys(Side, 0)
        self._queue: deque[tuple[Side, asyncio.Future[None]]] = deque()
        self._pending: list[tuple[Hashable, float, float]] = []
        self._users: set[Hashable] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._widest = FEW_OPENINGS
        self.places = 1
        """So many pending requests the server has shown to have room for."""
        self.room = 1
        """So many half-open connections are known to fit into the listener's backlog."""
        self.half_open = Places(1)
        """How many may be half-open at a time: one, until more were seen to fit (``have_room``). A
        listener's backlog may be short, and beyond it Linux answers with SYN cookies, which carry
        no Fast Open option."""
        self.backlog_is_short: bool | None = False
        """Whether a few connections were seen to fill it, and to be answered with SYN cookies; None
        while that is tried."""
        self.sequence = asyncio.Lock()
        """For what must run one after another, whether it is in the lane or not."""
        self._has_fallen_back = False

    # --- who is inside ------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def opening(self) -> AsyncIterator[None]:
        """For what may leave a Fast Open pending, until that is completed."""
        async with self._stay(Side.OPENING):
            yield

    @contextlib.asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """For what leaves nothing pending, and must not meet a full queue."""
        async with self._stay(Side.SHARED):
            yield

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Nobody else is in the lane meanwhile."""
        async with self._stay(Side.EXCLUSIVE):
            yield

    @contextlib.asynccontextmanager
    async def bare_opening(self) -> AsyncIterator[None]:
        """For a Fast Open without data, of which nothing tells whether it met a full queue.

        It tries no place that is not proven.
        """
        async with self._stay(Side.BARE):
            yield

    @contextlib.asynccontextmanager
    async def _stay(self, side: Side) -> AsyncIterator[None]:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((side, turn))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The turn had come in the same moment: hand it on.
                self._inside[side] -= 1
            self._serve()
            raise
        try:
            yield
        finally:
            self._inside[side] -= 1
            self._serve()

    def _serve(self) -> None:
        waiting: deque[tuple[Side, asyncio.Future[None]]] = deque()
        while self._queue:
            side, turn = self._queue.popleft()
            if turn.done():
                continue
            if self._has_room(side):
                self._inside[side] += 1
                turn.set_result(None)
                continue
            waiting.append((side, turn))
            if self.places == 1 or side is Side.EXCLUSIVE:
                # In order of arrival: nobody waits for ever.
                break
        self._queue = waiting + self._queue

    def _has_room(self, side: Side) -> bool:
        openings = self._inside[Side.OPENING] + self._inside[Side.BARE]
        shared = self._inside[Side.SHARED]
        if self._inside[Side.EXCLUSIVE]:
            return False
        if side is Side.EXCLUSIVE:
            return not openings and not shared
        if side is Side.SHARED:
            return openings <= self.places - 1
        if shared or (self.places > 1 and self._somebody_waits_to_share()):
            return openings < self.places - 1
        if side is Side.BARE or self._inside[Side.BARE]:
            return openings < self.places
        growth = SLOW_GROWTH if self._widest == MOST_OPENINGS else FAST_GROWTH
        return openings < max(self.places, min(self._widest, growth * self.places))

    def _somebody_waits_to_share(self) -> bool:
        return any(side is Side.SHARED and not turn.done() for side, turn in self._queue)

    # --- how wide it is -----------------------------------------------------------------------

    def widen_for(self, seconds: float) -> None:
        """Allow many openings at a time if one takes that long: a slow path, or a lost SYN."""
        if seconds >= SLOW_PATH and not self._has_fallen_back and self._widest == FEW_OPENINGS:
            self._widest = MOST_OPENINGS
            self._serve()

    def prove(self, places: int) -> None:
        """So many requests were pending at the same moment."""
        if places > self.places and not self._has_fallen_back:
            self.places = places
            self._look()
            self._serve()

    def narrow(self, others: int) -> None:
        """One fell back beside so many others: the lane gets no wider than it was proven to be."""
        self._has_fallen_back = True
        self._widest = 1
        if others < self.places:
            # Other clients take places, too: none can be relied on.
            self.places = 1
        self._look()

    def have_room(self, half_open: int) -> None:
        """So many half-open connections fit into the listener's backlog at the same time."""
        self.half_open.release(max(0, half_open - self.room))
        self.room = max(self.room, half_open)

    # --- what is pending ----------------------------------------------------------------------

    def begin_pending(self, flow: Hashable, since: float) -> None:
        """This flow's SYN was taken as a Fast Open; ``since`` is in ``time.monotonic`` seconds."""
        self._pending.append((flow, since, float("inf")))

    def end_pending(self, flow: Hashable) -> None:
        """The handshake of this flow is completed: it has left the server's queue."""
        now = self._clock.monotonic()
        self._pending = [
            (known, start, min(end, now) if known is flow else end)
            for known, start, end in self._pending
        ]

    @property
    def pending(self) -> list[Hashable]:
        """The flows that may be pending now."""
        return [flow for flow, _, end in self._pending if end == float("inf")]

    def beside(self, flow: Hashable, since: float) -> int:
        """How many others were pending at the same time at most, from ``since`` until now."""
        others = [
            (start, end)
            for known, start, end in self._pending
            if known is not flow and end >= since
        ]
        # There are never more than at the moment when one of them begins.
        moments = [max(since, start) for start, _ in others]
        return max(
            (sum(start <= moment <= end for start, end in others) for moment in moments), default=0
        )

    def met_full(self, flow: Hashable, since: float) -> bool:
        """True if so many others were pending since then that the queue may have been full."""
        return self.beside(flow, since) >= self.places

    # --- long stays ---------------------------------------------------------------------------

    def join(self, user: Hashable) -> None:
        """Announce somebody who will use the lane."""
        self._users.add(user)
        self._look()

    def depart(self, user: Hashable) -> None:
        """Somebody will not use the lane any more."""
        self._users.discard(user)
        self._look()

    def _look(self) -> None:
        if not self._users or self.places > 2:
            self._quiet.set()
        else:
            self._quiet.clear()

    async def room_for_long(self) -> None:
        """Wait until a long stay disturbs nobody: all have departed, or there are places."""
        await self._quiet.wait()
