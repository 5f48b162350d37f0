"""Rules of this machine's own firewall that take Fast Open away, or look for it.

Read are nftables' rules, which iptables-nft makes as well; of the old iptables only that there are
tables. What a rule applies to is not worked out: that one is there is said, not that it hits.

Sources: nft(8), "reset tcp option", "tcp option", synproxy; iptables-extensions(8), TCPOPTSTRIP
and SYNPROXY; linux/netfilter/nf_tables.h, xt_TCPOPTSTRIP.h.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tfocheck.doctor import netlink

_GET_RULE = (10 << 8) | 7
_REQUEST = struct.pack("=BBH", 0, 0, 0)  # of all families
_FAMILIES = {1: "inet", 2: "ip", 5: "netdev", 7: "bridge", 10: "ip6"}
_TABLE, _CHAIN, _HANDLE, _EXPRESSIONS = 1, 2, 3, 4
_ELEMENT, _NAME, _DATA = 1, 1, 2
_TO, _KIND, _OPERATION, _FROM = 1, 2, 6, 7
_TCP_OPTION = 1
_TARGET_NAME, _TARGET_INFO = 1, 3

FAST_OPEN = 34
"""The option's kind (RFC 7413, section 4.1.1)."""


@dataclass(frozen=True)
class Rule:
    """A rule of nftables, and what it does about Fast Open; ``takes`` says that it takes it off."""

    family: str
    table: str
    chain: str
    handle: int
    what: str
    takes: bool

    def __str__(self) -> str:
        return f"rule {self.handle} of {self.family} {self.table} {self.chain} {self.what}"

    @property
    def place(self) -> tuple[str, ...]:
        """How nft names it."""
        return (self.family, self.table, self.chain, "handle", str(self.handle))


def read() -> tuple[Rule, ...] | None:
    """The rules of this process's network namespace; None when they can't be read.

    That takes CAP_NET_ADMIN, and a kernel with nftables.
    """
    try:
        return tuple(parse(netlink.dump(netlink.NETFILTER, _GET_RULE, _REQUEST)))
    except OSError:
        return None


def old_tables(directory: str = "/proc/self/net") -> tuple[str, ...]:
    """The tables of the old iptables in a network namespace; for others than root none is there."""
    found: list[str] = []
    for name in ("ip_tables_names", "ip6_tables_names"):
        with (
            contextlib.suppress(OSError),
            open(f"{directory}/{name}", encoding="utf-8", errors="replace") as lines,
        ):
            found += [f"{name[: name.index('_')]} {line.strip()}" for line in lines]
    return tuple(found)


def parse(messages: Iterable[bytes]) -> Iterator[Rule]:
    """The rules about Fast Open among messages (struct nfgenmsg and its attributes)."""
    for message in messages:
        known = dict(netlink.attributes(message[4:]))
        for kind, element in netlink.attributes(known.get(_EXPRESSIONS, b"")):
            found = _about(dict(netlink.attributes(element))) if kind == _ELEMENT else None
            if found is None or len(known.get(_HANDLE, b"")) != 8:
                continue
            what, takes = found
            yield Rule(
                _FAMILIES.get(message[0], str(message[0])),
                _text(known.get(_TABLE, b"")),
                _text(known.get(_CHAIN, b"")),
                int.from_bytes(known[_HANDLE]),
                what,
                takes,
            )
            break


def _about(expression: Mapping[int, bytes]) -> tuple[str, bool] | None:
    name = _text(expression.get(_NAME, b""))
    data = dict(netlink.attributes(expression.get(_DATA, b"")))
    if name == "synproxy":
        return _PROXY
    if name == "target":
        return _of_target(_text(data.get(_TARGET_NAME, b"")), data.get(_TARGET_INFO, b""))
    operation = int.from_bytes(data.get(_OPERATION, b""))
    option = int.from_bytes(data.get(_KIND, b""))
    if name != "exthdr" or operation != _TCP_OPTION or option != FAST_OPEN:
        return None
    if _TO in data:
        return "looks for the Fast Open option", False
    return "takes the Fast Open option off", True


_PROXY = "answers SYNs itself (SYNPROXY), without Fast Open", True


def _of_target(name: str, info: bytes) -> tuple[str, bool] | None:
    if name == "SYNPROXY":
        return _PROXY
    # A bitmap of 256 options in words of this machine's byte order.
    if name != "TCPOPTSTRIP" or len(info) < 32:
        return None
    word = struct.unpack_from("=I", info, 4 * (FAST_OPEN // 32))[0]
    if word >> FAST_OPEN % 32 & 1:
        return "takes the Fast Open option off (TCPOPTSTRIP)", True
    return None


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")
