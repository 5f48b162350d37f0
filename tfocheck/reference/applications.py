"""Applications that make a conforming stack hard to judge: none of what they do is the stack's.

``APPLICATIONS`` has them by name, each as a maker of one server's connections.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable

from tfocheck.reference.application import Application
from tfocheck.reference.http import HttpConversation, serve_http

Make = Callable[[str], Application]
"""An application for one connection, given the client's address."""

SLOW_SECONDS = 3.0
JITTER_SECONDS = 0.3
ERROR_SHARE = 0.05
CONNECTIONS_AT_ONCE = 10
CONNECTIONS_LATELY = 20
LATELY_SECONDS = 10.0
GREETING = b"SSH-2.0-tfocheck\r\n"


class _Wordless(Application):
    """Reads whatever comes and says nothing; it closes when the client has."""

    def __init__(self) -> None:
        self._ended = False

    @property
    def unread(self) -> int:
        return 0

    @property
    def finished(self) -> bool:
        return self._ended

    def receive(self, data: bytes) -> None:
        """Take no notice."""

    def end(self) -> None:
        self._ended = True

    def read(self, room: int) -> bytes:
        return b""


class _Closing(_Wordless):
    """Closes what it has accepted: with data unread, or later coming, a stack then resets."""

    def __init__(self) -> None:
        super().__init__()
        self._was_sent_data = False

    @property
    def finished(self) -> bool:
        return self.is_accepted

    @property
    def aborts(self) -> bool:
        return self.is_accepted and self._was_sent_data

    def receive(self, data: bytes) -> None:
        self._was_sent_data |= bool(data)


class _Resetting(_Wordless):
    """Resets what it has accepted, at once or when something has come."""

    def __init__(self, *, at_once: bool) -> None:
        super().__init__()
        self._resets = at_once

    @property
    def aborts(self) -> bool:
        return self.is_accepted and self._resets

    def receive(self, data: bytes) -> None:
        self._resets |= bool(data)


class _Greeting(_Wordless):
    """Speaks first, and a little later resets who does not speak its protocol."""

    def __init__(self, patience: float) -> None:
        super().__init__()
        self._patience = patience
        self._said = False
        self._heard = bytearray()
        self._resets_at = math.inf

    @property
    def aborts(self) -> bool:
        return self.is_accepted and self.now >= self._resets_at

    @property
    def deadline(self) -> float:
        return self._resets_at if self.now < self._resets_at else math.inf

    def receive(self, data: bytes) -> None:
        self._heard += data[: len(GREETING)]
        if self._heard and not self._heard.startswith(b"SSH-"[: len(self._heard)]):
            self._resets_at = min(self._resets_at, self.now + self._patience)

    def read(self, room: int) -> bytes:
        if self._said or room < len(GREETING):
            return b""
        self._said = True
        return GREETING


class _InOnePiece(HttpConversation):
    """Resets a connection whose first piece is not the whole request."""

    def __init__(self) -> None:
        super().__init__()
        self._resets = False
        self._is_begun = False

    @property
    def aborts(self) -> bool:
        return self.is_accepted and self._resets

    def receive(self, data: bytes) -> None:
        if data and not self._is_begun:
            self._is_begun = True
            self._resets = b"\r\n\r\n" not in data
        super().receive(data)


class _Delayed(HttpConversation):
    """Answers so many seconds after the last piece of the request."""

    def __init__(self, delay: float) -> None:
        super().__init__()
        self._delay = delay
        self._answers_at = -math.inf

    @property
    def finished(self) -> bool:
        return self.now >= self._answers_at and super().finished

    @property
    def deadline(self) -> float:
        return self._answers_at if self.now < self._answers_at else math.inf

    def receive(self, data: bytes) -> None:
        super().receive(data)
        if data:
            self._answers_at = self.now + self._delay

    def read(self, room: int) -> bytes:
        return super().read(room) if self.now >= self._answers_at else b""


class _Different(HttpConversation):
    """Says something else every time, of the same length."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._mark = b"X-Request: %08x\r\n" % rng.getrandbits(32)

    def _head(self, status: bytes, length: int) -> bytes:
        head = super()._head(status, length)
        return head.replace(b"Content-Type", self._mark + b"Content-Type", 1)


class _Failing(HttpConversation):
    """Has an internal error to tell."""

    def _respond(self, status: bytes, body: bytes, *, head_only: bool = False) -> None:
        super()._respond(b"503 Service Unavailable", b"try again\n", head_only=head_only)

    def _respond_large(self, size: int, *, head_only: bool) -> None:
        self._respond(b"", b"", head_only=head_only)


class _Counted(HttpConversation):
    """One of several; the excess is closed unread."""

    def __init__(self, admit: Callable[[float], bool], leave: Callable[[], None]) -> None:
        super().__init__()
        self._admit = admit
        self._leave = leave
        self._is_excess = False
        self._is_counted = False
        self._was_sent_data = False

    @property
    def finished(self) -> bool:
        return self._is_excess or super().finished

    @property
    def aborts(self) -> bool:
        return self._is_excess and self._was_sent_data

    def accepted(self) -> None:
        super().accepted()
        self._is_counted = self._admit(self.now)
        self._is_excess = not self._is_counted

    def receive(self, data: bytes) -> None:
        self._was_sent_data |= bool(data)
        super().receive(data)

    def read(self, room: int) -> bytes:
        return b"" if self._is_excess else super().read(room)

    def closed(self) -> None:
        super().closed()
        if self._is_counted:
            self._is_counted = False
            self._leave()


class _Cap:
    """So many connections of one source at once."""

    def __init__(self) -> None:
        self._open = 0

    def admit(self, _now: float) -> bool:
        """Whether there is room for one more."""
        if self._open >= CONNECTIONS_AT_ONCE:
            return False
        self._open += 1
        return True

    def leave(self) -> None:
        """One is over."""
        self._open -= 1


class _Lately:
    """So many connections of one source within some seconds, refused ones counted (haproxy)."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def admit(self, now: float) -> bool:
        """Whether it is one too many."""
        while self._times and self._times[0] <= now - LATELY_SECONDS:
            self._times.popleft()
        self._times.append(now)
        return len(self._times) <= CONNECTIONS_LATELY

    def leave(self) -> None:
        """That one is over frees nothing."""


def _counted(limit: Callable[[], _Cap | _Lately]) -> Make:
    limits: dict[str, _Cap | _Lately] = {}

    def make(client: str) -> Application:
        one = limits.setdefault(client, limit())
        return _Counted(one.admit, one.leave)

    return make


def _failing(rng: random.Random) -> Make:
    return lambda _: _Failing() if rng.random() < ERROR_SHARE else HttpConversation()


APPLICATIONS: dict[str, Callable[[random.Random], Make]] = {
    "answers": lambda rng: serve_http,
    "closes-at-once": lambda rng: lambda _: _Closing(),
    "resets-at-once": lambda rng: lambda _: _Resetting(at_once=True),
    "resets-after-reading": lambda rng: lambda _: _Resetting(at_once=False),
    "slow": lambda rng: lambda _: _Delayed(SLOW_SECONDS),
    "jittering": lambda rng: lambda _: _Delayed(rng.uniform(0, JITTER_SECONDS)),
    "different-answers": lambda rng: lambda _: _Different(rng),
    "banner-first": lambda rng: lambda _: _Greeting(rng.uniform(0, 0.01)),
    "needs-one-piece": lambda rng: lambda _: _InOnePiece(),
    "connection-cap": lambda rng: _counted(_Cap),
    "connection-rate": lambda rng: _counted(_Lately),
    "errors-5-percent": _failing,
    "mute": lambda rng: lambda _: _Wordless(),
}
"""Name → what makes a server's applications, given where its chance comes from."""
