"""The option bytes: what we send arrives as meant, what we receive never hurts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfocheck.engine.conversation import usual_options
from tfocheck.wire import options as tcp_options
from tfocheck.wire.options import FastOpen, Option


def test_cookie_request_is_22_02() -> None:
    """RFC 7413 section 4.1.1 with erratum 4238: a request has option length 2."""
    assert FastOpen().to_option().encode() == bytes.fromhex("2202")


def test_experimental_request_carries_the_exid() -> None:
    """RFC 7413 section 9, RFC 6994."""
    assert FastOpen(experimental=True).to_option().encode() == bytes.fromhex("fe04f989")


@pytest.mark.parametrize("experimental", [False, True])
@given(cookie=st.binary(max_size=35))
def test_any_cookie_survives_the_wire(cookie: bytes, experimental: bool) -> None:
    sent = FastOpen(cookie, experimental=experimental)
    area = tcp_options.encode([tcp_options.no_operation(), sent.to_option()])
    assert tcp_options.walk(area).fast_open == sent


@pytest.mark.parametrize(
    ("size", "legal"), [(0, False), (3, False), (4, True), (5, False), (16, True), (18, False)]
)
def test_legal_cookies_are_even_and_4_to_16_bytes(size: int, legal: bool) -> None:
    assert FastOpen(bytes(size)).has_legal_cookie is legal


@given(area=st.binary(max_size=60))
def test_walk_never_raises_and_reads_only_what_is_there(area: bytes) -> None:
    found = tcp_options.walk(area)
    assert sum(len(option.encode()) for option in found.options) <= len(area)
    # None of the readings may raise either.
    assert found.mss is None or 0 <= found.mss <= 65535
    assert found.window_scale is None or 0 <= found.window_scale <= 14
    assert found.timestamps is None or len(found.timestamps) == 2
    assert found.fast_open is None or isinstance(found.fast_open.cookie, bytes)


@pytest.mark.parametrize(
    ("area", "complaint"),
    [
        ("2200", "option 34 has length 0"),
        ("2201", "option 34 has length 1"),
        ("220a0102", "option 34 of length 10 leaves the header"),
        ("0122", "option 34 has no length"),
    ],
)
def test_malformed_lists_are_named(area: str, complaint: str) -> None:
    found = tcp_options.walk(bytes.fromhex(area))
    assert found.malformed == complaint
    assert found.fast_open is None


def test_nothing_is_read_after_the_end_of_the_list() -> None:
    area = bytes.fromhex("00") + FastOpen(b"12345678").to_option().encode()
    assert tcp_options.walk(area).options == ()


def test_window_scale_is_capped() -> None:
    """RFC 7323 section 2.3: a shift above 14 is used as 14."""
    area = tcp_options.encode([tcp_options.window_scale(200)])
    assert tcp_options.walk(area).window_scale == 14


def test_too_many_options_are_refused() -> None:
    with pytest.raises(ValueError, match="room for 40"):
        tcp_options.encode([Option(99, bytes(39))])


@given(size=st.integers(0, 36))
def test_an_everyday_syn_makes_room_for_any_cookie(size: int) -> None:
    area = tcp_options.encode(usual_options(1460, 7, [FastOpen(bytes(size))]))
    found = tcp_options.walk(area)
    assert found.fast_open == FastOpen(bytes(size))
    if size <= 18:
        assert found.mss == 1460
    if size <= 14:
        assert found.timestamps == (7, 0)


def test_a_cookie_that_fits_nowhere_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        usual_options(1460, 7, [FastOpen(bytes(39))])
