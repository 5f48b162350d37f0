"""Asking the kernel for a table over netlink: messages out, attributes in.

Rules that hold here:

* Only dumps are asked for: nothing in here changes anything.
* A table has a bound (``_MOST_BYTES``), and so has the wait for it.

Sources: netlink(7), rtnetlink(7), linux/netlink.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator

ROUTE, SOCKETS, NETFILTER, GENERIC = socket.NETLINK_ROUTE, 4, 12, 16
"""Families of netlink."""

_REQUEST, _DUMP = 0x1, 0x300
_CONTROL, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 0x10, 3, 1, 2
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
# Whether it is nested, and its byte order, are no part of an attribute's kind.
_KIND = 0x3FFF
_MOST_BYTES = 16 << 20
_LONGEST_WAIT = 5.0


def dump(family: int, kind: int, request: bytes) -> Iterator[bytes]:
    """The bodies of a table's messages. Raises OSError, as without CAP_NET_ADMIN for a firewall's.

    ``request`` is the family's own header (struct rtmsg, struct nfgenmsg).
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family) as asked:
        asked.settimeout(_LONGEST_WAIT)
        head = _HEADER.pack(_HEADER.size + len(request), kind, _REQUEST | _DUMP, 1, 0)
        asked.sendto(head + request, (0, 0))
        room = _MOST_BYTES
        while room > 0:
            data = asked.recv(1 << 18)
            room -= len(data)
            for what, body in _messages(data):
                if what == _DONE:
                    return
                if what == _ERROR:
                    number = -int(struct.unpack_from("=i", body)[0])
                    raise OSError(number, os.strerror(number))
                yield body
    raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))


def generic(name: str) -> int:
    """The number that a family of generic netlink has in this kernel. Raises OSError."""
    for body in dump(GENERIC, _CONTROL, struct.pack("=BBH", _GET_FAMILY, 1, 0)):
        known = dict(attributes(body[4:]))
        if known.get(_FAMILY_NAME, b"").rstrip(b"\0") == name.encode():
            return int.from_bytes(known[_FAMILY_ID], sys.byteorder)
    raise OSError(errno.ENOENT, f"this kernel has no {name}")


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, value) of each attribute; what breaks off is left out."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size or at + length > len(data):
            return
        yield kind & _KIND, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size or at + length > len(data):
            return
        yield kind, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3
