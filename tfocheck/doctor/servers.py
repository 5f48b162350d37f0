"""How Fast Open is switched on in the servers that doctor knows, and what their files say.

Each entry names its source; "tried" is what its sockets said here. The files are read by ``nginx``,
``haproxy`` and ``readers``, each by its server's own grammar.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from tfocheck.doctor import haproxy, nginx, readers
from tfocheck.doctor.configuration import Configuration
from tfocheck.doctor.processes import Process


@dataclass(frozen=True)
class Server:
    """A kind of server.

    ``programs`` are names of its binary or its process; ``how`` says how it is switched on,
    ``source`` where that stands; ``read`` says what the configuration of one process has, and
    raises nothing: what can't be read is named.
    """

    name: str
    programs: tuple[str, ...]
    how: str
    source: str
    read: Callable[[Process], Configuration]


def recognise(process: Process) -> Server | None:
    """The server that this process is, by its binary or by its name."""
    binary = PurePosixPath(process.executable or "").name
    for name in (binary, process.name):
        for server in SERVERS:
            if name in server.programs:
                return server
    return None


SERVERS = (
    Server(
        "nginx",
        ("nginx",),
        "listen ... fastopen=256; in the server's block, then reload",
        "https://nginx.org/en/docs/http/ngx_http_core_module.html#listen",
        nginx.read,
    ),
    Server(
        "haproxy",
        ("haproxy",),
        "bind ... tfo in the frontend, then reload",
        "https://docs.haproxy.org/2.6/configuration.html section 5.1, tfo",
        haproxy.read,
    ),
    Server(
        "varnish",
        ("varnishd", "cache-main"),
        "varnishd -p tcp_fastopen=on, then restart (off by default)",
        "varnishd(1), tcp_fastopen",
        readers.varnish,
    ),
    Server(
        "unbound",
        ("unbound",),
        "no directive: build it with ./configure --enable-tfo-server, as Debian's is",
        "unbound's configure --help; util/netevent.c, services/listen_dnsport.c",
        readers.unbound,
    ),
    Server(
        "BIND",
        ("named",),
        "no directive: BIND 9.18 never asks for Fast Open; use bit 0x400, or dnsdist before it",
        "tried: libisc of 9.18 sets no TCP_FASTOPEN; the ARM has no option for it",
        readers.nothing,
    ),
    Server(
        "dnsdist",
        ("dnsdist",),
        'addLocal("...", {tcpFastOpenQueueSize=256}), in YAML tcp: fast_open_queue_size: 256 of a '
        "bind; then restart",
        "https://dnsdist.org/reference/config.html#addLocal",
        readers.files(
            readers.dnsdist,
            ("-C", "--config"),
            ("/etc/dnsdist/dnsdist.conf", "/etc/dnsdist/dnsdist.yml"),
        ),
    ),
    Server(
        "exim",
        ("exim", "exim4"),
        "nothing to configure: the daemon asks for smtp_connect_backlog itself when it starts",
        "src/daemon.c of Exim 4.9x",
        readers.nothing,
    ),
    Server(
        "h2o",
        ("h2o",),
        "tcp-fastopen: 4096 at the top level; that is its default on Linux, 0 switches it off",
        "https://h2o.examp1e.net/configure/base_directives.html#tcp-fastopen",
        readers.files(
            readers.yaml_setting("tcp-fastopen"), ("-c", "--conf"), ("/etc/h2o/h2o.conf",)
        ),
    ),
    Server(
        "Caddy",
        ("caddy",),
        "no directive: Caddy has no Fast Open of its own; use bit 0x400, or a proxy before it",
        "https://github.com/caddyserver/caddy/issues/2887",
        readers.nothing,
    ),
    Server(
        "Envoy",
        ("envoy",),
        "tcp_fast_open_queue_length: 256 in the listener",
        "https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener.proto",
        readers.files(readers.envoy, ("-c", "--config-path"), ()),
    ),
    Server(
        "Knot DNS",
        ("knotd",),
        "nothing to configure: knotd asks by itself (tcp-fastopen is about its own queries)",
        "knot.conf(5), tcp-fastopen; tried: 3.2.6 has a queue of 10 with it on and off",
        readers.nothing,
    ),
    Server(
        "Knot Resolver",
        ("kresd",),
        "nothing to configure: kresd asks for a queue of 16 when it begins to listen",
        "daemon/io.c of Knot Resolver, io_listen_tcp",
        readers.nothing,
    ),
    Server(
        "PowerDNS",
        ("pdns_server",),
        "tcp-fast-open=256 in pdns.conf, then restart",
        "https://doc.powerdns.com/authoritative/settings.html#tcp-fast-open",
        readers.pdns,
    ),
    Server(
        "PowerDNS Recursor",
        ("pdns_recursor",),
        "tcp-fast-open=256 in recursor.conf, from 5.0 on incoming: tcp_fast_open: 256 in "
        "recursor.yml; then restart",
        "https://doc.powerdns.com/recursor/settings.html#tcp-fast-open",
        readers.recursor,
    ),
    Server(
        "shadowsocks",
        ("ss-server", "ssserver"),
        'ss-server --fast-open, or "fast_open": true in its file; then restart',
        "ss-server(1), --fast-open; tried: a queue of 5 with it, none without",
        readers.shadowsocks,
    ),
    Server(
        "nghttpx",
        ("nghttpx",),
        "nghttpx --fastopen=256, or fastopen=256 in nghttpx.conf; then restart",
        "nghttpx(1), --fastopen",
        readers.nghttpx,
    ),
    Server(
        "Traffic Server",
        ("traffic_server", "[TS_MAIN]"),
        "bit 0x8 of proxy.config.net.sock_option_flag_in (records.config; in records.yaml records: "
        "net: sock_option_flag_in), then restart",
        "https://docs.trafficserver.apache.org/en/latest/admin-guide/files/records.yaml.en.html "
        "proxy.config.net.sock_option_flag_in, sock_option_tfo_queue_size_in",
        readers.files(
            readers.traffic_server,
            (),
            ("/etc/trafficserver/records.yaml", "/etc/trafficserver/records.config"),
        ),
    ),
    Server(
        "dropbear",
        ("dropbear",),
        "nothing to configure: it asks, unless built with DROPBEAR_SERVER_TCP_FAST_OPEN 0",
        "sysoptions.h of dropbear; tried: 2022.83 has a queue of 5",
        readers.nothing,
    ),
    Server(
        "lighttpd",
        ("lighttpd",),
        "no directive: lighttpd never asks for Fast Open; use bit 0x400, or a proxy before it",
        "src/network.c of lighttpd 1.4 sets no TCP_FASTOPEN",
        readers.nothing,
    ),
    Server(
        "systemd",
        ("systemd",),
        "a .socket unit has no setting for it: the service has to set TCP_FASTOPEN on the socket "
        "that it is handed; or set bit 0x400 and restart the unit",
        "systemd.socket(5); https://github.com/systemd/systemd/issues/5796",
        readers.nothing,
    ),
)

OTHERS = (
    "its program has to set the socket option TCP_FASTOPEN; or set bit 0x400 of "
    "net.ipv4.tcp_fastopen, which gives Fast Open to every listener, and restart it"
)
