"""What a router quotes of a SYN, compared with what was sent."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfocheck.wire import options as tcp_options
from tfocheck.wire.options import FastOpen
from tfocheck.wire.quote import Quote, compare
from tfocheck.wire.segment import Flags, Segment, build

COOKIE = FastOpen(bytes(range(8))).to_option()
MSS, STAMPS = tcp_options.mss(1460), tcp_options.timestamps(7, 0)
NOPS = (tcp_options.no_operation(),)
OPTIONS = tcp_options.encode([MSS, STAMPS, COOKIE])
ADDRESSES = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}


def syn(version: int = 4) -> Segment:
    client, server = ADDRESSES[version]
    return Segment(
        client, 5000, server, 443, 7000, flags=Flags.SYN, options=OPTIONS, payload=b"hello"
    )


def quoted(version: int = 4, **changed: object) -> Quote:
    found = compare(syn(version), build(dataclasses.replace(syn(version), ttl=1, **changed)))  # type: ignore[arg-type]
    assert found is not None
    return found


def fields(quote: Quote) -> list[str]:
    return [change.field for change in quote.changes]


@pytest.mark.parametrize("version", [4, 6])
def test_a_syn_that_was_left_alone_shows_no_change(version: int) -> None:
    quote = quoted(version)
    assert quote.changes == ()
    assert quote.shows_options


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"seq": 7010}, "sequence", "shifted by 10"),
        ({"payload": b""}, "data", "the 5 bytes of data are gone"),
        ({"options": tcp_options.encode([MSS, STAMPS])}, "fast-open", "is removed"),
        (
            {"options": tcp_options.encode([MSS, STAMPS, *NOPS * 10])},
            "fast-open",
            "the Fast Open option is removed",
        ),
        (
            {"options": tcp_options.encode([MSS, STAMPS, FastOpen(b"otherone").to_option()])},
            "fast-open",
            "changed from 0001020304050607 to 6f746865726f6e65",
        ),
        (
            {"options": tcp_options.encode([tcp_options.mss(1200), STAMPS, COOKIE])},
            "mss",
            "the MSS is changed from 1460 to 1200",
        ),
        ({"options": tcp_options.encode([MSS, COOKIE])}, "timestamps", "is removed"),
        ({"options": tcp_options.encode([COOKIE, MSS, STAMPS])}, "order", "in another order"),
        ({"window": 100}, "window", "the window is 100"),
        ({"ack": 9}, "ack", "9"),
    ],
)
def test_each_change_is_named(
    version: int, changed: dict[str, object], field: str, words: str
) -> None:
    quote = quoted(version, **changed)
    assert fields(quote) == [field]
    assert words in quote.changes[0].what


def test_eight_bytes_show_the_sequence_number_and_no_options() -> None:
    shifted = dataclasses.replace(syn(), seq=8000, options=b"")
    quote = compare(syn(), build(shifted)[:28])
    assert quote is not None
    assert fields(quote) == ["sequence"]
    assert not quote.shows_options


def test_options_that_are_cut_off_are_not_called_removed() -> None:
    quote = compare(syn(), build(syn())[: 20 + 20 + 6])
    assert quote is not None
    assert quote.changes == ()


def test_the_quote_of_another_packet_is_none() -> None:
    other = dataclasses.replace(syn(), source_port=5001)
    assert compare(syn(), build(other)) is None


@given(st.binary(max_size=120), st.integers(0, 119), st.binary(max_size=8))
def test_hostile_quotes_never_raise(noise: bytes, place: int, patch: bytes) -> None:
    compare(syn(), noise)
    packet = build(syn())
    compare(syn(), packet[:place] + patch + packet[place + len(patch) :])
    compare(syn(), packet[:place])
