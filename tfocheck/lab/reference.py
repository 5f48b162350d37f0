"""The reference server: user-space TCP and HTTP that keep every line of RFC 7413, or break one.

``ReferenceServer`` (in ``reference.listener``) is the protocol without IO; ``serve`` puts it on the
network namespace that it is called in. It speaks TCP beside the kernel: listening sockets whose
filter drops everything keep the kernel silent on the port, packet sockets hand us what comes for
it, raw sockets send what we build. Needs CAP_NET_RAW in the namespace.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import select
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial

from tfocheck.errors import CannotError
from tfocheck.linux import bpf
from tfocheck.linux.bpf import Instruction
from tfocheck.reference.faults import checked
from tfocheck.reference.listener import PENDING_LIMIT, ReferenceServer
from tfocheck.reference.variations import USUAL, Variations
from tfocheck.wire.segment import NotTcpError, Segment, build, dissect

_ETH_P_IP, _ETH_P_IPV6 = 0x0800, 0x86DD
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER_BYTES = 4 << 20
_PACKETS_PER_TURN = 64
_REMEMBERED_SCOPES = 1024
_BURST = 4


def serve(
    port: int,
    faults: frozenset[str],
    ready: Callable[[], None],
    *,
    off_port: int | None = None,
    pending_limit: int = PENDING_LIMIT,
    variations: Variations = USUAL,
) -> None:
    """Answer on this port, at every local IPv4 and IPv6 address, for ever.

    ``ready`` is called once segments are answered. ``off_port`` is a second listener with Fast Open
    off (FastOpenEnabled false), ``variations`` what is left to a server. Raises UsageError for an
    unknown fault, CannotError when the port is taken or raw sockets are not allowed.
    """
    chosen = checked(faults)
    make = partial(ReferenceServer, faults=chosen, variations=variations)
    servers = {port: make(port, pending_limit=pending_limit)}
    if off_port is not None:
        servers[off_port] = make(off_port, fast_open=False)
    with contextlib.ExitStack() as sockets:
        wire = _Wire(servers, sockets)
        ready()
        while True:
            _serve_once(servers, wire)


def _serve_once(servers: dict[int, ReferenceServer], wire: _Wire) -> None:
    timers = [timer for server in servers.values() if (timer := server.next_timer()) is not None]
    patience = max(min(timers) - time.monotonic(), 0) if timers else None
    for segment in wire.receive(patience):
        wire.send(servers[segment.destination_port].receive(segment, time.monotonic()))
    for server in servers.values():
        timer = server.next_timer()
        if timer is not None and timer <= time.monotonic():
            wire.send(server.fire(time.monotonic()))


class _Wire:
    """The sockets: what keeps the kernel silent, receives, and sends."""

    def __init__(self, ports: Iterable[int], sockets: contextlib.ExitStack) -> None:
        self._ports = frozenset(ports)
        self._scopes: OrderedDict[str, int] = OrderedDict()
        families = [(socket.AF_INET, _ETH_P_IP)]
        if _has_ipv6():
            families.append((socket.AF_INET6, _ETH_P_IPV6))
        self._senders: dict[int, socket.socket] = {}
        self._receivers: list[socket.socket] = []
        try:
            for family, ethertype in families:
                for port in self._ports:
                    sockets.enter_context(_silence_kernel(family, port))
                receiver = sockets.enter_context(_receiver(ethertype, self._ports))
                self._receivers.append(receiver)
                sender = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
                self._senders[family] = sockets.enter_context(sender)
        except OSError as problem:
            ports_text = ", ".join(map(str, sorted(self._ports)))
            raise CannotError(
                f"the reference server can't serve port {ports_text}: {problem.strerror}; "
                "it needs a free port and CAP_NET_RAW"
            ) from problem

    def receive(self, timeout: float | None) -> list[Segment]:
        """The segments for our ports that are there, after waiting for one at most so long."""
        readable, _, _ = select.select(self._receivers, [], [], timeout)
        segments = []
        for receiver in readable:
            # A flood must not keep the timers from running.
            for _ in range(_PACKETS_PER_TURN):
                try:
                    packet, address = receiver.recvfrom(1 << 17, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    break
                except OSError:
                    continue  # an interface went away
                if segment := self._read(packet, address):
                    segments.append(segment)
        return segments

    def _read(self, packet: bytes, address: tuple[str, int, int, int, bytes]) -> Segment | None:
        interface, _, packet_type = address[0], address[1], address[2]
        # Only what is for this host: not what it forwards to others, hears by chance, or sends.
        if packet_type != socket.PACKET_HOST:
            return None
        try:
            segment = dissect(packet)
        except NotTcpError:
            return None
        if segment.destination_port not in self._ports:
            return None
        if _is_link_local(segment.source):
            self._remember_scope(segment.source, interface)
        return segment

    def _remember_scope(self, address: str, interface: str) -> None:
        with contextlib.suppress(OSError):
            self._scopes[address] = socket.if_nametoindex(interface)
        if len(self._scopes) > _REMEMBERED_SCOPES:
            self._scopes.popitem(last=False)

    def send(self, segments: Iterable[Segment]) -> None:
        """Send the segments in order; one that the host can't send is as good as lost."""
        waiting = iter(segments)
        # Built first and sent together: an early answer must not come a packet's making behind its
        # SYN-ACK, or the client's ACK is there before it.
        while burst := list(itertools.islice(waiting, _BURST)):
            for segment, packet in [(segment, build(segment)) for segment in burst]:
                self._send_packet(segment.destination, packet)

    def _send_packet(self, address: str, packet: bytes) -> None:
        destination: tuple[str, int] | tuple[str, int, int, int] = (address, 0)
        family = socket.AF_INET
        if ":" in address:
            family = socket.AF_INET6
            destination = (address, 0, 0, self._scopes.get(address, 0))
        with contextlib.suppress(OSError):
            self._senders[family].sendto(packet, destination)


def _silence_kernel(family: int, port: int) -> socket.socket:
    """A listener that hears nothing: the kernel sends neither SYN-ACK nor RST from this port."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Before listen(): from the first moment on nothing may be answered.
        bpf.attach(listener, bpf.DROP_ALL)
        listener.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
        listener.listen(1)
    except OSError:
        listener.close()
        raise
    return listener


def _receiver(ethertype: int, ports: Iterable[int]) -> socket.socket:
    """Packets from the IP header on; with one ethertype only what comes in, not what we send."""
    # What comes in before the filter is there is sorted out when it is read.
    receiver = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ethertype))
    try:
        for option in (socket.SO_RCVBUF, _SO_RCVBUFFORCE):
            with contextlib.suppress(OSError):
                receiver.setsockopt(socket.SOL_SOCKET, option, _RECEIVE_BUFFER_BYTES)
        bpf.attach(receiver, _port_filter(ethertype, sorted(ports)))
    except OSError:
        receiver.close()
        raise
    return receiver


def _port_filter(ethertype: int, ports: list[int]) -> list[Instruction]:
    """Keep TCP to these ports; the packet starts with the IP header. See ``linux.bpf``."""
    load_byte, load_half, load_half_x = 0x30, 0x28, 0x48
    x_from_ihl, x_immediate, if_equal, if_any_bit, give = 0xB1, 0x01, 0x15, 0x45, 0x06
    count = len(ports)
    # Jumps count the instructions to leave out: to reject, behind the ports, or to accept after it.
    if ethertype == _ETH_P_IP:
        program = [
            Instruction(load_byte, 0, 0, 9),
            Instruction(if_equal, 0, count + 4, socket.IPPROTO_TCP),
            Instruction(load_half, 0, 0, 6),
            Instruction(if_any_bit, count + 2, 0, 0x1FFF),  # a later fragment
            Instruction(x_from_ihl, 0, 0, 0),
        ]
    else:
        program = [
            Instruction(load_byte, 0, 0, 6),
            Instruction(if_equal, 0, count + 2, socket.IPPROTO_TCP),
            Instruction(x_immediate, 0, 0, 40),
        ]
    program.append(Instruction(load_half_x, 0, 0, 2))
    for index, port in enumerate(ports):
        program.append(Instruction(if_equal, count - index, 0, port))
    return [*program, Instruction(give, 0, 0, 0), Instruction(give, 0, 0, 1 << 18)]


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def _is_link_local(address: str) -> bool:
    return ":" in address and ipaddress.ip_address(address).is_link_local
