"""Classic BPF, assembled by hand: the capture's filter and the port guard's.

No libpcap: the few programs needed here are short, and hand-made ones can use the kernel's
network-header offset, so that one program fits every link type.

Source: Linux ``Documentation/networking/filter.rst`` and ``include/uapi/linux/filter.h``.
"""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

SO_ATTACH_FILTER = 26

_LOAD_HALF, _LOAD_BYTE = 0x28, 0x30
_LOAD_WORD_X, _LOAD_HALF_X, _LOAD_BYTE_X = 0x40, 0x48, 0x50
_LOAD_MEMORY, _STORE = 0x60, 0x02
_X_FROM_IHL = 0xB1
_X_IMMEDIATE, _X_FROM_MEMORY, _X_FROM_A, _A_FROM_X = 0x01, 0x61, 0x07, 0x87
_AND, _SHIFT_LEFT, _ADD, _ADD_X = 0x54, 0x64, 0x04, 0x0C
_JUMP, _IF_EQUAL, _IF_ANY_BIT = 0x05, 0x15, 0x45
_RETURN = 0x06

# Loads at these offsets are special: the ethertype, which way it goes, and bytes counted from the
# network header.
_ETHERTYPE = 0xFFFFF000
_PACKET_TYPE = 0xFFFFF004
_NETWORK = 0xFFF00000
_PACKET_OUTGOING = 4

_ETH_P_IP, _ETH_P_IPV6 = 0x0800, 0x86DD
_TCP, _ICMP, _ICMPV6 = 6, 1, 58
_ICMP_ERRORS = (3, 11, 12)  # unreachable, time exceeded, parameter problem (RFC 792)
_WHOLE_PACKET = 0x40000

MAX_ENDPOINTS = 120
"""More endpoints than this, and all blocks of ports, would come near the kernel's limit of 4,096
instructions."""

BLOCK = 64
"""Source ports are taken from aligned blocks of so many: a filter has room for all of them."""

_BLOCK_OF = 0xFFFF & ~(BLOCK - 1)
_WITHIN_A_JUMP = 200
"""A conditional jump passes over 255 instructions at most."""

# Words of the machine's memory, which are all that is handed from one part to the next.
_OUR_BLOCK, _THEIR_PORT, _SOURCE_PORT, _DESTINATION_PORT, _INNER_HEADER, _SERVER_AT = range(6)


class Instruction(NamedTuple):
    """``struct sock_filter``: jumps count the instructions to leave out."""

    code: int
    if_true: int
    if_false: int
    value: int


class _Assembler:
    """Instructions with jumps to labels; a condition that fails falls through unless told."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, int, str | None, str | None]] = []
        self._labels: dict[str, int] = {}

    def add(self, code: int, value: int) -> None:
        self._lines.append((code, value, None, None))

    def label(self, name: str) -> None:
        self._labels[name] = len(self._lines)

    def jump(self, to: str) -> None:
        self._lines.append((_JUMP, 0, to, None))

    def when(
        self, code: int, value: int, then: str | None = None, otherwise: str | None = None
    ) -> None:
        self._lines.append((code, value, then, otherwise))

    def give(self, length: int) -> None:
        """Return: keep so many bytes of the packet, 0 drops it."""
        self.add(_RETURN, length)

    def program(self) -> list[Instruction]:
        program = []
        for index, (code, value, then, otherwise) in enumerate(self._lines):
            true, false = (
                self._labels[label] - index - 1 if label else 0 for label in (then, otherwise)
            )
            if code == _JUMP:
                program.append(Instruction(code, 0, 0, true))
            else:
                program.append(Instruction(code, true, false, value))
        return program


DROP_ALL = [Instruction(_RETURN, 0, 0, 0)]
"""Accepts nothing: what is attached to a guard's listener."""


def attach(sock: socket.socket, program: list[Instruction]) -> None:
    """Attach the program to a socket, in place of the one it has. Raises OSError."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog; the kernel copies the program during the call.
    descriptor = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, descriptor)


def capture(endpoints: Iterable[tuple[str, int]], blocks: Iterable[int]) -> list[Instruction]:
    """Accept what goes between these servers (address, port) and our blocks of ports.

    That is TCP either way, and ICMP errors from anywhere that quote what we have sent. ``blocks``
    are the first ports of ``BLOCK`` aligned ones. With more than ``MAX_ENDPOINTS`` servers only the
    blocks are looked at.
    """
    servers = [(ipaddress.ip_address(host).packed, port) for host, port in sorted(set(endpoints))]
    everything = len(servers) > MAX_ENDPOINTS
    asm = _Assembler()
    asm.add(_LOAD_HALF, _ETHERTYPE)
    asm.when(_IF_EQUAL, _ETH_P_IP, then="ipv4")
    asm.when(_IF_EQUAL, _ETH_P_IPV6, then="to-ipv6")
    asm.give(0)
    asm.label("to-ipv6")
    asm.jump("ipv6")  # too far for a conditional jump

    asm.label("ipv4")
    asm.add(_LOAD_BYTE, _NETWORK + 9)
    asm.when(_IF_EQUAL, _TCP, then="tcp4")
    asm.when(_IF_EQUAL, _ICMP, then="icmp4")
    asm.give(0)
    _quote4(asm)
    asm.label("tcp4")
    asm.add(_LOAD_HALF, _NETWORK + 6)
    asm.when(_IF_ANY_BIT, 0x1FFF, then="later-fragment", otherwise="first-fragment")
    asm.label("later-fragment")
    asm.give(0)
    asm.label("first-fragment")
    asm.add(_X_FROM_IHL, _NETWORK)
    _ends(asm, "4", source=12, size=4)
    asm.label("servers4")
    _match(asm, "4", None if everything else [s for s in servers if len(s[0]) == 4])

    asm.label("ipv6")
    asm.add(_LOAD_BYTE, _NETWORK + 6)
    asm.when(_IF_EQUAL, _TCP, then="tcp6")
    asm.when(_IF_EQUAL, _ICMPV6, then="icmp6")
    asm.give(0)
    _quote6(asm)
    asm.label("tcp6")
    asm.add(_X_IMMEDIATE, 40)
    _ends(asm, "6", source=8, size=16)
    asm.label("servers6")
    _match(asm, "6", None if everything else [s for s in servers if len(s[0]) == 16])

    asm.label("blocks")
    _match_blocks(asm, sorted(set(blocks)))
    return asm.program()


def _quote4(asm: _Assembler) -> None:
    """An ICMP error: what it quotes has a header of its own length (RFC 792)."""
    asm.label("icmp4")
    asm.add(_X_FROM_IHL, _NETWORK)
    asm.add(_LOAD_BYTE_X, _NETWORK)
    for icmp_type in _ICMP_ERRORS:
        asm.when(_IF_EQUAL, icmp_type, then="error4")
    asm.give(0)
    asm.label("error4")
    asm.add(_LOAD_BYTE_X, _NETWORK + 8 + 9)
    asm.when(_IF_EQUAL, _TCP, then="quote4")
    asm.give(0)
    asm.label("quote4")
    asm.add(_LOAD_BYTE_X, _NETWORK + 8)
    asm.add(_AND, 15)
    asm.add(_SHIFT_LEFT, 2)
    asm.add(_STORE, _INNER_HEADER)
    asm.add(_A_FROM_X, 0)
    asm.add(_ADD, 8 + 16)
    asm.add(_STORE, _SERVER_AT)
    asm.add(_LOAD_MEMORY, _INNER_HEADER)
    asm.add(_ADD_X, 0)
    asm.add(_X_FROM_A, 0)
    asm.add(_LOAD_HALF_X, _NETWORK + 8)
    asm.add(_AND, _BLOCK_OF)
    asm.add(_STORE, _OUR_BLOCK)
    asm.add(_LOAD_HALF_X, _NETWORK + 10)
    asm.add(_STORE, _THEIR_PORT)
    asm.add(_X_FROM_MEMORY, _SERVER_AT)
    asm.jump("servers4")


def _quote6(asm: _Assembler) -> None:
    asm.label("icmp6")
    asm.add(_LOAD_BYTE, _NETWORK + 40)
    asm.when(_IF_ANY_BIT, 0x80, then="not-quoted")  # RFC 4443: errors are types below 128
    asm.add(_LOAD_BYTE, _NETWORK + 48 + 6)
    asm.when(_IF_EQUAL, _TCP, then="quote6")
    asm.label("not-quoted")
    asm.give(0)
    asm.label("quote6")
    asm.add(_LOAD_HALF, _NETWORK + 48 + 40)
    asm.add(_AND, _BLOCK_OF)
    asm.add(_STORE, _OUR_BLOCK)
    asm.add(_LOAD_HALF, _NETWORK + 48 + 42)
    asm.add(_STORE, _THEIR_PORT)
    asm.add(_X_IMMEDIATE, 48 + 24)
    asm.jump("servers6")


def _ends(asm: _Assembler, family: str, *, source: int, size: int) -> None:
    """A segment: which of its ends is ours depends on its way. X is the length of its IP header."""
    asm.add(_LOAD_HALF_X, _NETWORK)
    asm.add(_STORE, _SOURCE_PORT)
    asm.add(_LOAD_HALF_X, _NETWORK + 2)
    asm.add(_STORE, _DESTINATION_PORT)
    asm.add(_LOAD_BYTE, _PACKET_TYPE)
    asm.when(_IF_EQUAL, _PACKET_OUTGOING, then=f"sent{family}")
    ways = (
        ("received", _DESTINATION_PORT, _SOURCE_PORT, source),
        ("sent", _SOURCE_PORT, _DESTINATION_PORT, source + size),
    )
    for way, ours, theirs, server_at in ways:
        asm.label(f"{way}{family}")
        asm.add(_LOAD_MEMORY, ours)
        asm.add(_AND, _BLOCK_OF)
        asm.add(_STORE, _OUR_BLOCK)
        asm.add(_LOAD_MEMORY, theirs)
        asm.add(_STORE, _THEIR_PORT)
        asm.add(_X_IMMEDIATE, server_at)
        asm.jump(f"servers{family}")


def _match(asm: _Assembler, family: str, servers: list[tuple[bytes, int]] | None) -> None:
    """Go on if the address at X and the port in memory are a server's; None are all of them."""
    if servers is None:
        asm.jump("blocks")
        return
    for index, (packed, port) in enumerate(servers):
        other = f"{family}-not-{index}"
        for offset, word in enumerate(struct.unpack(f"!{len(packed) // 4}I", packed)):
            asm.add(_LOAD_WORD_X, _NETWORK + 4 * offset)
            asm.when(_IF_EQUAL, word, otherwise=other)
        asm.add(_LOAD_MEMORY, _THEIR_PORT)
        asm.when(_IF_EQUAL, port, otherwise=other)
        asm.jump("blocks")
        asm.label(other)
    asm.give(0)


def _match_blocks(asm: _Assembler, blocks: list[int]) -> None:
    """Accept what has one of our blocks in memory."""
    asm.add(_LOAD_MEMORY, _OUR_BLOCK)
    for start in range(0, len(blocks), _WITHIN_A_JUMP):
        for block in blocks[start : start + _WITHIN_A_JUMP]:
            asm.when(_IF_EQUAL, block, then=f"ours-{start}")
        asm.jump(f"others-{start}")
        asm.label(f"ours-{start}")
        asm.give(_WHOLE_PACKET)
        asm.label(f"others-{start}")
    asm.give(0)
