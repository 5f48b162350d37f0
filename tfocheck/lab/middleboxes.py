"""What stands on the way in the lab's path scenarios: a description, nothing is started here.

The way is client, routers 1 to 4, server. What is described here happens behind one of the first
three routers, the hop that the user chooses: that router still sees a packet from the client as it
was sent, and says so in its time-exceeded messages; the next hop sees what became of it. The
transparent proxy is an exception: its router takes the packets in, whatever their TTL.

nftables rules act on forwarding, after the TTL was looked at. Where they don't suffice the
impairment box does it, on the link behind the router.

Sources: nft(8); RFC 7413; Honda et al., "Is it still possible to extend TCP?", IMC 2011, for what
is found on real paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ROUTERS = (1, 2, 3, 4)
HOPS = ROUTERS[:-1]
"""Where a box may stand: there is always a router behind it that sees what became of a packet."""

DEFAULT_HOP = 2

NAT_POOL_SIZE = 8

_SYN = "tcp flags & (syn | ack) == syn"
_SYN_ACK = "tcp flags & (syn | ack) == (syn | ack)"
_COOKIE_OR_REQUEST = "tcp option fastopen exists"
_COOKIE = "tcp option fastopen length > 2"
# True of a segment that has a first byte of payload; nft has no arithmetic for its length.
_DATA = "@ih,0,8 >= 0"


@dataclass(frozen=True)
class Path:
    """The four routers between client and server, and what is wrong behind one of them.

    `fault` is the name of the path's fault, "path.…", None where there is none. `ruleset` is loaded
    into the router's nftables and `ip6tables` by ip6tables-restore, then `sysctls` are set.
    `impair` is what a box on the link behind the router does, `rewrite` a function of the module
    rewriting; `proxy` puts haproxy on the router. A `farm` is three servers behind router 4:
    "routed" ones have one address, "translated" ones an address each.
    """

    fault: str | None = None
    ruleset: str = ""
    ip6tables: str = ""
    sysctls: tuple[tuple[str, int], ...] = ()
    impair: str = ""
    rewrite: str = ""
    proxy: bool = False
    farm: Literal["", "routed", "translated"] = ""

    @property
    def programs(self) -> tuple[tuple[str, str], ...]:
        """The programs that it needs, each with its Debian package."""
        programs = []
        if self.ruleset:
            programs.append(("nft", "nftables"))
        if self.ip6tables:
            programs.append(("ip6tables-restore", "iptables"))
        if self.proxy:
            programs.append(("haproxy", "haproxy"))
        return tuple(programs)

    @property
    def is_movable(self) -> bool:
        """Whether the user may choose the hop: something happens on one, and not at its end."""
        return not self.farm and bool(self.ruleset or self.impair or self.rewrite or self.proxy)

    def hop(self, chosen: int | None = None) -> int:
        """The router, counted from 1, behind which it happens; a farm is behind the last one."""
        return ROUTERS[-1] if self.farm else chosen or DEFAULT_HOP


def _forward(*rules: str) -> str:
    """A ruleset for what the router forwards."""
    return _chain("type filter hook forward priority mangle", *rules)


def _chain(hook: str, *rules: str) -> str:
    name = hook.split()[3]
    lines = "\n".join(f"    {rule}" for rule in rules)
    return f"table inet {name} {{\n  chain {name} {{\n    {hook}\n{lines}\n  }}\n}}\n"


def _numbered(addresses: list[str]) -> str:
    pairs = (f"{number} : {address}" for number, address in enumerate(addresses))
    return f"{{ {', '.join(pairs)} }}"


def _nat_pool() -> str:
    numbers = range(1, NAT_POOL_SIZE + 1)
    ipv4 = _numbered([f"10.78.0.{number}" for number in numbers])
    ipv6 = _numbered([f"fd78::{number}" for number in numbers])
    to = f"to numgen inc mod {NAT_POOL_SIZE} map"
    return _chain(
        "type nat hook postrouting priority srcnat",
        f"ip saddr 10.77.0.0/24 snat ip {to} {ipv4}",
        f"ip6 saddr fd77::/64 snat ip6 {to} {ipv6}",
    )


# The server of the routed scenarios, and what a farm answers on (see network.py).
SERVER = ("10.77.4.2", "fd77:4::2")
FARM = ("10.77.9.9", "fd77:9::9")
FARM_SERVERS = (SERVER, ("10.77.5.2", "fd77:5::2"), ("10.77.6.2", "fd77:6::2"))


def _dnat() -> str:
    rules = []
    for number, family in enumerate(("ip", "ip6")):
        own = [server[number] for server in FARM_SERVERS]
        to = f"to numgen inc mod {len(own)} map {_numbered(own)}"
        rules.append(f"{family} daddr {FARM[number]} dnat {family} {to}")
    return _chain("type nat hook prerouting priority dstnat", *rules)


CLEAR = Path()
OPTION_STRIPPED = Path(
    "path.option-stripped", _forward("tcp flags & syn == syn reset tcp option fastopen")
)
OPTION_STRIPPED_REPLY = Path(
    "path.option-stripped", _forward(f"{_SYN_ACK} reset tcp option fastopen")
)
OPTION_DROPPED = Path("path.option-dropped", _forward(f"{_SYN} {_COOKIE_OR_REQUEST} drop"))
SYN_DATA_DROPPED = Path("path.syn-data-dropped", _forward(f"{_SYN} {_DATA} drop"))
AFTER_OPEN_DROPPED = Path(
    "path.after-open",
    _forward(
        f"{_SYN} {_COOKIE} {_DATA} ct mark set 1",
        "ct mark 1 tcp flags & syn == 0 drop",
    ),
)
EARLY_DATA_DROPPED = Path(
    "path.early-data",
    _forward(
        "ct direction original tcp flags & (syn | ack) == ack ct mark set 1",
        "ct direction reply tcp flags & (syn | rst) == 0 ct mark 0 drop",
    ),
)
NAT_POOL = Path("path.source-changes", _nat_pool())
SYNPROXY = Path(
    "path.proxy",
    _chain("type filter hook prerouting priority raw", f"meta nfproto ipv4 {_SYN} notrack")
    + _forward(
        "meta nfproto ipv4 ct state invalid,untracked "
        "synproxy mss 1460 wscale 7 timestamp sack-perm",
        "meta nfproto ipv4 ct state invalid drop",
    ),
    # The kernel's synproxy for nftables reckons the checksum as IPv4's in any case, and so drops
    # each IPv6 segment that comes from a wire (nft_synproxy_do_eval(), Linux 6.18).
    ip6tables="""\
*raw
-A PREROUTING -p tcp --syn -j CT --notrack
COMMIT
*filter
-A FORWARD -p tcp -m conntrack --ctstate INVALID,UNTRACKED -j SYNPROXY \
--mss 1440 --wscale 7 --timestamp --sack-perm
-A FORWARD -p tcp -m conntrack --ctstate INVALID -j DROP
COMMIT
""",
    # Connections begin with the client's ACK here: its SYN was not tracked.
    sysctls=(("net/netfilter/nf_conntrack_tcp_loose", 0), ("net/ipv4/tcp_syncookies", 1)),
)
TRANSPARENT_PROXY = Path(
    "path.proxy",
    _chain("type nat hook prerouting priority dstnat", "tcp dport { 8080, 8081 } redirect"),
    proxy=True,
)
SYN_ACK_LOSS = Path("path.syn-ack-loss", impair="to-client syn-ack-loss 50%")
ISN_SHIFTED = Path("path.sequence-rewritten", rewrite="isn-shifted")
ACK_REWRITTEN = Path("path.sequence-rewritten", rewrite="ack-rewritten")
COOKIE_CHANGED = Path("path.cookie-changed", rewrite="cookie-changed")
OPTION_MOVED = Path("path.option-moved", rewrite="option-moved")
MSS_CLAMPED = Path("path.mss-clamped", rewrite="mss-clamped")
TIMESTAMPS_REMOVED = Path("path.timestamps-removed", rewrite="timestamps-removed")
FARM_ROUTED = Path(farm="routed")
FARM_TRANSLATED = Path(ruleset=_dnat(), farm="translated")
