"""The port guard: keeps the local kernel from answering the server's segments with RST.

The kernel knows nothing of a crafted connection and would reset it. A listening socket whose
filter drops everything stops that without a firewall rule: the kernel finds a listener, the filter
drops the segment, nothing is answered. It needs no privilege, bind also reserves the port, and it
disappears with the process.
"""

from __future__ import annotations

import socket

from tfocheck.errors import CannotError
from tfocheck.tcp import filter as bpf


class PortGuard:
    """One reserved, silent source port at a local address.

    ``address`` is a literal without zone, ``scope_id`` the interface index of a link-local one.
    Raises CannotError when the address is not local or no port is left.
    """

    def __init__(self, address: str, scope_id: int = 0) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            if family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # Before listen(): from the first moment on nothing may be answered.
            bpf.attach(self._socket, bpf.DROP_ALL)
            self._socket.bind(
                (address, 0, 0, scope_id) if family == socket.AF_INET6 else (address, 0)
            )
            self._socket.listen(1)
        except OSError as problem:
            self._socket.close()
            raise CannotError(
                f"can't reserve a source port at {address}: {problem.strerror}"
            ) from problem
        self.address = address
        self.port: int = self._socket.getsockname()[1]

    def release(self) -> None:
        """Give the port back; from now on the kernel answers again."""
        self._socket.close()
