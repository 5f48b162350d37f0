"""ICMP quotes: whose flow an error is about."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tfocheck.wire.evidence import FlowKey, IcmpError
from tfocheck.wire.icmp import read
from tfocheck.wire.segment import Flags, Segment, build


def quoting(segment: Segment, sender: str, icmp_type: int, code: int) -> bytes:
    quoted = build(segment)
    if ":" in sender:
        outer = bytearray(build(Segment(sender, 1, segment.source, 1, 0))[:40])
        outer[6] = 58
        return bytes(outer) + bytes([icmp_type, code]) + bytes(6) + quoted
    outer = bytearray(build(Segment(sender, 1, segment.source, 1, 0))[:20])
    outer[9] = 1
    return bytes(outer) + bytes([icmp_type, code]) + bytes(6) + quoted[:28]


def test_ipv4_error_names_the_flow() -> None:
    syn = Segment("192.0.2.1", 5000, "192.0.2.2", 443, 7, flags=Flags.SYN)
    assert read(quoting(syn, "198.51.100.1", 3, 13)) == (
        FlowKey("192.0.2.1", 5000, "192.0.2.2", 443),
        "198.51.100.1",
        3,
        13,
        build(syn)[:28],
    )


def test_no_header_that_is_too_short_is_believed() -> None:
    """Its length would have ports read out of addresses."""
    whole = quoting(Segment("192.0.2.1", 5000, "192.0.2.2", 443, 7), "198.51.100.1", 3, 1)
    assert read(whole) is not None
    for place in (0, 28):
        for words in range(5):
            assert read(whole[:place] + bytes([0x40 | words]) + whole[place + 1 :]) is None
    # A quote of the other family is none of ours.
    assert read(whole[:28] + b"\x65" + whole[29:]) is None


def test_ipv6_error_names_the_flow() -> None:
    syn = Segment("2001:db8::1", 5000, "2001:db8::2", 443, 7, flags=Flags.SYN)
    assert read(quoting(syn, "2001:db8::9", 1, 0)) == (
        FlowKey("2001:db8::1", 5000, "2001:db8::2", 443),
        "2001:db8::9",
        1,
        0,
        build(syn),
    )


@given(st.binary(max_size=120))
def test_hostile_icmp_never_raises(packet: bytes) -> None:
    found = read(packet)
    assert found is None or isinstance(found[0], FlowKey)


def test_errors_have_names() -> None:
    assert IcmpError("192.0.2.9", 3, 1, 0.0).name == '"host unreachable"'
    assert IcmpError("2001:db8::9", 1, 0, 0.0).name == '"no route to destination"'
    assert IcmpError("192.0.2.9", 3, 77, 0.0).name == "error type 3 code 77"
