"""Evidence: what was captured of a connection, segments as well as ICMP errors about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from tfocheck.wire.segment import Segment, build, with_checksum_filled_in, without_padding

_ICMP_NAMES = {
    (4, 3, 0): "network unreachable",
    (4, 3, 1): "host unreachable",
    (4, 3, 2): "protocol unreachable",
    (4, 3, 3): "port unreachable",
    (4, 3, 4): "fragmentation needed",
    (4, 3, 9): "network administratively prohibited",
    (4, 3, 10): "host administratively prohibited",
    (4, 3, 13): "communication administratively prohibited",
    (4, 11, 0): "time exceeded",
    (6, 1, 0): "no route to destination",
    (6, 1, 1): "communication administratively prohibited",
    (6, 1, 3): "address unreachable",
    (6, 1, 4): "port unreachable",
    (6, 2, 0): "packet too big",
    (6, 3, 0): "hop limit exceeded",
}


class FlowKey(NamedTuple):
    """Both ends of a connection, ours first."""

    client: str
    client_port: int
    server: str
    server_port: int


@dataclass(frozen=True)
class IcmpError:
    """An ICMP error that quotes one of our segments: who sent it, its type and code.

    ``time`` to ``interface`` are as in ``Captured``; ``quote`` is the quoted packet from its IP
    header on, usually cut.
    """

    sender: str
    icmp_type: int
    code: int
    time: float
    quote: bytes = field(default=b"", repr=False)
    nanoseconds: int = 0
    packet: bytes = field(default=b"", repr=False)
    interface: str = ""

    @property
    def is_time_exceeded(self) -> bool:
        """A router says that the packet's TTL or hop limit ran out there."""
        return self.icmp_type == (3 if ":" in self.sender else 11) and self.code == 0

    @property
    def name(self) -> str:
        """What the error says, in the words of RFC 792 and RFC 4443."""
        version = 6 if ":" in self.sender else 4
        known = _ICMP_NAMES.get((version, self.icmp_type, self.code))
        return f'"{known}"' if known else f"error type {self.icmp_type} code {self.code}"


@dataclass(frozen=True)
class Captured:
    """A segment as the capture saw it.

    ``time`` is the kernel's time of it, Unix seconds; ``sent`` tells our own packets from the
    server's; ``gso_size`` is the real segment size in bytes when the kernel handed us several
    segments as one (0: it is one); ``interface`` is the name of the interface it passed.
    ``nanoseconds`` is the time once more, as exact as the kernel tells it, and ``packet`` the IP
    packet as it came: link padding may follow it, and the kernel may have left the TCP checksum to
    the network card (``checksum_open``). A segment that was captured nowhere has neither.
    """

    segment: Segment
    time: float
    sent: bool
    gso_size: int = 0
    interface: str = ""
    nanoseconds: int = 0
    packet: bytes = field(default=b"", repr=False)
    checksum_open: bool = False

    @property
    def whole_packet(self) -> bytes:
        """The IP packet without padding, its TCP checksum filled in where the kernel had not."""
        if not self.packet:
            return build(self.segment)
        packet = without_padding(self.packet)
        return with_checksum_filled_in(packet, self.segment) if self.checksum_open else packet


@dataclass(frozen=True)
class FlowRecord:
    """The packets of one crafted connection, as evidence.

    ``label`` says what the flow was for ("random cookie, attempt 1"); ``packets`` are in capture
    order; ISNs make the numbers relative (``server_isn`` is None when no SYN-ACK came);
    ``decided`` marks the flow that decided the verdict, ``deciding`` the packet of it that did,
    where it was a single one; ``icmp`` are the ICMP errors about it. ``left_out`` is how many
    packets came that were only counted: more than anybody reads.
    """

    label: str
    client: tuple[str, int]
    server: tuple[str, int]
    client_isn: int
    server_isn: int | None
    packets: tuple[Captured, ...]
    decided: bool = False
    icmp: tuple[IcmpError, ...] = ()
    deciding: Captured | None = None
    left_out: int = 0
