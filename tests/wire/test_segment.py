"""Segments: built as meant, dissected as they were, and hostile bytes do no harm."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfocheck.wire.evidence import Captured
from tfocheck.wire.segment import Flags, NotTcpError, Segment, build, dissect

ADDRESSES = st.sampled_from([("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")])


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    source, destination = draw(ADDRESSES)
    words = draw(st.integers(0, 10))
    return Segment(
        source=source,
        source_port=draw(st.integers(1, 65535)),
        destination=destination,
        destination_port=draw(st.integers(1, 65535)),
        seq=draw(st.integers(0, 2**32 - 1)),
        ack=draw(st.integers(0, 2**32 - 1)),
        flags=Flags(draw(st.integers(0, 255))),
        window=draw(st.integers(0, 65535)),
        options=draw(st.binary(min_size=4 * words, max_size=4 * words)),
        payload=draw(st.binary(max_size=1400)),
    )


def ones_complement_sum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(segments())
def test_what_was_built_is_dissected(segment: Segment) -> None:
    packet = build(segment)
    assert dissect(packet) == segment
    # Ethernet pads short frames: the padding is not payload.
    assert dissect(packet + bytes(18)) == segment


@given(segments())
def test_checksums_are_right_with_any_option_bytes(segment: Segment) -> None:
    packet = build(segment)
    tcp = packet[20:] if packet[0] >> 4 == 4 else packet[40:]
    addresses = (
        ipaddress.ip_address(segment.source).packed
        + ipaddress.ip_address(segment.destination).packed
    )
    assert ones_complement_sum(addresses + struct.pack("!II", len(tcp), 6) + tcp) == 0xFFFF


@given(st.binary(max_size=200))
def test_any_bytes_are_a_segment_or_no_tcp(packet: bytes) -> None:
    try:
        segment = dissect(packet)
    except NotTcpError:
        return
    assert len(segment.options) <= 40
    assert segment.option_list.options is not None


@given(segments(), st.data())
def test_cut_packets_are_no_tcp_or_shorter(segment: Segment, data: st.DataObject) -> None:
    packet = build(segment)
    cut = packet[: data.draw(st.integers(0, len(packet)))]
    try:
        found = dissect(cut)
    except NotTcpError:
        return
    assert segment.payload.startswith(found.payload)


def test_later_fragments_are_no_tcp() -> None:
    packet = bytearray(build(Segment("192.0.2.1", 1, "192.0.2.2", 2, 0)))
    packet[6:8] = struct.pack("!H", 100)
    with pytest.raises(NotTcpError):
        dissect(bytes(packet))


def test_too_long_options_are_refused() -> None:
    with pytest.raises(ValueError, match="room for 40"):
        build(Segment("192.0.2.1", 1, "192.0.2.2", 2, 0, options=bytes(44)))


def test_flags_are_named_in_the_usual_order() -> None:
    assert str(Flags.SYN | Flags.ACK) == "SYN,ACK"
    assert str(Flags.ACK | Flags.FIN) == "FIN,ACK"
    assert str(Flags.NONE) == "none"


@given(segments(), st.binary(max_size=20), st.binary(min_size=2, max_size=2))
def test_a_captured_packet_is_made_whole(
    segment: Segment, padding: bytes, unfinished: bytes
) -> None:
    """Link padding goes, and the checksum that the kernel left to the network card comes."""
    packet = build(segment)
    place = (20 if packet[0] >> 4 == 4 else 40) + 16
    as_captured = packet[:place] + unfinished + packet[place + 2 :] + padding
    offloaded = Captured(segment, 1.0, False, packet=as_captured, checksum_open=True)
    assert offloaded.whole_packet == packet
    # What the wire had wrong stays wrong: it is evidence.
    assert replace(offloaded, checksum_open=False).whole_packet == (as_captured[: len(packet)])
    assert Captured(segment, 1.0, True).whole_packet == packet
