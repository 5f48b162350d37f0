"""The doctor's matrix: each switch at each value, each kind of listener, inside against outside.

    cd tests/lab && ../../.venv/bin/python doctor_matrix.py

prints all of it, and exits with 1 if a cell disagrees; the tests take a few columns. It runs in the
lab, so the kernel's answer is the real one's.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfocheck.doctor import chain, examination, outside, settings, sockets
from tfocheck.doctor.chain import State
from tfocheck.doctor.diagnosis import takes_any
from tfocheck.doctor.listener import Listener

IPPROTO_MPTCP = 262
KEY = bytes(range(16))


def sysctl(name: str, value: int) -> Callable[[], object]:
    path = Path("/proc/sys") / name.replace(".", "/")
    return lambda: path.write_text(str(value))


def shell(command: str) -> Callable[[], object]:
    return lambda: subprocess.run(["sh", "-ec", command], check=True)


ROUTES = (
    "ip -{0} -o addr show scope global | while read -r _ dev _ at _; do "
    "ip -{0} route change local ${{at%/*}} dev $dev table local fastopen_no_cookie 1; done"
)
NFT = (
    "nft 'add table inet t; add chain inet t c {{ type filter hook output priority 0; }}; "
    "add rule inet t c {0}'"
)

SWITCHES: dict[str, Sequence[Callable[[], object]]] = {
    "as it is": (),
    **{
        f"tcp_fastopen={value:#x}": (sysctl("net.ipv4.tcp_fastopen", value),)
        for value in (0, 1, 2, 0x203, 0x403, 0x401)
    },
    **{
        f"tcp_syncookies={value}": (sysctl("net.ipv4.tcp_syncookies", value),)
        for value in (0, 1, 2)
    },
    **{f"somaxconn={value}": (sysctl("net.core.somaxconn", value),) for value in (0, 1, 65535)},
    "tcp_max_syn_backlog=1": (sysctl("net.ipv4.tcp_max_syn_backlog", 1),),
    "tcp_max_syn_backlog=1, tcp_syncookies=0": (
        sysctl("net.ipv4.tcp_max_syn_backlog", 1),
        sysctl("net.ipv4.tcp_syncookies", 0),
    ),
    "IPv4 routes without cookie": (shell(ROUTES.format(4)),),
    "nft resets the option": (shell(NFT.format("reset tcp option fastopen")),),
    "nft drops the option": (shell(NFT.format("tcp option fastopen exists drop")),),
    "iptables strips the option": (
        shell("iptables -t mangle -A OUTPUT -p tcp -j TCPOPTSTRIP --strip-options 34"),
    ),
}


@dataclass(frozen=True)
class Kind:
    """A kind of listener; ``options`` are set before it listens."""

    family: int = socket.AF_INET
    queue: int | None = 16
    backlog: int = 128
    protocol: int = 0
    options: tuple[tuple[int, int, int | bytes], ...] = ()
    more: tuple[int | None, ...] = field(default=())
    """Queues of further sockets that share its port (SO_REUSEPORT)."""


LISTENERS = {
    "IPv4": Kind(),
    "both families": Kind(socket.AF_INET6),
    "IPv6 only": Kind(socket.AF_INET6, options=((41, socket.IPV6_V6ONLY, 1),)),
    "silent": Kind(queue=None),
    "queue of 1": Kind(queue=1),
    "backlog of 0": Kind(backlog=0),
    "its own key": Kind(options=((6, sockets.TCP_FASTOPEN_KEY, KEY),)),
    "two keys of its own": Kind(options=((6, sockets.TCP_FASTOPEN_KEY, KEY + KEY[::-1]),)),
    "without cookie": Kind(options=((6, sockets.TCP_FASTOPEN_NO_COOKIE, 1),)),
    "deferred": Kind(options=((6, socket.TCP_DEFER_ACCEPT, 5),)),
    "MPTCP": Kind(protocol=IPPROTO_MPTCP),
    "shared, alike": Kind(more=(16,)),
    "shared, one silent": Kind(more=(None,)),
}


def serve(listener: socket.socket) -> None:
    """Answer each request, and close, until the listener is shut down."""
    with contextlib.suppress(OSError):
        while True:
            accepted, _ = listener.accept()
            threading.Thread(target=answer, args=(accepted,), daemon=True).start()


def answer(accepted: socket.socket) -> None:
    with accepted, contextlib.suppress(OSError):
        accepted.settimeout(5)
        if accepted.recv(4096):
            accepted.sendall(b"HTTP/1.0 204 Done\r\n\r\n")


@contextlib.contextmanager
def listening(kinds: Sequence[str]) -> Iterator[dict[int, str]]:
    """port → kind"""
    ports: dict[int, str] = {}
    with contextlib.ExitStack() as open_ones:
        for number, name in enumerate(kinds):
            kind, port = LISTENERS[name], 9000 + number
            for queue in (kind.queue, *kind.more):
                one = open_ones.enter_context(
                    socket.socket(kind.family, socket.SOCK_STREAM, kind.protocol)
                )
                if kind.more:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                for level, option, value in kind.options:
                    one.setsockopt(level, option, value)
                one.bind(("::" if kind.family == socket.AF_INET6 else "0.0.0.0", port))
                if queue is not None:
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, queue)
                one.listen(kind.backlog)
                # Another thread's accept() holds on to what is only closed.
                open_ones.callback(one.shutdown, socket.SHUT_RDWR)
                threading.Thread(target=serve, args=(one,), daemon=True).start()
            ports[port] = name
        yield ports


def expected(listener: Listener, machine: examination.Machine, family: int) -> bool | None:
    """What the inside says of the outside; None where it says that it can't tell."""
    if any(listener in each.listeners for each in settings.about_sockets(machine)):
        return None
    if chain.state(listener, machine.version) is not State.ON or takes_any(listener, family):
        return False
    return None if listener.view.rules else True


Cell = tuple[str, str, str, bool | None, bool | None, str]


def cells(switch: str, kinds: Sequence[str]) -> list[Cell]:
    """(switch, kind, address, what the inside says, what the outside says, its words)"""
    sysctl("net.ipv4.tcp_fastopen", 3)()
    for change in SWITCHES[switch]:
        change()
    with listening(kinds) as ports:
        machine = examination.examine(tuple(ports))
        ours = [each for each in machine.listeners if each.view.namespace.own]
        asked = {(each.listening.address, each.listening.port): each for each in reversed(ours)}
        return [
            (
                switch,
                ports[each.listener.listening.port],
                each.target,
                expected(each.listener, machine, each.family),
                each.works,
                each.said,
            )
            for each in outside.check([asked[where] for where in sorted(asked, key=port_of)])
        ]


def port_of(where: tuple[str, int]) -> int:
    """The ports are in the order of the kinds; the kernel's table is in none."""
    return where[1]


def agrees(cell: Cell) -> bool:
    """Whether inside and outside say the same, or one of them has said that it can't tell."""
    *_, inside, seen, _ = cell
    return None in (inside, seen) or inside is seen


def main() -> int:
    """Print the whole matrix."""
    from tfocheck.lab.runner import run_in_lab
    from tfocheck.lab.scenarios import SCENARIOS

    found: list[Any] = []
    for switch in SWITCHES:
        read_end, write_end = os.pipe()

        def action(_: str, switch: str = switch, write_end: int = write_end) -> int:
            os.write(write_end, json.dumps(cells(switch, list(LISTENERS))).encode())
            return 0

        run_in_lab(SCENARIOS["linux-0"], action)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as result:
            now = json.loads(result.read())
        print("".join(map(shown, now)), end="", flush=True)
        found += now
    wrong = sum(not agrees(cell) for cell in found)
    told = sum(None not in cell[3:5] for cell in found)
    print(f"{len(found)} cells, {told} told from inside and outside, {wrong} disagree")
    return 1 if wrong else 0


def shown(cell: Cell) -> str:
    """A row of the matrix."""
    switch, kind, target, inside, seen, said = cell
    words = {True: "works", False: "no", None: "?"}
    row = f"{switch:40} {kind:20} {target:22} {words[inside]:6} {words[seen]:6}"
    return f"{row}{'' if agrees(cell) else f'  DISAGREES  {said}'}".rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(main())
