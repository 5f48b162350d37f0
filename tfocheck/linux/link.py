"""The link: crafted packets out through raw sockets, what passes by in through AF_PACKET.

Rules that hold here:

* The sockets are opened once, with privilege; filters and binding need none, so the process can
  drop its privileges before it parses a byte from the network.
* Our own packets are captured as well: they are the evidence's other half, and a reset that the
  local kernel sends would show up there.
* A frame may hold several segments (GRO, TSO); the virtio header in front of it tells the real
  segment size.

Source: packet(7), raw(7), ipv6(7), Linux ``include/uapi/linux/if_packet.h`` and ``virtio_net.h``.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import socket
import struct
from collections import Counter, deque

from tfocheck.engine.ports import Interface, Listener, Losses
from tfocheck.errors import CannotError, UnreachableError
from tfocheck.linux import bpf
from tfocheck.linux.clock import SystemClock
from tfocheck.linux.guard import PortGuard
from tfocheck.linux.own_addresses import own_interfaces
from tfocheck.wire import icmp
from tfocheck.wire.evidence import Captured, FlowKey, IcmpError
from tfocheck.wire.segment import NotTcpError, Segment, build, dissect

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
_CAPTURE_BUFFER = 1 << 23
_SAME_PACKET_SECONDS = 0.05
_SEND_RETRIES = 50


class Link:
    """Raw sockets and a capture, shared by all flows of a run: the kernel's ``Wire``."""

    def __init__(
        self, raw4: socket.socket | None, raw6: socket.socket | None, packet: socket.socket
    ) -> None:
        self._raw = {socket.AF_INET: raw4, socket.AF_INET6: raw6}
        self._packet = packet
        self._bound = False
        self._endpoints: Counter[tuple[str, int]] = Counter()
        self._listeners: dict[FlowKey, Listener] = {}
        self._recent: deque[tuple[float, str, bool, bytes]] = deque()
        self._sent_packets: dict[bytes, Segment] = {}
        self._drops = 0
        self._interfaces: tuple[tuple[str, Interface], ...] | None = None
        self.clock = SystemClock()

    @classmethod
    def open(cls) -> Link:
        """Open the sockets; raises CannotError when this process may not, or can't."""
        with contextlib.ExitStack() as opened:
            try:
                packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
                opened.callback(packet.close)
                packet.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
                packet.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
                packet.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
                _enlarge_buffer(packet)
                raw4 = _open_raw(socket.AF_INET)
                opened.callback(raw4.close)
            except PermissionError as problem:
                raise CannotError(
                    "raw sockets are not permitted: run tfocheck with sudo, or give it CAP_NET_RAW"
                    " (`tfocheck demo` needs neither)"
                ) from problem
            except OSError as problem:
                raise CannotError(
                    f"this machine has no raw sockets: {problem.strerror or problem}"
                ) from problem
            try:
                raw6 = _open_raw(socket.AF_INET6)
            except OSError:
                raw6 = None  # a kernel without IPv6 still has IPv4 targets
            opened.pop_all()
            return cls(raw4, raw6, packet)

    def close(self) -> None:
        """Close the sockets; the capture ends."""
        self.stop()
        for sock in (*self._raw.values(), self._packet):
            if sock is not None:
                sock.close()

    def start(self) -> None:
        """Let the running event loop read the capture."""
        asyncio.get_running_loop().add_reader(self._packet.fileno(), self._read_all)

    def stop(self) -> None:
        """Take the capture out of the event loop, if one is running."""
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().remove_reader(self._packet.fileno())

    def reserve(self, source: str, scope_id: int = 0) -> PortGuard:
        """A guarded port at our address; see ``PortGuard``."""
        return PortGuard(source, scope_id)

    def source_for(self, server: str, port: int, scope_id: int = 0) -> tuple[str, int]:
        """Our address towards a server; see ``route_source``."""
        return route_source(server, port, scope_id)

    def own_addresses(self) -> tuple[tuple[str, Interface], ...]:
        """(interface name, address with its prefix) of every address of this machine."""
        if self._interfaces is None:
            self._interfaces = own_interfaces()
        return self._interfaces

    def watch(self, server: str, port: int) -> None:
        """Capture what goes to and comes from this server."""
        self._endpoints[server, port] += 1
        self._set_filter()

    def unwatch(self, server: str, port: int) -> None:
        """Undo one ``watch``."""
        self._endpoints[server, port] -= 1
        self._endpoints += Counter()
        self._set_filter()

    def _set_filter(self) -> None:
        bpf.attach(self._packet, bpf.capture(self._endpoints))
        if not self._bound:
            # Only now does the capture begin: nothing unfiltered is ever queued.
            _bind_everywhere(self._packet)
            self._bound = True

    def attend(self, key: FlowKey, listener: Listener) -> None:
        """Hand the segments of this flow to the listener from now on."""
        self._listeners[key] = listener

    def leave(self, key: FlowKey) -> None:
        """Forget the flow."""
        self._listeners.pop(key, None)

    async def send(self, segment: Segment, scope_id: int = 0) -> None:
        """Send the segment in a packet of its own.

        Raises UnreachableError when there is no route or a neighbour does not answer, CannotError
        when a local firewall or a full queue refuses it.
        """
        version6 = ":" in segment.destination
        raw = self._raw[socket.AF_INET6 if version6 else socket.AF_INET]
        if raw is None:
            raise UnreachableError(f"this machine has no IPv6, which {segment.destination} needs")
        to = (segment.destination, 0, 0, scope_id) if version6 else (segment.destination, 0)
        packet = build(segment)
        # It comes back through the capture: known bytes need no dissection.
        self._sent_packets[packet] = segment
        for _ in range(_SEND_RETRIES):
            try:
                raw.sendto(packet, to)
            except OSError as problem:
                if problem.errno in (errno.EAGAIN, errno.ENOBUFS):
                    await asyncio.sleep(0.01)
                    continue
                raise _send_error(problem, segment) from problem
            return
        raise CannotError(f"the send queue towards {segment.destination} stays full")

    def losses(self) -> Losses:
        """What the capture itself has lost since it was opened."""
        # Reading the statistics resets them.
        statistics = self._packet.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self._drops += int(struct.unpack("=II", statistics)[1])
        return Losses(self._drops)

    def _read_all(self) -> None:
        while True:
            try:
                frame, ancillary, _, address = self._packet.recvmsg(_BUFFER, 256)
            except BlockingIOError:
                return
            except OSError as problem:
                if problem.errno == errno.ENETDOWN:  # an interface went away; others go on
                    continue
                raise
            self._read(frame, ancillary, interface=address[0], packet_type=address[2])

    def _read(
        self,
        frame: bytes,
        ancillary: list[tuple[int, int, bytes]],
        *,
        interface: str,
        packet_type: int,
    ) -> None:
        moment, network = 0, 0
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
                moment = seconds * _SECOND + nanoseconds
            elif level == _SOL_PACKET and kind == _PACKET_AUXDATA:
                network = _AUXDATA.unpack(data[: _AUXDATA.size])[4]
        if len(frame) < _VNET_HEADER.size:
            return
        flags, gso_type, _, gso_size, _, _ = _VNET_HEADER.unpack_from(frame)
        packet = frame[_VNET_HEADER.size + network :]
        sent = packet_type == _PACKET_OUTGOING
        known = self._sent_packets.pop(packet, None) if sent else None
        try:
            segment = known or dissect(packet)
        except NotTcpError:
            self._read_icmp(packet, moment, interface)
            return
        listener = self._listener_of(segment, sent=sent)
        # Whether it came by another interface is asked only of what anybody wants.
        if listener is None or self._is_known(moment / _SECOND, interface, sent, packet):
            return
        listener.segment_captured(
            Captured(
                segment,
                moment / _SECOND,
                sent,
                gso_size if gso_type else 0,
                interface,
                nanoseconds=moment,
                packet=packet,
                checksum_open=bool(flags & _NEEDS_CHECKSUM),
            )
        )

    def _listener_of(self, segment: Segment, *, sent: bool) -> Listener | None:
        source = (segment.source, segment.source_port)
        destination = (segment.destination, segment.destination_port)
        return self._listeners.get(
            FlowKey(*source, *destination) if sent else FlowKey(*destination, *source)
        )

    def _is_known(self, time: float, interface: str, sent: bool, packet: bytes) -> bool:
        """True for a packet on its way through a second interface (bond, bridge, VLAN)."""
        while self._recent and time - self._recent[0][0] > _SAME_PACKET_SECONDS:
            self._recent.popleft()
        # The IP header may differ on the way (TTL, checksum); TCP with its timestamps does not.
        bare = packet[20:]
        for _, other, other_sent, other_bare in self._recent:
            if other != interface and other_sent == sent and other_bare == bare:
                return True
        self._recent.append((time, interface, sent, bare))
        return False

    def _read_icmp(self, packet: bytes, moment: int, interface: str) -> None:
        found = icmp.read(packet)
        listener = self._listeners.get(found.key) if found is not None else None
        time = moment / _SECOND
        # A doubled error would count as two routers' words.
        if found is None or listener is None or self._is_known(time, interface, False, packet):
            return
        listener.icmp_received(
            IcmpError(
                found.sender,
                found.icmp_type,
                found.code,
                time,
                found.quote,
                nanoseconds=moment,
                packet=packet,
                interface=interface,
            )
        )


def route_source(server: str, port: int, scope_id: int = 0) -> tuple[str, int]:
    """The local address (and scope id) that the kernel would use towards a server.

    Raises UnreachableError when there is no route.
    """
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    to = (server, port, 0, scope_id) if family == socket.AF_INET6 else (server, port)
    try:
        # Connecting a datagram socket sends nothing; it only asks for the route.
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(to)
            name = probe.getsockname()
    except OSError as problem:
        raise UnreachableError(f"no route from here to {server}: {problem.strerror}") from problem
    return name[0].partition("%")[0], name[3] if family == socket.AF_INET6 else 0


def _enlarge_buffer(packet: socket.socket) -> None:
    # Beyond the system's limit only CAP_NET_ADMIN may go; what is lost all the same is counted.
    try:
        packet.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _CAPTURE_BUFFER)
    except PermissionError:
        packet.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _CAPTURE_BUFFER)


def _open_raw(family: socket.AddressFamily) -> socket.socket:
    # IPPROTO_RAW implies that the IP header is ours, for IPv6 too.
    return socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW)


def _bind_everywhere(packet: socket.socket) -> None:
    """Capture all protocols on all interfaces: index 0, which Python's bind has no word for."""
    libc = ctypes.CDLL(None, use_errno=True)
    address = _SOCKADDR_LL.pack(socket.AF_PACKET, socket.htons(_ETH_P_ALL), 0, 0, 0, 0, bytes(8))
    if libc.bind(packet.fileno(), address, len(address)):
        number = ctypes.get_errno()
        raise CannotError(f"can't capture packets: {os.strerror(number)}")


def _send_error(problem: OSError, segment: Segment) -> Exception:
    to = segment.destination
    if problem.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETDOWN):
        return UnreachableError(f"no route from here to {to}: {problem.strerror}")
    if problem.errno == errno.EPERM:
        return CannotError(
            f"a local firewall rule refuses packets to {to}: look at its output chain"
        )
    return CannotError(f"can't send to {to}: {problem.strerror}")
