"""The small server behind the kernel's Fast Open keeps HTTP/1.1 and survives what does not."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tfocheck.lab import http_server
from tfocheck.reference.answer import ANSWER

pytestmark = pytest.mark.lab

GET = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"
GET_CLOSE = b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"
OK, BAD = b"HTTP/1.1 200 OK", b"HTTP/1.1 400 Bad Request"


@pytest.fixture(scope="module")
def port() -> int:
    listener = http_server.listen(socket.AF_INET, 0, fast_open_queue=None)
    ready = threading.Event()
    threading.Thread(target=http_server.serve, args=([listener], ready.set), daemon=True).start()
    assert ready.wait(5)
    return int(listener.getsockname()[1])


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
        yield connection


def all_of(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def answers(port: int, data: bytes) -> list[bytes]:
    """The status lines of all answers until the server closes."""
    with connected(port) as connection:
        connection.sendall(data)
        received = all_of(connection)
    return re.findall(rb"HTTP/1\.1 [^\r]*", received)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GEGET / HTTP/1.1\r\nHost: lab\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n",
        b"GET /\r\n",
        b"GET / HTTP/2.0\r\n",
        b"GET  / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\n\n",
        b"GET / HTTP/1.1\r\nHost lab\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : lab\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: " + b"a" * 20_000,
    ],
)
def test_malformed_requests_get_400_and_the_end(port: int, request_bytes: bytes) -> None:
    assert answers(port, request_bytes) == [BAD]


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (GET_CLOSE, [OK]),
        (b"GET / HTTP/1.0\r\n\r\n", [OK]),
        (GET + GET + GET_CLOSE, [OK, OK, OK]),
        (b"\r\n" + GET_CLOSE, [OK]),
        (GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\nbody") + GET_CLOSE, [OK, OK]),
        (GET + b"rubbish\r\n", [OK, BAD]),
        (GET_CLOSE + GET, [OK]),
    ],
)
def test_requests_are_answered_in_order(
    port: int, request_bytes: bytes, expected: list[bytes]
) -> None:
    assert answers(port, request_bytes) == expected


def test_head_has_no_body(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(GET_CLOSE.replace(b"GET", b"HEAD"))
        assert all_of(connection).endswith(b"\r\n\r\n")


class Stalled(asyncio.Transport):
    """A transport whose peer reads nothing: it is backed up after each answer."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = 0
        self.protocol = http_server.Connection()
        self.protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.answers += bytes(data).endswith(ANSWER)
        self.protocol.pause_writing()

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None:
        raise AssertionError("there are requests left to answer")


def test_answers_wait_for_a_peer_that_does_not_read() -> None:
    async def run() -> None:
        transport = Stalled()
        transport.protocol.data_received(GET * 3)
        assert transport.answers == 1
        transport.protocol.resume_writing()
        assert transport.answers == 2
        transport.protocol.connection_lost(None)

    asyncio.run(run())


def test_a_peer_that_reads_late_gets_every_answer(port: int) -> None:
    count = 500
    with connected(port) as connection:
        connection.sendall(GET * count + GET_CLOSE)
        assert all_of(connection).count(ANSWER) == count + 1


def test_request_in_single_bytes(port: int) -> None:
    with connected(port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in GET_CLOSE:
            connection.send(bytes([byte]))
        assert all_of(connection).startswith(OK)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", GET])
def test_fin_is_answered_by_fin(port: int, sent: bytes) -> None:
    with connected(port) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        assert all_of(connection).startswith(OK if sent == GET else b"")


def test_idle_connection_is_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "IDLE_SECONDS", 0.05)
    with connected(port) as connection:
        assert connection.recv(1) == b""


def test_random_bytes_do_not_end_the_server(port: int) -> None:
    source = random.Random(7413)
    for _ in range(100):
        with connected(port) as connection:
            garbled = bytearray(GET * source.randint(0, 3))
            for _ in range(source.randint(0, 5)):
                garbled.insert(source.randrange(len(garbled) + 1), source.randrange(256))
            connection.sendall(garbled)
    assert answers(port, GET_CLOSE) == [OK]
