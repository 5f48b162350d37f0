"""What the kernel says about Fast Open: its version, and the sysctls of a network namespace.

Sources: Documentation/networking/ip-sysctl.rst of the kernel (tcp_fastopen, its bits and its key),
include/net/tcp.h (TFO_*); net/ipv4/tcp_input.c (tcp_conn_request: who is answered by a SYN cookie
is not asked for Fast Open) and net/ipv4/af_inet.c (bit 0x400 counts when a socket begins to
listen); for the versions kernelnewbies.org/Linux_3.6 (clients), _3.7 (servers), _3.16 (IPv6), and
the kernel's commit 0d41cca490c2 (clients by default, 3.13).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CLIENT = 0x1
SERVER = 0x2
CLIENT_WITHOUT_COOKIE = 0x4
SERVER_WITHOUT_COOKIE = 0x200
ALL_LISTENERS = 0x400

NAME = "net.ipv4.tcp_fastopen"
KEY_NAME = "net.ipv4.tcp_fastopen_key"
SYN_COOKIES_NAME = "net.ipv4.tcp_syncookies"
QUEUE_NAME = "net.core.somaxconn"

SYN_COOKIES_ALWAYS = 2
"""The value of tcp_syncookies at which no SYN is answered otherwise, flood or not."""

USUAL_QUEUE = 4096
"""What net.core.somaxconn is when nobody has set it (Linux 5.4)."""

_SYSCTLS = Path("/proc/sys/net/ipv4")

Version = tuple[int, int]
SERVER_SINCE: Version = (3, 7)
IPV6_SINCE: Version = (3, 16)
CLIENT_SINCE: Version = (3, 6)
CLIENT_BY_DEFAULT_SINCE: Version = (3, 13)


@dataclass(frozen=True)
class Bit:
    """A bit of tcp_fastopen: its value, and what it means here when it is on and when it is off."""

    value: int
    on: str
    off: str


BITS = (
    Bit(CLIENT, "programs here may use Fast Open as clients", "no Fast Open as a client"),
    Bit(
        SERVER,
        "listeners that ask for Fast Open get it",
        "no listener gets Fast Open, whatever it asks for",
    ),
    Bit(
        CLIENT_WITHOUT_COOKIE,
        "clients send data on the SYN even without a cookie",
        "clients send data on the SYN only with a cookie",
    ),
    Bit(
        SERVER_WITHOUT_COOKIE,
        "data on a SYN is accepted without any cookie: whoever forges a sender's address gets in",
        "data on a SYN needs a valid cookie",
    ),
    Bit(
        ALL_LISTENERS,
        "every socket that begins to listen gets Fast Open without asking",
        "a listener has to ask for Fast Open (socket option TCP_FASTOPEN)",
    ),
)


class Key(enum.StrEnum):
    """What is known of tcp_fastopen_key, which is never shown."""

    UNREADABLE = "unreadable"
    NONE_YET = "none-yet"
    ONE = "one"
    WITH_BACKUP = "with-backup"


@dataclass(frozen=True)
class Settings:
    """The sysctls of one network namespace; None is what could not be read.

    ``blackhole_timeout`` is in seconds, and about clients: 0 is off. ``longest_queue`` is
    net.core.somaxconn, above which no listener's Fast Open queue goes, ``syn_cookies`` is
    net.ipv4.tcp_syncookies and ``syn_backlog`` net.ipv4.tcp_max_syn_backlog.
    """

    fast_open: int | None
    blackhole_timeout: int | None
    key: Key
    longest_queue: int | None
    syn_cookies: int | None = None
    syn_backlog: int | None = None

    def has(self, bit: int) -> bool | None:
        """Whether a bit of tcp_fastopen is on; None when that is not known."""
        return None if self.fast_open is None else bool(self.fast_open & bit)

    @property
    def always_cookies(self) -> bool:
        """Whether every SYN is answered by a SYN cookie."""
        return self.syn_cookies == SYN_COOKIES_ALWAYS


UNREADABLE = Settings(None, None, Key.UNREADABLE, None)


def read_settings() -> Settings:
    """The settings of the network namespace that this process is in."""
    return Settings(
        _number(_SYSCTLS / "tcp_fastopen"),
        _number(_SYSCTLS / "tcp_fastopen_blackhole_timeout_sec"),
        _read_key(),
        _number(Path("/proc/sys/net/core/somaxconn")),
        _number(_SYSCTLS / "tcp_syncookies"),
        _number(_SYSCTLS / "tcp_max_syn_backlog"),
    )


def describe_bits(value: int) -> Iterator[tuple[int, bool, str]]:
    """(bit, whether it is on, what that means here), also for bits that nobody documents."""
    known = 0
    for bit in BITS:
        on = bool(value & bit.value)
        known |= bit.value
        yield bit.value, on, bit.on if on else bit.off
    for bit_number in range(value.bit_length()):
        other = 1 << bit_number
        if value & other and not known & other:
            yield other, True, "not documented; the kernel ignores it or is a special one"


def parse_version(release: str) -> Version | None:
    """(major, minor) of what ``uname -r`` says, e.g. "6.1.0-18-amd64"; None if it is no version."""
    found = re.match(r"(\d{1,6})\.(\d{1,6})", release)
    return (int(found[1]), int(found[2])) if found else None


def describe_version(version: Version | None) -> str:
    """What a kernel of this version can do, in words."""
    if version is None:
        return "no version that is known here"
    if version < CLIENT_SINCE:
        return "too old for Fast Open: clients need 3.6, servers 3.7, IPv6 3.16"
    if version < SERVER_SINCE:
        return "Fast Open for clients only: servers need 3.7, IPv6 3.16"
    if version < IPV6_SINCE:
        return "Fast Open for clients and servers over IPv4; IPv6 needs 3.16"
    return "has Fast Open for clients and servers, IPv4 and IPv6"


def classify_key(text: str) -> Key:
    """What kind of key the sysctl's text is: one, one and a backup, or all zeros (none yet)."""
    first, _, backup = text.strip().partition(",")
    if not set(first) - set("0-") and not backup:
        return Key.NONE_YET
    return Key.WITH_BACKUP if backup else Key.ONE


def default_of(version: Version | None) -> int:
    """What tcp_fastopen is when nobody has set it."""
    return CLIENT if version is None or version >= CLIENT_BY_DEFAULT_SINCE else 0


def _read_key() -> Key:
    # Mode 0600: only root may read it, and root of a user namespace in its own namespaces.
    try:
        return classify_key((_SYSCTLS / "tcp_fastopen_key").read_text())
    except OSError:
        return Key.UNREADABLE


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(), 0)
    except (OSError, ValueError):
        return None
