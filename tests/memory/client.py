"""A client at the end of a network in memory, which says exactly what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tfocheck.memory.network import Arrival, Network
from tfocheck.memory.path import TimeExceeded
from tfocheck.wire import options as tcp_options
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.options import FastOpen
from tfocheck.wire.segment import Flags, Segment

ADDRESSES = (("10.77.0.1", "10.77.4.2"), ("fd77::1", "fd77:4::2"))
PORT, OFF_PORT, CLOSED_PORT = 8080, 8081, 9
OPTIONS = (
    tcp_options.mss(1400),
    tcp_options.sack_permitted(),
    tcp_options.timestamps(1, 0),
    tcp_options.window_scale(7),
)


@dataclass
class Client:
    """One address of a client, and what it gets to see of the network."""

    network: Network
    source: str = ADDRESSES[0][0]
    server: str = ADDRESSES[0][1]
    now: float = 1000.0
    port: int = 20_000
    arrivals: list[Arrival] = field(default_factory=list)

    def syn(
        self, cookie: bytes | None = None, data: bytes = b"", ttl: int = 64, port: int = PORT
    ) -> Segment:
        """Send one, from a port of its own."""
        self.port += 1
        options = [*OPTIONS] if cookie is None else [*OPTIONS, FastOpen(cookie).to_option()]
        area = tcp_options.encode(options)
        return self.send(
            Segment(
                self.source, self.port, self.server, port, 4_294_967_290, 0, Flags.SYN, 65535,
                area, data, ttl,
            )
        )  # fmt: skip

    def send(self, segment: Segment) -> Segment:
        """Send it now."""
        self.network.send(segment, self.now)
        return segment

    def acknowledge(self, sent: Segment, answer: Segment, data: bytes = b"") -> Segment:
        """Complete the handshake, with data behind what the server has acknowledged."""
        stamps = answer.option_list.timestamps
        nop = tcp_options.no_operation()
        options = [nop, nop, tcp_options.timestamps(2, stamps[0])] if stamps else []
        return self.send(
            replace(
                sent,
                seq=answer.ack,
                ack=(answer.seq + 1) % SEQUENCE_SPACE,
                flags=Flags.ACK | Flags.PSH,
                options=tcp_options.encode(options),
                payload=data,
                ttl=64,
            )
        )

    def wait(self, seconds: float = 0.1) -> list[Arrival]:
        """Let time pass; what came meanwhile."""
        came: list[Arrival] = []
        end = self.now + seconds
        while (due := self.network.deadline) is not None and due <= end:
            self.now = max(self.now, due)
            came += self.network.advance(self.now)
        self.now = end
        self.arrivals += came
        return came

    def answers(self, sent: Segment, seconds: float = 0.1) -> list[tuple[str, Segment]]:
        """What comes for it: ("router's address", quoted segment) or ("", segment)."""
        found = []
        for arrival in self.wait(seconds):
            packet = arrival.packet
            if isinstance(packet, TimeExceeded):
                if packet.segment.source_port == sent.source_port:
                    found.append((packet.sender, packet.segment))
            elif packet.destination_port == sent.source_port:
                found.append(("", packet))
        return found

    def answer(self, sent: Segment) -> tuple[str, Segment] | None:
        """The first of them."""
        return next(iter(self.answers(sent)), None)

    def syn_ack(self, sent: Segment) -> Segment | None:
        """The server's first answer, whatever it is."""
        found = self.answer(sent)
        return found[1] if found else None

    def cookie(self) -> bytes:
        """A fresh one; empty if there is none to be had."""
        reply = self.syn_ack(self.syn(b""))
        return reply.fast_open.cookie if reply and reply.fast_open else b""
