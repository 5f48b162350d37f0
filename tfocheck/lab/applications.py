"""What the lab's own server does with a connection: ordinary HTTP, or what is hard to judge.

The kernel's Fast Open is the same under all of them, and nothing that they do is its fault.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Callable, Mapping
from typing import cast

from tfocheck.lab.http_server import Connection

SLOW_SECONDS = 3.0
JITTER_SECONDS = 0.3
ERROR_SHARE = 0.05


class _Closing(asyncio.Protocol):
    """close(2) right after accept(2): with data unread, or later coming, the kernel then resets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()


class _Resetting(_Closing):
    """The same with a reset for the client."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        on_for_no_time = struct.pack("2i", 1, 0)
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, on_for_no_time)
        super().connection_made(transport)


class _Delayed(Connection):
    """Hears of what comes only after some seconds, in order."""

    def __init__(self, delay: Callable[[], float]) -> None:
        super().__init__()
        self._delay = delay
        self._due = 0.0
        self._waiting = 0
        self._has_ended = False

    def data_received(self, data: bytes) -> None:
        self._due = max(self._due, self._loop.time() + self._delay())
        self._waiting += 1
        self._loop.call_at(self._due, self._hear, data)

    def _hear(self, data: bytes) -> None:
        self._waiting -= 1
        if self._transport.is_closing():
            return
        super().data_received(data)
        self._close_when_done()

    def eof_received(self) -> bool:
        self._has_ended = True
        self._close_when_done()
        return True

    def _close_when_done(self) -> None:
        if self._has_ended and not self._waiting:
            self._transport.close()


class _Failing(Connection):
    """Has an error to tell now and then."""

    def _answer(self, status: bytes, body: bytes, *, send_body: bool, keep_alive: bool) -> None:
        if random.random() < ERROR_SHARE:
            status, body = b"503 Service Unavailable", b"try again\n"
        super()._answer(status, body, send_body=send_body, keep_alive=keep_alive)


APPLICATIONS: Mapping[str, Callable[[], asyncio.Protocol]] = {
    "http": Connection,
    "closes": _Closing,
    "resets": _Resetting,
    "slow": lambda: _Delayed(lambda: SLOW_SECONDS),
    "jittering": lambda: _Delayed(lambda: random.uniform(0.0, JITTER_SECONDS)),
    "failing": _Failing,
}
