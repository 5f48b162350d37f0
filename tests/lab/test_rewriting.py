"""Frames that boxes on the way read and write, and what each kind of box makes of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfocheck.lab.frames import TcpFrame
from tfocheck.lab.middleboxes import Path
from tfocheck.lab.rewriting import REWRITES
from tfocheck.lab.scenarios import SCENARIOS
from tfocheck.memory.impairment import TO_CLIENT, TO_SERVER, Way
from tfocheck.wire import options as tcp_options
from tfocheck.wire.options import FastOpen, Option
from tfocheck.wire.segment import Flags, Segment, build, dissect

MACS = bytes(range(12))
ETHERTYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
PAIRS = [("10.77.0.1", "10.77.4.2"), ("fd77::1", "fd77:4::2")]
COOKIE = bytes(range(8))
USUAL = (
    tcp_options.mss(1460),
    tcp_options.sack_permitted(),
    tcp_options.timestamps(5, 0),
    tcp_options.no_operation(),
    tcp_options.window_scale(7),
)


def framed(segment: Segment) -> bytes:
    packet = build(segment)
    return MACS + ETHERTYPES[packet[0] >> 4] + packet


def syn(
    pair: tuple[str, str], options: tuple[Option, ...] = USUAL, payload: bytes = b""
) -> Segment:
    area = tcp_options.encode(options)
    return Segment(pair[0], 40000, pair[1], 8080, 1000, 0, Flags.SYN, 65535, area, payload)


def rewritten(name: str, segment: Segment, way: Way = TO_SERVER) -> Segment:
    [frame] = REWRITES[name]()(way, framed(segment))
    assert_checksums(frame)
    return dissect(frame[14:])


def assert_checksums(frame: bytes) -> None:
    """The frame is the one that Scapy's builder, which reckons on its own, makes of it."""
    assert framed(dissect(frame[14:])) == frame


segments = st.builds(
    Segment,
    source_port=st.integers(0, 65535),
    destination_port=st.integers(0, 65535),
    seq=st.integers(0, 2**32 - 1),
    ack=st.integers(0, 2**32 - 1),
    flags=st.integers(0, 255).map(Flags),
    window=st.integers(0, 65535),
    options=st.binary(max_size=40).map(tcp_options.pad),
    payload=st.binary(max_size=50),
    ttl=st.integers(0, 255),
    source=st.just(""),
    destination=st.just(""),
)


@given(st.sampled_from(PAIRS), segments)
def test_what_is_read_is_written_again(pair: tuple[str, str], segment: Segment) -> None:
    frame = framed(replace(segment, source=pair[0], destination=pair[1]))
    parsed = TcpFrame.parse(frame)
    assert parsed is not None
    # The builder makes no urgent pointer and no reserved bits, both of which are kept.
    assert parsed.encode() == frame


@given(st.binary(max_size=120), st.sampled_from([b"", MACS + b"\x08\x00", MACS + b"\x86\xdd"]))
def test_a_frame_that_is_no_segment_passes_as_it_is(content: bytes, header: bytes) -> None:
    frame = header + content
    if TcpFrame.parse(frame) is None:
        for make in REWRITES.values():
            assert make()(TO_SERVER, frame) == [frame]


@given(st.sampled_from(sorted(REWRITES)), st.sampled_from(PAIRS), segments)
def test_no_segment_stops_a_box(name: str, pair: tuple[str, str], segment: Segment) -> None:
    sent = replace(segment, source=pair[0], destination=pair[1])
    [frame] = REWRITES[name]()(TO_SERVER, framed(sent))
    got = dissect(frame[14:])
    assert (got.payload, got.flags, got.ttl) == (sent.payload, sent.flags, sent.ttl)


@pytest.mark.parametrize("cut", [20, 33, 50, 60])
def test_a_frame_that_was_cut_short_is_no_segment(cut: int) -> None:
    assert TcpFrame.parse(framed(syn(PAIRS[0], payload=b"data"))[:cut]) is None


def test_a_fragment_is_no_segment() -> None:
    frame = framed(syn(PAIRS[0]))
    assert TcpFrame.parse(frame[:20] + b"\x20\x00" + frame[22:]) is None


@pytest.mark.parametrize("pair", PAIRS)
def test_sequence_numbers_are_shifted_there_and_back(pair: tuple[str, str]) -> None:
    sent = syn(pair, payload=b"data")
    there = rewritten("isn-shifted", sent)
    shift = (there.seq - sent.seq) % 2**32
    assert shift
    assert there.ack == 0
    sack = Option(5, (sent.seq + shift + 3).to_bytes(4) + (sent.seq + shift + 5).to_bytes(4))
    answer = Segment(
        pair[1], 8080, pair[0], 40000, 7, there.seq + 5, Flags.ACK, options=sack.encode() + bytes(2)
    )
    back = rewritten("isn-shifted", answer, TO_CLIENT)
    assert back.ack == sent.seq + 5
    assert back.seq != 7
    found = back.option_list.find(5)
    assert found is not None
    assert found.value == (sent.seq + 3).to_bytes(4) + (sent.seq + 5).to_bytes(4)


def test_an_ack_of_data_becomes_one_of_the_syn() -> None:
    box = REWRITES["ack-rewritten"]()
    sent = syn(PAIRS[0], payload=b"data")
    assert box(TO_SERVER, framed(sent)) == [framed(sent)]
    answer = Segment(
        sent.destination, 8080, sent.source, 40000, 7, sent.seq + 5, Flags.SYN | Flags.ACK
    )
    [frame] = box(TO_CLIENT, framed(answer))
    assert dissect(frame[14:]).ack == sent.seq + 1
    later = replace(answer, flags=Flags.ACK)
    assert box(TO_CLIENT, framed(later)) == [framed(later)]


@pytest.mark.parametrize("experimental", [False, True])
def test_a_cookie_is_changed_and_a_request_is_not(experimental: bool) -> None:
    sent = syn(PAIRS[0], (*USUAL, FastOpen(COOKIE, experimental).to_option()))
    changed = rewritten("cookie-changed", sent).fast_open
    assert changed is not None
    assert changed.experimental == experimental
    assert len(changed.cookie) == 8
    assert changed.cookie != COOKIE
    request = syn(PAIRS[0], (*USUAL, FastOpen().to_option()))
    assert rewritten("cookie-changed", request) == request


def test_options_are_moved_and_none_is_lost() -> None:
    sent = syn(PAIRS[0], (*USUAL, FastOpen(COOKIE).to_option()))
    moved = rewritten("option-moved", sent)
    assert moved.option_list.options[0] == FastOpen(COOKIE).to_option()
    assert set(moved.option_list.options) == set(sent.option_list.options)
    assert moved.options != sent.options


def test_the_mss_is_lowered_and_never_raised() -> None:
    assert rewritten("mss-clamped", syn(PAIRS[0])).option_list.mss == 1200
    small = syn(PAIRS[0], (tcp_options.mss(536),))
    assert rewritten("mss-clamped", small) == small


def test_timestamps_become_nops() -> None:
    sent = syn(PAIRS[0])
    seen = rewritten("timestamps-removed", sent)
    assert seen.option_list.timestamps is None
    assert seen.option_list.mss == 1460
    assert len(seen.options) == len(sent.options)


def test_each_box_has_a_scenario() -> None:
    paths = [scenario.path or Path() for scenario in SCENARIOS.values()]
    assert {path.rewrite for path in paths} - {""} == set(REWRITES)
