"""How each server program is told to listen on the lab's ports with Fast Open: its arguments.

All stay in the foreground, keep to the files of one folder, and give up no privilege, for a root in
a container's user namespace may become nobody else. What is not set is as each has it by default.

Source: the manual page of each, in Debian 12.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from tfocheck.lab.errors import LabError
from tfocheck.lab.scenario import OFF_PORT, PORT, Scenario, find_program
from tfocheck.lab.topology import has_ipv6
from tfocheck.reference.answer import ANSWER

WITH_BACKEND = ("nghttpx",)
BACKEND_PORT = 8090

# nginx takes no word of 4,096 bytes or more in its configuration.
_NGINX_WORD_BYTES = 2_000
# haproxy's answer must fit into one buffer, headers and its reserve of 1,024 bytes included.
_HAPROXY_BUFFER_BYTES = 32_768
_ROOT_ZONE = """\
. 3600 IN SOA a.lab. b.lab. 1 3600 600 86400 3600
. 3600 IN NS a.lab.
a.lab. 3600 IN A 10.77.0.2
"""


def arguments(scenario: Scenario, files: Path) -> list[str]:
    """The program's arguments, once its files are in that folder. Raises LabError."""
    assert scenario.program is not None
    return _PREPARED[scenario.program](scenario, files)


def _hosts() -> list[str]:
    return ["0.0.0.0", "::"] if has_ipv6() else ["0.0.0.0"]


def _written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def _nginx(scenario: Scenario, files: Path) -> list[str]:
    return ["-p", str(files), "-c", _written(files / "nginx.conf", _nginx_configuration(scenario))]


def _haproxy(scenario: Scenario, files: Path) -> list[str]:
    answer = files / "answer.txt"
    answer.write_bytes(ANSWER)
    configuration = _haproxy_configuration(scenario, answer)
    return ["-db", "-f", _written(files / "haproxy.conf", configuration)]


def _unbound(_scenario: Scenario, files: Path) -> list[str]:
    listen = "\n".join(f"    interface: {host}@{PORT}" for host in _hosts())
    records = "\n".join(f"    local-data: '{line}'" for line in _ROOT_ZONE.splitlines()[1:])
    configuration = f"""\
server:
{listen}
    access-control: 0.0.0.0/0 allow
    access-control: ::/0 allow
    username: ""
    chroot: ""
    directory: "{files}"
    pidfile: ""
    use-syslog: no
    local-zone: "." static
{records}
remote-control:
    control-enable: no
"""
    return ["-d", "-p", "-c", _written(files / "unbound.conf", configuration)]


def _knot(_scenario: Scenario, files: Path) -> list[str]:
    zone = _written(files / "root.zone", _ROOT_ZONE)
    listen = ", ".join(f"{host}@{PORT}" for host in _hosts())
    configuration = f"""\
server:
    rundir: "{files}"
    listen: [ {listen} ]
    tcp-fastopen: on
database:
    storage: "{files}"
log:
  - target: stderr
    any: warning
zone:
  - domain: .
    file: "{zone}"
"""
    return ["-c", _written(files / "knot.conf", configuration)]


def _pdns(_scenario: Scenario, files: Path) -> list[str]:
    zone = _written(files / "root.zone", _ROOT_ZONE)
    zones = _written(files / "named.conf", f'zone "." {{ type master; file "{zone}"; }};\n')
    settings = {
        "launch": "bind",
        "bind-config": zones,
        "local-address": ",".join(_hosts()),
        "local-port": str(PORT),
        "tcp-fast-open": "64",
        "daemon": "no",
        "guardian": "no",
        "socket-dir": str(files),
        "security-poll-suffix": "",
    }
    return [f"--config-dir={files}", *(f"--{name}={value}" for name, value in settings.items())]


def _pdns_recursor(_scenario: Scenario, files: Path) -> list[str]:
    zone = _written(files / "root.zone", _ROOT_ZONE)
    settings = {
        "auth-zones": f".={zone}",
        "local-address": ",".join(_hosts()),
        "local-port": str(PORT),
        "allow-from": "0.0.0.0/0,::/0",
        "tcp-fast-open": "64",
        "daemon": "no",
        "socket-dir": str(files),
        "security-poll-suffix": "",
    }
    return [f"--config-dir={files}", *(f"--{name}={value}" for name, value in settings.items())]


def _dnsdist(_scenario: Scenario, files: Path) -> list[str]:
    listen = "\n".join(
        f'{call}("{f"[{host}]" if ":" in host else host}:{port}"{tfo})'
        for host in _hosts()
        for call, port, tfo in (
            ("addLocal", PORT, ", { tcpFastOpenQueueSize=128 }"),
            ("addLocal", OFF_PORT, ""),
        )
    )
    configuration = f"""\
setLocal("127.0.0.1:{BACKEND_PORT}")
{listen}
setACL({{"0.0.0.0/0", "::/0"}})
setSecurityPollSuffix("")
addAction(AllRule(), RCodeAction(DNSRCode.REFUSED))
"""
    return ["--supervised", "--disable-syslog", "-C", _written(files / "conf.lua", configuration)]


def _varnish(_scenario: Scenario, files: Path) -> list[str]:
    vcl = f"""\
vcl 4.1;
backend default none;
sub vcl_recv {{ return (synth(200)); }}
sub vcl_synth {{
    set resp.http.Content-Type = "text/plain";
    set resp.body = {{"{ANSWER.decode()}"}};
    return (deliver);
}}
"""
    listen = [part for host in _hosts() for part in ("-a", f"{_bracketed(host)}:{PORT}")]
    return [
        *("-F", "-j", "none", "-n", str(files / "work")),
        *("-f", _written(files / "answer.vcl", vcl)),
        *("-p", "tcp_fastopen=on", "-p", "vcc_allow_inline_c=off", "-s", "malloc,16m"),
        *listen,
    ]


def _h2o(_scenario: Scenario, files: Path) -> list[str]:
    (files / "index.txt").write_bytes(ANSWER)
    configuration = f"""\
listen: {PORT}
num-threads: 1
tcp-fastopen: 256
hosts:
  default:
    paths:
      /:
        file.dir: {files}
        file.index: [ "index.txt" ]
"""
    return ["-m", "worker", "-c", _written(files / "h2o.conf", configuration)]


def _nghttpx(_scenario: Scenario, files: Path) -> list[str]:
    listen = [f"--frontend={host},{PORT};no-tls" for host in _hosts()]
    return [
        f"--conf={_written(files / 'nghttpx.conf', '')}",
        f"--backend=127.0.0.1,{BACKEND_PORT}",
        *listen,
        "--fastopen=256",
        "--workers=1",
    ]


def _exim(_scenario: Scenario, files: Path) -> list[str]:
    configuration = f"""\
primary_hostname = exim.lab
spool_directory = {files}
log_file_path = {files}/%slog
pid_file_path = {files}/exim.pid
local_interfaces = <; {" ; ".join(_hosts()).replace("::", "::0")}
daemon_smtp_ports = {PORT}
host_lookup =
exim_user = root
exim_group = root
rfc1413_hosts =
"""
    return ["-C", _written(files / "exim.conf", configuration), "-bdf"]


def _shadowsocks(_scenario: Scenario, _files: Path) -> list[str]:
    hosts = [part for host in _hosts() for part in ("-s", host)]
    return [*hosts, "-p", str(PORT), "-k", "lab", "-m", "aes-256-gcm", "--fast-open"]


def _dropbear(_scenario: Scenario, files: Path) -> list[str]:
    key = files / "key"
    maker = find_program("dropbearkey")
    if maker is None:
        raise LabError("dropbear needs a key, and dropbearkey is missing")
    subprocess.run([maker, "-t", "ed25519", "-f", str(key)], capture_output=True, check=True)
    return ["-F", "-E", "-r", str(key), "-P", str(files / "pid"), "-p", str(PORT)]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _nginx_configuration(scenario: Scenario) -> str:
    queue = scenario.fast_open_queue
    fast_open = "" if queue is None else f" fastopen={queue}"
    hosts = ["", "[::]:"] if has_ipv6() else [""]
    listen = [f"listen {host}{PORT}{fast_open}; listen {host}{OFF_PORT};" for host in hosts]
    starts = range(0, len(ANSWER), _NGINX_WORD_BYTES)
    parts = [ANSWER[start : start + _NGINX_WORD_BYTES].decode() for start in starts]
    answer = " ".join(f'set $part{number} "{part}";' for number, part in enumerate(parts))
    whole = "".join(f"${{part{number}}}" for number in range(len(parts)))
    # "user root" because a root in a container's user namespace may have no other: nginx would give
    # its temporary directories to www-data and fail.
    return f"""\
daemon off;
worker_processes 1;
user root root;
pid nginx.pid;
error_log stderr;
events {{ worker_connections 512; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_timeout 65s;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        {" ".join(listen)}
        {answer}
        location / {{ return 200 "{whole}"; }}
    }}
}}
"""


def _haproxy_configuration(scenario: Scenario, answer: Path) -> str:
    hosts = [("0.0.0.0", ""), ("[::]", " v6only")] if has_ipv6() else [("0.0.0.0", "")]
    proxy = " accept-proxy" if scenario.proxy_protocol else ""
    binds = [
        f"    bind {host}:{port}{only}{tfo}{proxy}"
        for host, only in hosts
        for port, tfo in ((PORT, " tfo"), (OFF_PORT, ""))
    ]
    bind = "\n".join(binds)
    limit = ""
    if scenario.most_connections is not None:
        limit = f"""\
    stick-table type ipv6 size 1k expire 10s store conn_rate(10s)
    tcp-request connection track-sc0 src
    tcp-request connection reject if {{ sc0_conn_rate gt {scenario.most_connections} }}
"""
    return f"""\
global
    maxconn 512
    nbthread 1
    tune.bufsize {_HAPROXY_BUFFER_BYTES}
defaults
    mode http
    timeout client 30s
    timeout http-request 10s
    timeout http-keep-alive 65s
frontend lab
{bind}
{limit}    http-request return status 200 content-type text/plain file {answer}
"""


_PREPARED: Mapping[str, Callable[[Scenario, Path], list[str]]] = {
    "nginx": _nginx,
    "haproxy": _haproxy,
    "unbound": _unbound,
    "knotd": _knot,
    "pdns_server": _pdns,
    "pdns_recursor": _pdns_recursor,
    "dnsdist": _dnsdist,
    "varnishd": _varnish,
    "h2o": _h2o,
    "nghttpx": _nghttpx,
    "exim4": _exim,
    "ss-server": _shadowsocks,
    "dropbear": _dropbear,
}
