"""The procedure of RFC 7413 section 4.2.2, without faults."""

from __future__ import annotations

import pytest
from crafted import GET, USUAL, Client, ack_of, cookie_of, fresh_open, server

from tfocheck.wire.options import FastOpen


def test_plain_syn_gets_no_cookie_and_its_data_is_not_taken() -> None:
    client = Client(server())
    (syn_ack,) = client.syn(data=GET)
    assert syn_ack.is_syn_ack
    assert ack_of(client, syn_ack) == 1
    assert syn_ack.fast_open is None
    assert client.segment(1) == []
    client.segment(1, GET)
    assert client.answers == [b"200"]


@pytest.mark.parametrize("experimental", [False, True])
@pytest.mark.parametrize(
    "addresses", [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")], ids=["ipv4", "ipv6"]
)
def test_a_requested_cookie_opens_with_data(addresses: tuple[str, str], experimental: bool) -> None:
    target = server()
    asking = Client(target, *addresses)
    (syn_ack,) = asking.syn(FastOpen(experimental=experimental), data=GET, options=USUAL)
    assert ack_of(asking, syn_ack) == 1
    found = syn_ack.fast_open
    assert found is not None
    assert found.experimental == experimental
    assert len(found.cookie) == 8

    opening = Client(target, *addresses)
    syn_ack, early = opening.syn(found, data=GET, options=USUAL)
    assert ack_of(opening, syn_ack) == 1 + len(GET)
    assert syn_ack.fast_open is None
    assert syn_ack.payload == b""
    assert early.seq == syn_ack.seq + 1
    assert early.payload.startswith(b"HTTP/1.1 200 OK\r\n")
    assert target.pending_requests(opening.now) == 1
    opening.segment(1 + len(GET))
    assert target.pending_requests(opening.now) == 0
    opening.segment(1 + len(GET), GET, ack=1 + len(early.payload))
    assert opening.answers == [b"200", b"200"]


def test_cookies_depend_on_both_addresses_and_nothing_else() -> None:
    target = server()
    cookies = {
        cookie_of(target, source=source, destination=destination)
        for source in ("10.0.0.1", "10.0.0.3")
        for destination in ("10.0.0.2", "10.0.0.4")
        for _ in range(3)
    }
    assert len(cookies) == 4


def test_an_old_key_is_honoured_until_the_next_rotation() -> None:
    target = server()
    old = cookie_of(target)
    target.rotate()
    client = Client(target)
    syn_ack = client.syn(FastOpen(old), data=GET)[0]
    assert ack_of(client, syn_ack) == 1 + len(GET)
    assert syn_ack.fast_open is not None
    fresh = syn_ack.fast_open.cookie
    assert fresh == cookie_of(target) != old
    target.rotate()
    assert fresh_open(target, FastOpen(fresh)) == 1 + len(GET)
    assert fresh_open(target, FastOpen(old)) == 1


def test_an_invalid_cookie_falls_back_and_gets_a_valid_one() -> None:
    target = server()
    client = Client(target)
    (syn_ack,) = client.syn(FastOpen(b"forgery!"), data=GET)
    assert ack_of(client, syn_ack) == 1
    assert syn_ack.fast_open == FastOpen(cookie_of(target))
    client.segment(1, GET)
    assert client.answers == [b"200"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 9, 11, 13, 15, 17, 18, 20])
def test_a_cookie_of_illegal_length_is_ignored(size: int) -> None:
    client = Client(server())
    (syn_ack,) = client.syn(FastOpen(bytes(range(size))), data=GET)
    assert ack_of(client, syn_ack) == 1
    assert syn_ack.fast_open is None


@pytest.mark.parametrize("size", [4, 6, 8, 10, 12, 14, 16])
def test_a_forged_cookie_of_legal_length_is_rejected(size: int) -> None:
    assert fresh_open(server(), FastOpen(bytes(range(size)))) == 1


def test_off_means_off() -> None:
    target = server(fast_open=False)
    assert cookie_of(target) == b""
    assert fresh_open(target, FastOpen(cookie_of(server()))) == 1


def test_a_valid_cookie_without_data_is_an_ordinary_handshake() -> None:
    target = server()
    client = Client(target)
    (syn_ack,) = client.syn(FastOpen(cookie_of(target)))
    assert ack_of(client, syn_ack) == 1
    assert syn_ack.fast_open is None
    client.segment(1, GET)
    assert client.answers == [b"200"]
