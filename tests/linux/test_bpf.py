"""The capture filter, run by an interpreter of its own: what it keeps and what it drops."""

from __future__ import annotations

import struct

import pytest

from tfocheck.linux import bpf
from tfocheck.wire.segment import Segment, build

SERVERS = [("192.0.2.2", 443), ("2001:db8::2", 8080)]


def keeps(program: list[bpf.Instruction], packet: bytes) -> bool:
    """Run a classic BPF program as Documentation/networking/filter.rst describes the machine."""
    ethertype = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    accumulator = index_register = position = 0

    def load(offset: int, size: int) -> int | None:
        if offset == 0xFFFFF000:
            return ethertype
        start = (offset - 0xFFF00000) & 0xFFFFFFFF
        data = packet[start : start + size]
        return int.from_bytes(data) if len(data) == size else None

    while True:
        code, true, false, value = program[position]
        position += 1
        sizes = {0x20: 4, 0x28: 2, 0x30: 1, 0x48: 2, 0x50: 1}
        if code in sizes:
            offset = value + (index_register if code in (0x48, 0x50) else 0)
            loaded = load(offset, sizes[code])
            if loaded is None:
                return False
            accumulator = loaded
        elif code == 0xB1:
            first = load(value, 1)
            if first is None:
                return False
            index_register = 4 * (first & 15)
        elif code == 0x01:
            index_register = value
        elif code == 0x05:
            position += value
        elif code in (0x15, 0x45):
            holds = accumulator == value if code == 0x15 else accumulator & value
            position += true if holds else false
        elif code == 0x06:
            return value > 0
        else:
            raise AssertionError(f"instruction {code:#x} is unknown to this machine")


def packet(source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    return build(Segment(*source, *destination, seq=1))


@pytest.mark.parametrize(
    ("source", "destination", "kept"),
    [
        (("192.0.2.1", 5000), ("192.0.2.2", 443), True),
        (("192.0.2.2", 443), ("192.0.2.1", 5000), True),
        (("192.0.2.2", 444), ("192.0.2.1", 5000), False),
        (("192.0.2.1", 443), ("192.0.2.2", 5000), False),
        (("192.0.2.3", 443), ("192.0.2.1", 5000), False),
        (("2001:db8::1", 5000), ("2001:db8::2", 8080), True),
        (("2001:db8::2", 8080), ("2001:db8::1", 5000), True),
        (("2001:db8::2", 443), ("2001:db8::1", 5000), False),
        (("2001:db8:1::2", 8080), ("2001:db8::1", 5000), False),
    ],
)
def test_keeps_the_servers_and_nothing_else(
    source: tuple[str, int], destination: tuple[str, int], kept: bool
) -> None:
    assert keeps(bpf.capture(SERVERS), packet(source, destination)) is kept


def test_ip_options_move_the_ports() -> None:
    plain = bytearray(packet(("192.0.2.2", 443), ("192.0.2.1", 5000)))
    plain[0] = 0x46
    assert keeps(bpf.capture(SERVERS), bytes(plain[:20]) + bytes(4) + bytes(plain[20:]))


def test_later_fragments_are_dropped() -> None:
    fragment = bytearray(packet(("192.0.2.2", 443), ("192.0.2.1", 5000)))
    fragment[6:8] = struct.pack("!H", 185)
    assert not keeps(bpf.capture(SERVERS), bytes(fragment))


@pytest.mark.parametrize(("icmp_type", "kept"), [(3, True), (11, True), (8, False), (0, False)])
def test_icmp_errors_are_kept_from_anywhere(icmp_type: int, kept: bool) -> None:
    header = bytearray(packet(("198.51.100.1", 1), ("192.0.2.1", 1))[:20])
    header[9] = 1
    assert keeps(bpf.capture(SERVERS), bytes(header) + bytes([icmp_type, 0])) is kept


@pytest.mark.parametrize(("icmp_type", "kept"), [(1, True), (3, True), (128, False), (135, False)])
def test_icmpv6_errors_are_kept_from_anywhere(icmp_type: int, kept: bool) -> None:
    header = bytearray(packet(("2001:db8::9", 1), ("2001:db8::1", 1))[:40])
    header[6] = 58
    assert keeps(bpf.capture(SERVERS), bytes(header) + bytes([icmp_type, 0])) is kept


def test_udp_is_dropped() -> None:
    datagram = bytearray(packet(("192.0.2.2", 443), ("192.0.2.1", 5000)))
    datagram[9] = 17
    assert not keeps(bpf.capture(SERVERS), bytes(datagram))


def test_a_full_set_of_servers_fits_the_kernel() -> None:
    servers = [(f"2001:db8::{number:x}", 443) for number in range(1, bpf.MAX_ENDPOINTS + 1)]
    program = bpf.capture(servers)
    assert len(program) <= 4096
    assert all(line.if_true <= 255 and line.if_false <= 255 for line in program)
    assert keeps(program, packet(("2001:db8::78", 443), ("2001:db8:1::1", 9)))
    assert not keeps(program, packet(("2001:db8::79", 443), ("2001:db8:1::1", 9)))


def test_beyond_that_all_tcp_is_kept() -> None:
    servers = [(f"192.0.2.{number}", 443) for number in range(1, bpf.MAX_ENDPOINTS + 2)]
    assert keeps(bpf.capture(servers), packet(("198.51.100.1", 1), ("198.51.100.2", 2)))
