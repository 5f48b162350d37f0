"""The link: crafted packets out through raw sockets, what passes by in through the capture.

Rules that hold here:

* The sockets are opened once, with privilege; filters and binding need none, so the process can
  drop its privileges before it parses a byte from the network.
* Our own packets are captured as well: they are the evidence's other half, and a reset that the
  local kernel sends would show up there.
* Source ports come from few blocks, so that the filter knows ours: it is set again for a block, not
  for a port.

Source: packet(7), raw(7), ipv6(7).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections import Counter

from tfocheck.engine.ports import Interface, Listener, Losses
from tfocheck.errors import CannotError, UnreachableError
from tfocheck.linux import blocks, bpf, capture
from tfocheck.linux.capture import Capture
from tfocheck.linux.clock import SystemClock
from tfocheck.linux.guard import PortGuard, PortTakenError
from tfocheck.linux.own_addresses import own_interfaces
from tfocheck.wire.evidence import FlowKey
from tfocheck.wire.segment import Segment, build

_SEND_RETRIES = 50


class Link:
    """Raw sockets and a capture, shared by all flows of a run: the kernel's ``Wire``."""

    def __init__(
        self, raw4: socket.socket | None, raw6: socket.socket | None, packet: socket.socket
    ) -> None:
        self._raw = {socket.AF_INET: raw4, socket.AF_INET6: raw6}
        self._capture = Capture(packet)
        self._endpoints: Counter[tuple[str, int]] = Counter()
        self._ports = blocks.of_this_machine()
        self._interfaces: tuple[tuple[str, Interface], ...] | None = None
        self.clock = SystemClock(self._capture.is_behind)

    @classmethod
    def open(cls) -> Link:
        """Open the sockets; raises CannotError when this process may not, or can't."""
        with contextlib.ExitStack() as opened:
            try:
                packet = capture.open_socket()
                opened.callback(packet.close)
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
        for sock in (*self._raw.values(), self._capture.socket):
            if sock is not None:
                sock.close()

    def start(self) -> None:
        """Let the running event loop read the capture."""
        asyncio.get_running_loop().add_reader(self._capture.socket.fileno(), self._capture.read)

    def stop(self) -> None:
        """Take the capture out of the event loop, if one is running."""
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().remove_reader(self._capture.socket.fileno())

    def reserve(self, source: str, scope_id: int = 0) -> PortGuard:
        """A guarded port at our address, of a block that the filter knows; see ``PortGuard``."""
        for port in self._ports.offers():
            try:
                guard = PortGuard(source, scope_id, port=port, on_release=self._ports.give_back)
            except PortTakenError:
                continue
            if self._ports.take(port):
                self._set_filter()
            return guard
        raise CannotError(f"can't reserve a source port at {source}: none is free")

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
        self._capture.filter(bpf.capture(self._endpoints, self._ports.active))

    def attend(self, key: FlowKey, listener: Listener) -> None:
        """Hand the segments of this flow to the listener from now on."""
        self._capture.attend(key, listener)

    def leave(self, key: FlowKey) -> None:
        """Forget the flow."""
        self._capture.leave(key)

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
        self._capture.expect(packet, segment)
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
        return Losses(self._capture.drops())


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


def _open_raw(family: socket.AddressFamily) -> socket.socket:
    # IPPROTO_RAW implies that the IP header is ours, for IPv6 too.
    return socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW)


def _send_error(problem: OSError, segment: Segment) -> Exception:
    to = segment.destination
    if problem.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETDOWN):
        return UnreachableError(f"no route from here to {to}: {problem.strerror}")
    if problem.errno == errno.EPERM:
        return CannotError(
            f"a local firewall rule refuses packets to {to}: look at its output chain"
        )
    return CannotError(f"can't send to {to}: {problem.strerror}")
