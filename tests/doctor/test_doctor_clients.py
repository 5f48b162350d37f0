"""Fast Open as a client: messages of the kernel, and what is said of them."""

from __future__ import annotations

import dataclasses
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import HOSTILE, process, view
from test_doctor_parts import attribute

from tfocheck.cli import main as cli
from tfocheck.doctor import clients, clients_report, netlink
from tfocheck.doctor.clients import Clients, Kept, Opened
from tfocheck.doctor.kernel import UNREADABLE
from tfocheck.doctor.netns import Namespace, View
from tfocheck.doctor.routes import Route
from tfocheck.errors import ExitCode

ONE = Kept("10.0.0.1", "10.0.0.2", 8, 1460, 0, 12.3)


def of(value: int | None = 1, **fields: object) -> Clients:
    return dataclasses.replace(Clients(view(value), (ONE,), ()), **fields)  # type: ignore[arg-type]


def test_cookies_are_read_from_their_messages() -> None:
    four, six = bytes([10, 0, 0, 1]), bytes(15) + b"\1"
    aged = attribute(3, struct.pack("=Q", 1500)) + attribute(7, struct.pack("=H", 1460))
    messages = [
        b"\1\1\0\0" + attribute(1, four) + aged + attribute(10, b"cookie!!") + attribute(11, four),
        b"\1\1\0\0" + attribute(2, six) + attribute(8, struct.pack("=H", 2)),
        b"\1\1\0\0" + attribute(1, four) + aged,
        b"\1\1\0\0" + attribute(10, b"cookie!!"),
        b"",
    ]
    assert list(clients.parse_kept(messages)) == [
        Kept("10.0.0.1", "10.0.0.1", 8, 1460, 0, 1.5),
        Kept("::1", "", 0, 0, 2, 0.0),
    ]


def diagnosed(family: int, options: int, inode: int = 7) -> bytes:
    head = struct.pack("=BBBB", family, 1, 0, 0) + struct.pack("!HH", 40000, 443)
    addresses = bytes([10, 0, 0, 2]).ljust(16, b"\0") + bytes([10, 0, 0, 1]).ljust(16, b"\0")
    rest = bytes(12 + 16) + struct.pack("=I", inode)
    info = attribute(2, bytes([1, 0, 0, 0, 0, options]) + bytes(100))
    return head + addresses + rest + info


def test_connections_are_read_from_their_messages() -> None:
    messages = [diagnosed(socket.AF_INET, 0x20), diagnosed(socket.AF_INET, 0x1F), b"x" * 71]
    assert list(clients.parse_opened(messages)) == [Opened("10.0.0.2", 40000, "10.0.0.1", 443, 7)]
    [six] = clients.parse_opened([diagnosed(socket.AF_INET6, 0x27)])
    assert ":" in six.remote


@pytest.mark.parametrize(("lacking", "read"), [(socket.AF_INET6, ()), (socket.AF_INET, None)])
def test_a_kernel_without_ipv6(
    lacking: int, read: tuple[Opened, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dump(_family: int, _kind: int, request: bytes) -> list[bytes]:
        if request[0] == lacking:
            raise OSError("Address family not supported")
        return []

    monkeypatch.setattr(netlink, "dump", dump)
    assert clients.read_opened() == read


@given(st.lists(st.binary(max_size=200)))
def test_any_message_can_be_read(messages: list[bytes]) -> None:
    assert all(each.cookie or each.lost for each in clients.parse_kept(messages))
    assert all(each.remote for each in clients.parse_opened(messages))


@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        (1, 0, "cookies of 1 server are kept, 0 open connections"),
        (5, 0, "on   clients send data on the SYN even without a cookie"),
        (2, 1, "to switch it on: sysctl -w net.ipv4.tcp_fastopen=3"),
        (None, 5, "it can't be told"),
    ],
)
def test_the_sysctl_decides(value: int | None, code: int, words: str) -> None:
    text, found = clients_report.render([of(value)])
    assert (found, words in text) == (code, True)


def test_what_is_said_of_pauses_routes_and_connections() -> None:
    there = view(1, TCPFastOpenBlackhole=3, TCPFastOpenActive=9)
    there = dataclasses.replace(
        there,
        routes=(Route(4, "10.0.0.0/8"),),
        settings=dataclasses.replace(there.settings, blackhole_timeout=3600),
    )
    evil = Opened("::1", 40000, "fd00::1", 443, 7, process(5, HOSTILE))
    text, _ = clients_report.render([of(view=there, opened=(evil,) * 60)])
    assert "for 3600 s at first and 230400 s at most" in " ".join(text.split())
    assert "paused 3 times so far" in text
    assert "the IPv4 route to 10.0.0.0/8 has fastopen_no_cookie" in text
    assert "[fd00::1]:443" in text
    assert "and 10 more" in text
    assert "TCPFastOpenPassive" not in text
    assert all(character == "\n" or " " <= character <= "~" for character in text)


def test_what_can_not_be_read_is_said() -> None:
    closed = View(Namespace((4, 9), pid=7), UNREADABLE, None, None, "can't be entered", None, None)
    text, code = clients_report.render([of(), Clients(closed, None, None)])
    assert code is ExitCode.CONFORMS
    assert "what is kept of servers can't be read here" in text
    assert clients_report.render([Clients(closed, None, None)])[1] is ExitCode.CANNOT


@pytest.mark.parametrize("option", [["--check"], ["--port", "80"], ["--json", "-"], ["--watch"]])
def test_clients_go_alone(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--clients", *option]) == ExitCode.USAGE
    assert "--clients goes with -q only" in capsys.readouterr().err
