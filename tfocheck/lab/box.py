"""The impairment box: a process that carries frames between two interfaces, on a bad day.

It stands between two veth ends in a network namespace of its own and works as a wire would: no
address, no hop, frames of any protocol. Whoever sends into it must hand over whole frames
(`Interface.whole_frames`): checksums filled in, no segment larger than the MTU.

Neighbour discovery (ARP, and ICMPv6 types 133 to 137) passes as it is, and so does what is sent to
a group (multicast listener reports, which come at random times): what is impaired is the path, not
the first step onto it.

Sources: packet(7); RFC 826, RFC 4861 section 4; netem is not in every kernel.
"""

from __future__ import annotations

import contextlib
import gc
import heapq
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from tfocheck.lab.children import Gate, Ready
from tfocheck.linux.namespaces import NetworkNamespace
from tfocheck.memory.impairment import TO_CLIENT, TO_SERVER, Fates, Impairment, Way

LEFT, RIGHT = "left", "right"

Rewrite = Callable[[Way, bytes], list[bytes]]
"""Given a direction (see memory.impairment.WAYS) and a frame: the frames to forward instead."""

_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_PACKET_IGNORE_OUTGOING = 23
_SO_RCVBUFFORCE = 33
_SO_SNDBUFFORCE = 32
# Room for a burst of some ten thousand segments.
_BUFFER_BYTES = 64 << 20
_FRAME_BYTES = 1 << 16
# Frames taken from one side before the other has its turn.
_BATCH = 64

_GROUP = 0x01  # in the first byte of the destination's MAC address
_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"
_IPV4_PAYLOAD, _IPV6_PAYLOAD = 34, 54
_TCP, _ICMPV6 = 6, b"\x3a"
_NEIGHBOUR_DISCOVERY = {bytes([kind]) for kind in range(133, 138)}
_SYN_ACK = 0x12


@dataclass(frozen=True)
class Box:
    """A box on a link: its namespace, and what it does. The client is on its left."""

    node: NetworkNamespace
    impairment: Impairment | None = None
    rewrite: Rewrite | None = None


def box_work(box: Box, connected: Gate) -> Callable[[Ready], None]:
    """What the box's process does for ever, once `connected` opens: its interfaces are there."""

    def work(ready: Ready) -> None:
        connected.wait()
        box.node.enter()
        left, right = _open(LEFT), _open(RIGHT)
        # Nothing here makes reference cycles, and a collection would be a pause.
        gc.disable()
        ready()
        _Wire(box, left, right).carry()

    return work


def _open(interface: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    for option, unforced in (
        (_SO_RCVBUFFORCE, socket.SO_RCVBUF),
        (_SO_SNDBUFFORCE, socket.SO_SNDBUF),
    ):
        try:
            opened.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        except PermissionError:  # root of a user namespace only: as much as the machine allows
            opened.setsockopt(socket.SOL_SOCKET, unforced, _BUFFER_BYTES)
    opened.bind((interface, _ETH_P_ALL))
    opened.setblocking(False)
    return opened


class _Wire:
    def __init__(self, box: Box, left: socket.socket, right: socket.socket) -> None:
        impairment = box.impairment or Impairment()
        self._rewrite = box.rewrite
        self._ways = {
            left: (TO_SERVER, Fates(impairment, TO_SERVER), right),
            right: (TO_CLIENT, Fates(impairment, TO_CLIENT), left),
        }
        # (due, number, where to, frame); the number keeps equals in order.
        self._waiting: list[tuple[float, int, socket.socket, bytes]] = []
        self._number = 0

    def carry(self) -> None:
        """For ever."""
        ends = list(self._ways)
        waiting = self._waiting
        while True:
            left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            readable, _, _ = select.select(ends, [], [], left)
            for end in readable:
                self._take(end)
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                _, _, target, frame = heapq.heappop(waiting)
                _send(target, frame)

    def _take(self, end: socket.socket) -> None:
        way, fates, target = self._ways[end]
        for _ in range(_BATCH):
            try:
                frame = end.recv(_FRAME_BYTES)
            except OSError:  # there is none left, or the interface went
                return
            if _passes_as_it_is(frame):
                _send(target, frame)
                continue
            frames = [frame] if self._rewrite is None else self._rewrite(way, frame)
            for each in frames:
                self._schedule(fates, target, each)

    def _schedule(self, fates: Fates, target: socket.socket, frame: bytes) -> None:
        flow, is_syn_ack = _classify(frame)
        for due in fates.due(time.monotonic(), flow, is_syn_ack):
            self._number += 1
            heapq.heappush(self._waiting, (due, self._number, target, frame))


def _send(target: socket.socket, frame: bytes) -> None:
    # A frame that can't be sent now is lost, as on any wire.
    with contextlib.suppress(OSError):
        target.send(frame)


def _passes_as_it_is(frame: bytes) -> bool:
    """Whether it is neighbour discovery, for a group, or nothing with an IP header at all."""
    if frame[0] & _GROUP:
        return True
    kind = frame[12:14]
    if kind == _IPV6:
        discovers = frame[20:21] == _ICMPV6 and frame[54:55] in _NEIGHBOUR_DISCOVERY
        return discovers or len(frame) < _IPV6_PAYLOAD
    return kind != _IPV4 or len(frame) < _IPV4_PAYLOAD


def _classify(frame: bytes) -> tuple[bytes, bool]:
    """What tells the flow (addresses and ports), and whether the packet is a SYN-ACK."""
    if frame[12:14] == _IPV6:
        start, protocol, addresses = _IPV6_PAYLOAD, frame[20], frame[22:54]
    else:
        start = 14 + (frame[14] & 0x0F) * 4
        protocol, addresses = frame[23], frame[26:34]
    flags = frame[start + 13] if protocol == _TCP and len(frame) > start + 13 else 0
    return addresses + frame[start : start + 4], flags & _SYN_ACK == _SYN_ACK
