"""The kernel's Fast Open counters of a network namespace: TcpExt in /proc/net/netstat.

Sources: Documentation/networking/snmp_counter.rst of the kernel; net/ipv4/tcp_fastopen.c for what
counts where.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

MEANINGS: Mapping[str, str] = {
    "TCPFastOpenPassive": "connections accepted with a valid cookie",
    "TCPFastOpenPassiveAltKey": "of these, by the backup key",
    "TCPFastOpenPassiveFail": "cookies that were not valid: another key, an old one, or a forgery",
    "TCPFastOpenCookieReqd": "cookie requests from clients, counted even when none is given",
    "TCPFastOpenListenOverflow": "SYNs that fell back because the listener's queue was full",
    "TCPFastOpenActive": "as a client: SYN data that a server accepted",
    "TCPFastOpenActiveFail": "as a client: SYN data that was not accepted, or got no answer",
    "TCPFastOpenBlackhole": "as a client: times Fast Open was paused, as a firewall ate it",
    "SyncookiesSent": "SYNs answered by a SYN cookie, which leaves Fast Open out",
    "ListenOverflows": "SYNs dropped as a listener's accept queue was full",
}
"""In the order in which they are shown."""

ACCEPTED = "TCPFastOpenPassive"
OVERFLOWN = "TCPFastOpenListenOverflow"
SYN_COOKIES = "SyncookiesSent"
OWN = "TCPFastOpen"
"""How the names of those begin that are about Fast Open alone."""

_PREFIX = "TcpExt:"


def parse(lines: Iterable[str]) -> dict[str, int]:
    """The Fast Open counters that this kernel has; ``lines`` are those of /proc/net/netstat."""
    names: list[str] | None = None
    for line in lines:
        if not line.startswith(_PREFIX):
            continue
        if names is None:
            names = line.split()
            continue
        counted = dict(zip(names, line.split(), strict=False))
        return {name: int(counted[name]) for name in MEANINGS if counted.get(name, "").isdigit()}
    return {}


def read(path: str = "/proc/self/net/netstat") -> dict[str, int] | None:
    """The counters of a namespace, by default this process's; None when they can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            return parse(lines)
    except OSError:
        return None
