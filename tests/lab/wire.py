"""Crafted SYNs for the lab's tests, without the engine: a raw socket out, a packet socket in."""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Iterator

from tfocheck.lab.scenario import PORT
from tfocheck.linux.guard import PortGuard
from tfocheck.linux.link import route_source
from tfocheck.wire import options as tcp_options
from tfocheck.wire.options import FastOpen
from tfocheck.wire.segment import Flags, NotTcpError, Segment, build, dissect

SECONDS = 3.0
ETH_P_ALL = 3
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
SO_RCVBUFFORCE = 33
ICMP_HEADERS = {4: (1, 11, 8), 6: (58, 3, 8)}  # protocol, time exceeded, bytes before the quote


class Wire:
    """Crafted SYNs out, whatever comes back in, with the kernel kept quiet."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.source = route_source(server, PORT)[0]
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        self._raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._packets.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        try:
            self._packets.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        except PermissionError:  # root of a user namespace only: as much as the machine allows
            self._packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        self._packets.bind(("eth0", ETH_P_ALL))
        self._guards: list[PortGuard] = []

    def syn(
        self, cookie: bytes | None = None, data: bytes = b"", ttl: int = 64, port: int = PORT
    ) -> Segment:
        """Send one, from a port of its own."""
        guard = PortGuard(self.source)
        self._guards.append(guard)
        options = [tcp_options.mss(1400), tcp_options.sack_permitted()]
        options += [tcp_options.timestamps(1, 0), tcp_options.window_scale(7)]
        if cookie is not None:
            options.append(FastOpen(cookie).to_option())
        seq = secrets.randbits(32)
        area = tcp_options.encode(options)
        sent = Segment(
            self.source, guard.port, self.server, port, seq, 0, Flags.SYN, 65535, area, data, ttl
        )
        return self.send(sent)

    def send(self, segment: Segment) -> Segment:
        port = 0 if ":" in self.server else PORT
        self._raw.sendto(build(segment), (self.server, port))
        return segment

    def answers(self, sent: Segment, seconds: float) -> Iterator[tuple[str, Segment]]:
        """What comes for it: ("router's address", quoted segment) or ("", segment)."""
        for router, segment in self.everything(seconds):
            port = segment.source_port if router else segment.destination_port
            if port == sent.source_port:
                yield router, segment

    def replies(self, silence: float) -> Iterator[Segment]:
        """All segments that come, until there is none for so many seconds."""
        while (found := next(self.everything(silence), None)) is not None:
            router, segment = found
            if not router:
                yield segment

    def everything(self, seconds: float) -> Iterator[tuple[str, Segment]]:
        """Segments, and segments that a router quotes, that come within so many seconds."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._packets.settimeout(left)
            try:
                packet = self._packets.recv(65536)
            except TimeoutError:
                return
            if packet[0] >> 4 not in ICMP_HEADERS:
                continue  # ARP
            router, packet = unquoted(packet)
            with contextlib.suppress(NotTcpError):
                yield router, dissect(packet)

    def answer(self, sent: Segment, seconds: float = SECONDS) -> tuple[str, Segment] | None:
        return next(self.answers(sent, seconds), None)


def unquoted(packet: bytes) -> tuple[str, bytes]:
    """The router and the quote of a time-exceeded message; ("", packet) for anything else."""
    version = packet[0] >> 4
    start, protocol = (40, packet[6]) if version == 6 else ((packet[0] & 15) * 4, packet[9])
    icmp, exceeded, header = ICMP_HEADERS[version]
    if protocol != icmp or packet[start] != exceeded:
        return "", packet
    source = packet[8:24] if version == 6 else packet[12:16]
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    return socket.inet_ntop(family, source), packet[start + header :]
