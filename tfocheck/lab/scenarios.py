"""The lab's scenarios: which server, which Fast Open settings, and what a check makes of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from tfocheck.errors import ExitCode
from tfocheck.lab import middleboxes
from tfocheck.lab.daemons import DAEMONS
from tfocheck.lab.difficult import DIFFICULT
from tfocheck.lab.errors import LabError
from tfocheck.lab.middleboxes import HOPS, Path
from tfocheck.lab.scenario import CLIENT, COOKIE_NOT_REQUIRED, SERVER, Scenario, Setup

_SHORTEST_ROTATION, _LONGEST_ROTATION = 0.05, 86_400.0


def _kernel(
    name: str, summary: str, expected: ExitCode, tcp_fastopen: int, fast_open_queue: int = 16
) -> Scenario:
    return Scenario(name, summary, expected, "kernel", tcp_fastopen, fast_open_queue)


def _nginx(name: str, summary: str, expected: ExitCode, fast_open_queue: int | None) -> Scenario:
    return Scenario(
        name, summary, expected, "program", CLIENT | SERVER, fast_open_queue, "nginx", "nginx-light"
    )


def _behind(
    name: str,
    summary: str,
    path: Path,
    expected: ExitCode = ExitCode.UNREACHABLE,
    keys: tuple[str, ...] = (),
) -> Scenario:
    """A Linux server behind four routers."""
    return Scenario(name, summary, expected, "kernel", CLIENT | SERVER, path=path, keys=keys)


_KEYS = (
    "0a0a0a0a-1b1b1b1b-2c2c2c2c-3d3d3d3d",
    "4e4e4e4e-5f5f5f5f-60606060-71717171",
    "82828282-93939393-a4a4a4a4-b5b5b5b5",
)

_PATHS = (
    _behind(
        "routed", "Linux behind four routers, nothing wrong", middleboxes.CLEAR, ExitCode.CONFORMS
    ),
    _behind(
        "option-stripped",
        "a router overwrites the option with NOPs, both ways",
        middleboxes.OPTION_STRIPPED,
    ),
    _behind(
        "option-stripped-reply",
        "a router overwrites the option in SYN-ACKs only",
        middleboxes.OPTION_STRIPPED_REPLY,
    ),
    _behind("option-dropped", "a router drops SYNs with the option", middleboxes.OPTION_DROPPED),
    _behind("syn-data-dropped", "a router drops SYNs with data", middleboxes.SYN_DATA_DROPPED),
    _behind(
        "after-open-dropped",
        "a router drops everything after a Fast Open handshake",
        middleboxes.AFTER_OPEN_DROPPED,
    ),
    _behind("nat-pool", "each connection leaves from another address", middleboxes.NAT_POOL),
    _behind("synproxy", "a router answers SYNs itself (SYNPROXY)", middleboxes.SYNPROXY),
    Scenario(
        "transparent-proxy",
        "haproxy without tfo catches connections to nginx with it",
        ExitCode.UNREACHABLE,
        "program",
        CLIENT | SERVER,
        256,
        "nginx",
        "nginx-light",
        path=middleboxes.TRANSPARENT_PROXY,
    ),
    _behind(
        "synack-loss",
        "half of the SYN-ACKs get lost, nothing else",
        middleboxes.SYN_ACK_LOSS,
        ExitCode.CONFORMS,
    ),
    _behind(
        "isn-shifted",
        "a firewall shifts sequence numbers, consistently",
        middleboxes.ISN_SHIFTED,
        ExitCode.CONFORMS,
    ),
    _behind(
        "ack-rewritten",
        "a firewall has each SYN-ACK acknowledge the SYN alone",
        middleboxes.ACK_REWRITTEN,
    ),
    _behind("cookie-changed", "a box changes the cookie in SYNs", middleboxes.COOKIE_CHANGED),
    _behind(
        "option-moved",
        "a box changes the order of the options",
        middleboxes.OPTION_MOVED,
        ExitCode.CONFORMS,
    ),
    _behind(
        "mss-clamped", "a box lowers the MSS to 1200", middleboxes.MSS_CLAMPED, ExitCode.CONFORMS
    ),
    _behind(
        "timestamps-removed",
        "a box overwrites timestamps with NOPs",
        middleboxes.TIMESTAMPS_REMOVED,
        ExitCode.CONFORMS,
    ),
    _behind(
        "farm-one-key",
        "three servers with one address and one key",
        middleboxes.FARM_ROUTED,
        ExitCode.CONFORMS,
        _KEYS[:1],
    ),
    _behind(
        "farm-three-keys",
        "three servers with one address and a key each",
        middleboxes.FARM_ROUTED,
        ExitCode.FAILED,
        _KEYS,
    ),
    _behind(
        "farm-dnat",
        "three servers behind DNAT: one key, but an address each",
        middleboxes.FARM_TRANSLATED,
        ExitCode.FAILED,
        _KEYS[:1],
    ),
)

_ALL = (
    _kernel("linux", "the Linux kernel's server, tcp_fastopen=3", ExitCode.CONFORMS, 3),
    _kernel("linux-0", "Linux with Fast Open off, tcp_fastopen=0", ExitCode.NOT_OFFERED, 0),
    _kernel("linux-1", "Linux as client only, tcp_fastopen=1", ExitCode.NOT_OFFERED, CLIENT),
    _kernel("linux-2", "Linux as server only, tcp_fastopen=2", ExitCode.CONFORMS, SERVER),
    _kernel(
        "linux-cookieless",
        "Linux that takes data without a cookie, tcp_fastopen=0x203",
        ExitCode.FAILED,
        CLIENT | SERVER | COOKIE_NOT_REQUIRED,
    ),
    _kernel(
        "linux-queue-1",
        "Linux with room for one pending Fast Open",
        ExitCode.CONFORMS,
        CLIENT | SERVER,
        fast_open_queue=1,
    ),
    Scenario(
        "key-rotation",
        "Linux that changes its key and keeps the old one as backup",
        ExitCode.CONFORMS,
        "kernel",
        CLIENT | SERVER,
        rotation="graceful",
    ),
    Scenario(
        "key-change",
        "Linux that changes its key and forgets the old one",
        ExitCode.CONFORMS,
        "kernel",
        CLIENT | SERVER,
        rotation="hard",
    ),
    _nginx("nginx", "nginx, listen 8080 fastopen=256", ExitCode.CONFORMS, 256),
    _nginx("nginx-off", "nginx without fastopen=", ExitCode.NOT_OFFERED, None),
    Scenario(
        "haproxy",
        "haproxy, bind :8080 tfo",
        ExitCode.CONFORMS,
        "program",
        CLIENT | SERVER,
        None,
        "haproxy",
        "haproxy",
    ),
    Scenario(
        "reference",
        "a user-space server that keeps RFC 7413; takes --fault",
        ExitCode.CONFORMS,
        "reference",
        0,
        None,
    ),
)

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for scenario in (*_ALL, *DAEMONS, *DIFFICULT, *_PATHS)
}


def find_scenario(name: str) -> Scenario:
    """The scenario of that name; LabError (exit code 2) names the close matches otherwise."""
    if name in SCENARIOS:
        return SCENARIOS[name]
    raise _unknown("scenario", name, SCENARIOS, "tfocheck lab list")


def known_faults() -> dict[str, str]:
    """The reference server's faults: name to one-line description."""
    from tfocheck.reference.faults import FAULTS

    return dict(FAULTS)


def check_faults(scenario: Scenario, faults: Sequence[str]) -> None:
    """Raise LabError (exit code 2) unless the scenario has these faults to turn on."""
    if not faults:
        return
    if scenario.server != "reference":
        raise LabError(
            f"--fault works with the scenario reference only, not with {scenario.name}",
            ExitCode.USAGE,
        )
    known = known_faults()
    for fault in faults:
        if fault not in known:
            raise _unknown("fault", fault, known, "tfocheck lab faults")


def check_setup(scenario: Scenario, setup: Setup) -> None:
    """Raise LabError (exit code 2) unless the scenario can be built that way."""
    check_faults(scenario, setup.faults)
    _check_rotation(scenario, setup.rotate_every)
    if setup.hop is None:
        return
    if scenario.path is None or not scenario.path.is_movable:
        raise LabError(
            f"--hop is for scenarios with something on the way, {scenario.name} has nothing there "
            "to be moved: see `tfocheck lab list`",
            ExitCode.USAGE,
        )
    if setup.hop not in HOPS:
        raise LabError(
            f"--hop {setup.hop}: a box may stand behind the routers 1 to {len(HOPS)}",
            ExitCode.USAGE,
        )


def _check_rotation(scenario: Scenario, rotate_every: float | None) -> None:
    if rotate_every is None:
        return
    if scenario.rotation is None:
        rotating = " and ".join(name for name, each in SCENARIOS.items() if each.rotation)
        raise LabError(
            f"--rotate-every is for the scenarios {rotating}, not for {scenario.name}",
            ExitCode.USAGE,
        )
    if not _SHORTEST_ROTATION <= rotate_every <= _LONGEST_ROTATION:
        raise LabError(
            f"--rotate-every {rotate_every:g}: from {_SHORTEST_ROTATION:g} to "
            f"{_LONGEST_ROTATION:g} seconds",
            ExitCode.USAGE,
        )


def _unknown(what: str, name: str, known: Iterable[str], listing: str) -> LabError:
    close = difflib.get_close_matches(name, list(known))
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return LabError(f"unknown {what} {name!r}: {hint}see `{listing}`", ExitCode.USAGE)
