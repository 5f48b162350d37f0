"""The reference server on the wire, as Linux's own clients meet it."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tfocheck.lab.topology import SERVER_ADDRESSES, usable
from tfocheck.reference.answer import ANSWER_BYTES
from tfocheck.wire.segment import Flags, NotTcpError, Segment, build, dissect

PORT = 8080
ADDRESSES = [str(address.ip) for address in usable(SERVER_ADDRESSES)]
CLOSING_GET = b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"


def fast_open_by_kernel(address: str) -> tuple[str, bool]:
    """The status line, and whether the kernel saw its SYN data acknowledged."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.sendto(CLOSING_GET, socket.MSG_FASTOPEN, (address, PORT))
        client.settimeout(5)
        answer = b""
        while data := client.recv(65_536):
            answer += data
        # struct tcp_info, tcpi_options: TCPI_OPT_SYN_DATA is 32.
        options = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5]
    return answer[:12].decode(), bool(options & 32)


def kernel_clients(address: str) -> dict[str, object]:
    opens = [fast_open_by_kernel(address) for _ in range(3)]
    connection = http.client.HTTPConnection(address, PORT, timeout=20)
    results = []
    for method, path in (("GET", "/"), ("GET", "/bytes/1048576"), ("HEAD", "/bytes/10")):
        connection.request(method, path)
        answer = connection.getresponse()
        results.append((answer.status, len(answer.read())))
    connection.close()
    return {"opens": opens, "http": results}


@pytest.mark.parametrize("address", ADDRESSES)
def test_linux_is_served(in_lab: Callable[..., Any], address: str) -> None:
    seen = in_lab("reference", kernel_clients, address)
    first, *later = seen["opens"]
    assert first == ["HTTP/1.1 200", False]
    assert later == [["HTTP/1.1 200", True]] * 2
    assert seen["http"] == [[200, ANSWER_BYTES], [200, 1 << 20], [200, 0]]


def resets_of_the_kernel(address: str) -> list[str]:
    """What comes back for segments of no connection: one RST each, ours, the kernel silent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    ethertype = socket.htons(0x86DD if family == socket.AF_INET6 else 0x0800)
    with (
        socket.socket(family, socket.SOCK_DGRAM) as probe,
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, ethertype) as capture,
        socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as wire,
    ):
        probe.connect((address, PORT))
        own = probe.getsockname()[0]
        capture.settimeout(0.5)
        for flags in (Flags.ACK, Flags.FIN):
            wire.sendto(build(Segment(own, 5, address, PORT, 1, 99, flags)), (address, 0))
        seen = []
        with contextlib.suppress(TimeoutError):
            while packet := capture.recv(4096):
                with contextlib.suppress(NotTcpError):  # neighbour discovery
                    segment = dissect(packet)
                    if segment.source == address:
                        seen.append(f"{segment.flags} {segment.seq}")
    return seen


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_kernel_is_silent(in_lab: Callable[..., Any], address: str) -> None:
    assert in_lab("reference", resets_of_the_kernel, address) == ["RST 99"]
