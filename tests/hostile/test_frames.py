"""No packet, quote or option area makes a parser raise; `make hostile` tries millions."""

from __future__ import annotations

import random

import frames
import pytest

from tfocheck.wire import options as tcp_options
from tfocheck.wire import quote


@pytest.mark.parametrize("seed", range(4))
def test_no_packet_makes_a_parser_raise(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(1500):
        frames.read(frames.packet(chance))


def test_packets_that_are_right_are_read_as_such() -> None:
    for packet in frames.RIGHT:
        frames.read(packet)


@pytest.mark.parametrize("words", range(16))
def test_no_length_of_a_quoted_header_reaches_beyond_the_quote(words: int) -> None:
    whole = frames.RIGHT[0]
    for kept in range(1, len(whole) + 1):
        found = quote.compare(frames.SYNS[0], bytes([0x40 | words]) + whole[1:kept])
        assert found is None or found.tcp_bytes <= kept - 20


@pytest.mark.parametrize("kind", [0, 1, 2, 34, 254])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 255])
def test_option_areas_of_any_length_end(kind: int, length: int) -> None:
    area = bytes([kind, length]) * 5_000
    assert len(tcp_options.walk(area).options) <= len(area)
