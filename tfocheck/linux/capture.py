"""The capture: what passes by comes in through AF_PACKET, and goes to whom it is for.

Rules that hold here:

* Whatever comes and however fast: a turn reads so much, and then timers and signals have theirs.
* Whose a packet is, is asked first, of a few bytes; what nobody wants is not parsed, compared or
  kept.
* What is kept of packets, to know them again, is bounded.
* A frame may hold several segments (GRO, TSO); the virtio header in front of it tells the real
  segment size.

Source: packet(7), Linux ``include/uapi/linux/if_packet.h`` and ``virtio_net.h``.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import socket
import struct
import time
from collections import deque
from typing import NamedTuple

from tfocheck.engine.ports import Listener
from tfocheck.errors import CannotError
from tfocheck.linux import bpf
from tfocheck.wire import ends, icmp
from tfocheck.wire.evidence import Captured, FlowKey, IcmpError
from tfocheck.wire.segment import NotTcpError, Segment, dissect

TURN_FRAMES = 256
TURN_SECONDS = 0.02
"""What one turn of the event loop reads at most."""

RECENT_PACKETS = 4096
SENT_PACKETS = 1024
"""How many packets are kept to be known again."""

_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_AUXDATA = 8
_PACKET_VNET_HDR = 15
_PACKET_OUTGOING = 4
_ETH_P_ALL = 3
_SO_TIMESTAMPNS = 35
_SO_RCVBUFFORCE = 33

_VNET_HEADER = struct.Struct("=BBHHHH")  # flags, gso_type, hdr_len, gso_size, csum_start, offset
_AUXDATA = struct.Struct("=IIIHHHH")  # status, len, snaplen, mac, net, vlan_tci, vlan_tpid
_SOCKADDR_LL = struct.Struct("=HHiHBB8s")
_TIMESPEC = struct.Struct("@ll")
_NEEDS_CHECKSUM = 1  # VIRTIO_NET_HDR_F_NEEDS_CSUM
_SECOND = 1_000_000_000

_BUFFER = 1 << 18
_ANCILLARY = 256
_CAPTURE_BUFFER = 1 << 23
_SAME_PACKET = 50_000_000
"""Nanoseconds within which a packet is the same one, seen at another interface."""

_Ancillary = list[tuple[int, int, bytes]]
_Fingerprint = tuple[bool, bytes]
"""Whether a packet was sent, and a digest of it."""


class _Passing(NamedTuple):
    """What is known of a frame before it is parsed; ``moment`` is in nanoseconds of Unix time."""

    moment: int
    interface: str
    sent: bool
    gso_size: int
    checksum_open: bool


def open_socket() -> socket.socket:
    """A packet socket that captures nothing yet. Raises OSError."""
    packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        packet.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        packet.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        packet.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        _enlarge_buffer(packet)
    except OSError:
        packet.close()
        raise
    return packet


class Capture:
    """Hands what a packet socket captures to the listeners of the connections it belongs to."""

    def __init__(self, packet: socket.socket) -> None:
        self.socket = packet
        self._bound = False
        self._behind = False
        self._buffer = bytearray(_BUFFER)
        self._going: dict[ends.Ends, Listener] = {}
        self._coming: dict[ends.Ends, Listener] = {}
        self._seen: dict[_Fingerprint, tuple[str, int]] = {}
        """Interface and latest moment of what has been seen of late."""
        self._seen_at: deque[tuple[int, _Fingerprint]] = deque()
        self._sent_packets: dict[bytes, Segment] = {}
        self._drops = 0

    def attend(self, key: FlowKey, listener: Listener) -> None:
        """Hand the segments of this flow to the listener from now on."""
        self._going[ends.sent_by(key)] = listener
        self._coming[ends.received_by(key)] = listener

    def leave(self, key: FlowKey) -> None:
        """Forget the flow."""
        self._going.pop(ends.sent_by(key), None)
        self._coming.pop(ends.received_by(key), None)

    def filter(self, program: list[bpf.Instruction]) -> None:
        """Capture what this program accepts. Raises CannotError."""
        bpf.attach(self.socket, program)
        if not self._bound:
            # Only now does the capture begin: nothing unfiltered is ever queued.
            _bind_everywhere(self.socket)
            self._bound = True

    def expect(self, packet: bytes, segment: Segment) -> None:
        """This is about to be sent: it comes back, and known bytes need no dissection."""
        self._sent_packets[packet] = segment
        if len(self._sent_packets) > SENT_PACKETS:
            # The oldest: where the capture loses packets, it never comes.
            del self._sent_packets[next(iter(self._sent_packets))]

    def drops(self) -> int:
        """How many packets there was no room for since this was opened."""
        # Reading the statistics resets them.
        statistics = self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self._drops += int(struct.unpack("=II", statistics)[1])
        return self._drops

    def is_behind(self) -> bool:
        """Whether more has been captured than was read."""
        return self._behind

    def read(self) -> None:
        """Read what is there, but no more than a turn's worth; the rest is left for the next."""
        until = time.monotonic() + TURN_SECONDS
        view = memoryview(self._buffer)
        for _ in range(TURN_FRAMES):
            try:
                size, ancillary, _, address = self.socket.recvmsg_into([view], _ANCILLARY)
            except BlockingIOError:
                self._behind = False
                return
            except OSError as problem:
                if problem.errno == errno.ENETDOWN:  # an interface went away; others go on
                    continue
                raise
            self._take(
                view[:size], ancillary, interface=address[0], sent=address[2] == _PACKET_OUTGOING
            )
            if time.monotonic() > until:
                break
        self._behind = True

    def _take(
        self, frame: memoryview, ancillary: _Ancillary, *, interface: str, sent: bool
    ) -> None:
        moment, network = _told(ancillary)
        if len(frame) < _VNET_HEADER.size + network:
            return
        packet = frame[_VNET_HEADER.size + network :]
        found = ends.of_segment(packet)
        is_quote = found is None
        if is_quote:
            listener = self._going.get(ends.of_quote(packet) or b"")
        else:
            listener = (self._going if sent else self._coming).get(found or b"")
        if listener is None:
            return
        flags, gso_type, _, gso_size, _, _ = _VNET_HEADER.unpack_from(frame)
        passing = _Passing(
            moment, interface, sent, gso_size if gso_type else 0, bool(flags & _NEEDS_CHECKSUM)
        )
        whole = bytes(packet)
        known = self._sent_packets.pop(whole, None) if sent else None
        if self._is_known(passing, whole):
            return
        if is_quote:
            _hand_on_quote(listener, whole, passing)
        else:
            _hand_on(listener, known, whole, passing)

    def _is_known(self, passing: _Passing, packet: bytes) -> bool:
        """True for a packet on its way through a second interface (bond, bridge, VLAN)."""
        # The IP header may differ on the way (TTL, checksum); TCP with its timestamps does not.
        what = (passing.sent, hashlib.blake2b(packet[20:], digest_size=16).digest())
        self._forget_old(passing.moment - _SAME_PACKET)
        interface, _ = self._seen.get(what, (passing.interface, 0))
        if interface != passing.interface:
            return True
        self._seen[what] = (interface, passing.moment)
        self._seen_at.append((passing.moment, what))
        return False

    def _forget_old(self, before: int) -> None:
        while self._seen_at and (
            self._seen_at[0][0] < before or len(self._seen_at) >= RECENT_PACKETS
        ):
            moment, what = self._seen_at.popleft()
            if self._seen.get(what, ("", 0))[1] == moment:
                del self._seen[what]


def _told(ancillary: _Ancillary) -> tuple[int, int]:
    """(nanoseconds of Unix time, bytes before the network header) of a frame."""
    moment, network = 0, 0
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
            moment = seconds * _SECOND + nanoseconds
        elif level == _SOL_PACKET and kind == _PACKET_AUXDATA:
            network = _AUXDATA.unpack(data[: _AUXDATA.size])[4]
    return moment, network


def _hand_on(listener: Listener, known: Segment | None, packet: bytes, passing: _Passing) -> None:
    try:
        segment = known or dissect(packet)
    except NotTcpError:
        return
    listener.segment_captured(
        Captured(
            segment,
            passing.moment / _SECOND,
            passing.sent,
            passing.gso_size,
            passing.interface,
            nanoseconds=passing.moment,
            packet=packet,
            checksum_open=passing.checksum_open,
        )
    )


def _hand_on_quote(listener: Listener, packet: bytes, passing: _Passing) -> None:
    found = icmp.read(packet)
    if found is None:
        return
    listener.icmp_received(
        IcmpError(
            found.sender,
            found.icmp_type,
            found.code,
            passing.moment / _SECOND,
            found.quote,
            nanoseconds=passing.moment,
            packet=packet,
            interface=passing.interface,
        )
    )


def _enlarge_buffer(packet: socket.socket) -> None:
    # Beyond the system's limit only CAP_NET_ADMIN may go; what is lost all the same is counted.
    try:
        packet.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _CAPTURE_BUFFER)
    except PermissionError:
        packet.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _CAPTURE_BUFFER)


def _bind_everywhere(packet: socket.socket) -> None:
    """Capture all protocols on all interfaces: index 0, which Python's bind has no word for."""
    libc = ctypes.CDLL(None, use_errno=True)
    address = _SOCKADDR_LL.pack(socket.AF_PACKET, socket.htons(_ETH_P_ALL), 0, 0, 0, 0, bytes(8))
    if libc.bind(packet.fileno(), address, len(address)):
        number = ctypes.get_errno()
        raise CannotError(f"can't capture packets: {os.strerror(number)}")
