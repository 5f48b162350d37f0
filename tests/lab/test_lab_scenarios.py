"""Each scenario has the server and the Fast Open settings that it claims."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfocheck.errors import ExitCode
from tfocheck.lab.difficult import DIFFICULT
from tfocheck.lab.errors import LabError
from tfocheck.lab.scenario import OFF_PORT, PORT, Setup
from tfocheck.lab.scenarios import SCENARIOS, check_faults, check_setup, find_scenario
from tfocheck.lab.topology import SERVER_ADDRESSES, usable
from tfocheck.linux import namespaces
from tfocheck.model.target import Target
from tfocheck.reference.answer import ANSWER
from tfocheck.server import payload
from tfocheck.wire.segment import Segment

FAMILIES = (socket.AF_INET, socket.AF_INET6)
TCPI_OPT_SYN_DATA = 32  # linux/tcp.h: the SYN-ACK acknowledged the SYN's data


def request(name: str) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: {name}.lab\r\nConnection: close\r\n\r\n".encode()


def address(name: str, family: int, port: int) -> Any:
    return socket.getaddrinfo(f"{name}.lab", port, family, socket.SOCK_STREAM)[0][4]


def exchange(name: str, family: int, port: int = PORT) -> tuple[bool, bool]:
    """By the kernel's Fast Open client: is the answer right, was SYN data taken."""
    told = SCENARIOS[name].payload
    sent = payload.for_target(payload.choose(told), Target("x")) if told else None
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        asked = request(name) if sent is None else sent.data
        connection.sendto(asked, socket.MSG_FASTOPEN, address(name, family, port))
        connection.settimeout(3)
        if sent is None:
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        elif sent.answers:
            answer = connection.recv(4096)
        else:
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(1)
        options = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5]
    if sent is None:
        head, _, body = answer.partition(b"\r\n\r\n")
        right = head.startswith(b"HTTP/1.1 200 OK\r\n") and body == ANSWER
    else:
        right = (sent.signature(answer) is not None) == sent.answers
    return right, bool(options & TCPI_OPT_SYN_DATA)


def server_network() -> int:
    """A descriptor of the network namespace that is neither this process's nor init's."""
    others = {os.stat(f"/proc/{pid}/ns/net").st_ino for pid in ("self", "1")}
    for entry in Path("/proc").glob("[0-9]*/ns/net"):
        if entry.stat().st_ino not in others:
            return os.open(entry, os.O_RDONLY)
    raise AssertionError("no server namespace")


def tcp_extension(counter: str) -> int:
    lines = Path("/proc/net/netstat").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("TcpExt:"))
    return int(values[names.index(counter)])


def observe(name: str, client_fast_open: int) -> dict[str, Any]:
    Path("/proc/sys/net/ipv4/tcp_fastopen").write_text(str(client_fast_open))
    seen = {str(int(family)): [exchange(name, family) for _ in range(3)] for family in FAMILIES}
    # The client's kernel keeps its cookie by address, and so sends it to this port as well.
    off = []
    if SCENARIOS[name].has_off_port:
        off = [exchange(name, family, OFF_PORT) for family in FAMILIES for _ in range(2)]
    namespaces.setns(server_network(), namespaces.CLONE_NEWNET)
    return {
        "exchanges": seen,
        "off": off,
        "sysctl": int(Path("/proc/sys/net/ipv4/tcp_fastopen").read_text()),
        "accepted": tcp_extension("TCPFastOpenPassive"),
    }


NEIGHBOURS = [
    name
    for name, scenario in SCENARIOS.items()
    if scenario.path is None and scenario.rotation is None and scenario not in DIFFICULT
]


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_server_and_fast_open_are_what_the_scenario_claims(
    name: str, in_lab: Callable[..., Any]
) -> None:
    scenario = SCENARIOS[name]
    cookieless = name == "linux-cookieless"
    # 0x4: the client sends data without having a cookie
    seen = in_lab(name, observe, name, 0x5 if cookieless else 0x1)

    assert seen["sysctl"] == scenario.tcp_fastopen
    exchanges = list(seen["exchanges"].values())
    assert all(answer_is_right for answer_is_right, _ in sum(exchanges, seen["off"]))
    offered = scenario.expected != ExitCode.NOT_OFFERED
    # The first exchange of each family only asks for the cookie.
    first = offered and cookieless
    for by_family in exchanges:
        assert [taken for *_, taken in by_family] == [first, offered, offered]
    assert not any(taken for *_, taken in seen["off"])
    if name == "reference":
        assert seen["accepted"] == 0  # it was not the kernel
    else:
        assert seen["accepted"] == sum(taken for each in exchanges for *_, taken in each)


def test_scenario_names_are_host_names() -> None:
    for name, scenario in SCENARIOS.items():
        assert scenario.name == name
        assert scenario.target == f"{name}.lab:8080"


def test_unknown_scenario_names_the_close_ones() -> None:
    with pytest.raises(LabError, match=r"did you mean linux-queue-1.*tfocheck lab list") as caught:
        find_scenario("linux-queue")
    assert caught.value.exit_code == ExitCode.USAGE


def test_only_the_reference_server_takes_faults() -> None:
    with pytest.raises(LabError, match="reference only, not with nginx") as caught:
        check_faults(SCENARIOS["nginx"], ["forged-accepted"])
    assert caught.value.exit_code == ExitCode.USAGE


def test_unknown_fault_is_wrong_usage() -> None:
    pytest.importorskip("tfocheck.reference.faults")
    with pytest.raises(LabError, match=r"unknown fault 'nosuch'.*tfocheck lab faults") as caught:
        check_faults(SCENARIOS["reference"], ["nosuch"])
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_hop_is_for_what_stands_on_the_way() -> None:
    for name in ("linux", "routed", "farm-one-key"):
        with pytest.raises(LabError, match=f"--hop.*{name} has nothing there") as caught:
            check_setup(SCENARIOS[name], Setup(hop=2))
        assert caught.value.exit_code == ExitCode.USAGE
    for hop in (0, 4):
        with pytest.raises(LabError, match="routers 1 to 3") as caught:
            check_setup(SCENARIOS["synproxy"], Setup(hop=hop))
        assert caught.value.exit_code == ExitCode.USAGE


def test_rotating_is_for_the_scenarios_that_rotate() -> None:
    with pytest.raises(LabError, match="key-rotation and key-change, not for linux") as caught:
        check_setup(SCENARIOS["linux"], Setup(rotate_every=1.0))
    assert caught.value.exit_code == ExitCode.USAGE
    for seconds in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(LabError, match="--rotate-every") as caught:
            check_setup(SCENARIOS["key-change"], Setup(rotate_every=seconds))
        assert caught.value.exit_code == ExitCode.USAGE


def rotations(every: float) -> list[list[bool]]:
    """Over each family: is the first cookie good at once, after one change, after two."""
    from seen_on_paths import DATA
    from wire import Wire

    wires = [Wire(str(each.ip)) for each in usable(SERVER_ADDRESSES)]

    def answer(wire: Wire, sent: Segment) -> Segment:
        found = wire.answer(sent)
        assert found is not None
        return found[1]

    cookies = [answer(wire, wire.syn(b"")).fast_open for wire in wires]
    seen = []
    for _ in range(3):
        row = []
        for wire, cookie in zip(wires, cookies, strict=True):
            assert cookie is not None
            sent = wire.syn(cookie.cookie, DATA)
            row.append((answer(wire, sent).ack - sent.seq) % 2**32 == 1 + len(DATA))
        seen.append(row)
        time.sleep(every)
    return seen


@pytest.mark.parametrize(
    ("name", "good"), [("key-rotation", [True, True, False]), ("key-change", [True, False, False])]
)
def test_an_old_key_is_good_for_one_change_or_none(
    name: str, good: list[bool], in_lab: Callable[..., Any]
) -> None:
    seen = in_lab(name, rotations, 0.8, setup=Setup(rotate_every=0.8))
    assert [all(row) for row in seen] == good
    assert [any(row) for row in seen] == good
