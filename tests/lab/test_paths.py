"""Each path scenario does to real packets what it says, over both families, behind its hop."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tfocheck.lab.middleboxes import HOPS, SERVER
from tfocheck.lab.scenarios import PORT, SCENARIOS, Setup
from tfocheck.lab.topology import has_ipv6
from tfocheck.tcp import options as tcp_options
from tfocheck.tcp.guard import PortGuard
from tfocheck.tcp.link import route_source
from tfocheck.tcp.options import FastOpen
from tfocheck.tcp.segment import Flags, NotTcpError, Segment, build, dissect

SERVERS = SERVER if has_ipv6() else SERVER[:1]
FARM = ("10.77.9.9", "fd77:9::9")[: len(SERVERS)]
GET = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"
# No server answers it before the rest is there.
DATA = GET[:-2]
COOKIE = bytes(range(8))
SECONDS = 3.0
SILENCE = 0.25
ETH_P_ALL = 3
PACKET_OUTGOING = 4
ICMP_HEADERS = {4: (1, 11, 8), 6: (58, 3, 8)}  # protocol, time exceeded, bytes before the quote


class Wire:
    """Crafted SYNs out, whatever comes back in, with the kernel kept quiet."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.source = route_source(server, PORT)[0]
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        self._raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._packets.bind(("eth0", ETH_P_ALL))
        self._guards: list[PortGuard] = []

    def syn(self, cookie: bytes | None = None, data: bytes = b"", ttl: int = 64) -> Segment:
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
            self.source, guard.port, self.server, PORT, seq, 0, Flags.SYN, 65535, area, data, ttl
        )
        return self.send(sent)

    def send(self, segment: Segment) -> Segment:
        port = 0 if ":" in self.server else PORT
        self._raw.sendto(build(segment), (self.server, port))
        return segment

    def answers(self, sent: Segment, seconds: float) -> Iterator[tuple[str, Segment]]:
        """What comes for it: ("router's address", quoted segment) or ("", segment)."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._packets.settimeout(left)
            try:
                packet, address = self._packets.recvfrom(65536)
            except TimeoutError:
                return
            if address[2] == PACKET_OUTGOING or packet[0] >> 4 not in ICMP_HEADERS:
                continue  # ours, or ARP
            router, packet = unquoted(packet)
            try:
                segment = dissect(packet)
            except NotTcpError:
                continue
            port = segment.source_port if router else segment.destination_port
            if port == sent.source_port:
                yield router, segment

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


def syn_ack(wire: Wire, sent: Segment, seconds: float = SECONDS) -> Segment | None:
    found = wire.answer(sent, seconds)
    return found[1] if found else None


def acknowledged(sent: Segment, answer: Segment | None) -> int | None:
    return None if answer is None else (answer.ack - sent.seq) % (1 << 32)


def observe(servers: tuple[str, ...], silent: list[str]) -> list[dict[str, Any]]:
    """Over each family: cookie length, acks of SYN-data without and with a cookie."""
    seen = []
    for server in servers:
        wire = Wire(server)
        waits = {
            what: SILENCE if what in silent else SECONDS for what in ("request", "data", "open")
        }
        request = syn_ack(wire, wire.syn(b""), waits["request"])
        offered = request.fast_open.cookie if request and request.fast_open else b""
        plain = wire.syn(data=DATA)
        data_ack = acknowledged(plain, syn_ack(wire, plain, waits["data"]))
        opening = wire.syn(offered or COOKIE, DATA)
        seen.append(
            {
                "request": len(offered) if request else None,
                "data": data_ack,
                "open": acknowledged(opening, syn_ack(wire, opening, waits["open"])),
            }
        )
    return seen


def trace(servers: tuple[str, ...], hops: list[int]) -> list[list[str]]:
    """Over each family: what becomes of SYNs with cookie and data that live for so many hops."""
    seen = []
    for server in servers:
        wire = Wire(server)
        row = []
        for ttl in hops:
            sent = wire.syn(COOKIE, DATA, ttl)
            found = wire.answer(sent, SILENCE)
            row.append("silence" if found is None else describe(sent, *found))
        seen.append(row)
    return seen


def describe(sent: Segment, router: str, found: Segment) -> str:
    if not router:
        return "SYN-ACK" if found.is_syn_ack else "something else"
    if found.seq != sent.seq:
        return "other sequence number"
    if found.options == sent.options:
        return "as sent"
    before, after = sent.option_list, found.option_list
    if found.fast_open is None:
        return "no Fast Open"
    if found.fast_open != sent.fast_open:
        return "other cookie"
    if after.mss != before.mss:
        return f"MSS {after.mss}"
    if after.timestamps is None:
        return "no timestamps"
    return "other order" if set(after.options) >= set(before.options) else "other options"


WORKS = {"request": 8, "data": 1, "open": 1 + len(DATA)}
# What a client sees, and what is left of its SYN one hop behind the box.
EXPECTED: dict[str, tuple[dict[str, int | None], str]] = {
    "routed": (WORKS, "as sent"),
    "option-stripped": ({"request": 0, "data": 1, "open": 1}, "no Fast Open"),
    "option-stripped-reply": ({"request": 0, "data": 1, "open": 1}, "as sent"),
    "option-dropped": ({"request": None, "data": 1, "open": None}, "silence"),
    "syn-data-dropped": ({"request": 8, "data": None, "open": None}, "silence"),
    "after-open-dropped": (WORKS, "as sent"),
    "nat-pool": ({"request": 8, "data": 1, "open": 1}, "as sent"),
    "synproxy": ({"request": 0, "data": 1, "open": 1}, "SYN-ACK"),
    "transparent-proxy": ({"request": 0, "data": 1, "open": 1}, "SYN-ACK"),
    "isn-shifted": (WORKS, "other sequence number"),
    "ack-rewritten": ({"request": 8, "data": 1, "open": 1}, "as sent"),
    "cookie-changed": ({"request": 8, "data": 1, "open": 1}, "other cookie"),
    "option-moved": (WORKS, "other order"),
    "mss-clamped": (WORKS, "MSS 1200"),
    "timestamps-removed": (WORKS, "no timestamps"),
}
TRACED_ELSEWHERE = {"farm-one-key", "farm-three-keys", "farm-dnat", "synack-loss"}


def test_every_path_scenario_is_tried() -> None:
    paths = {name for name, scenario in SCENARIOS.items() if scenario.path}
    assert set(EXPECTED) | TRACED_ELSEWHERE == paths


def both(name: str, in_lab: Callable[..., Any], hop: int | None = None) -> tuple[Any, Any]:
    expected, _ = EXPECTED[name]
    silent = [what for what, value in expected.items() if value is None]
    seen: tuple[Any, Any] = in_lab(
        name,
        lambda: (observe(SERVERS, silent), trace(SERVERS, list(HOPS))),
        setup=Setup(hop=hop),
    )
    return seen


def hop_by_hop(name: str, hop: int) -> list[str]:
    _, behind = EXPECTED[name]
    # The proxy's router takes the packets in and so does not look at their TTL.
    answers_itself = name == "transparent-proxy"
    return [
        "as sent" if ttl < hop or (ttl == hop and not answers_itself) else behind for ttl in HOPS
    ]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_middlebox_does_what_it_says_behind_its_hop(
    name: str, in_lab: Callable[..., Any]
) -> None:
    seen, traced = both(name, in_lab)
    assert seen == [EXPECTED[name][0]] * len(SERVERS)
    assert traced == [hop_by_hop(name, 2)] * len(SERVERS)


@pytest.mark.parametrize("hop", [1, 3])
@pytest.mark.parametrize("name", ["option-stripped", "cookie-changed"])
def test_the_hop_can_be_chosen(name: str, hop: int, in_lab: Callable[..., Any]) -> None:
    seen, traced = both(name, in_lab, hop)
    assert seen == [EXPECTED[name][0]] * len(SERVERS)
    assert traced == [hop_by_hop(name, hop)] * len(SERVERS)
