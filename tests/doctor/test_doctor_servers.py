"""Configurations of servers: what switches Fast Open on, and the edits that do."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import process, running

from tfocheck.doctor import (
    configuration,
    edits,
    examination,
    haproxy,
    nginx,
    readers,
    servers,
    yaml_lines,
)
from tfocheck.doctor.configuration import Directive, Endpoint
from tfocheck.doctor.processes import Process
from tfocheck.doctor.sockets import Listening
from tfocheck.doctor.sysctls import Setting

NGINX = """
events {}
stream { server { listen 9000 fastopen=3; listen 9000 udp; } }
mail { server { listen 25; } }
http {
    server { listen 8080 fastopen=256; listen 8081; }   # one line
    server { listen 8080; listen "[::]:8443" ssl; listen unix:/run/x; listen 443 quic; }
    include more/*.conf;
}
"""


def test_nginx_directives_with_file_and_line(tmp_path: Path) -> None:
    main = tmp_path / "nginx.conf"
    main.write_text(NGINX)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.conf").write_text("server {\n  listen 10.0.0.1:80 fastopen=0;\n}\n")
    found = nginx.read(process(os.getpid(), arguments=("nginx", "-c", str(main))))
    assert found.problem is None
    shown = [
        (each.place.removeprefix(f"{tmp_path}/"), each.text, each.on) for each in found.directives
    ]
    assert shown == [
        ("nginx.conf:3", "listen 9000 fastopen=3", True),
        ("nginx.conf:6", "listen 8080 fastopen=256", True),
        ("nginx.conf:6", "listen 8081", False),
        # The same socket as above, so one fastopen= is enough.
        ("nginx.conf:7", "listen 8080", True),
        ("nginx.conf:7", "listen [::]:8443 ssl", False),
        ("more/a.conf:2", "listen 10.0.0.1:80 fastopen=0", False),
    ]


@pytest.mark.parametrize("text", ["http { server { listen 80", "}", "http { include /x\n"])
def test_broken_nginx_configuration_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "n.conf").write_text(text)
    found = nginx.read(
        process(os.getpid(), arguments=("nginx", "-p", str(tmp_path), "-c", "n.conf"))
    )
    assert found.directives == ()
    assert found.problem is not None
    assert "n.conf" in found.problem


def read_nginx(folder: Path, files: dict[str, str]) -> configuration.Configuration:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return nginx.read(process(os.getpid(), arguments=("nginx", "-c", str(folder / "n.conf"))))


def test_includes_in_a_circle_are_read_once(tmp_path: Path) -> None:
    files = {"n.conf": "listen 1;\ninclude a.conf;\n", "a.conf": "listen 2;\ninclude *.conf;\n"}
    found = read_nginx(tmp_path, files)
    assert [each.text for each in found.directives] == ["listen 1", "listen 2"]
    assert found.problem is None


def test_what_can_not_be_read_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    files = {
        "n.conf": "include pipe; include nosuch; include d/*; listen 80;\n",
        "d/broken": "listen 81",
        "d/huge": "listen 82;" + " " * configuration.MOST_BYTES,
    }
    found = read_nginx(tmp_path, files)
    assert [each.text for each in found.directives] == ["listen 80"]
    assert found.problem is not None
    problem = found.problem.replace(f"{tmp_path}/", "")
    assert "pipe can't be read: it is no regular file; nosuch can't be read: No such" in problem
    assert "d/broken can't be read: it breaks off" in problem
    assert problem.endswith("; and 1 more files")


def test_a_configuration_is_read_up_to_a_size_and_a_depth(tmp_path: Path) -> None:
    big = "listen 80;" + " " * (configuration.MOST_BYTES // 2)
    found = read_nginx(tmp_path, {"n.conf": "include *.big;", "a.big": big, "b.big": big})
    assert [each.file for each in found.directives] == [str(tmp_path / "a.big")]
    assert "the whole configuration has more than" in (found.problem or "")
    chain = {f"{number}.conf": f"include {number + 1}.conf;" for number in range(1500)}
    found = read_nginx(tmp_path, {"n.conf": "include 0.conf;", **chain})
    assert "includes lie 41 deep" in (found.problem or "")


@pytest.mark.parametrize(
    "text", ["{" * 5000, "a{" * 5000, "a {" * 1200 + "}" * 1200, "\0", "\\", '"', "include \0*;"]
)
def test_no_nginx_configuration_is_too_strange(text: str, tmp_path: Path) -> None:
    assert read_nginx(tmp_path, {"n.conf": text}).directives == ()


def test_a_walk_through_links_ends(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(".")
    found = read_nginx(tmp_path, {"n.conf": f"include {'*/' * 36}x.conf; listen 80;"})
    assert [each.text for each in found.directives] == ["listen 80"]
    said = f"is not followed: its patterns stand for more than {configuration.MOST_NAMES} names"
    assert said in (found.problem or "")


def test_patterns_stand_for_what_they_do_in_a_shell(tmp_path: Path) -> None:
    files = {
        "n.conf": f"include {tmp_path}/d*/[ab].conf; include d1/../e/*;",
        "d1/a.conf": "listen 1;",
        "d2/b.conf": "listen 2;",
        "d2/c.conf": "listen 3;",
        "e/f": "listen 4;",
        "e/.hidden": "listen 5;",
    }
    found = read_nginx(tmp_path, files)
    assert [each.text for each in found.directives] == ["listen 1", "listen 2", "listen 4"]
    assert found.problem is None


def test_what_a_file_becomes_while_it_is_read_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_file = configuration.read_file

    def and_now_a_pipe(path: str, process: Process) -> str:
        text = read_file(path, process)
        os.unlink(path)
        os.mkfifo(path)
        return text

    monkeypatch.setattr(configuration, "read_file", and_now_a_pipe)
    found = read_nginx(tmp_path, {"n.conf": "listen 80;\nlisten 81"})
    assert (found.problem or "").startswith(f"{tmp_path}/n.conf can't be read: ")
    assert "/proc/self" not in (found.problem or "")
    (tmp_path / "n.conf").unlink()
    assert [each.text for each in read_nginx(tmp_path, {"n.conf": "listen 80;"}).directives] == [
        "listen 80"
    ]


def test_haproxy_reads_so_much_of_all_its_files(tmp_path: Path) -> None:
    half = "bind :80\n" + "#" * (configuration.MOST_BYTES // 2)
    for name in ("a.cfg", "b.cfg", "c.cfg"):
        (tmp_path / name).write_text(half)
    found = haproxy.read(process(os.getpid(), arguments=("haproxy", "-f", str(tmp_path))))
    assert len(found.directives) == 1
    assert "all files have more than" in (found.problem or "")


def test_so_many_servers_are_read_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def counted(process: Process) -> configuration.Configuration:
        read.append(process.pid)
        return configuration.Configuration()

    server = dataclasses.replace(servers.SERVERS[0], read=counted)
    monkeypatch.setattr(servers, "recognise", lambda _: server)
    several = [process(2 + number, parent=0) for number in range(examination.MOST_SERVERS + 5)]
    found = list(examination._running(several))
    assert len(found) == len(several)
    assert len(read) == examination.MOST_SERVERS
    assert "more than" in (found[-1].configuration.problem or "")


def test_relative_names_begin_where_the_process_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "h.cfg").write_text("bind :80\n")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "n.conf").write_text("listen 80;\n")
    monkeypatch.chdir(tmp_path)
    with subprocess.Popen(["sleep", "60"]) as there:
        monkeypatch.chdir("/")
        found = [
            haproxy.read(process(there.pid, arguments=("haproxy", "-f", "h.cfg"))),
            nginx.read(process(there.pid, arguments=("nginx", "-p", "p", "-c", "n.conf"))),
        ]
        there.kill()
    assert [each.directives[0].file for each in found] == [
        str(tmp_path / "h.cfg"),
        str(tmp_path / "p" / "n.conf"),
    ]


def test_no_pipe_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        configuration.read_file(str(tmp_path / "pipe"), process(1))


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("8080", Endpoint("0.0.0.0", 8080)),
        ("*:81", Endpoint("0.0.0.0", 81)),
        ("0.0.0.0:82", Endpoint("0.0.0.0", 82)),
        ("127.0.0.1:83", Endpoint("127.0.0.1", 83)),
        ("127.0.0.1", Endpoint("127.0.0.1", 80)),
        ("[::]:84", Endpoint("::", 84)),
        ("[2001:db8::1]", Endpoint("2001:db8::1", 80)),
        ("8000-8005", Endpoint("0.0.0.0", 8000, 8005)),
        ("[::]:8000-8005", Endpoint("::", 8000, 8005)),
        ("localhost", Endpoint("localhost", 80)),
        ("unix:/run/s", None),
        ("[::]:80-", None),
        ("host:x", None),
    ],
)
def test_where_nginx_listens(text: str, endpoint: Endpoint | None) -> None:
    assert nginx.parse_endpoint(text) == endpoint


HAPROXY = """
frontend a
    bind :80 tfo # tfo
    bind *:81,[::]:82 name "x y"
    bind 10.0.0.1:90-92 # tfo
    bind ipv6@:::83 v6only tfo
    bind /run/sock tfo
backend b
    server s 10.0.0.2:80 tfo
"""


def test_haproxy_bind_lines() -> None:
    found = list(haproxy.parse("h.cfg", HAPROXY))
    assert [(each.line, each.on) for each in found] == [
        (3, True),
        (4, False),
        (5, False),
        (6, True),
    ]
    assert [each.endpoints for each in found] == [
        (Endpoint("0.0.0.0", 80),),
        (Endpoint("0.0.0.0", 81), Endpoint("::", 82)),
        (Endpoint("10.0.0.1", 90, 92),),
        (Endpoint("::", 83),),
    ]
    assert found[2].endpoints[0].is_of(Listening("10.0.0.1", 91, 0, 1))
    assert not found[2].endpoints[0].is_of(Listening("10.0.0.1", 93, 0, 1))


@pytest.mark.parametrize(
    ("line", "on"),
    [
        ("bind :80 name tfo", False),
        ("bind :80 name tfo tfo", True),
        ("bind :80 crt tfo ssl", False),
        ("bind :80 ssl tfo crt /a", True),
        ("bind :80 ssl strict-sni tfo", True),
        ("bind :80 interface tfo # tfo", False),
        ("bind :80 'tfo'", True),
        ("bind :80 tfo2", False),
        ("bind :80 no-such-word tfo", True),
    ],
)
def test_a_value_is_no_setting_of_haproxys(line: str, on: bool) -> None:
    assert [each.on for each in haproxy.parse("h.cfg", line)] == [on]


CONDITIONS = """
.if 0
  bind :1 tfo
.elif 1
  bind :2 tfo
.else
  bind :3 tfo
.endif
.if feature(TFO)
  bind :4 tfo
.else
  bind :5
  .if !1
    bind :6
  .endif
.endif
bind :7 tfo
bind "${ADDRESS}:80" tfo
"""


def test_conditions_of_haproxys_are_not_guessed() -> None:
    ports = [each.endpoints[0].port for each in haproxy.parse("h", CONDITIONS)]
    assert ports == [2, 7, 80]
    assert haproxy.undecided("h", CONDITIONS) == [
        "h:10 stands under an .if that is not worked out",
        "h:12 stands under an .if that is not worked out",
        "h:18 listens where a variable says",
    ]


def test_what_comes_after_two_dashes_is_haproxys_file(tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_text("bind :80 tfo\n")
    line = ("haproxy", "-W", "--", str(tmp_path / "a.cfg"))
    found = haproxy.read(process(os.getpid(), "haproxy", arguments=line))
    assert (found.main, found.directives[0].on) == (str(tmp_path / "a.cfg"), True)
    both = process(1, "haproxy", arguments=("haproxy", "-f", "/b", "--", "/c", "-f"))
    assert haproxy.configuration_files(both) == ["/b", "/c", "/-f"]


@given(st.text())
def test_haproxy_takes_any_text(text: str) -> None:
    for each in haproxy.parse("h.cfg", text):
        assert each.text.startswith("bind")


@given(st.text())
def test_nginx_takes_any_address(text: str) -> None:
    nginx.parse_endpoint(text)


LUA = """-- addLocal("0.0.0.0", {tcpFastOpenQueueSize=1})
--[[ setLocal("0.0.0.0:1", {tcpFastOpenQueueSize=1}) ]]
setLocal("127.0.0.1:5300", { -- tcpFastOpenQueueSize=9
  reusePort=true })
addLocal('[::]', {doTCP=true, x={tcpFastOpenQueueSize=7}, tcpFastOpenQueueSize=64})
note = [==[ addLocal("10.0.0.1", {tcpFastOpenQueueSize=2}) ]==]
addTLSLocal("10.0.0.2", "/crt", "/key", {tcpFastOpenQueueSize=0})
addLocal("10.0.0.3", {tcpFastOpenQueueSize="a, tcpFastOpenQueueSize=5"})
if os.getenv("X") then addLocal("10.0.0.4", {tcpFastOpenQueueSize=5}) elseif y then f() end
addLocal(address)
addLocal("10.0.0.5")
"""
ENVOY = """static_resources:
  listeners:
  # tcp_fast_open_queue_length: 12
  - name: "tcp_fast_open_queue_length: 5"
    address: {socket_address: {address: 0.0.0.0, port_value: 80}}
  - name: b
    address:
      socket_address: {address: "::", port_value: 443}
    tcp_fast_open_queue_length: 12
  clusters:
  - tcp_fast_open_queue_length: 4
"""
# name, command line, file, its text, (line, on, endpoints) of what is found
GRAMMARS: list[tuple[str, str, str, str, list[tuple[int, bool, list[Endpoint]]]]] = [
    (
        "dnsdist",
        "-C FILE",
        "d.conf",
        LUA,
        [
            (3, False, [Endpoint("127.0.0.1", 5300)]),
            (5, True, [Endpoint("::", 53)]),
            (7, False, [Endpoint("10.0.0.2", 853)]),
            (8, False, [Endpoint("10.0.0.3", 53)]),
            (11, False, [Endpoint("10.0.0.5", 53)]),
        ],
    ),
    (
        "dnsdist",
        "--config=FILE",
        "d.yml",
        "binds:\n- listen_address: '127.0.0.1:53'\n  # tcp: {fast_open_queue_size: 4}\n"
        "- listen_address: '[::1]:53'\n  tcp:\n    fast_open_queue_size: 64\n",
        [(2, False, [Endpoint("127.0.0.1", 53)]), (6, True, [Endpoint("::1", 53)])],
    ),
    (
        "envoy",
        "-c FILE",
        "e.yaml",
        ENVOY,
        [(4, False, [Endpoint("0.0.0.0", 80)]), (9, True, [Endpoint("::", 443)])],
    ),
    (
        "envoy",
        "--config-path FILE",
        "e.json",
        '{"static_resources": {"listeners": [{"tcpFastOpenQueueLength": 0}]}}',
        [(1, False, [])],
    ),
    (
        "h2o",
        "-c FILE",
        "h2o.conf",
        "hosts:\n  tcp-fastopen: 1\ntcp-fastopen: 0 # 9",
        [(3, False, [])],
    ),
    (
        "pdns_server",
        "--config-dir=DIR",
        "pdns.conf",
        "# tcp-fast-open=1\ntcp-fast-open = 64 # x\n",
        [(2, True, [])],
    ),
    (
        "pdns_server",
        "--config-dir=DIR --tcp-fast-open=0",
        "pdns.conf",
        "tcp-fast-open=64\n",
        [(1, False, [])],
    ),
    (
        "pdns_recursor",
        "--config-dir=DIR",
        "recursor.conf",
        "tcp-fast-open-connect=yes\ntcp-fast-open=8\ntcp-fast-open=0\n",
        [(3, False, [])],
    ),
    (
        "pdns_recursor",
        "--config-dir=DIR",
        "recursor.yml",
        "incoming:\n  tcp_fast_open: 64\n",
        [(2, True, [])],
    ),
    (
        "ss-server",
        "-c FILE",
        "s.json",
        '{"password": "fast_open", "fast_open": true}',
        [(1, True, [])],
    ),
    ("ss-server", "-c FILE", "s.json", '{"fast_open": "false"}', [(1, False, [])]),
    ("ss-server", "-s :: --fast-open -k x -c /nosuch", "none", "", [(1, True, [])]),
    ("nghttpx", "--fastopen=0 --conf=FILE", "n.conf", "fastopen=3\n", [(1, False, [])]),
    ("nghttpx", "--conf=FILE", "n.conf", "no-fastopen=3\nfastopen=3\n", [(2, True, [])]),
]


@pytest.mark.parametrize(("name", "line", "file", "text", "found"), GRAMMARS)
def test_files_are_read_by_their_servers_grammar(
    name: str,
    line: str,
    file: str,
    text: str,
    found: list[tuple[int, bool, list[Endpoint]]],
    tmp_path: Path,
) -> None:
    path = tmp_path / file
    path.write_text(text)
    words = line.replace("FILE", str(path)).replace("DIR", str(tmp_path)).split()
    which = process(os.getpid(), name, arguments=(name, *words))
    server = servers.recognise(which)
    assert server is not None
    read = server.read(which)
    assert [(each.line, each.on, list(each.endpoints)) for each in read.directives] == found
    undecided = name == "dnsdist" and file == "d.conf"
    if undecided:
        assert "lines 9, 10 do is not known" in (read.problem or "")
    else:
        assert read.problem is None


@pytest.mark.parametrize(
    ("file", "text", "on"),
    [
        ("records.config", "CONFIG proxy.config.net.sock_option_flag_in INT 0x9", True),
        ("records.config", "#CONFIG proxy.config.net.sock_option_flag_in INT 9\n", None),
        ("records.yaml", "records:\n  net:\n    sock_option_flag_in: 5", False),
        ("records.yaml", "records:\n  net:\n    sock_option_flag_in: 73", True),
    ],
)
def test_a_bit_of_traffic_servers(file: str, text: str, on: bool | None) -> None:
    assert [each.on for each in readers.traffic_server(file, text)] == ([] if on is None else [on])


@pytest.mark.parametrize("text", ["a: [", "\t:", "{", "a: &x [*x]\n", "[" * 3000, "\0"])
@pytest.mark.parametrize("name", ["envoy", "h2o", "ss-server"])
def test_what_is_no_yaml_is_named(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text(text)
    which = process(os.getpid(), name, arguments=(name, "-c", str(path)))
    server = servers.recognise(which)
    assert server is not None
    found = server.read(which)
    assert found.directives == ()
    assert (found.problem is None) is (text == "a: &x [*x]\n")


def test_an_alias_within_aliases_is_not_multiplied(tmp_path: Path) -> None:
    lines = [
        "a0: &a0 [x]",
        *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)),
    ]
    entries = list(yaml_lines.mappings("\n".join(lines)))
    assert [each.path for each in entries] == [()]


@given(st.text(max_size=200))
def test_dnsdist_takes_any_text(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert all(each.endpoints is not None for each in readers.dnsdist("d.conf", text))


def test_varnish_is_told_on_its_command_line() -> None:
    which = process(1, "varnishd", arguments=("varnishd", "-a", ":80", "-p", "tcp_fastopen=on"))
    server = servers.recognise(which)
    assert server is not None
    [found] = server.read(which).directives
    assert (found.text, found.on) == ("-p tcp_fastopen=on", True)


def test_every_server_says_how_and_where_that_stands() -> None:
    assert len(servers.SERVERS) == 20
    for server in servers.SERVERS:
        assert server.how
        assert server.source
        assert all(servers.recognise(process(1, name)) is server for name in server.programs)
    assert servers.recognise(process(1, "sshd")) is None


@pytest.mark.parametrize("name", ["nginx", "haproxy", "dnsdist"])
def test_a_container_is_left_alone(name: str) -> None:
    # No such process, so it does not see our files.
    which = process(1 << 22, name, is_elsewhere=True)
    server = servers.recognise(which)
    assert server is not None
    assert "run doctor in there" in (server.read(which).problem or "")


# The edits, by the real sed


def run(command: str) -> None:
    subprocess.run(["sh", "-euc", command], check=True)


def switched_on(which: str, text: str, words: str, file: Path) -> str:
    file.write_text(text)
    source = text.splitlines()[1]
    directive = Directive(str(file), 2, words, False, (Endpoint("0.0.0.0", 80),), source)
    [command] = edits.switch_on(running(process(1, which)), [directive]).values()
    run(command)
    once = file.read_text()
    run(command)
    assert file.read_text() == once
    return once


@pytest.mark.parametrize(
    ("before", "words", "after"),
    [
        ("listen 80;", "listen 80", "listen 80 fastopen=256;"),
        (
            "listen  80  ssl ; listen 8080;",
            "listen 80 ssl",
            "listen  80  ssl fastopen=256 ; listen 8080;",
        ),
        ("listen 8080; listen 80;", "listen 80", "listen 8080; listen 80 fastopen=256;"),
        ("listen *:80;", "listen *:80", "listen *:80 fastopen=256;"),
        ("listen [::1]:80 a/b;", "listen [::1]:80 a/b", "listen [::1]:80 a/b fastopen=256;"),
        ("\tlisten\t80;", "listen 80", "\tlisten\t80 fastopen=256;"),
        ("listen '80' ssl;", "listen 80 ssl", "listen '80' ssl fastopen=256;"),
    ],
)
def test_nginx_edit(before: str, words: str, after: str, tmp_path: Path) -> None:
    file = tmp_path / "it's.conf"
    text = "listen 80;\n{}\nlisten 80;\n"
    assert switched_on("nginx", text.format(before), words, file) == text.format(after)


@pytest.mark.parametrize(
    ("before", "words", "after"),
    [
        ("  bind :80", "bind :80", "  bind :80 tfo"),
        ("  bind  :80  # x", "bind :80", "  bind  :80 tfo  # x"),
        ("  bind :80 ssl crt /a", "bind :80 ssl crt /a", "  bind :80 ssl crt /a tfo"),
        ('  bind :80 name "x &/y"', "bind :80 name x &/y", '  bind :80 name "x &/y" tfo'),
    ],
)
def test_haproxy_edit(before: str, words: str, after: str, tmp_path: Path) -> None:
    text = "bind :80\n{}\nbind :80\n"
    done = switched_on("haproxy", text.format(before), words, tmp_path / "h.cfg")
    assert done == text.format(after)


@pytest.mark.lab
@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others, which needs root")
@pytest.mark.parametrize(
    ("mode", "owner", "group", "edited"),
    [
        (0o755, 0, 0, True),
        (0o775, 0, 0, True),
        (0o1777, 0, 0, True),
        (0o777, 0, 0, False),
        (0o775, 0, 4242, False),
        (0o755, 4242, 0, False),
    ],
)
def test_what_others_can_change_is_not_edited(
    mode: int, owner: int, group: int, edited: bool, tmp_path: Path
) -> None:
    """They could put a link there, and root would write where it leads."""
    folder = tmp_path / "conf"
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, owner, group)
    (folder / "h.cfg").write_text("bind :80\n")
    [line] = haproxy.parse(str(folder / "h.cfg"), "bind :80\n")
    assert bool(edits.switch_on(running(process(1, "haproxy")), [line])) is edited


@pytest.mark.parametrize(
    ("before", "after"),
    [("net.ipv4.tcp_fastopen = 1", "net.ipv4.tcp_fastopen = 3"), ("a/b=0x1 ", "a/b=3")],
)
def test_sysctl_edit(before: str, after: str, tmp_path: Path) -> None:
    file = tmp_path / "30.conf"
    file.write_text(f"# x\n{before}\n{before}\n")
    command = edits.set_sysctl(Setting(str(file), 2, before.partition("=")[2].strip()), 3)
    run(command)
    run(command)
    assert file.read_text() == f"# x\n{after}\n{before}\n"
