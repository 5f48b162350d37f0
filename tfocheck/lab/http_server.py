"""A small, strict HTTP/1.1 server: the application behind the Linux kernel's Fast Open.

Rules that hold here:

* What is not HTTP gets a 400. A stream that the network or the kernel garbled ("GEGET /") must not
  look like one that arrived whole.
* An answer leaves before the next segment is read, so that it can ride on the SYN-ACK's heels.
* After its last answer the server sends FIN and discards what still comes. Closing at once with
  unread data makes the kernel send RST, which may destroy the answer (RFC 9112 section 9.6).

Source: RFC 9112 (message format 2, requests 3, fields 5, framing 6, connections 9).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable
from typing import cast

from tfocheck.reference.answer import ANSWER

BACKLOG = 128
IDLE_SECONDS = 30.0
DISCARD_SECONDS = 2.0
MAX_HEAD = 16 * 1024

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(GET|HEAD) ((?:/|https?://)[\x21-\x7e]*) HTTP/1\.([01])")
_FIELD_LINE = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")


class BadRequestError(ValueError):
    """What arrived is not a request of this server's HTTP."""


def listen(
    family: socket.AddressFamily, port: int, fast_open_queue: int | None, backlog: int = BACKLOG
) -> socket.socket:
    """A socket listening on every address of one family.

    `fast_open_queue` is the limit of pending Fast Open requests (tcp(7), TCP_FASTOPEN).
    """
    listener = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if fast_open_queue is not None:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, fast_open_queue)
    listener.bind(("", port))
    listener.listen(backlog)
    listener.setblocking(False)
    return listener


def serve(
    listeners: list[socket.socket],
    ready: Callable[[], None],
    application: Callable[[], asyncio.Protocol] | None = None,
    backlog: int = BACKLOG,
) -> None:
    """Answer on the listeners for ever; `ready` is called when requests can be answered.

    `application` has another protocol for each connection than `Connection`; `backlog` is that of
    the listeners.
    """
    asyncio.run(_serve(listeners, ready, application or Connection, backlog))


async def _serve(
    listeners: list[socket.socket],
    ready: Callable[[], None],
    application: Callable[[], asyncio.Protocol],
    backlog: int,
) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(application, sock=listener) for listener in listeners]
    for listener in listeners:
        # asyncio has called listen() with a number of its own: one of 0 has it accept nothing.
        listener.listen(backlog)
    ready()
    await asyncio.gather(*(server.serve_forever() for server in servers))


class Connection(asyncio.Protocol):
    """One connection: requests in, answers out, in order.

    asyncio sets TCP_NODELAY on every TCP connection, so small answers leave at once.
    """

    def __init__(self) -> None:
        self._received = bytearray()
        self._body_left = 0
        self._finished = False
        self._backed_up = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + IDLE_SECONDS
        self._timer = self._loop.call_at(self._deadline, self._expire)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()

    def eof_received(self) -> bool:
        return False  # asyncio sends what is written, then FIN

    def pause_writing(self) -> None:
        self._backed_up = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._backed_up = False
        self._answer_all()
        if not self._backed_up:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._finished:
            return
        self._deadline = self._loop.time() + IDLE_SECONDS
        self._received += data
        self._answer_all()

    def _answer_all(self) -> None:
        try:
            # Requests are short and answers long: a peer that reads none must not fill the memory.
            while not (self._finished or self._backed_up) and self._answer_next():
                pass
        except BadRequestError:
            self._answer(b"400 Bad Request", b"bad request\n", send_body=True, keep_alive=False)

    def _answer_next(self) -> bool:
        """Answer the next request; False when it has not arrived whole."""
        skipped = min(self._body_left, len(self._received))
        del self._received[:skipped]
        self._body_left -= skipped
        if self._body_left:
            return False
        while self._received.startswith(b"\r\n"):  # RFC 9112 section 2.2
            del self._received[:2]
        head = _take_head(self._received)
        if head is None:
            return False
        is_head, keep_alive, self._body_left = parse_head(head)
        self._answer(b"200 OK", ANSWER, send_body=not is_head, keep_alive=keep_alive)
        return True

    def _answer(self, status: bytes, body: bytes, *, send_body: bool, keep_alive: bool) -> None:
        head = (
            b"HTTP/1.1 %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
            b"Connection: %b\r\n\r\n"
            % (status, len(body), b"keep-alive" if keep_alive else b"close")
        )
        self._transport.write(head + (body if send_body else b""))
        if not keep_alive:
            self._finish()

    def _finish(self) -> None:
        self._finished = True
        self._received.clear()
        with contextlib.suppress(OSError):  # the peer may have reset the connection already
            self._transport.write_eof()
        self._timer.cancel()
        self._deadline = self._loop.time() + DISCARD_SECONDS
        self._timer = self._loop.call_at(self._deadline, self._expire)

    def _expire(self) -> None:
        if self._loop.time() >= self._deadline:
            # abort, not close: close waits for a peer that reads nothing
            self._transport.abort()
        else:
            self._timer = self._loop.call_at(self._deadline, self._expire)


def _take_head(received: bytearray) -> list[bytes] | None:
    """Take the lines of one request's head off the buffer; None when it is not complete.

    Lines that have arrived are judged at once: rubbish need not end like a request.
    """
    end = received.find(b"\r\n\r\n")
    head = bytes(received[:end] if end >= 0 else received)
    if len(head) > MAX_HEAD:
        raise BadRequestError("the head is too long")
    if b"\n" in head.replace(b"\r\n", b""):
        raise BadRequestError("a line ends without CR")
    lines = head.split(b"\r\n")
    if end < 0:
        if len(lines) > 1 and not _REQUEST_LINE.fullmatch(lines[0]):
            raise BadRequestError("not a request line")
        return None
    del received[: end + 4]
    return lines


def parse_head(lines: list[bytes]) -> tuple[bool, bool, int]:
    """(method is HEAD, connection stays open, body length in bytes) of a request's head.

    Raises BadRequestError for anything that RFC 9112 has a server refuse, and for methods other
    than GET and HEAD.
    """
    request_line = _REQUEST_LINE.fullmatch(lines[0])
    if request_line is None:
        raise BadRequestError("not a request line")
    fields: dict[bytes, list[bytes]] = {}
    for line in lines[1:]:
        field = _FIELD_LINE.fullmatch(line)
        if field is None:
            raise BadRequestError("not a header field")
        fields.setdefault(field[1].lower(), []).append(field[2])

    http_1_1 = request_line[3] == b"1"
    if len(fields.get(b"host", ())) > 1 or (http_1_1 and b"host" not in fields):
        raise BadRequestError("not exactly one Host (RFC 9112 section 3.2)")
    if b"transfer-encoding" in fields:
        raise BadRequestError("a coded body, which this server cannot delimit")
    lengths = set(fields.get(b"content-length", [b"0"]))
    length = lengths.pop()
    if lengths or not re.fullmatch(rb"[0-9]{1,9}", length):
        raise BadRequestError("no valid Content-Length (RFC 9112 section 6.3)")
    options = {
        option.strip().lower()
        for value in fields.get(b"connection", ())
        for option in value.split(b",")
    }
    keep_alive = b"close" not in options if http_1_1 else b"keep-alive" in options
    return request_line[1] == b"HEAD", keep_alive, int(length)
