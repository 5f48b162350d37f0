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

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_LOAD_HALF_X, _LOAD_BYTE_X = 0x48, 0x50
_X_FROM_IHL = 0xB1
_X_IMMEDIATE = 0x01
_JUMP, _IF_EQUAL, _IF_ANY_BIT = 0x05, 0x15, 0x45
_RETURN = 0x06

# Loads at these offsets are special: the ethertype, and bytes counted from the network header.
_ETHERTYPE = 0xFFFFF000
_NETWORK = 0xFFF00000

_ETH_P_IP, _ETH_P_IPV6 = 0x0800, 0x86DD
_TCP, _ICMP, _ICMPV6 = 6, 1, 58
_ICMP_ERRORS = (3, 11, 12)  # unreachable, time exceeded, parameter problem (RFC 792)
_WHOLE_PACKET = 0x40000

MAX_ENDPOINTS = 120
"""More endpoints than this would come near the kernel's limit of 4,096 instructions."""


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


def capture(endpoints: Iterable[tuple[str, int]]) -> list[Instruction]:
    """Accept TCP from and to these servers (address, port), and ICMP errors from anywhere.

    With more than ``MAX_ENDPOINTS`` servers all TCP is accepted.
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
    asm.when(_IF_EQUAL, _ICMP, then="icmp")
    asm.give(0)
    asm.label("icmp")
    asm.add(_X_FROM_IHL, _NETWORK)
    asm.add(_LOAD_BYTE_X, _NETWORK)
    for icmp_type in _ICMP_ERRORS:
        asm.when(_IF_EQUAL, icmp_type, then="error")
    asm.give(0)
    asm.label("error")
    asm.give(_WHOLE_PACKET)
    asm.label("tcp4")
    asm.add(_LOAD_HALF, _NETWORK + 6)
    asm.when(_IF_ANY_BIT, 0x1FFF, then="later-fragment", otherwise="header4")
    asm.label("later-fragment")
    asm.give(0)
    asm.label("header4")
    asm.add(_X_FROM_IHL, _NETWORK)
    _match(asm, "4", [] if everything else [s for s in servers if len(s[0]) == 4], source=12)
    asm.give(_WHOLE_PACKET if everything else 0)

    asm.label("ipv6")
    asm.add(_LOAD_BYTE, _NETWORK + 6)
    asm.when(_IF_EQUAL, _TCP, then="tcp6")
    asm.when(_IF_EQUAL, _ICMPV6, then="icmp6")
    asm.give(0)
    asm.label("icmp6")
    asm.add(_LOAD_BYTE, _NETWORK + 40)
    asm.when(_IF_ANY_BIT, 0x80, then="informational")  # RFC 4443: errors are types below 128
    asm.give(_WHOLE_PACKET)
    asm.label("informational")
    asm.give(0)
    asm.label("tcp6")
    asm.add(_X_IMMEDIATE, 40)
    _match(asm, "6", [] if everything else [s for s in servers if len(s[0]) == 16], source=8)
    asm.give(_WHOLE_PACKET if everything else 0)
    return asm.program()


def _match(asm: _Assembler, family: str, servers: list[tuple[bytes, int]], *, source: int) -> None:
    """Accept what comes from or goes to a server; X holds the length of the IP header."""
    for index, (packed, port) in enumerate(servers):
        words = struct.unpack(f"!{len(packed) // 4}I", packed)
        sides = [("source", source, 0), ("destination", source + len(packed), 2)]
        for side, address_at, port_at in sides:
            missed = f"{family}-{index}-not-{side}"
            for offset, word in enumerate(words):
                asm.add(_LOAD_WORD, _NETWORK + address_at + 4 * offset)
                asm.when(_IF_EQUAL, word, otherwise=missed)
            asm.add(_LOAD_HALF_X, _NETWORK + port_at)
            asm.when(_IF_EQUAL, port, otherwise=missed)
            asm.give(_WHOLE_PACKET)
            asm.label(missed)
