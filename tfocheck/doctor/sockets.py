"""Listening TCP sockets: which there are, and what each one's own options say.

Rules that hold here:

* Nothing is asked of a socket but getsockopt(2): a duplicate of another process's socket is the
  same socket, so what is set on it would be set there.
* The kernel lists listeners before all other sockets (net/ipv4/tcp_ipv4.c, tcp_seq_start), so a
  busy server's hundred thousand connections are never read.

Sources: proc(5), pidfd_open(2), pidfd_getfd(2), tcp(7), linux/tcp.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

TCP_FASTOPEN_KEY = 33
TCP_FASTOPEN_NO_COOKIE = 34

_PIDFD_GETFD = 438
"""The system call's number, the same on all architectures."""

_SO_GET_FILTER = 26
_SO_PROTOCOL = 38
_IPPROTO_MPTCP = 262
_IP_MINTTL = 21
_IPV6_MINHOPCOUNT = 73
_HIGHEST_TTL = 255
_TCP_INFO_BYTES = 192
# tcpi_sacked of linux/tcp.h: of a listener the kernel fills in its backlog (tcp_get_info).
_BACKLOG_AT = 28
_DROP_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0)
"""The one instruction of a filter that lets nothing in: return 0 (linux/filter.h)."""

_KEY_BYTES = 16
_LISTEN = 0x0A
# A half-open connection: kernels before 4.4 list it beside its listener.
_SYN_RECV = 0x03
_WILDCARDS = ("0.0.0.0", "::")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Listening:
    """A row of /proc/net/tcp or tcp6; ``uid`` is whose it is, ``inode`` what its processes hold."""

    address: str
    port: int
    uid: int
    inode: int

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4

    @property
    def is_wildcard(self) -> bool:
        """Whether it listens on all addresses."""
        return self.address in _WILDCARDS

    def __str__(self) -> str:
        return (
            f"[{self.address}]:{self.port}" if self.family == 6 else f"{self.address}:{self.port}"
        )


@dataclass(frozen=True)
class Options:
    """What the socket itself says.

    ``queue`` is the longest queue of pending Fast Opens, 0 when it has none. ``own_keys`` counts
    the keys set on this socket alone; with 0 it uses its namespace's. ``takes_ipv4`` is about IPv6
    wildcard sockets that are reached over IPv4 as well. ``backlog`` is how many connections may
    wait, as the kernel has cut it to net.core.somaxconn; None when it is not known. ``deaf`` says
    that no packet of a client gets in: a port that a check here keeps silent.
    """

    queue: int
    own_keys: int = 0
    without_cookie: bool = False
    takes_ipv4: bool = False
    backlog: int | None = None
    is_mptcp: bool = False
    deaf: bool = False


def parse(lines: Iterable[str]) -> Iterator[Listening]:
    """The listeners in the lines of /proc/net/tcp or tcp6, heading included."""
    rows = iter(lines)
    next(rows, None)
    for row in rows:
        fields = row.split()
        if len(fields) < 10:
            continue
        state = int(fields[3], 16)
        if state == _LISTEN:
            address, _, port = fields[1].partition(":")
            yield Listening(_address(address), int(port, 16), int(fields[7]), int(fields[9]))
        elif state != _SYN_RECV:
            return


def read(directory: str = "/proc/self/net") -> list[Listening] | None:
    """All listeners of the namespace that this /proc directory shows; None if it can't be read."""
    found: list[Listening] = []
    try:
        with open(f"{directory}/tcp", encoding="utf-8", errors="replace") as rows:
            found += parse(rows)
    except OSError:
        return None
    # Without IPv6 in the kernel there is no such file.
    with (
        contextlib.suppress(FileNotFoundError),
        open(f"{directory}/tcp6", encoding="utf-8", errors="replace") as rows,
    ):
        found += parse(rows)
    return found


def _address(text: str) -> str:
    # The kernel prints the address as 32-bit words of this machine's byte order.
    words = (int(text[start : start + 8], 16) for start in range(0, len(text), 8))
    packed = b"".join(struct.pack("=I", word) for word in words)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


class Holder:
    """A process whose sockets can be asked, for the length of a with block."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def __enter__(self) -> Holder:
        """Raises OSError, as when the process is gone or the kernel is older than 5.3."""
        self._pidfd = os.pidfd_open(self._pid)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._pidfd)

    def ask(self, descriptor: int, inode: int) -> Options:
        """The options of its socket. Raises OSError: PermissionError, or ENOSYS before Linux 5.6.

        The process may have closed the descriptor and opened another: that is an OSError too.
        """
        copy = _libc.syscall(_PIDFD_GETFD, self._pidfd, descriptor, 0)
        if copy < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        if os.fstat(copy).st_ino != inode:
            os.close(copy)
            raise ProcessLookupError("the process has closed the socket meanwhile")
        with socket.socket(fileno=copy) as listener:
            return _ask(listener)


def _ask(listener: socket.socket) -> Options:
    both = listener.family == socket.AF_INET6 and not _option(
        listener, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY
    )
    return Options(
        # Raises where the others do not: without it nothing is known.
        listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN),
        _own_keys(listener),
        bool(_option(listener, socket.IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE)),
        both,
        _backlog(listener),
        _option(listener, socket.SOL_SOCKET, _SO_PROTOCOL) == _IPPROTO_MPTCP,
        _is_deaf(listener),
    )


def _backlog(listener: socket.socket) -> int | None:
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return None
    return int(struct.unpack_from("=I", info, _BACKLOG_AT)[0]) if len(info) > 31 else None


def _is_deaf(listener: socket.socket) -> bool:
    """Whether it is a guard as linux/guard.py makes them: a filter, or a TTL that few have."""
    if listener.family == socket.AF_INET6:
        least = _option(listener, socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT)
    else:
        least = _option(listener, socket.IPPROTO_IP, _IP_MINTTL)
    # Routers' daemons ask for that TTL too, but have more than one wait.
    if least == _HIGHEST_TTL and _backlog(listener) == 1:
        return True
    # The length is in instructions, which getsockopt() of Python knows nothing of.
    found, length = ctypes.create_string_buffer(len(_DROP_ALL)), ctypes.c_uint(1)
    asked = _libc.getsockopt(
        listener.fileno(), socket.SOL_SOCKET, _SO_GET_FILTER, found, ctypes.byref(length)
    )
    return asked == 0 and length.value == 1 and found.raw == _DROP_ALL


def _own_keys(listener: socket.socket) -> int:
    """How many keys are set on the socket itself; only their length is looked at (Linux 4.15)."""
    try:
        keys = listener.getsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_KEY, 2 * _KEY_BYTES)
    except OSError:
        return 0
    return len(keys) // _KEY_BYTES


def _option(listener: socket.socket, level: int, name: int) -> int:
    try:
        return listener.getsockopt(level, name)
    except OSError:  # a kernel that does not have it yet
        return 0
