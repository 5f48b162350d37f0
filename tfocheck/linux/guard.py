"""The port guard: keeps the local kernel from answering the server's segments with RST.

The kernel knows nothing of a crafted connection and would reset it. A listening socket that drops
everything stops that without a firewall rule: the kernel finds a listener, which drops the segment,
and nothing is answered. Bind also reserves the port, and it all disappears with the process.

What drops is a filter. Recent kernels let only CAP_NET_ADMIN attach one to a TCP socket (tried on
6.18), and by then we have no privileges; so the second way is the socket's least TTL (RFC 5082,
GTSM): a segment that arrives with less than 255 is dropped in the same silence. A server on the
same link that sends with 255 gets through, and is reset; the flow notices that.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from tfocheck.errors import CannotError
from tfocheck.linux import bpf

_IP_MINTTL = 21
_IPV6_MINHOPCOUNT = 73
_HIGHEST_TTL = 255
_TAKEN = (errno.EADDRINUSE, errno.EACCES)
"""EACCES: ports below net.ipv4.ip_unprivileged_port_start, once privileges are dropped."""


class PortTakenError(CannotError):
    """Somebody else has this very port."""


class PortGuard:
    """One reserved, silent source port at a local address.

    ``address`` is a literal without zone, ``scope_id`` the interface index of a link-local one;
    ``port`` is the number wanted, 0 for any. ``on_release`` is told once that it is given back.
    Raises PortTakenError when that port is in use, CannotError when the address is not local or no
    port is left.
    """

    def __init__(
        self,
        address: str,
        scope_id: int = 0,
        *,
        port: int = 0,
        on_release: Callable[[int], None] | None = None,
    ) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        except OSError as problem:  # no descriptor, or no memory, is left
            raise _refusal(address, problem) from problem
        try:
            if family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # Before listen(): from the first moment on nothing may be answered.
            _drop_everything(self._socket)
            self._socket.bind(
                (address, port, 0, scope_id) if family == socket.AF_INET6 else (address, port)
            )
            self._socket.listen(1)
        except OSError as problem:
            self._socket.close()
            if port and problem.errno in _TAKEN:
                raise PortTakenError(f"port {port} at {address} is taken") from problem
            raise _refusal(address, problem) from problem
        self.address = address
        self.port: int = self._socket.getsockname()[1]
        self._on_release = on_release

    def release(self) -> None:
        """Give the port back; from now on the kernel answers again."""
        self._socket.close()
        told, self._on_release = self._on_release, None
        if told is not None:
            told(self.port)


def _refusal(address: str, problem: OSError) -> CannotError:
    return CannotError(f"can't reserve a source port at {address}: {problem.strerror}")


def _drop_everything(listener: socket.socket) -> None:
    try:
        bpf.attach(listener, bpf.DROP_ALL)
    except PermissionError:
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT, _HIGHEST_TTL)
        else:
            listener.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, _HIGHEST_TTL)
