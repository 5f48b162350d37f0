"""``doctor --clients``: Fast Open as a client, in words for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from tfocheck.doctor import kernel
from tfocheck.doctor.clients import Clients, Kept, Opened
from tfocheck.doctor.report import counted_lines
from tfocheck.errors import ExitCode
from tfocheck.model import escape

_ACTIVE = ("TCPFastOpenActive", "TCPFastOpenActiveFail", "TCPFastOpenBlackhole")
_PAUSES = "TCPFastOpenBlackhole"
_MOST_ROWS = 50
_LONGEST_PAUSE = 64
"""Times the timeout: each pause is twice as long as the one before, six times over."""


def render(found: Sequence[Clients]) -> tuple[str, ExitCode]:
    """The report, and the exit code: 0 clients may use it here, 1 they may not, 5 not known."""
    blocks = ["".join(f"{line}\n" for line in _namespace(each)) for each in found]
    headline, code = _headline(found)
    return "\n".join([*blocks, f"doctor: {headline}\n"]), code


def _headline(found: Sequence[Clients]) -> tuple[str, ExitCode]:
    own = next((each for each in found if each.view.namespace.own), None)
    bit = None if own is None else own.view.settings.has(kernel.CLIENT)
    if own is None or bit is None:
        return "it can't be told whether clients may use Fast Open here", ExitCode.CANNOT
    if not bit:
        text = f"no client uses Fast Open here: bit 0x1 of {kernel.NAME} is off"
        return text, ExitCode.FAILED
    cookies = sum(each.cookie > 0 for each in own.kept or ())
    opened = len(own.opened or ())
    servers = "1 server" if cookies == 1 else f"{cookies} servers"
    connections = "1 open connection" if opened == 1 else f"{opened} open connections"
    text = f"clients may use Fast Open here: cookies of {servers} are kept, {connections} began so"
    return text, ExitCode.CONFORMS


def _namespace(clients: Clients) -> Iterator[str]:
    view = clients.view
    value = view.settings.fast_open
    place = escape.text(str(view.namespace))
    if value is None:
        yield f"{kernel.NAME} in {place}: {escape.text(view.problem or 'it can not be read')}"
    else:
        yield f"{kernel.NAME} = {value} ({value:#x}) in {place}"
        for bit, on, meaning in kernel.describe_bits(value):
            if bit in (kernel.CLIENT, kernel.CLIENT_WITHOUT_COOKIE):
                yield f"  {bit:#7x}  {'on ' if on else 'off'}  {meaning}"
        yield from _hints(clients, value)
    yield from (f"  {line}" for line in _pause(clients))
    for route in view.routes or ():
        yield f"  {route} has fastopen_no_cookie: data goes out there without a cookie"
    counted = {name: number for name, number in (view.counted or {}).items() if name in _ACTIVE}
    if any(counted.values()):
        yield "  counters since this namespace began:"
        yield from counted_lines((name for name in _ACTIVE if counted.get(name)), counted)
    elif counted:
        yield "  counters  all 0: no client has used Fast Open here"
    yield from _of_servers(clients.kept)
    yield from _of_connections(clients.opened)


def _hints(clients: Clients, value: int) -> Iterator[str]:
    if value & kernel.CLIENT:
        yield "  a program has to ask: MSG_FASTOPEN, or TCP_FASTOPEN_CONNECT (Linux 4.11)"
    elif clients.view.namespace.own:
        yield f"  to switch it on: sysctl -w {kernel.NAME}={value | kernel.CLIENT}"


def _pause(clients: Clients) -> Iterator[str]:
    timeout = clients.view.settings.blackhole_timeout
    times = (clients.view.counted or {}).get(_PAUSES, 0)
    if timeout == 0:
        yield "blackhole  clients never pause (timeout 0)"
    elif timeout:
        longest = timeout * _LONGEST_PAUSE
        yield "blackhole  a firewall that eats Fast Open pauses it, whoever the server is:"
        yield f"           for {timeout} s at first and {longest} s at most"
    if times and timeout:
        yield (
            f"           paused {times} times so far; whether it is now the kernel does not say: "
            f"sysctl -w net.ipv4.tcp_fastopen_blackhole_timeout_sec={timeout} ends a pause"
        )


def _of_servers(kept: Sequence[Kept] | None) -> Iterator[str]:
    if kept is None:
        yield "  what is kept of servers can't be read here"
        return
    if not kept:
        yield "  no cookie of any server is kept"
        return
    rows = [
        (
            each.server,
            each.source,
            f"{each.cookie} bytes" if each.cookie else "none",
            str(each.mss or "-"),
            str(each.lost or "-"),
            f"{each.age:.0f} s",
        )
        for each in kept[:_MOST_ROWS]
    ]
    header = ("server", "from", "cookie", "MSS", "SYNs lost", "age")
    yield ""
    yield from tabulate(rows, header, tablefmt="simple", disable_numparse=True).splitlines()
    yield from _more(len(kept))


def _of_connections(opened: Sequence[Opened] | None) -> Iterator[str]:
    if not opened:
        return
    rows = [
        (
            _place(each.remote, each.remote_port),
            _place(each.local, each.local_port),
            "?" if each.process is None else escape.text(str(each.process)),
        )
        for each in opened[:_MOST_ROWS]
    ]
    header = ("open, began with data on the SYN", "from", "process")
    yield ""
    yield from tabulate(rows, header, tablefmt="simple", disable_numparse=True).splitlines()
    yield from _more(len(opened))


def _more(count: int) -> Iterator[str]:
    if count > _MOST_ROWS:
        yield f"and {count - _MOST_ROWS} more"


def _place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
