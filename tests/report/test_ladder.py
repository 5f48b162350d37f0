"""The ladder: relative numbers, known options in words, and never more than 80 columns."""

import string
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from sample import CLIENT_ISN, make_flow

from tfocheck.report.ladder import MOST_RUNGS, ladder, relative
from tfocheck.wire.evidence import Captured, FlowRecord
from tfocheck.wire.segment import Flags, Segment

PRINTABLE = set(string.printable) - set("\r\t\x0b\x0c")


def test_numbers_are_relative_even_when_the_isn_wraps() -> None:
    shown = ladder(make_flow())
    assert "SYN      seq 0 len 18 win 64240" in shown
    assert "SYN,ACK  seq 0 ack 19 win 65160" in shown
    assert "ACK      seq 19 ack 1 win 64240" in shown
    assert "seq -5" in shown


def test_options_times_and_the_deciding_flow_are_named() -> None:
    shown = ladder(make_flow())
    assert shown.startswith("* random cookie, attempt 1 (this decided): 192.0.2.1:40001")
    assert "mss 1460, sackOK, TS 4000000000 0, wscale 7, TFO cookie" in shown
    assert "malformed: option 254 of length 99" in shown
    assert " 0.213 ms  <-" in shown
    assert "gso 1448" in shown
    assert '"GET / HTTP/1.1\\r\\n\\r\\n"' in shown
    assert not ladder(make_flow(decided=False)).startswith("*")


def test_without_a_syn_ack_numbers_of_the_server_are_absolute() -> None:
    reset = Segment("192.0.2.2", 443, "192.0.2.1", 40001, 12345, CLIENT_ISN + 1, Flags(0x14))
    flow = FlowRecord(
        "control", ("192.0.2.1", 40001), ("192.0.2.2", 443), CLIENT_ISN, None,
        (Captured(reset, 1.0, False),),
    )  # fmt: skip
    assert "RST,ACK  seq 12345 (absolute) ack 1" in ladder(flow)


def test_a_flow_without_packets_says_so() -> None:
    flow = FlowRecord("nothing", ("::1", 1), ("::1", 2), 0, None, ())
    assert "[::1]:1 -> [::1]:2" in ladder(flow)
    assert "no packets" in ladder(flow)


def test_a_shortened_ladder_says_what_it_leaves_out() -> None:
    few = make_flow()
    assert ladder(few, shortened=True) == ladder(few)
    many = replace(few, packets=few.packets[:4] * 6, deciding=None)
    rungs = ladder(many, shortened=True).split(" ms  ")
    assert len(rungs) - 1 == MOST_RUNGS - 1
    left_out = many.packets[8:-2]
    size = sum(len(packet.segment.payload) for packet in left_out)
    assert f"({len(left_out)} packets with {size} bytes not shown)" in rungs[8]
    deciding = replace(few.packets[1], time=1000.7)
    packets = (*few.packets[:4] * 3, deciding, *few.packets[:4] * 3)
    shown = ladder(replace(few, packets=packets, deciding=deciding), shortened=True)
    assert shown.count(" ms  ") == MOST_RUNGS
    assert shown.count("not shown") == 2
    assert " 700.000 ms" in shown


def test_relative_is_signed_modulo_the_sequence_space() -> None:
    assert relative(3, 2**32 - 2) == 5
    assert relative(2**32 - 2, 3) == -5
    assert relative(7, None) is None


@given(
    st.text(st.characters(exclude_categories=[]), max_size=200),
    st.binary(max_size=40),
    st.binary(max_size=60),
    st.integers(0, 255),
    st.booleans(),
)
def test_hostile_packets_stay_within_80_printable_columns(
    label: str, options: bytes, payload: bytes, flags: int, sent: bool
) -> None:
    client, server = ("2001:db8:1111:2222:3333:4444:5555:6666", 65535), ("2001:db8::1", 443)
    segment = Segment(
        client[0], client[1], server[0], server[1], 2**32 - 1, 2**32 - 1, Flags(flags), 65535,
        options, payload,
    )  # fmt: skip
    captured = Captured(segment, 99999.0, sent, 65535)
    first = Captured(segment, 0.0, True)
    flow = FlowRecord(label, client, server, 1, None, (first, captured), decided=True)
    shown = ladder(flow)
    assert set(shown) <= PRINTABLE
    assert max(map(len, shown.split("\n"))) <= 80
