"""doctor in the lab: real kernel, real nginx and haproxy, and its advice applied by sh."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Loaded once, for all the labs that are forked; and an ordinary user may not read this Python.
import crossplane  # noqa: F401
import doctor_matrix
import jsonschema
import pytest

import tfocheck.library
import tfocheck.report.table  # noqa: F401
from tfocheck.cli import main as cli
from tfocheck.doctor import clients, examination, json_report, netns
from tfocheck.doctor.diagnosis import diagnose
from tfocheck.doctor.netns import Namespace
from tfocheck.errors import ExitCode
from tfocheck.lab.private_files import LAB_FILES
from tfocheck.lab.scenario import find_program
from tfocheck.linux import namespaces
from tfocheck.linux.guard import PortGuard

pytestmark = pytest.mark.lab


def unavailable(reason: str) -> None:
    """Skip the test, or fail where nothing may be missing."""
    if os.environ.get("TFOCHECK_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


InLab = Callable[..., Any]

NOBODY = 65534
CAP_SYS_PTRACE = 19
VALUES = (0, 1, 2, 3, 0x203, 0x403)
QUEUES = {"nginx": 256, "nginx-off": 0, "haproxy": 512, "linux": 16}
SYSCTL = Path("/proc/sys/net/ipv4/tcp_fastopen")

HAPROXY = """\
global
    maxconn 100
    chroot {chroot}
defaults
    mode http
    timeout client 5s
    timeout http-request 5s
frontend web
    bind :9090   # without Fast Open
    bind :9091,127.0.0.1:9092 name "two of them"
    bind :9091 process 1/1
    http-request return status 200
"""

NGINX = """\
pid {folder}/pid;
error_log stderr;
user root root;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2;
    fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{ listen 9090; listen 127.0.0.1:9091; server_name a; }}
    server {{ listen "9090" backlog=64; server_name b; return 204; }}  # fastopen= has to be here
    include "enabled/*";
}}
"""
# What a shell would take apart, or run.
DIRECTORY = 'it\'s a $(touch pwned) `touch pwned`; "x"'


def doctor(*options: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON report of doctor, run in this process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        code = cli.main(["doctor", "-q", "--json", str(path), *options])
        report = json.loads(path.read_text())
    assert report["exit_code"] == code
    return code, report


def states(report: dict[str, Any]) -> dict[str, tuple[int | None, str]]:
    """port and family → (queue, state)"""
    return {
        f"{each['port']}/{6 if ':' in each['address'] else 4}": (each["queue"], each["state"])
        for each in report["listeners"]
    }


def servers_namespace() -> Namespace:
    """The namespace that is neither ours nor the lab's init's, nor was used for building it."""
    others = {os.stat(f"/proc/{pid}/ns/net").st_ino for pid in ("self", "1")}
    for entry in sorted(Path("/proc").glob("[0-9]*/ns/net")):
        with contextlib.suppress(OSError):
            status = os.stat(entry)
            if status.st_ino not in others:
                return Namespace((status.st_dev, status.st_ino), pid=int(entry.parts[2]))
    raise AssertionError("no server namespace")


def at_each_value(host: str) -> list[Any]:
    where, seen = servers_namespace(), []
    for value in VALUES:
        netns.inside(where, lambda value=value: SYSCTL.write_text(str(value)) and None)  # type: ignore[misc]
        code, report = doctor()
        [view] = [each for each in report["namespaces"] if each["id"] == where.identity[1]]
        offered = [outside(f"{host}:{port}", "cookie.request") for port in (8080, 8081)]
        seen.append([value, view["tcp_fastopen"], code, states(report), offered])
    jsonschema.validate(report, json.loads(json_report.schema()))
    return seen


@pytest.mark.parametrize("name", QUEUES)
def test_the_table_is_right_at_every_value(name: str, in_lab: InLab) -> None:
    queue = QUEUES[name]
    for value, read, code, found, offered in in_lab(name, at_each_value, f"{name}.lab"):
        assert read == value
        on = "off" if queue == 0 else "on" if value & 2 else "refused"
        for family in (4, 6):
            assert found[f"8080/{family}"] == [queue, on]
            # 0x403 is for those that begin to listen from now on.
            assert found[f"8081/{family}"] == [0, "off"]
        good = on == "on" and not value & 0x200
        assert code == (ExitCode.CONFORMS if good else ExitCode.FAILED)
        # What is right is for the network to say; with 0x200 there are no cookies.
        assert offered == [
            ExitCode.CONFORMS if good else ExitCode.NOT_OFFERED,
            ExitCode.NOT_OFFERED,
        ]


def listen_at(value: int) -> list[Any]:
    SYSCTL.write_text(str(value))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 7070))
        listener.listen(33)
        code, report = doctor("--port", "7070")
        return [code, states(report)["7070/4"]]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3, [1, [0, "off"]]), (0x403, [0, [33, "on"]]), (0x401, [1, [0, "off"]])],
)
def test_a_listener_that_does_not_ask(value: int, expected: list[Any], in_lab: InLab) -> None:
    assert in_lab("linux", listen_at, value) == expected


@pytest.mark.parametrize(
    ("switch", "kinds", "told"),
    [
        ("tcp_syncookies=2", ["both families"], [False] * 4),
        ("somaxconn=0", ["IPv4"], [False] * 2),
        ("IPv4 routes without cookie", ["both families"], [False, False, True, True]),
        ("as it is", ["MPTCP", "shared, one silent"], [True] * 2 + [None] * 2),
    ],
)
def test_what_overrules_a_socket_is_known(
    switch: str, kinds: list[str], told: list[bool | None], in_lab: InLab
) -> None:
    """A part of the matrix, whose whole ``doctor_matrix`` prints."""
    found = in_lab("linux-0", doctor_matrix.cells, switch, kinds)
    assert [cell[3] for cell in found] == told
    assert [doctor_matrix.shown(cell) for cell in found if not doctor_matrix.agrees(cell)] == []


def mended(changes: str) -> list[Any]:
    """Exit codes, and kinds of problems, before and after what the script does."""
    SYSCTL.write_text("3")
    for change in doctor_matrix.SWITCHES[changes]:
        change()
    with doctor_matrix.listening(["IPv4"]):
        before, report = doctor("--port", "9000")
        for _ in range(2):
            text = script("--port", "9000")
            # What listens has to be started again where its queue was cut.
            subprocess.run(["sh"], input=text, text=True, check=True, capture_output=True)
    with doctor_matrix.listening(["IPv4"]):
        after, _ = doctor("--port", "9000")
    kinds = [each["kind"] for each in report["findings"] if each["weight"] == "problem"]
    return [before, kinds, after]


@pytest.mark.parametrize(
    ("switch", "kind"),
    [
        ("tcp_syncookies=2", "always-syn-cookies"),
        ("somaxconn=0", "queue-cut"),
        ("IPv4 routes without cookie", "without-cookie"),
    ],
)
def test_one_command_mends_what_overrules(switch: str, kind: str, in_lab: InLab) -> None:
    before, kinds, after = in_lab("linux-0", mended, switch)
    assert (before, set(kinds), after) == (ExitCode.FAILED, {kind}, ExitCode.CONFORMS)


def with_guards() -> list[Any]:
    SYSCTL.write_text("3")
    guards = [PortGuard("10.77.0.1") for _ in range(5)]
    # As a check without privileges has them.
    guards[0]._socket.setsockopt(socket.SOL_SOCKET, 27, 0)  # SO_DETACH_FILTER
    guards[0]._socket.setsockopt(socket.IPPROTO_IP, 21, 255)
    with doctor_matrix.listening(["IPv4"]):
        _, report = doctor()
    here = guards[0].address
    return [report["guards"], [each for each in report["listeners"] if each["address"] == here]]


def test_the_ports_that_a_check_keeps_silent_are_no_listeners(in_lab: InLab) -> None:
    assert in_lab("linux-0", with_guards) == [5, []]


def as_a_client(target: str) -> list[Any]:
    """Two connections with data on the SYN: the first asks for a cookie, the second has one."""
    SYSCTL.write_text("1")
    host, _, port = target.partition(":")
    with contextlib.ExitStack() as open_ones:
        for _ in range(2):
            one = open_ones.enter_context(socket.socket())
            one.sendto(b"GET / HTTP/1.1\r\nHost: x\r\n", socket.MSG_FASTOPEN, (host, int(port)))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found = next(each for each in clients.examine() if each.view.namespace.own)
    [kept], [opened] = found.kept or (), found.opened or ()
    return [kept.cookie, opened.remote_port, opened.process is not None]


def test_what_is_used_as_a_client_is_known(in_lab: InLab) -> None:
    assert in_lab("linux", as_a_client, "10.77.0.2:8080") == [8, 8080, True]


# The advice

USUAL_CASES = ("open.data-acked", "control.syn-data")


def outside(target: str, *cases: str) -> int:
    """The check's exit code; in a process of its own, as it gives its privileges up."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            named = [word for case in cases or USUAL_CASES for word in ("--case", case)]
            code = cli.run_check([target, "-4", "-q", "--attempts", "1", *named])
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def script(*options: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert cli.main(["doctor", "--fix-script", *options]) == 0
    return printed.getvalue()


def until(condition: Callable[[], bool]) -> None:
    """A reload takes a moment."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def heal(target: str, value: int) -> list[Any]:
    where = servers_namespace()
    netns.inside(where, lambda: SYSCTL.write_text(str(value)) and None)
    before = outside(target)
    text = script("--port", "8080")
    for _ in range(2):
        subprocess.run(["sh"], input=text, text=True, check=True, capture_output=True)
    until(lambda: doctor("--port", "8080")[0] == ExitCode.CONFORMS)
    code, _ = doctor("--port", "8080")
    return [before, outside(target), code, script("--port", "8080")]


@pytest.mark.parametrize(
    ("name", "value", "before"),
    [
        ("nginx", 0, ExitCode.NOT_OFFERED),
        ("nginx-off", 1, ExitCode.NOT_OFFERED),
        ("haproxy", 1, ExitCode.NOT_OFFERED),
        ("linux", 0x203, ExitCode.FAILED),
    ],
)
def test_the_advice_helps(name: str, value: int, before: ExitCode, in_lab: InLab) -> None:
    seen = in_lab(name, heal, f"{name}.lab:8080", value)
    assert seen[:3] == [before, ExitCode.CONFORMS, ExitCode.CONFORMS]
    assert "There is nothing to do" in seen[3]


def heal_haproxy() -> list[Any]:
    SYSCTL.write_text("0")
    folder = LAB_FILES / "own"
    (folder / "empty").mkdir(parents=True)
    configuration = folder / "own.cfg"
    configuration.write_text(HAPROXY.format(chroot=folder / "empty"))
    program = find_program("haproxy")
    assert program is not None
    master = subprocess.Popen(
        [program, "-W", "-f", configuration.name], stderr=subprocess.DEVNULL, cwd=folder
    )
    ports = [word for port in ("9090", "9091", "9092") for word in ("--port", port)]
    until(lambda: "9090/4" in states(doctor()[1]))
    before, report = doctor(*ports)
    text = script(*ports)
    for _ in range(2):
        subprocess.run(["sh"], input=text, text=True, check=True, capture_output=True)
        until(lambda: doctor(*ports)[0] == ExitCode.CONFORMS)
    after, report_after = doctor(*ports, "--check")
    works = [each["works"] for each in report_after["outside"]]
    master.kill()
    [server] = [each for each in report["servers"] if each["name"] == "haproxy"]
    directive = server["directives"][0]
    text = configuration.read_text()
    return [before, after, works, directive["line"], directive["on"], text, str(folder / "empty")]


def test_haproxy_is_switched_on_and_reloaded(in_lab: InLab) -> None:
    if find_program("haproxy") is None:
        unavailable("needs the Debian package haproxy")
    before, after, works, line, on, text, chroot = in_lab("linux-0", heal_haproxy)
    assert (before, after) == (ExitCode.FAILED, ExitCode.CONFORMS)
    # The lab's client has two addresses, and the doctor checks its own.
    assert works
    assert all(works)
    assert (line, on) == (9, False)
    wanted = HAPROXY.format(chroot=chroot).replace("bind :9090 ", "bind :9090 tfo ")
    wanted = wanted.replace('of them"', 'of them" tfo').replace("process 1/1", "process 1/1 tfo")
    assert text == wanted


def start_nginx(text: str, included: str) -> tuple[Path, Path]:
    """The files of an nginx that has begun to listen: the main one, and one that lies elsewhere."""
    folder = LAB_FILES / DIRECTORY
    (folder / "enabled").mkdir(parents=True)
    main, site = LAB_FILES / "own.conf", folder / "site"
    # nginx's own configuration has no word for such a directory but the include.
    text = text.replace('"enabled/*"', f"'{str(folder / 'enabled' / '*').replace(chr(39), '?')}'")
    main.write_text(text.format(folder=LAB_FILES))
    site.write_text(included)
    (folder / "enabled" / "link").symlink_to("../site")
    program = find_program("nginx")
    assert program is not None
    subprocess.run([program, "-c", str(main)], check=True, stderr=subprocess.DEVNULL)
    return main, site


def heal_nginx() -> list[Any]:
    SYSCTL.write_text("0")
    main, site = start_nginx(NGINX, "server { listen  9092 reuseport ; }\n")
    os.chdir(LAB_FILES)
    ports = [word for port in ("9090", "9091", "9092") for word in ("--port", port)]
    before, _ = doctor(*ports)
    text = script(*ports)
    for _ in range(2):
        subprocess.run(["sh"], input=text, text=True, check=True, capture_output=True)
        until(lambda: doctor(*ports)[0] == ExitCode.CONFORMS)
    after, report = doctor(*ports)
    link = (site.parent / "enabled" / "link").is_symlink()
    pwned = Path("pwned").exists()
    return [before, after, states(report), main.read_text(), site.read_text(), link, pwned]


def test_nginx_is_switched_on_where_its_files_are_awkward(in_lab: InLab) -> None:
    if find_program("nginx") is None:
        unavailable("needs the Debian package nginx")
    before, after, found, main, site, link, pwned = in_lab("linux-0", heal_nginx)
    assert (before, after) == (ExitCode.FAILED, ExitCode.CONFORMS)
    assert {port: found[f"{port}/4"] for port in (9090, 9091, 9092)} == {
        port: [256, "on"] for port in (9090, 9091, 9092)
    }
    assert "listen 9090; listen 127.0.0.1:9091 fastopen=256; server_name a" in main
    assert 'listen "9090" backlog=64 fastopen=256; server_name b' in main
    assert site == "server { listen  9092 reuseport fastopen=256 ; }\n"
    assert (link, pwned) == (True, False)


def spoil_nginx() -> list[Any]:
    SYSCTL.write_text("3")
    text = NGINX.replace('    include "enabled/*";\n', "")
    for words in ("listen 9090; listen 127.0.0.1:9091", 'listen "9090" backlog=64'):
        text = text.replace(words, 'include "enabled/*"')
    main, site = start_nginx(text, "listen 9092;\n")
    texts = [main.read_text(), site.read_text()]
    text = script("--port", "9092")
    done = subprocess.run(["sh"], input=text, text=True, check=False, capture_output=True)
    return [done.returncode, done.stderr, texts == [main.read_text(), site.read_text()]]


def test_an_edit_that_the_server_refuses_is_taken_back(in_lab: InLab) -> None:
    """The one line stands in two servers: with options nginx wants it in one only."""
    if find_program("nginx") is None:
        unavailable("needs the Debian package nginx")
    code, complaint, as_before = in_lab("linux-0", spoil_nginx)
    assert code != 0
    assert "duplicate listen options" in complaint
    assert "taken back" in complaint
    assert as_before


def check_with_the_option_dropped() -> list[Any]:
    rules = "add table inet t; add chain inet t c { type filter hook output priority 0; }; "
    rules += "add rule inet t c reset tcp option fastopen"
    done = netns.inside(
        servers_namespace(), lambda: subprocess.run(["nft", rules], check=False).returncode
    )
    if done:
        return []
    code, report = doctor("--port", "8080", "--check")
    return [code, report["outside"], report["findings"], report["steps"]]


def test_inside_says_on_and_outside_says_not_offered(in_lab: InLab) -> None:
    if find_program("nft") is None:
        unavailable("needs the Debian package nftables")
    seen = in_lab("linux", check_with_the_option_dropped)
    if not seen:
        unavailable("this kernel's nftables can't reset the option")
    code, outside_says, findings, steps = seen
    assert code == ExitCode.FAILED
    assert {each["target"]: each["works"] for each in outside_says} == {
        "10.77.0.2:8080": False,
        "[fd77::2]:8080": False,
    }
    assert [each["kind"] for each in findings] == [
        "outside-disagrees",
        "outside-disagrees",
        "firewall",
    ]
    assert "takes the Fast Open option off" in findings[2]["text"]
    [command] = [line for each in steps for line in each["commands"]]
    assert "nft delete rule inet t c handle 2" in command
    assert "the socket says on, the outside says TFO not offered" in findings[0]["text"]


# Little privilege, many sockets, and nothing written


def in_fork(function: Callable[[], Any]) -> Any:
    """What the function gives back, as JSON, from a process of its own."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write_end, json.dumps(function()).encode())
        except BaseException as error:
            os.write(write_end, json.dumps(repr(error)).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as results:
        text = results.read()
    os.waitpid(pid, 0)
    return json.loads(text)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes user, which needs root")


@contextlib.contextmanager
def listening(port: int, queue: int | None) -> Iterator[None]:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", port))
        if queue is not None:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, queue)
        listener.listen()
        yield


def roots_listener(port: int) -> None:
    """A process that keeps root, and a listener."""
    ready, tell = os.pipe()
    ended, _kept = os.pipe()
    if os.fork() == 0:
        with listening(port, 9):
            os.close(_kept)
            os.write(tell, b"x")
            os.read(ended, 1)  # until its parent is gone
        os._exit(0)
    os.read(ready, 1)


def in_quiet_namespaces(value: int, less: Callable[[], None], own: int | None) -> list[Any]:
    """Root listens on 8080, and with less privilege perhaps we on 9090: what doctor then says."""
    namespaces.unshare(namespaces.CLONE_NEWNET | namespaces.CLONE_NEWNS)
    SYSCTL.write_text(str(value))
    roots_listener(8080)
    less()
    with listening(9090, own) if own is not None else contextlib.nullcontext():
        machine = examination.examine((8080, 9090))
        found = diagnose(machine)
        ours = [each for each in machine.listeners if each.view.namespace.own]
        table = {str(each.listening.port): [each.queue, each.reason] for each in ours}
        return [int(found.exit_code), table, found.headline]


def become_nobody() -> None:
    import ctypes

    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    # The kernel hides /proc/self from a process that changed its user, until it executes a program.
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE


@needs_root
def test_an_ordinary_user_is_told_what_can_be_told() -> None:
    code, table, _ = in_fork(lambda: in_quiet_namespaces(3, become_nobody, own=None))
    assert code == ExitCode.CANNOT
    assert table["8080"][0] is None
    assert "that takes root" in table["8080"][1]


@needs_root
def test_an_ordinary_users_own_listener_is_read() -> None:
    code, table, headline = in_fork(lambda: in_quiet_namespaces(3, become_nobody, own=5))
    assert (code, table["9090"][0], table["8080"][0]) == (ExitCode.CONFORMS, 5, None)
    assert headline.endswith("1 could not be read")


@needs_root
def test_an_ordinary_user_can_tell_that_the_kernel_refuses() -> None:
    code, _, headline = in_fork(lambda: in_quiet_namespaces(1, become_nobody, own=None))
    assert code == ExitCode.FAILED
    assert "bit 0x2" in headline


def drop_ptrace() -> None:
    """As in a container: still root, but without CAP_SYS_PTRACE."""
    import ctypes
    import struct

    libc = ctypes.CDLL(None, use_errno=True)
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    sets = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    for index in (0, 1):
        sets[index] &= ~(1 << CAP_SYS_PTRACE)
    assert libc.capset(header, sets) == 0


@needs_root
def test_root_without_ptrace_is_told_what_is_missing() -> None:
    code, table, _ = in_fork(lambda: in_quiet_namespaces(3, drop_ptrace, own=None))
    assert code == ExitCode.CANNOT
    assert "that takes CAP_SYS_PTRACE" in table["8080"][1]


def two_thousand() -> list[Any]:
    namespaces.unshare(namespaces.CLONE_NEWNET)
    SYSCTL.write_text("3")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    listeners = []
    for number in range(2000):
        listener = socket.socket()
        listener.bind(("0.0.0.0", 10_000 + number))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 1 + number % 7)
        listener.listen()
        listeners.append(listener)
    done = subprocess.run(
        [sys.executable, "-m", "tfocheck", "doctor"], capture_output=True, text=True, check=False
    )
    rows = re.findall(r"^0\.0\.0\.0:1\d{4}\s.*\s[1-7]\s+yes\s", done.stdout, re.MULTILINE)
    return [len(rows), done.stderr]


@needs_root
def test_two_thousand_listeners() -> None:
    assert in_fork(two_thousand) == [2000, ""]


CHANGES = (
    "open,openat,openat2,write,pwrite64,writev,creat,unlink,unlinkat,rename,renameat,renameat2,"
    "mkdir,mkdirat,rmdir,chmod,fchmod,fchmodat,chown,fchown,fchownat,lchown,truncate,ftruncate,link,"
    "linkat,symlink,symlinkat,mknod,mknodat,setxattr,fsetxattr,utimensat,mount,umount2,kill,tkill,"
    "tgkill,ptrace,init_module,finit_module,unshare,sethostname"
)
# A copy of a listener is the listener: nothing may be set on it. --check has sockets of its own.
ON_SOCKETS = "setsockopt,bind,connect,listen,sendto,sendmsg,shutdown"
MODES: dict[str, list[str]] = {
    "report": [],
    "script": ["--fix-script"],
    "json": ["--json", "-"],
    "watch": ["--watch", "--times", "1", "--interval", "0.1"],
    "check": ["--check"],
    "clients": ["--clients"],
}


def traced() -> dict[str, Any]:
    """mode → (exit code, what it read of some, and every call that may have changed something)."""
    log, home = LAB_FILES / "strace.log", LAB_FILES / "home"
    (home / ".local").mkdir(parents=True)
    done: dict[str, Any] = {}
    for mode, options in MODES.items():
        calls = CHANGES if mode == "check" else f"{CHANGES},{ON_SOCKETS}"
        command = [sys.executable, "-B", "-m", "tfocheck", "doctor", *options]
        ran = subprocess.run(
            ["strace", "-f", "-y", "-o", log, "-e", f"trace={calls}", *command],
            capture_output=True,
            check=False,
            # Where Scapy would make itself at home.
            env={**os.environ, "HOME": str(home), "SHELL": "/bin/bash"},
        )
        lines = [line.split(None, 1)[1] for line in log.read_text(errors="replace").splitlines()]
        made = [line for line in lines if re.match(r"\w+\(", line)]
        read = [
            name for name in ("tcp_fastopen", "nginx.conf") if any(name in call for call in made)
        ]
        done[mode] = [ran.returncode, read, [call for call in made if not is_harmless(call)][:20]]
    return done


def is_harmless(call: str) -> bool:
    if re.search(r" = -1 E[A-Z]+ ", call):  # as where Scapy's folders would be
        return True
    if "sa_family=AF_NETLINK" in call:  # a table is asked for: NLM_F_DUMP
        return "nlmsg_flags=NLM_F_REQUEST|0x300," in call
    if call.startswith("open"):
        return '"/dev/null"' in call or ("O_RDONLY" in call and "O_CREAT" not in call)
    # To its output, from a forked child to its parent, and into memory of its own.
    return re.match(r"write\((1<|\d+<(pipe:|/memfd:))", call) is not None


def test_nothing_is_written(in_lab: InLab) -> None:
    if find_program("strace") is None:
        unavailable("needs the Debian package strace")
    for mode, (code, read, changing) in in_lab("nginx", traced).items():
        assert code == 0, mode
        assert read == ["tcp_fastopen", "nginx.conf"] or mode in ("watch", "clients")
        assert changing == [], mode


def shown_and_hidden() -> list[str]:
    """What doctor prints where nginx lives, and the keys that are set there."""
    namespaces.setns(os.open(servers_namespace().path, os.O_RDONLY), namespaces.CLONE_NEWNET)
    printed = io.StringIO()
    keys = ["0a1b2c3d-11111111-22222222-33333333", "4a5b6c7d-44444444-55555555-66666666"]
    SYSCTL.with_name("tcp_fastopen_key").write_text(",".join(keys))
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        cli.main(["doctor"])
        cli.main(["doctor", "--json", "-"])
        cli.main(["doctor", "--fix-script"])
    return [printed.getvalue(), *keys]


def test_the_key_is_not_shown(in_lab: InLab) -> None:
    all_of_it, *keys = in_lab("nginx", shown_and_hidden)
    assert "one, and a backup key" in all_of_it
    assert '"with-backup"' in all_of_it
    for part in (word for key in keys for word in key.split("-")):
        assert part not in all_of_it


def watched() -> str:
    SYSCTL.write_text("3")
    command = [sys.executable, "-m", "tfocheck", "doctor", "--watch", "--interval", "0.2"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert watching.stdout is not None
    lines = []
    for line in watching.stdout:
        lines.append(line)
        if "TCPFastOpenCookieReqd" in line and "+" not in line:
            break
    outside("linux.lab:8080")
    for line in watching.stdout:
        lines.append(line)
        if "TCPFastOpenCookieReqd +" in line:
            break
    watching.send_signal(2)
    return f"{watching.wait(10)}\n{''.join(lines)}"


def test_the_counters_are_watched(in_lab: InLab) -> None:
    code, _, text = in_lab("linux", watched).partition("\n")
    assert code == "0"
    assert re.search(r"TCPFastOpenCookieReqd \+\d+ \(\d+\)", text)
    assert "connections accepted with a valid cookie" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--times", "2"], "go with --watch"),
        (["--watch", "--json", "x"], "one at a time"),
        (["--json", "/nosuch/x"], "there is no directory"),
        (["--port", "0"], "not in the range"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_wrong_usage(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", *options]) == ExitCode.USAGE
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--schema"]) == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))
