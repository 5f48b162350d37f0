"""A case that keeps the event loop to itself is interrupted: nobody else would get a turn again."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import threading
from collections.abc import Iterator

PATIENCE = 10.0
"""Seconds of real time in which the loop must get a turn."""


class NoTurnError(BaseException):
    """A case did not let anything else run; no ``Exception``, for a case may catch all of those."""

    def __str__(self) -> str:
        return f"it let nothing else run for {PATIENCE:.0f} s: await something"


@contextlib.contextmanager
def given_turns() -> Iterator[None]:
    """While inside, the thread of the running event loop gets a NoTurnError if the loop stands.

    Python code only can be interrupted: a call such as ``time.sleep`` has to come back first.
    """
    loop, thread = asyncio.get_running_loop(), threading.get_ident()
    ended, turn, lock = threading.Event(), threading.Event(), threading.Lock()

    def watch() -> None:
        while not ended.is_set():
            turn.clear()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(turn.set)
            if not turn.wait(PATIENCE):
                with lock:  # nobody is interrupted who has ended
                    if not ended.is_set():
                        kind = ctypes.py_object(NoTurnError)
                        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), kind)
            ended.wait(PATIENCE / 4)

    threading.Thread(target=watch, daemon=True, name="turns").start()
    try:
        yield
    finally:
        with lock:
            ended.set()
        turn.set()
