"""A crafted client of the reference server, sans-IO: it says exactly what it is told."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

from tfocheck.reference.listener import ReferenceServer
from tfocheck.wire import options as tcp_options
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.options import FastOpen, Option
from tfocheck.wire.segment import Flags, Segment

PORT = 8080
KEY = bytes(range(16))
# The answer fits into an initial window, other than that to GET /.
GET = b"GET /bytes/50 HTTP/1.1\r\nHost: lab\r\n\r\n"
GET_LARGE = b"GET /bytes/100000 HTTP/1.1\r\nHost: lab\r\n\r\n"
MSS, STAMPS, SCALE = tcp_options.mss(1460), tcp_options.timestamps(777, 0), Option(3, b"\x07")
NOP = tcp_options.no_operation()
PLAIN = (MSS,)
USUAL = (MSS, tcp_options.sack_permitted(), STAMPS, NOP, SCALE)
REQUEST = FastOpen()


def server(*faults: str, fast_open: bool = True, pending_limit: int = 64) -> ReferenceServer:
    return ReferenceServer(
        PORT,
        faults,
        fast_open=fast_open,
        pending_limit=pending_limit,
        cookie_key=KEY,
        rng=random.Random(1),
    )


class Client:
    """A crafted client: says exactly what it is told, and keeps what came back."""

    _next_port = 20_000

    def __init__(
        self, target: ReferenceServer, source: str = "10.0.0.1", destination: str = "10.0.0.2"
    ) -> None:
        Client._next_port = 20_000 + (Client._next_port + 1) % 40_000
        self.target = target
        self.now = 100.0
        self.isn = 4_000_000_000
        self.base = Segment(source, Client._next_port, destination, PORT, self.isn)
        self.server_isn = 0
        self.received: list[Segment] = []

    def send(self, **changes: Any) -> list[Segment]:
        replies = self.target.receive(dataclasses.replace(self.base, **changes), self.now)
        return self._take(replies)

    def wait(self, seconds: float) -> list[Segment]:
        """Let time pass, with every timer on the way."""
        end, replies = self.now + seconds, []
        while (timer := self.target.next_timer()) is not None and timer <= end:
            self.now = max(timer, self.now)
            replies += self.target.fire(self.now)
        self.now = end
        return self._take(replies)

    def syn(
        self,
        *fast_open: FastOpen,
        data: bytes = b"",
        options: tuple[Option, ...] = PLAIN,
        area: bytes | None = None,
        window: int = 65_535,
    ) -> list[Segment]:
        """A SYN with these options and the Fast Open options behind them."""
        if area is None:
            area = tcp_options.encode([*options, *(cookie.to_option() for cookie in fast_open)])
        replies = self.send(flags=Flags.SYN, options=area, payload=data, window=window)
        if replies and replies[0].is_syn_ack:
            self.server_isn = replies[0].seq
        return replies

    def segment(
        self, at: int, data: bytes = b"", flags: Flags = Flags.ACK, ack: int = 1, **more: Any
    ) -> list[Segment]:
        """A segment of the connection; numbers relative to the ISNs."""
        return self.send(
            seq=(self.isn + at) % SEQUENCE_SPACE,
            ack=(self.server_isn + ack) % SEQUENCE_SPACE,
            flags=flags,
            payload=data,
            **more,
        )

    @property
    def answer(self) -> bytes:
        """What the application said so far, each byte once."""
        stream: dict[int, int] = {}
        for segment in self.received:
            first = segment.seq + bool(segment.flags & Flags.SYN) - self.server_isn
            for place, byte in enumerate(segment.payload, first):
                stream[place % SEQUENCE_SPACE] = byte
        return bytes(stream[place] for place in sorted(stream))

    @property
    def answers(self) -> list[bytes]:
        """The status codes of the answers so far."""
        return [part[:3] for part in self.answer.split(b"HTTP/1.1 ")[1:]]

    def _take(self, replies: list[Segment]) -> list[Segment]:
        self.received += replies
        return replies


def cookie_of(target: ReferenceServer, **where: str) -> bytes:
    found = Client(target, **where).syn(REQUEST)[0].fast_open
    return found.cookie if found else b""


def cookies_of_many_ports(target: ReferenceServer) -> object:
    return len({cookie_of(target) for _ in range(12)})


def answers_to_a_copy(target: ReferenceServer) -> object:
    cookie = FastOpen(cookie_of(target))
    client = Client(target)
    for _ in range(2):
        client.syn(cookie, data=GET)
    return client.answer.count(b"HTTP/1.1 200")


def ack_of(client: Client, segment: Segment) -> int:
    return (segment.ack - client.isn) % SEQUENCE_SPACE


def fresh_open(
    target: ReferenceServer, *cookies: FastOpen, end: str = "ack", **syn: Any
) -> int | None:
    """SYN with data on a fresh flow: what the SYN-ACK acknowledges; None: no answer."""
    client = Client(target)
    syn.setdefault("data", GET)
    replies = client.syn(*cookies, **syn)
    if not replies or not replies[0].is_syn_ack:
        return None
    ack = ack_of(client, replies[0])
    client.segment(ack, flags=Flags.RST if end == "reset" else Flags.ACK)
    return ack
