"""pcapng: what tshark makes of it, and what another reader finds in it, whatever the labels say."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from read_back import GOOD, SENT, read_packets, tshark
from sample import CLIENT, SERVER, make_address, make_case, make_flow, make_report, make_result
from scapy.utils import RawPcapNgReader

from tfocheck.case import Verdict
from tfocheck.judging import grade
from tfocheck.model.report import AddressReport
from tfocheck.report import pcapng
from tfocheck.wire.evidence import Captured, FlowRecord, IcmpError
from tfocheck.wire.segment import Flags, Segment, build

FORGED, OTHER = make_case("forged.random"), make_case("open.data-acked")
SYN6 = Segment("2001:db8::1", 40002, "2001:db8::2", 443, 7, flags=Flags.SYN)


def dumps(*addresses: AddressReport) -> bytes:
    return pcapng.dumps(grade.judge(make_report(*addresses)))


def unreachable() -> IcmpError:
    """An ICMP error about our packet, with two bytes of link padding behind it."""
    quote = build(Segment(CLIENT, 40001, SERVER, 443, 1, flags=Flags.SYN))[:28]
    head = bytes.fromhex("4500 0038 0000 0000 4001 0000 c6336401 c0000201")
    packet = head + bytes([3, 1]) + bytes(6) + quote + b"xx"
    return IcmpError("198.51.100.1", 3, 1, 1000.7, nanoseconds=1000_700_000_001, packet=packet)


@pytest.mark.lab
def test_the_packet_that_decided_is_marked_alone(tmp_path: Path) -> None:
    flow = make_flow()
    failed = make_result(FORGED, Verdict.FAIL, flows=(replace(flow, deciding=flow.packets[1]),))
    path = tmp_path / "packets.pcapng"
    path.write_bytes(dumps(make_address(results=(failed,))))
    assert ["decided" in str(each.comments) for each in read_packets(path)] == [
        packet is flow.packets[1] for packet in flow.packets
    ]


@pytest.mark.lab
def test_tshark_finds_a_case_by_its_id(tmp_path: Path) -> None:
    flow = make_flow()
    shared = make_flow(b"shared", decided=False)
    shared = replace(shared, client_isn=5, icmp=(unreachable(),))
    control = FlowRecord(
        "control: plain SYN", ("2001:db8::1", 40002), ("2001:db8::2", 443), 7, None,
        (Captured(SYN6, 999.0, True, 0, "eth1", 999_123_456_789),),
    )  # fmt: skip
    failed = make_result(FORGED, Verdict.FAIL, flows=(flow, shared))
    passed = make_result(OTHER, Verdict.PASS, flows=(shared,))
    path = tmp_path / "packets.pcapng"
    path.write_bytes(dumps(replace(make_address(results=(failed, passed)), controls=(control,))))

    first, *others = read_packets(path)
    assert len(others) == 5 + 6, "what two cases cite is there once"
    assert (first.time, first.interface, first.direction) == ("999.123456789", "eth1", SENT)
    assert first.comments == ["control: plain SYN: SYN seq 0 win 65535"]
    assert sum(len(each.comments) for each in others) == 5 + 2 * 6
    decided = [each.comments for each in others if "(this decided: fail)" in str(each.comments)]
    assert len(decided) == 5
    assert decided[1][0].startswith(
        "forged.random: random cookie, attempt 1: SYN,ACK seq 0 ack 19 win 65160 <mss 1460"
    )
    [error] = [each for each in others if "ICMP" in str(each.comments)]
    said = 'random cookie, attempt 1: ICMP from 198.51.100.1: "host unreachable"'
    assert error.comments == [f"forged.random: {said}", f"open.data-acked: {said}"]
    assert error.time == "1000.700000001"
    for each in (first, *others[:5]):
        assert each.tcp_checksum == GOOD
        assert each.version == "6" or each.ip_checksum == GOOD
    # The hand-made SYN-ACK has an option that claims 99 bytes: the server's fault, not ours.
    assert not any(each.malformed for each in (first, *others) if each.direction == SENT)
    chosen = tshark(path, "-Y", 'frame.comment contains "forged.random"')
    assert len(chosen) == 5 + 6


@pytest.mark.lab
def test_a_report_without_packets_is_a_file_without_packets(tmp_path: Path) -> None:
    path = tmp_path / "packets.pcapng"
    path.write_bytes(dumps(make_address(not_tested="no route")))
    assert tshark(path) == []


def read_raw(data: bytes) -> list[tuple[bytes, Any]]:
    """Packets and what is said of them, as Scapy reads it; its hints know no open files."""
    return list(RawPcapNgReader(io.BytesIO(data)))  # type: ignore[arg-type]


def test_times_in_nanoseconds_survive_where_a_float_has_no_room_for_them() -> None:
    moment = 1_790_000_000_123_456_789
    packet = Captured(SYN6, moment / 1e9, True, nanoseconds=moment)
    data = dumps(replace(make_address(), controls=(replace(make_flow(), packets=(packet,)),)))
    metas = [meta for _, meta in read_raw(data)]
    assert moment in [(meta.tshigh << 32) + meta.tslow for meta in metas]


@given(st.text(st.characters(exclude_categories=[])), st.binary(max_size=70))
def test_hostile_labels_and_payloads_break_no_block(label: str, payload: bytes) -> None:
    flow = replace(make_flow(payload), label=label * 40)
    result = make_result(make_case("a.b"), Verdict.FAIL, flows=(flow,))
    data = dumps(make_address(label, (result,), target=label))
    packets = read_raw(data)
    assert [packet for packet, _ in packets] == [build(each.segment) for each in flow.packets]
    for _, meta in packets:
        [comment] = [each.decode("ascii") for each in meta.comments]
        assert comment.startswith("a.b: ")
        assert comment.endswith("(this decided: fail)")
        assert comment.isprintable()
