"""The capture filter, run by an interpreter of its own: what it keeps and what it drops."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfocheck.linux import bpf
from tfocheck.wire.segment import Segment, build

SERVERS = [("192.0.2.2", 443), ("2001:db8::2", 8080)]
BLOCKS = (4992, 33024)  # 5000 is in the first one
CAPTURE = bpf.capture(SERVERS, BLOCKS)


LOADS = {0x28: 2, 0x30: 1, 0x40: 4, 0x48: 2, 0x50: 1}
SUMS = {0x54: int.__and__, 0x64: int.__lshift__, 0x04: int.__add__, 0x0C: int.__add__}
OUTGOING = 4


class Machine:
    """The machine of Documentation/networking/filter.rst, with a packet to look at."""

    def __init__(self, packet: bytes, *, sent: bool) -> None:
        self.packet = packet
        ethertype = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
        self.special = {0xFFFFF000: ethertype, 0xFFFFF004: OUTGOING if sent else 0}
        self.accumulator = self.index = 0
        self.memory = [0] * 16

    def keeps(self, program: list[bpf.Instruction]) -> bool:
        position = 0
        while True:
            code, true, false, value = program[position]
            position += 1
            if code == 0x06:
                return value > 0
            if code == 0x05:
                position += value
            elif code in (0x15, 0x45):
                holds = self.accumulator == value if code == 0x15 else self.accumulator & value
                position += true if holds else false
            elif code in LOADS or code == 0xB1:
                if not self.load(code, value):
                    return False
            else:
                self.compute(code, value)

    def load(self, code: int, value: int) -> bool:
        if value in self.special:
            self.accumulator = self.special[value]
            return True
        start = value - 0xFFF00000 + (self.index if code & 0x40 else 0)
        size = LOADS.get(code, 1)
        data = self.packet[start : start + size]
        if code == 0xB1:
            self.index = 4 * (int.from_bytes(data) & 15)
        else:
            self.accumulator = int.from_bytes(data)
        return len(data) == size

    def compute(self, code: int, value: int) -> None:
        if code in SUMS:
            other = self.index if code == 0x0C else value
            self.accumulator = SUMS[code](self.accumulator, other) & 0xFFFFFFFF
        elif code == 0x02:
            self.memory[value] = self.accumulator
        elif code in (0x60, 0x87):
            self.accumulator = self.memory[value] if code == 0x60 else self.index
        else:
            sources = {0x01: value, 0x61: self.memory[value % 16], 0x07: self.accumulator}
            self.index = sources[code]


def keeps(program: list[bpf.Instruction], packet: bytes, *, sent: bool = False) -> bool:
    return Machine(packet, sent=sent).keeps(program)


def packet(source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    return build(Segment(*source, *destination, seq=1))


def quoting(quoted: bytes, sender: str, icmp_type: int, *, options: int = 0) -> bytes:
    """An ICMP error; its own IP header has so many bytes of options."""
    ours = "2001:db8::1" if ":" in sender else "192.0.2.1"
    size, protocol_at, protocol = (40, 6, 58) if ":" in sender else (20, 9, 1)
    outer = bytearray(packet((sender, 1), (ours, 1))[:size])
    outer[protocol_at] = protocol
    outer[0] += options // 4
    return bytes(outer) + bytes(options) + bytes([icmp_type, 0]) + bytes(6) + quoted


@pytest.mark.parametrize(
    ("source", "destination", "kept"),
    [
        (("192.0.2.2", 443), ("192.0.2.1", 5000), True),
        (("192.0.2.2", 443), ("192.0.2.1", 4992), True),
        (("192.0.2.2", 443), ("192.0.2.1", 5055), True),
        (("192.0.2.2", 443), ("192.0.2.1", 33025), True),
        (("192.0.2.2", 443), ("192.0.2.1", 4991), False),
        (("192.0.2.2", 443), ("192.0.2.1", 5056), False),
        (("192.0.2.2", 444), ("192.0.2.1", 5000), False),
        (("192.0.2.2", 5000), ("192.0.2.1", 443), False),
        (("192.0.2.3", 443), ("192.0.2.1", 5000), False),
        (("2001:db8::2", 8080), ("2001:db8::1", 5000), True),
        (("2001:db8::2", 8080), ("2001:db8::1", 6000), False),
        (("2001:db8::2", 443), ("2001:db8::1", 5000), False),
        (("2001:db8:1::2", 8080), ("2001:db8::1", 5000), False),
    ],
)
def test_keeps_what_goes_between_the_servers_and_our_ports(
    source: tuple[str, int], destination: tuple[str, int], kept: bool
) -> None:
    assert keeps(CAPTURE, packet(source, destination)) is kept
    assert keeps(CAPTURE, packet(destination, source), sent=True) is kept
    # What goes the other way is of somebody whose server is here.
    assert not keeps(CAPTURE, packet(destination, source))
    assert not keeps(CAPTURE, packet(source, destination), sent=True)


def test_ip_options_move_the_ports() -> None:
    plain = bytearray(packet(("192.0.2.2", 443), ("192.0.2.1", 5000)))
    plain[0] = 0x46
    assert keeps(CAPTURE, bytes(plain[:20]) + bytes(4) + bytes(plain[20:]))


def test_later_fragments_are_dropped() -> None:
    fragment = bytearray(packet(("192.0.2.2", 443), ("192.0.2.1", 5000)))
    fragment[6:8] = struct.pack("!H", 185)
    assert not keeps(CAPTURE, bytes(fragment))


@pytest.mark.parametrize(
    ("sender", "icmp_type", "kept"),
    [
        ("198.51.100.1", 3, True),
        ("198.51.100.1", 11, True),
        ("198.51.100.1", 12, True),
        ("198.51.100.1", 8, False),
        ("198.51.100.1", 0, False),
        ("2001:db8::9", 1, True),
        ("2001:db8::9", 3, True),
        ("2001:db8::9", 128, False),
        ("2001:db8::9", 135, False),
    ],
)
@pytest.mark.parametrize("own", [5000, 6000])
def test_errors_are_kept_from_anywhere_if_they_quote_what_may_be_ours(
    sender: str, icmp_type: int, kept: bool, own: int
) -> None:
    client, server = ("2001:db8::1", "192.0.2.1")[":" not in sender], SERVERS[":" in sender]
    quoted = packet((client, own), server)
    kept = kept and own == 5000
    assert keeps(CAPTURE, quoting(quoted, sender, icmp_type)) is kept
    other = packet((client, own), (server[0], server[1] + 1))
    assert not keeps(CAPTURE, quoting(other, sender, icmp_type))


def test_both_headers_of_a_quote_may_have_options() -> None:
    quoted = bytearray(packet(("192.0.2.1", 5000), SERVERS[0]))
    for options in (0, 4, 40):
        longer = bytes([0x45 + options // 4]) + quoted[1:20] + bytes(options) + quoted[20:28]
        assert keeps(CAPTURE, quoting(longer, "198.51.100.1", 3, options=8))
        # Where the ports would be without them there is no port of ours.
        assert not keeps(CAPTURE, quoting(b"\x46" + quoted[1:28], "198.51.100.1", 3))


@pytest.mark.parametrize("protocol", [1, 17])
def test_quotes_of_others_than_tcp_are_dropped(protocol: int) -> None:
    quoted = bytearray(packet(("192.0.2.1", 5000), SERVERS[0]))
    quoted[9] = protocol
    assert not keeps(CAPTURE, quoting(bytes(quoted), "198.51.100.1", 3))


def test_udp_is_dropped() -> None:
    datagram = bytearray(packet(("192.0.2.2", 443), ("192.0.2.1", 5000)))
    datagram[9] = 17
    assert not keeps(CAPTURE, bytes(datagram))


@given(st.binary(max_size=80), st.sampled_from([0x45, 0x4F, 0x60]))
def test_whatever_comes_the_program_ends(noise: bytes, first: int) -> None:
    assert keeps(CAPTURE, bytes([first]) + noise) in (True, False)


ALL_BLOCKS = range(0, 65536, bpf.BLOCK)


def test_a_full_set_of_servers_and_all_blocks_fit_the_kernel() -> None:
    servers = [(f"2001:db8::{number:x}", 443) for number in range(1, bpf.MAX_ENDPOINTS + 1)]
    program = bpf.capture(servers, ALL_BLOCKS)
    assert len(program) <= 4096
    assert all(line.if_true <= 255 and line.if_false <= 255 for line in program)
    for port in (0, 63, 12_800, 65_535):
        assert keeps(program, packet(("2001:db8::78", 443), ("2001:db8:1::1", port)))
    assert not keeps(program, packet(("2001:db8::79", 443), ("2001:db8:1::1", 9)))


def test_beyond_that_only_the_blocks_are_looked_at() -> None:
    servers = [(f"192.0.2.{number}", 443) for number in range(1, bpf.MAX_ENDPOINTS + 2)]
    program = bpf.capture(servers, BLOCKS)
    assert keeps(program, packet(("198.51.100.1", 1), ("198.51.100.2", 5000)))
    assert not keeps(program, packet(("198.51.100.1", 1), ("198.51.100.2", 6000)))


def test_without_a_port_nothing_is_kept() -> None:
    assert not keeps(bpf.capture(SERVERS, ()), packet(("192.0.2.2", 443), ("192.0.2.1", 0)))
