"""Signals: the first one ends a run in good order within a second, the second one at once.

Rules that hold here:

* Nothing is imported but what every program has: this is there before anything else is.
* Handlers are set by ``signal.signal``: an event loop that is busy, or none yet, delays nothing.
* What ends at once leaves no half-written file, and says which reports there are.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

GRACE = 0.8
"""Seconds after the first signal; whatever goes on then is left as it is."""

TWICE = 0.1
"""Seconds within which the same signal may come from a terminal and be passed on."""

_HANDLED = (signal.SIGINT, signal.SIGTERM)
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_SHOW_CURSOR = "\x1b[?25h"
_ERASE_LINE = "\r\x1b[K"  # the terminal has put ^C on our line


class _Now:
    """What is to be known when a signal comes."""

    came = 0
    came_at = 0.0
    twice = False
    end: Callable[[], object] | None = None
    written: list[str] = []  # noqa: RUF012, there is one process
    incomplete = False
    unfinished: Callable[[], list[str]] = list


def install() -> None:
    """Have signals handled here, but for those that whoever started us has ignored."""
    for number in _HANDLED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    signal.signal(signal.SIGALRM, _time_is_up)


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """The same for the length of a with block; nothing in a thread, where others see to signals."""
    numbers = (*_HANDLED, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    _Now.came, _Now.end, _Now.written, _Now.incomplete = 0, None, [], False
    try:
        install()
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def leave_alone() -> None:
    """Let signals do what they do to any Python program."""
    for number, usual in zip(_HANDLED, (signal.default_int_handler, signal.SIG_DFL), strict=True):
        if signal.getsignal(number) is _handle:
            signal.signal(number, usual)  # type: ignore[arg-type]


@contextlib.contextmanager
def ending(action: Callable[[], object]) -> Iterator[None]:
    """Meanwhile the first signal calls the action, which is to end what goes on in good order."""
    _Now.end = action
    try:
        yield
    finally:
        _Now.end = None


def may_come_twice() -> None:
    """Somebody passes signals on that have perhaps come here already."""
    _Now.twice = True


def have_come() -> bool:
    """Whether a signal has asked for the end."""
    return bool(_Now.came)


def note_written(name: str, *, incomplete: bool) -> None:
    """A report is there, of all or of what was done before the signal."""
    _Now.written.append(name)
    _Now.incomplete = incomplete


def remove_when_left(unfinished: Callable[[], list[str]]) -> None:
    """What is to be asked for the files that are half-written."""
    _Now.unfinished = unfinished


def exit_code() -> int:
    """128 and the signal's number; an interrupt's where Python itself took it."""
    return 128 + (_Now.came or signal.SIGINT)


def last_line() -> str:
    """What happened, and which reports there are."""
    word = _WORDS.get(signal.Signals(_Now.came or signal.SIGINT), "ended")
    if not _Now.written:
        return f"tfocheck: {word}; no report was written"
    how = ", of what was done by then" if _Now.incomplete else ""
    return f"tfocheck: {word}; written{how}: {', '.join(_Now.written)}"


def erasing() -> str:
    """What clears the line that a terminal's cursor is on; nothing elsewhere."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return f"{_ERASE_LINE}{_SHOW_CURSOR}" if is_terminal else ""


def _handle(number: int, _frame: object) -> None:
    now = time.monotonic()
    if _Now.twice and number == _Now.came and now - _Now.came_at < TWICE:
        return
    if _Now.came:
        _leave()
    _Now.came, _Now.came_at = number, now
    if _Now.end is None:
        _leave()
    signal.setitimer(signal.ITIMER_REAL, GRACE)
    assert _Now.end is not None
    _Now.end()


def _time_is_up(_number: int, _frame: object) -> None:
    if _Now.came:
        _leave()


def _leave() -> None:
    """End this process now. Nothing else of Python may run: it may stand anywhere."""
    for path in _Now.unfinished():
        with contextlib.suppress(OSError):
            os.unlink(path)
    with contextlib.suppress(OSError, ValueError):
        os.write(2, f"{erasing()}{last_line()}\n".encode(errors="replace"))
    os._exit(exit_code())
