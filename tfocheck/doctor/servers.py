"""How Fast Open is switched on in the servers that doctor knows, and what their files say.

Each entry names its source. nginx and haproxy are read directive by directive (``nginx``,
``haproxy``); of the others the lines that matter are found by their words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tfocheck.doctor import configuration, haproxy, nginx, processes
from tfocheck.doctor.configuration import Configuration, Directive
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


def _of_lines(
    pattern: str, flags: Sequence[str], default: str | None
) -> Callable[[Process], Configuration]:
    """Reads lines by a pattern, whose only group is the queue's length (0 is off)."""
    wanted = re.compile(pattern)

    def read_lines(process: Process) -> Configuration:
        named = [value for flag in flags for value in configuration.option(process.arguments, flag)]
        named += [
            value
            for flag in flags
            if flag.startswith("--")
            for word in process.arguments
            if (value := word.removeprefix(f"{flag}=")) != word
        ]
        if not named and default is None:
            return Configuration()
        path = processes.absolute(process, named[-1] if named else default or "")
        try:
            text = configuration.read_file(path, process)
        except OSError as error:
            why_not = configuration.why_not(error)
            return Configuration((), path, None, f"{path} can't be read: {why_not}")
        found = (
            Directive(path, number, line.strip(), int(match[1]) > 0, ())
            for number, line in enumerate(text.split("\n"), 1)
            if (match := wanted.search(line))
        )
        return Configuration(tuple(found), path)

    return read_lines


def _varnish(process: Process) -> Configuration:
    for value in configuration.option(process.arguments, "-p"):
        name, _, setting = value.partition("=")
        if name == "tcp_fastopen":
            on = setting.lower() in ("on", "yes", "true", "1", "enable")
            place = f"/proc/{process.pid}/cmdline"
            return Configuration((Directive(place, 1, f"-p {value}", on, ()),))
    return Configuration()


_UNBOUND_KNOWS = re.compile(rb"(Fast Open as server failed)")


def _unbound(process: Process) -> Configuration:
    try:
        [found] = configuration.search_binary(process.pid, (_UNBOUND_KNOWS,))
    except (OSError, ValueError):
        return Configuration()
    return Configuration(knows=found is not None)


def _nothing(_process: Process) -> Configuration:
    return Configuration()


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
        _varnish,
    ),
    Server(
        "unbound",
        ("unbound",),
        "no directive: build it with ./configure --enable-tfo-server, as Debian's is",
        "unbound's configure --help; util/netevent.c, services/listen_dnsport.c",
        _unbound,
    ),
    Server(
        "BIND",
        ("named",),
        "no directive: BIND 9.18 never asks for Fast Open; use bit 0x400, or dnsdist before it",
        "tried: libisc of 9.18 sets no TCP_FASTOPEN; the ARM has no option for it",
        _nothing,
    ),
    Server(
        "dnsdist",
        ("dnsdist",),
        'addLocal("...", {tcpFastOpenQueueSize=256}), in YAML tcp: fast_open_queue_size: 256 of a '
        "bind; then restart",
        "https://dnsdist.org/reference/config.html#addLocal",
        _of_lines(
            r"(?:tcpFastOpenQueueSize\s*=|fast_open_queue_size\s*:)\s*(\d{1,9})",
            ("-C", "--config"),
            "/etc/dnsdist/dnsdist.conf",
        ),
    ),
    Server(
        "exim",
        ("exim", "exim4"),
        "nothing to configure: the daemon asks for smtp_connect_backlog itself when it starts",
        "src/daemon.c of Exim 4.9x",
        _nothing,
    ),
    Server(
        "h2o",
        ("h2o",),
        "tcp-fastopen: 4096 at the top level; that is its default on Linux, 0 switches it off",
        "https://h2o.examp1e.net/configure/base_directives.html#tcp-fastopen",
        _of_lines(
            r"^\s*[\"']?tcp-fastopen[\"']?\s*:\s*(\d{1,9})", ("-c", "--conf"), "/etc/h2o/h2o.conf"
        ),
    ),
    Server(
        "Caddy",
        ("caddy",),
        "no directive: Caddy has no Fast Open of its own; use bit 0x400, or a proxy before it",
        "https://github.com/caddyserver/caddy/issues/2887",
        _nothing,
    ),
    Server(
        "Envoy",
        ("envoy",),
        "tcp_fast_open_queue_length: 256 in the listener",
        "https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener.proto",
        _of_lines(
            r"tcp_fast_open_queue_length[\"']?\s*:\s*(\d{1,9})", ("-c", "--config-path"), None
        ),
    ),
    Server(
        "systemd",
        ("systemd",),
        "a .socket unit has no setting for it: the service has to set TCP_FASTOPEN on the socket "
        "that it is handed; or set bit 0x400 and restart the unit",
        "systemd.socket(5); https://github.com/systemd/systemd/issues/5796",
        _nothing,
    ),
)

OTHERS = (
    "its program has to set the socket option TCP_FASTOPEN; or set bit 0x400 of "
    "net.ipv4.tcp_fastopen, which gives Fast Open to every listener, and restart it"
)
