"""The application of the reference server."""

from __future__ import annotations

import pytest
from crafted import GET

from tfocheck.reference.http import HttpConversation


@pytest.mark.parametrize(
    ("request_bytes", "statuses", "finished"),
    [
        (GET, [b"200"], False),
        (b"\r\n" + GET + GET, [b"200", b"200"], False),
        (GET[:10], [], False),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", [b"200"], False),
        (b"GET / HTTP/1.0\r\n\r\n", [b"200"], True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET, [b"200"], True),
        (b"GEGET / HT", [b"400"], True),
        (b"T / HTTP/1.1\r\n", [b"400"], True),
        (b"GET / HTTP/1.1 \r\n", [b"400"], True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", [b"400"], True),
        (b"GET / HTTP/1.1\r\n\r\n", [b"400"], True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", [b"400"], True),
        (b"GET / HTTP/1.1\r\nHost: aGET / HTTP/1.1\r\n\r\n", [b"400"], True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", [b"400"], True),
        (b"\x16\x03\x01\x02\x00", [b"400"], True),
        (b"GET /bytes/1048577 HTTP/1.1\r\nHost: a\r\n\r\n", [b"404"], False),
        (b"GET /" + b"a" * 20_000, [b"400"], True),
    ],
)
def test_http(request_bytes: bytes, statuses: list[bytes], finished: bool) -> None:
    whole = HttpConversation()
    whole.receive(request_bytes)
    answer = whole.read(100_000)
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == statuses
    assert whole.finished == finished

    bytewise, pieces = HttpConversation(), b""
    for byte in request_bytes:
        bytewise.receive(bytes([byte]))
        pieces += bytewise.read(7)
    while piece := bytewise.read(7):
        pieces += piece
    assert [part[:3] for part in pieces.split(b"HTTP/1.1 ")[1:]] == statuses
