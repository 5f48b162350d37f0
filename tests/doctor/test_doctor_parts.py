"""What doctor reads: versions, bits, tables of /proc, counters, files of sysctl.d."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfocheck.doctor import (
    bpf_programs,
    counters,
    examination,
    firewall,
    kernel,
    processes,
    routes,
    sockets,
    sysctls,
)
from tfocheck.doctor.examination import Persistence
from tfocheck.doctor.kernel import Key
from tfocheck.linux import namespaces

NAME = kernel.NAME
MS_BIND, MS_PRIVATE_REC = 4096, (1 << 18) | 16384

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts, which needs root")


@pytest.mark.parametrize(
    ("release", "version", "words"),
    [
        ("2.6.32-754.el6.x86_64", (2, 6), "too old"),
        ("3.6.1", (3, 6), "for clients only"),
        ("3.10.0-1160.el7.x86_64", (3, 10), "IPv6 needs 3.16"),
        ("3.16.0-4-amd64", (3, 16), "IPv4 and IPv6"),
        ("6.1.0-18-amd64", (6, 1), "IPv4 and IPv6"),
        ("unknown", None, "no version"),
    ],
)
def test_versions(release: str, version: tuple[int, int] | None, words: str) -> None:
    assert kernel.parse_version(release) == version
    assert words in kernel.describe_version(version)


def test_what_a_kernel_begins_with() -> None:
    assert [kernel.default_of(version) for version in ((3, 12), (3, 13), None)] == [0, 1, 1]


def test_every_bit_is_described() -> None:
    on = {bit for bit, is_on, _ in kernel.describe_bits(0x203) if is_on}
    assert on == {0x1, 0x2, 0x200}
    assert [bit for bit, *_ in kernel.describe_bits(0)] == [0x1, 0x2, 0x4, 0x200, 0x400]
    [(bit, _, meaning)] = [each for each in kernel.describe_bits(0x1000) if each[0] == 0x1000]
    assert (bit, "not documented" in meaning) == (0x1000, True)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("00000000-00000000-00000000-00000000\n", Key.NONE_YET),
        ("01234567-00000000-00000000-00000000\n", Key.ONE),
        (
            "01234567-00000000-00000000-00000000,89abcdef-00000000-00000000-00000000\n",
            Key.WITH_BACKUP,
        ),
    ],
)
def test_kinds_of_key(text: str, key: Key) -> None:
    assert kernel.classify_key(text) is key


@pytest.mark.lab
def test_the_kernels_own_table_is_read() -> None:
    with socket.socket() as one, socket.socket(socket.AF_INET6) as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("::1", 0))
        one.listen()
        two.listen()
        listeners = sockets.read()
        assert listeners is not None
        found = {each.inode: each for each in listeners}
        for ours, address in ((one, "127.0.0.1"), (two, "::1")):
            seen = found[os.fstat(ours.fileno()).st_ino]
            assert (seen.address, seen.port) == (address, ours.getsockname()[1])
            assert seen.uid == os.getuid()


def test_reading_ends_where_the_listeners_do() -> None:
    def row(state: str, inode: int) -> str:
        return f"0: 0100007F:1F90 00000000:0000 {state} 0:0 0:0 0 0 0 {inode} 1\n"

    def rows() -> list[str]:
        return ["heading\n", row("0A", 1), row("03", 2), row("0A", 3), row("01", 4), row("0A", 5)]

    assert [each.inode for each in sockets.parse(rows())] == [1, 3]


def test_the_socket_is_asked_and_not_changed() -> None:
    with socket.socket() as listener, sockets.Holder(os.getpid()) as holder:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        inode = os.fstat(listener.fileno()).st_ino
        assert holder.ask(listener.fileno(), inode).queue == 0
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 7)
        listener.setsockopt(socket.IPPROTO_TCP, sockets.TCP_FASTOPEN_KEY, bytes(range(32)))
        asked = holder.ask(listener.fileno(), inode)
        assert (asked.queue, asked.own_keys, asked.without_cookie) == (7, 2, False)
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN) == 7
        with pytest.raises(ProcessLookupError):
            holder.ask(listener.fileno(), inode + 1)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSYS, "older than 5.6"), (errno.EPERM, "may not be asked"), (errno.ESRCH, "No such")],
)
def test_a_socket_that_can_not_be_asked(
    number: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an old kernel, or under a filter of system calls."""

    class Refusing:
        def syscall(self, *_: int) -> int:
            ctypes.set_errno(number)
            return -1

    monkeypatch.setattr(sockets, "_libc", Refusing())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        [found] = [
            each
            for each in examination.examine((port,)).listeners
            if each.view.namespace.own and each.listening.address == "127.0.0.1"
        ]
    assert found.queue is None
    assert words in found.reason
    assert os.getpid() in {holder.pid for holder in found.holders}


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def route_message(family: int, bits: int, *attributes: bytes) -> bytes:
    return struct.pack("=BBBBBBBBI", family, bits, *[0] * 7) + b"".join(attributes)


def test_routes_are_read_from_their_messages() -> None:
    bare = attribute(8, attribute(17, struct.pack("=I", 1)))
    cookies = attribute(8, attribute(17, struct.pack("=I", 0)) + attribute(2, bytes(4)))
    messages = [
        route_message(2, 8, attribute(1, bytes([10, 0, 0, 0])), bare),
        route_message(2, 0, bare, attribute(9, bytes(8))),
        route_message(10, 64, attribute(1, bytes([0xFD]) + bytes(15)), bare),
        route_message(2, 8, attribute(1, bytes([11, 0, 0, 0])), cookies),
        route_message(7, 8, bare),
        b"\2",
    ]
    assert list(routes.parse(messages)) == [
        routes.Route(4, "10.0.0.0/8"),
        routes.Route(4, "default", hops=True),
        routes.Route(6, "fd00::/64"),
    ]


def rule_message(*expressions: tuple[bytes, bytes]) -> bytes:
    inner = b"".join(
        attribute(1, attribute(1, name + b"\0") + attribute(2, data)) for name, data in expressions
    )
    named = attribute(1, b"t\0") + attribute(2, b"c\0") + attribute(3, struct.pack(">Q", 4))
    return b"\1\0\0\0" + named + attribute(4, inner)


def test_rules_are_read_from_their_messages() -> None:
    option, operation = attribute(2, b"\x22"), attribute(6, struct.pack(">I", 1))
    into = attribute(1, struct.pack(">I", 1))
    strip = attribute(1, b"TCPOPTSTRIP\0") + attribute(3, bytes(4) + b"\4" + bytes(27))
    other = attribute(1, b"TCPOPTSTRIP\0") + attribute(3, b"\4" + bytes(31))
    messages = [
        rule_message((b"cmp", b""), (b"exthdr", option + operation)),
        rule_message((b"exthdr", into + option + operation)),
        rule_message((b"exthdr", into + attribute(2, b"\2") + operation)),
        rule_message((b"exthdr", into + option)),
        rule_message((b"target", strip)),
        rule_message((b"target", other)),
        rule_message((b"synproxy", b"")),
        rule_message(),
    ]
    found = list(firewall.parse(messages))
    assert [each.takes for each in found] == [True, False, True, True]
    assert str(found[0]) == "rule 4 of inet t c takes the Fast Open option off"


def test_tables_of_the_old_iptables_are_named(tmp_path: Path) -> None:
    (tmp_path / "ip_tables_names").write_text("filter\nmangle\n")
    assert firewall.old_tables(str(tmp_path)) == ("ip filter", "ip mangle")
    assert firewall.old_tables("/nosuch") == ()


@pytest.mark.lab
@pytest.mark.skipif(os.geteuid() != 0, reason="loads a BPF program, which needs root")
def test_bpf_programs_that_see_packets_are_counted() -> None:
    before = bpf_programs.count()
    assert before is not None
    code = ctypes.create_string_buffer(
        struct.pack("=BBhi", 0xB7, 0, 0, 2) + struct.pack("=BBhi", 0x95, 0, 0, 0), 16
    )  # return XDP_PASS
    licence = ctypes.create_string_buffer(b"GPL")
    asked = struct.pack("=IIQQ", 6, 2, ctypes.addressof(code), ctypes.addressof(licence))
    call = bpf_programs._CALLS[os.uname().machine]
    loaded = bpf_programs._bpf(call, 5, ctypes.create_string_buffer(asked + bytes(48), 72))
    try:
        now = bpf_programs.count()
    finally:
        os.close(loaded)
    assert now is not None
    assert now["xdp"] == before.get("xdp", 0) + 1


@given(st.lists(st.binary()))
def test_any_message_can_be_read(messages: list[bytes]) -> None:
    assert all(each.family in (4, 6) for each in routes.parse(messages))
    assert all(each.what for each in firewall.parse(messages))


def test_what_a_socket_says_of_itself() -> None:
    with socket.socket() as listener, sockets.Holder(os.getpid()) as holder:
        listener.bind(("127.0.0.1", 0))
        listener.listen(7)
        inode = os.fstat(listener.fileno()).st_ino
        asked = holder.ask(listener.fileno(), inode)
        assert (asked.backlog, asked.deaf, asked.is_mptcp) == (7, False, False)
        # The TTL alone is what routers' daemons ask for, too.
        listener.setsockopt(socket.IPPROTO_IP, 21, 255)
        assert not holder.ask(listener.fileno(), inode).deaf
        listener.listen(1)
        assert holder.ask(listener.fileno(), inode).deaf


def test_counters_are_those_that_the_kernel_has() -> None:
    counted = counters.read()
    assert counted is not None
    assert counters.ACCEPTED in counted
    assert set(counted) <= set(counters.MEANINGS)
    lines = ["TcpExt: A TCPFastOpenPassive\n", "TcpExt: 1 42\n", "IpExt: X\n"]
    assert counters.parse(lines) == {"TCPFastOpenPassive": 42}
    assert counters.parse([]) == {}


@pytest.mark.parametrize(
    ("cgroups", "unit"),
    [
        ("0::/system.slice/nginx.service\n", "nginx.service"),
        ("1:name=systemd:/system.slice/web@a.service/payload\n0::/\n", "web@a.service"),
        ("0::/system.slice/nginx.service.d/x.scope\n", None),
        # To the machine's systemd that name is another unit, if any.
        ("0::/user.slice/user-7.slice/user@7.service/app.slice/sshd.service\n", None),
        ("0::/docker/0123\n", None),
        ("", None),
    ],
)
def test_the_unit_of_a_process(cgroups: str, unit: str | None) -> None:
    assert processes.parse_unit(cgroups) == unit


@pytest.mark.lab
@needs_root
@pytest.mark.parametrize("covered", ["", "/etc"])
def test_a_private_mount_namespace_is_no_container(covered: str) -> None:
    """As under systemd's PrivateTmp=; what is mounted over is another file to the process."""
    ready, tell = os.pipe()
    ended, kept = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(kept)
        namespaces.unshare(namespaces.CLONE_NEWNS)
        namespaces.mount("none", "/", "", MS_PRIVATE_REC)
        namespaces.mount("none", covered or "/tmp", "tmpfs", 0)
        os.write(tell, b"x")
        os.read(ended, 1)  # until we close our end
        os._exit(0)
    try:
        os.read(ready, 1)
        which = processes.describe(pid)
        assert which.is_elsewhere
        assert processes.sees_ours(which, "/usr")
        assert processes.sees_ours(which, "/etc/passwd") is not bool(covered)
        assert not processes.sees_ours(which, "/nosuch")
    finally:
        os.close(kept)
        os.waitpid(pid, 0)


@pytest.mark.lab
@needs_root
def test_a_process_in_another_root_has_its_own_files() -> None:
    ready, tell = os.pipe()
    ended, kept = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(kept)
        namespaces.unshare(namespaces.CLONE_NEWNS)
        os.chroot("/usr")
        os.write(tell, b"x")
        os.read(ended, 1)
        os._exit(0)
    try:
        os.read(ready, 1)
        # /lib is a link: from within that root it would lead to our own.
        assert not processes.sees_ours(processes.describe(pid), "/lib")
    finally:
        os.close(kept)
        os.waitpid(pid, 0)


@pytest.mark.lab
@needs_root
def test_a_server_that_locks_itself_in_has_read_our_files(tmp_path: Path) -> None:
    """As haproxy does; one that was started in there has its binary in there."""
    ready, tell = os.pipe()
    ended, kept = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(kept)
        os.chroot(tmp_path)
        os.write(tell, b"x")
        os.read(ended, 1)
        os._exit(0)
    try:
        os.read(ready, 1)
        assert not processes.describe(pid).is_elsewhere
        assert processes._is_elsewhere(pid, f"{tmp_path}/usr/sbin/haproxy")
    finally:
        os.close(kept)
        os.waitpid(pid, 0)


def test_a_process_that_has_ended_is_only_a_number() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert processes.describe(pid) == processes.Process(pid, "?")
    assert list(processes.sockets_of(pid, {1})) == []
    with pytest.raises(ProcessLookupError):
        sockets.Holder(pid).__enter__()


# sysctl.d


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name.removeprefix("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


LAYOUTS: list[dict[str, str]] = [
    {},
    {"/etc/sysctl.d/10-a.conf": f"{NAME} = 1\n{NAME}=3\n"},
    {"/etc/sysctl.d/50-a.conf": f"{NAME}=1\n", "/usr/lib/sysctl.d/90-z.conf": f"{NAME}=2\n"},
    {"/etc/sysctl.d/50-a.conf": f"{NAME}=1\n", "/usr/lib/sysctl.d/50-a.conf": f"{NAME}=2\n"},
    {"/etc/sysctl.d/99-z.conf": f"{NAME}=1\n", "/etc/sysctl.conf": f"# x\n{NAME} = 3\n"},
    {"/run/sysctl.d/60-r.conf": "net/ipv4/tcp_fastopen = 2\n", "/etc/sysctl.d/1.conf": f"{NAME}=1"},
    {"/etc/sysctl.d/a.conf": f"; no\n-{NAME}=0x403\n", "/etc/sysctl.d/b.txt": f"{NAME}=1\n"},
    {"/usr/local/lib/sysctl.d/5.conf": f"{NAME}=1\n", "/lib/sysctl.d/6.conf": f"{NAME}=2\n"},
    {
        "/usr/lib/sysctl.d/50-a.conf": f"{NAME}=3\n",
        "/run/sysctl.d/50-a.conf": f"{NAME}=2\n",
        "/etc/sysctl.d/50-a.conf": "# takes its place\n",
    },
    # Patterns: they give way to names, can be excepted from, and stop at a dot.
    {"/etc/sysctl.d/1.conf": f"{NAME}=3\n", "/etc/sysctl.d/2.conf": "net.ipv4.tcp_fast*=0\n"},
    {"/etc/sysctl.d/1.conf": "net.ipv4.tcp_fastope?=3\n", "/etc/sysctl.d/2.conf": f"-{NAME}\n"},
    {"/etc/sysctl.d/1.conf": f"-{NAME}\nnet/ipv4/tcp_fastope[mn]=3\n"},
    {"/etc/sysctl.d/1.conf": f"-{NAME}\n{NAME}=3\n"},
    {"/etc/sysctl.d/1.conf": "net.*.tcp_fastopen=3\n", "/etc/sysctl.d/2.conf": "net.ip*=2\n"},
    {"/etc/sysctl.d/1.conf": "net.*=2\n"},
    # What the kernel takes of a value, and what it refuses.
    {"/etc/sysctl.d/1.conf": f"{NAME} = 3 # yes\n"},
    {"/etc/sysctl.d/1.conf": f"{NAME}=3\n", "/etc/sysctl.d/2.conf": f'{NAME}="2"\n'},
    {"/etc/sysctl.d/1.conf": f"{NAME}=3\n", "/etc/sysctl.d/2.conf": f"{NAME}=\n"},
    {"/etc/sysctl.d/1.conf": f"{NAME}=03\n", "/etc/sysctl.d/2.conf": f"{NAME}=70000000000\n"},
    {"/etc/sysctl.d/B.conf": f"{NAME}=2\n", "/etc/sysctl.d/b.conf": f"{NAME}=3\r\n"},
]


@pytest.mark.lab
@pytest.mark.parametrize("files", LAYOUTS)
@needs_root
@pytest.mark.skipif(not Path("/lib").is_symlink(), reason="/lib/sysctl.d would be the machine's")
def test_precedence_is_that_of_sysctl_system(files: dict[str, str], tmp_path: Path) -> None:
    """Shown against the real one, which sees our files only, in a network namespace of its own."""

    def real() -> str:
        namespaces.unshare(namespaces.CLONE_NEWNS | namespaces.CLONE_NEWNET)
        namespaces.mount("none", "/", "", MS_PRIVATE_REC)
        for place in ("/etc", "/run", "/usr/local/lib", "/usr/lib/sysctl.d"):
            (tmp_path / place[1:]).mkdir(parents=True, exist_ok=True)
            if Path(place).is_dir():
                namespaces.mount(str(tmp_path / place[1:]), place, "", MS_BIND)
        # It fails where the kernel refuses a value, and goes on.
        subprocess.run(["sysctl", "--system"], capture_output=True, check=False)
        return Path("/proc/sys/net/ipv4/tcp_fastopen").read_text().strip()

    merged = {re.sub("^/lib/", "/usr/lib/", name): text for name, text in files.items()}
    write(tmp_path, merged)
    winner = Persistence(tuple(sysctls.settings(NAME, str(tmp_path)))).winner
    assert in_fork(real) == str(winner.number if winner else kernel.CLIENT)


def in_fork(function: Callable[[], str]) -> str:
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write_end, function().encode())
        except BaseException as error:
            os.write(write_end, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as results:
        text = results.read()
    os.waitpid(pid, 0)
    return text


def test_a_pattern_gives_way_to_the_name(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "/etc/sysctl.d/1.conf": f"{NAME} = 3\n",
            "/etc/sysctl.d/2.conf": "net.ipv4.tcp_fast* = 1\n",
        },
    )
    assert [each.value for each in sysctls.settings(NAME, str(tmp_path))] == ["1", "3"]


def test_the_kernels_command_line_comes_first(tmp_path: Path) -> None:
    words = f"quiet sysctl.net/ipv4/tcp_fastopen=1 sysctl.{NAME}=3 sysctl.x=1 x.{NAME}=7"
    files = {"/proc/cmdline": words, "/etc/sysctl.d/1.conf": "net.ipv4.tcp_fast* = 2\n"}
    write(tmp_path, files)
    found = sysctls.settings(NAME, str(tmp_path))
    assert [each.value for each in found] == ["1", "3", "2"]


def test_a_link_to_dev_null_masks_a_file(tmp_path: Path) -> None:
    write(tmp_path, {"/usr/lib/sysctl.d/50-a.conf": f"{NAME} = 3\n"})
    (tmp_path / "etc/sysctl.d").mkdir(parents=True)
    (tmp_path / "etc/sysctl.d/50-a.conf").symlink_to("/dev/null")
    assert sysctls.settings(NAME, str(tmp_path)) == []


def test_systemd_reads_sysctl_conf_only_through_a_link(tmp_path: Path) -> None:
    write(tmp_path, {"/etc/sysctl.conf": f"{NAME} = 3\n"})
    (tmp_path / "etc/sysctl.d").mkdir()
    [found] = sysctls.settings(NAME, str(tmp_path))
    assert sysctls.is_read_at_boot(found, str(tmp_path))
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert not sysctls.is_read_at_boot(found, str(tmp_path))
    (tmp_path / "etc/sysctl.d/99-sysctl.conf").symlink_to("../sysctl.conf")
    assert sysctls.is_read_at_boot(sysctls.settings(NAME, str(tmp_path))[-1], str(tmp_path))


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("3", 3),
        ("0x203", 0x203),
        ("017", 15),
        ("0", 0),
        ("3 # yes", 3),
        ("on", None),
        ("", None),
        ("3x", None),
        ("08", None),
        ("2147483648", None),
    ],
)
def test_values_are_read_as_the_kernel_does(value: str, number: int | None) -> None:
    assert sysctls.Setting("/f", 1, value).number == number


@given(st.lists(st.text()))
def test_any_file_can_be_read(lines: list[str]) -> None:
    for number, name, _ in sysctls.parse(lines):
        assert 1 <= number <= len(lines)
        assert not name.startswith("#")
