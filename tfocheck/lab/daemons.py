"""Scenarios with Debian's other servers that speak Fast Open, set up as their manuals say."""

from __future__ import annotations

from tfocheck.errors import ExitCode
from tfocheck.lab.scenario import CLIENT, SERVER, Scenario


def _daemon(
    name: str,
    summary: str,
    program: str,
    package: str,
    *,
    payload: str | None = None,
    has_off_port: bool = False,
    for_root: bool = False,
) -> Scenario:
    return Scenario(
        name,
        summary,
        ExitCode.CONFORMS,
        "program",
        CLIENT | SERVER,
        None,
        program,
        package,
        payload=payload,
        has_off_port=has_off_port,
        for_root=for_root,
    )


DAEMONS = (
    _daemon("unbound", "unbound, DNS over TCP, as built", "unbound", "unbound", payload="dns"),
    _daemon("knot", "knot, DNS over TCP, tcp-fastopen: on", "knotd", "knot", payload="dns"),
    _daemon(
        "pdns",
        "PowerDNS, DNS over TCP, tcp-fast-open=64",
        "pdns_server",
        "pdns-server",
        payload="dns",
    ),
    _daemon(
        "pdns-recursor",
        "PowerDNS recursor, DNS over TCP, tcp-fast-open=64",
        "pdns_recursor",
        "pdns-recursor",
        payload="dns",
    ),
    _daemon(
        "dnsdist",
        "dnsdist, DNS over TCP, tcpFastOpenQueueSize=128",
        "dnsdist",
        "dnsdist",
        payload="dns",
        has_off_port=True,
    ),
    _daemon("varnish", "varnish, -p tcp_fastopen=on", "varnishd", "varnish"),
    _daemon("h2o", "h2o, tcp-fastopen: 256", "h2o", "h2o"),
    _daemon("nghttpx", "nghttpx, --fastopen=256", "nghttpx", "nghttp2-proxy"),
    _daemon(
        "exim",
        "exim, SMTP, as built",
        "exim4",
        "exim4-daemon-light",
        payload="smtp",
        for_root=True,
    ),
    _daemon(
        "shadowsocks",
        "shadowsocks, --fast-open: says nothing",
        "ss-server",
        "shadowsocks-libev",
        payload="none",
    ),
    _daemon(
        "banner-first",
        "dropbear, SSH, as built: speaks first",
        "dropbear",
        "dropbear-bin",
        payload="ssh",
    ),
)
