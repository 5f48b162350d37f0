"""What is varied shows on the wire, and nothing else changes."""

from __future__ import annotations

import random

import pytest
from crafted import GET, KEY, PORT, REQUEST, USUAL, Client, ack_of, cookie_of, fresh_open

from tfocheck.reference.listener import ReferenceServer
from tfocheck.reference.variations import SynCookies, Variations
from tfocheck.wire import options as tcp_options
from tfocheck.wire.options import FastOpen
from tfocheck.wire.segment import Flags

SIZES = range(4, 17, 2)


def varied(backlog: int | None = None, **variations: object) -> ReferenceServer:
    made = Variations(**variations)  # type: ignore[arg-type]
    return ReferenceServer(
        PORT, cookie_key=KEY, rng=random.Random(1), variations=made, backlog=backlog
    )


@pytest.mark.parametrize("size", SIZES)
def test_a_cookie_has_the_length_that_is_asked_for_and_no_other_opens(size: int) -> None:
    target = varied(cookie_bytes=size)
    cookie = cookie_of(target)
    assert len(cookie) == size
    assert fresh_open(target, FastOpen(cookie)) == 1 + len(GET)
    for other in {cookie[:4], cookie + bytes(2), bytes(size)} - {cookie}:
        if len(other) <= 16:
            assert fresh_open(target, FastOpen(other)) == 1


@pytest.mark.parametrize("size", [3, 5, 18])
def test_no_cookie_has_an_illegal_length(size: int) -> None:
    with pytest.raises(ValueError, match="no legal cookie"):
        Variations(cookie_bytes=size)


def test_a_fresh_cookie_is_not_too_short() -> None:
    with pytest.raises(ValueError, match="at least 8"):
        Variations(cookie_bytes=6, fresh_cookies=True)


def test_every_fresh_cookie_opens_from_its_source_alone() -> None:
    target = varied(fresh_cookies=True)
    cookies = {cookie_of(target) for _ in range(5)}
    assert len(cookies) == 5
    for cookie in cookies:
        assert fresh_open(target, FastOpen(cookie)) == 1 + len(GET)
        flipped = bytes([cookie[0] ^ 1]) + cookie[1:]
        assert fresh_open(target, FastOpen(flipped)) == 1
        other = Client(target, source="10.0.0.9")
        assert ack_of(other, other.syn(FastOpen(cookie), data=GET)[0]) == 1


def test_kind_254_alone_is_known() -> None:
    target = varied(old_kind_only=True)
    assert Client(target).syn(REQUEST)[0].fast_open is None
    offered = Client(target).syn(FastOpen(experimental=True))[0].fast_open
    assert offered is not None
    assert fresh_open(target, offered) == 1 + len(GET)


def test_plain_data_is_kept_until_the_handshake_ends() -> None:
    client = Client(varied(keeps_plain_data=True))
    [syn_ack] = client.syn(data=GET)
    assert ack_of(client, syn_ack) == 1 + len(GET)
    assert client.answers == []
    client.segment(1 + len(GET))
    assert client.answers == [b"200"]


def test_what_is_accepted_may_be_answered_after_the_handshake() -> None:
    target = varied(answers_early=False)
    client = Client(target)
    [syn_ack] = client.syn(FastOpen(cookie_of(target)), data=GET)
    assert ack_of(client, syn_ack) == 1 + len(GET)
    client.segment(1 + len(GET))
    assert client.answers == [b"200"]


@pytest.mark.parametrize("refreshes", [True, False])
def test_an_acceptance_comes_with_a_cookie_that_works(refreshes: bool) -> None:
    target = varied(refreshes_cookies=refreshes)
    offered = Client(target).syn(FastOpen(cookie_of(target)), data=GET)[0].fast_open
    assert (offered is not None) is refreshes
    if offered is not None:
        assert fresh_open(target, offered) == 1 + len(GET)


def test_a_rejection_need_not_offer_a_cookie() -> None:
    target = varied(offers_on_fallback=False)
    assert Client(target).syn(FastOpen(b"forgery!"), data=GET)[0].fast_open is None
    assert cookie_of(target)


@pytest.mark.parametrize(
    ("variation", "kind", "usually"),
    [
        ({"timestamps": False}, tcp_options.TIMESTAMPS, True),
        ({"window_scale": False}, tcp_options.WINDOW_SCALE, True),
        ({"sack_permitted": True}, tcp_options.SACK_PERMITTED, False),
    ],
)
def test_an_option_is_agreed_to_or_not(
    variation: dict[str, object], kind: int, usually: bool
) -> None:
    for target, has in ((varied(), usually), (varied(**variation), not usually)):  # type: ignore[arg-type]
        [syn_ack] = Client(target).syn(options=USUAL)
        assert (syn_ack.option_list.find(kind) is not None) is has


def test_an_ack_may_wait_for_another_segment_or_a_moment() -> None:
    client = Client(varied(delays_acks=True))
    client.syn()
    assert client.segment(1, b"GE") == []
    [ack] = client.segment(3, b"T ")
    assert ack_of(client, ack) == 5
    assert client.segment(5, b"/bytes/") == []
    [late] = client.wait(0.1)
    assert ack_of(client, late) == 12
    assert client.wait(1) == []
    [fin_ack] = client.segment(12, flags=Flags.ACK | Flags.FIN)[:1]
    assert ack_of(client, fin_ack) == 13


@pytest.mark.parametrize(
    ("backlog", "syn_cookies"), [(0, SynCookies.WHEN_FULL), (None, SynCookies.ALWAYS)]
)
def test_a_syn_cookie_has_no_option_but_mss_and_brings_back_a_connection(
    backlog: int | None, syn_cookies: SynCookies
) -> None:
    target = varied(backlog, syn_cookies=syn_cookies)
    client = Client(target)
    [syn_ack] = client.syn(REQUEST, data=GET, options=USUAL)
    assert [option.kind for option in syn_ack.option_list.options] == [2]
    assert ack_of(client, syn_ack) == 1
    assert target.connection_count == 0
    assert client.segment(1) == []
    client.segment(1, GET)
    assert client.answers == [b"200"]
    stranger = Client(target)
    [reset] = stranger.segment(1, GET, ack=12345)
    assert reset.is_reset


def test_only_beyond_the_backlog_is_anything_forgotten() -> None:
    target = varied(2)
    assert [bool(cookie_of(target)) for _ in range(4)] == [True, True, False, False]
    silent = varied(1, syn_cookies=SynCookies.NEVER)
    first = Client(silent)
    first.syn()
    assert Client(silent).syn() == []
    first.segment(1)
    assert Client(silent).syn()


def test_pending_fast_opens_are_not_in_the_backlog() -> None:
    target = varied(1)
    cookie = FastOpen(cookie_of(target))
    Client(target).wait(20)  # the request that was left half-open is given up
    for _ in range(3):
        client = Client(target)
        client.now = 130.0
        assert ack_of(client, client.syn(cookie, data=GET)[0]) == 1 + len(GET)
