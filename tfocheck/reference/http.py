"""The reference server's application: a small, strict, deterministic HTTP/1.1 server, sans-IO.

It is strict so that lost or doubled request bytes show: what is left of a request after either is
malformed and gets 400, never by accident the right answer. Memory is bounded: bytes not yet read
are the connection's receive window, and bodies are made as they are sent.

Source: RFC 9112 (message syntax), RFC 9110 (status codes).
"""

from __future__ import annotations

import re

from tfocheck.reference.answer import ANSWER, HOSTILE, HOSTILE_STATUS
from tfocheck.reference.application import Application

MAX_HEAD_BYTES = 16_384
MAX_BODY_BYTES = 1 << 20

_PATTERN = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.\n"

_REQUEST_LINE = re.compile(rb"(GET|HEAD) (/[!-~]*|https?://[!-~]+) HTTP/1\.([01])")
_FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_HOST = re.compile(rb"[!-~]*")


class _MalformedError(ValueError):
    """The bytes are no request."""


class HttpConversation(Application):
    """One connection's requests and answers: feed ``receive``, drain ``read``."""

    def __init__(self) -> None:
        self._requests = bytearray()
        self._answer = bytearray()
        self._body_sent = 0
        self._body_size = 0
        self._last_answer = False
        self._end_of_requests = False

    @property
    def unread(self) -> int:
        """How many received bytes wait; the receive window shrinks by as many."""
        return len(self._requests)

    @property
    def finished(self) -> bool:
        """No answer is left and none will follow: the connection can be closed."""
        idle = not self._answer and self._body_sent == self._body_size
        return idle and (self._last_answer or (self._end_of_requests and self._next_head() is None))

    def receive(self, data: bytes) -> None:
        """Take bytes from the client; what follows the last request is thrown away."""
        if not self._last_answer:
            self._requests += data

    def end(self) -> None:
        """The client will send no more (FIN): half a request will never be answered."""
        self._end_of_requests = True

    def read(self, room: int) -> bytes:
        """At most ``room`` bytes of answers, in the order of the requests."""
        taken = bytearray()
        while len(taken) < room:
            if self._answer:
                size = room - len(taken)
                taken += self._answer[:size]
                del self._answer[:size]
            elif self._body_sent < self._body_size:
                taken += self._body(room - len(taken))
            elif not self._start_next_answer():
                break
        return bytes(taken)

    def _next_head(self) -> int | None:
        """Where the next request's head ends; None while it is incomplete.

        A head is also over when no continuation could make it a request.
        """
        # RFC 9112 section 2.2: empty lines before a request line are ignored.
        while self._requests.startswith(b"\r\n"):
            del self._requests[:2]
        end = self._requests.find(b"\r\n\r\n")
        if end >= 0:
            return end + 4
        if self._cannot_become_a_request():
            return len(self._requests)
        return None

    def _cannot_become_a_request(self) -> bool:
        if len(self._requests) > MAX_HEAD_BYTES:
            return True
        if self._requests == b"\r":
            return False
        line, found, _ = bytes(self._requests[:MAX_HEAD_BYTES]).partition(b"\r\n")
        if found:
            return not _REQUEST_LINE.fullmatch(line)
        return not any(
            line.startswith(method) or method.startswith(line) for method in (b"GET ", b"HEAD ")
        )

    def _start_next_answer(self) -> bool:
        if self._last_answer or not self._requests:
            return False
        end = self._next_head()
        if end is None:
            return False
        head = bytes(self._requests[:end])
        del self._requests[:end]
        try:
            self._answer_request(head)
        except _MalformedError as problem:
            self._last_answer = True
            self._respond(b"400 Bad Request", f"{problem}\n".encode())
        if self._last_answer:
            self._requests.clear()
        return True

    def _answer_request(self, head: bytes) -> None:
        request_line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        request = _REQUEST_LINE.fullmatch(request_line)
        if not request:
            raise _MalformedError("no request line that this server knows")
        fields = _fields(lines)
        method, target, minor = request.groups()
        # RFC 9112 section 3.2: exactly one Host in HTTP/1.1, and a valid one.
        hosts = fields.get(b"host", [])
        if len(hosts) > 1 or not all(_HOST.fullmatch(host) for host in hosts):
            raise _MalformedError("no valid Host")
        if minor == b"1" and not hosts:
            raise _MalformedError("no Host")
        if b"transfer-encoding" in fields or set(fields.get(b"content-length", ())) - {b"0"}:
            raise _MalformedError("this server takes no request body")
        tokens = b",".join(fields.get(b"connection", [])).lower().replace(b" ", b"").split(b",")
        self._last_answer = b"close" in tokens or (minor == b"0" and b"keep-alive" not in tokens)
        large = re.fullmatch(rb"/bytes/(\d{1,8})", target)
        if large and int(large[1]) > MAX_BODY_BYTES:
            self._respond(b"404 Not Found", b"at most 1048576 bytes\n", head_only=method == b"HEAD")
        elif large:
            self._respond_large(int(large[1]), head_only=method == b"HEAD")
        elif target == b"/hostile":
            self._respond(HOSTILE_STATUS, 20 * HOSTILE, head_only=method == b"HEAD")
        else:
            self._respond(b"200 OK", ANSWER, head_only=method == b"HEAD")

    def _respond(self, status: bytes, body: bytes, *, head_only: bool = False) -> None:
        self._answer += self._head(status, len(body))
        if not head_only:
            self._answer += body

    def _respond_large(self, size: int, *, head_only: bool) -> None:
        self._answer += self._head(b"200 OK", size)
        self._body_sent, self._body_size = 0, 0 if head_only else size

    def _head(self, status: bytes, length: int) -> bytes:
        # No Date: an answer must be the same every time.
        connection = b"close" if self._last_answer else b"keep-alive"
        return (
            b"HTTP/1.1 %b\r\nServer: tfocheck-reference\r\nContent-Type: text/plain\r\n"
            b"Content-Length: %d\r\nConnection: %b\r\n\r\n" % (status, length, connection)
        )

    def _body(self, room: int) -> bytes:
        size = min(room, self._body_size - self._body_sent)
        start = self._body_sent % len(_PATTERN)
        repeats = (start + size) // len(_PATTERN) + 1
        self._body_sent += size
        return (_PATTERN * repeats)[start : start + size]


def serve_http(_client: str) -> HttpConversation:
    """What a connection is served by, unless something else is said."""
    return HttpConversation()


def _fields(lines: list[bytes]) -> dict[bytes, list[bytes]]:
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        field = _FIELD_LINE.fullmatch(line)
        if not field:
            raise _MalformedError("a header line without a name and a colon")
        fields.setdefault(field[1].lower(), []).append(field[2].rstrip(b" \t"))
    return fields
