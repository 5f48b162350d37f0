"""Starting the lab's servers in the server's namespace, each as its scenario asks for."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence

from tfocheck.lab import programs
from tfocheck.lab.children import Gate, Ready
from tfocheck.lab.errors import LabError
from tfocheck.lab.private_files import LAB_FILES
from tfocheck.lab.scenario import OFF_PORT, PORT, Rotation, Scenario, find_program
from tfocheck.lab.sysctls import set_sysctl
from tfocheck.lab.topology import has_ipv6
from tfocheck.linux.namespaces import NetworkNamespace

LOG = LAB_FILES / "server.log"
_POLL_SECONDS = 0.005


def server_work(
    scenario: Scenario, faults: Sequence[str], node: NetworkNamespace, connected: Gate
) -> Callable[[Ready], None]:
    """What the server's process does for ever; `connected` opens when the node has its addresses.

    A server that is a program of its own never calls ready(); use until_it_answers() for it.
    """

    def work(ready: Ready) -> None:
        node.enter()
        if scenario.server == "kernel":
            _serve_kernel(scenario, ready)
        elif scenario.server == "reference":
            _serve_reference(scenario, faults, connected, ready)
        else:
            _execute(scenario)

    return work


def until_it_answers(scenario: Scenario, node: NetworkNamespace) -> Callable[[Ready], None]:
    """Call ready() once the scenario's server answers over each family, from its own loopback.

    That a port is listening is not enough: nginx asks for Fast Open only after listen(). One port
    is enough: nginx and haproxy have opened all of them before they answer on any.
    """

    def work(ready: Ready) -> None:
        node.enter()
        for address in ("127.0.0.1", "::1") if has_ipv6() else ("127.0.0.1",):
            while not _answers(scenario, address):
                time.sleep(_POLL_SECONDS)
        ready()

    return work


def rotation_work(
    rotation: Rotation, every: float, node: NetworkNamespace
) -> Callable[[Ready], None]:
    """Change the server's Fast Open key every so many seconds, for ever; ready with the first."""

    def work(ready: Ready) -> None:
        node.enter()
        _set_keys(rotation, 0)
        ready()
        began = time.monotonic()
        for number in itertools.count(1):
            time.sleep(max(0.0, began + number * every - time.monotonic()))
            _set_keys(rotation, number)

    return work


def _set_keys(rotation: Rotation, number: int) -> None:
    """The key of that number, with the one before as backup if that is graceful.

    The sysctl takes a primary and a backup key (ip-sysctl.rst, tcp_fastopen_key): cookies are made
    with the primary one, and accepted if either made them.
    """
    keys = [number, number - 1] if rotation == "graceful" and number else [number]
    set_sysctl("net/ipv4/tcp_fastopen_key", ",".join(_key(each) for each in keys))


def _key(number: int) -> str:
    digits = hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()
    return "-".join(digits[start : start + 8] for start in range(0, 32, 8))


def last_words() -> str:
    """The last line that the server's process logged."""
    with contextlib.suppress(OSError):
        lines = LOG.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it logged nothing")
    return "it has no log"


def detach() -> None:
    """Have what serves the check outlive it, and write what it says into the log."""
    # In a session of its own Ctrl-C does not reach it.
    os.setsid()
    os.chdir("/")
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _serve_kernel(scenario: Scenario, ready: Ready) -> None:
    from tfocheck.lab import http_server
    from tfocheck.lab.applications import APPLICATIONS

    families = [socket.AF_INET, socket.AF_INET6] if has_ipv6() else [socket.AF_INET]
    ports = ((PORT, scenario.fast_open_queue), (OFF_PORT, None))
    listeners = [
        http_server.listen(family, port, queue, scenario.backlog)
        for port, queue in ports
        for family in families
    ]
    http_server.serve(listeners, ready, APPLICATIONS[scenario.application], scenario.backlog)


def _serve_reference(
    scenario: Scenario, faults: Sequence[str], connected: Gate, ready: Ready
) -> None:
    from tfocheck.lab.reference import serve

    connected.wait()
    serve(PORT, frozenset(faults), ready, off_port=OFF_PORT, variations=scenario.variations)


def _execute(scenario: Scenario) -> None:
    assert scenario.program is not None
    path = find_program(scenario.program)
    if path is None:
        raise LabError(missing(scenario))
    files = LAB_FILES / scenario.program
    files.mkdir()
    if scenario.program in programs.WITH_BACKEND:
        _start_backend()
    arguments = programs.arguments(scenario, files)
    # The lab's own processes have them blocked; a server must hear that it is to reload.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execv(path, [path, *arguments])


def _start_backend() -> None:
    """Beside a program that hands requests on: who answers them, in a process of its own."""
    from tfocheck.lab import http_server

    listener = http_server.listen(socket.AF_INET, programs.BACKEND_PORT, None)
    if os.fork() == 0:
        try:
            http_server.serve([listener], lambda: None)
        finally:
            os._exit(1)
    listener.close()


def missing(scenario: Scenario) -> str:
    """The line for a scenario whose programs are not all on this machine."""
    programs, packages = zip(*scenario.missing_programs(), strict=True)
    return (
        f"the scenario {scenario.name} needs {' and '.join(programs)}: "
        f"apt-get install {' '.join(packages)}"
    )


def _answers(scenario: Scenario, address: str) -> bool:
    """Whether the server says something that its protocol has, or ends a silent one in order."""
    asked, expected = _FIRST_WORDS[scenario.payload]
    try:
        with socket.create_connection((address, PORT), timeout=1) as connection:
            connection.sendall(_UNKNOWN_CLIENT * bool(scenario.proxy_protocol) + asked)
            if scenario.payload == "none":
                connection.shutdown(socket.SHUT_WR)
                return connection.recv(1) == b""
            first = connection.recv(12)
            return bool(first) and first.startswith(expected)
    except OSError:
        return False


_UNKNOWN_CLIENT = b"PROXY UNKNOWN\r\n"
_HTTP_REQUEST = b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"
_FIRST_WORDS: Mapping[str | None, tuple[bytes, bytes]] = {
    None: (_HTTP_REQUEST, b"HTTP/1.1 200"),
    # A query for the root's name servers, as an answer begins: two bytes of length, the id.
    "dns": (bytes.fromhex("0011 7f0f 0100 0001 0000 0000 0000 00 0002 0001"), b""),
    "smtp": (b"", b"220"),
    "ssh": (b"", b"SSH-"),
    "none": (b"", b""),
}
