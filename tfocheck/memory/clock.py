"""Virtual time: it stands still while anything is to be done, and then jumps to what comes next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

EPOCH = 1_700_000_000.0
"""Unix time, in seconds, at which virtual time begins."""

START = 1000.0
_RESOLUTION = 1e-9
_A_LOOK_TAKES = 1e-9

T = TypeVar("T")


class StandstillError(RuntimeError):
    """Somebody waits for what will never happen: in real time this would be a hang."""


class _Jump:
    """In place of a selector: nothing is ever waited for, the time is set on instead."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise StandstillError("everybody waits, and nothing is going to happen any more")
        self._clock.now += max(timeout, 0.0)
        return []


class _Loop(asyncio.BaseEventLoop):
    """asyncio's event loop without input and output, on a virtual clock."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self._clock_resolution = _RESOLUTION
        self._selector = _Jump(clock)

    def time(self) -> float:
        return self._clock.now

    def _process_events(self, event_list: list[object]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps who had to be woken."""


class VirtualClock:
    """A clock that drives an event loop; see ``engine.ports.Clock``.

    ``now`` is its monotonic time in seconds.
    """

    def __init__(self) -> None:
        self.now = START
        self._loop: _Loop | None = None

    def monotonic(self) -> float:
        """Seconds since some moment before the start; as in real time, never the same ones twice.

        Else what has just ended would seem to be there still when something else begins.
        """
        self.now += _A_LOOK_TAKES
        return self.now

    def time(self) -> float:
        """Unix time in seconds."""
        return self.unix(self.now)

    def unix(self, moment: float) -> float:
        """Unix time at a moment of monotonic time, both in seconds."""
        return EPOCH + moment

    async def sleep(self, seconds: float) -> None:
        """Come back after so many virtual seconds."""
        await asyncio.sleep(seconds)

    def after(self, seconds: float, action: Callable[[], object]) -> asyncio.TimerHandle:
        """Call the action after so many virtual seconds."""
        return asyncio.get_running_loop().call_later(seconds, action)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end of the work, as ``asyncio.run`` does. Raises what the work raises."""
        results: list[T] = []

        async def keep_result() -> None:
            results.append(await work)

        # Not as the task's own result: the runner has signal() make words of the whole task.
        with asyncio.Runner(loop_factory=lambda: _Loop(self)) as runner:
            runner.run(keep_result())
        return results[0]
