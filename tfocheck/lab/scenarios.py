"""The lab's scenarios: which server, which Fast Open settings, and what a check makes of it."""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tfocheck.errors import ExitCode
from tfocheck.lab import middleboxes
from tfocheck.lab.errors import LabError
from tfocheck.lab.middleboxes import HOPS, Path
from tfocheck.memory.impairment import Impairment

PORT = 8080
# In every scenario the server also listens here, the same but without Fast Open.
OFF_PORT = 8081

# Bits of net.ipv4.tcp_fastopen (Linux, Documentation/networking/ip-sysctl.rst).
CLIENT = 0x1
SERVER = 0x2
COOKIE_NOT_REQUIRED = 0x200

# An ordinary user's PATH often lacks these, where Debian keeps nginx, haproxy and nft.
SYSTEM_PROGRAMS = ("/usr/local/sbin", "/usr/sbin", "/sbin")

ServerKind = Literal["kernel", "nginx", "haproxy", "reference"]
Rotation = Literal["graceful", "hard"]

ROTATION_SECONDS = 0.6
_SHORTEST_ROTATION, _LONGEST_ROTATION = 0.05, 86_400.0


@dataclass(frozen=True)
class Scenario:
    """One target of the lab.

    `tcp_fastopen` is the sysctl's value in the server's namespace. `fast_open_queue` is the
    listener's limit of pending Fast Open requests (socket option TCP_FASTOPEN); None leaves the
    option unset, and then Linux offers no Fast Open on that listener (haproxy and the reference
    server choose their own limits). `expected` is the exit code of a check without faults.

    `path` is None where client and server are neighbours, else the routers between them. `keys` are
    the servers' Fast Open keys as in the sysctl net.ipv4.tcp_fastopen_key, one for each or one for
    all; without them each has a random one. `rotation` says whether the key changes every few
    moments: "graceful" keeps the one before as backup, "hard" does not.
    """

    name: str
    summary: str
    expected: ExitCode
    server: ServerKind
    tcp_fastopen: int
    fast_open_queue: int | None = 16
    program: str | None = None
    package: str | None = None
    path: Path | None = None
    keys: tuple[str, ...] = ()
    rotation: Rotation | None = None

    @property
    def hostname(self) -> str:
        """The target's name, which only exists inside the lab."""
        return f"{self.name}.lab"

    @property
    def target(self) -> str:
        """What a check inside the lab is given: host:port."""
        return f"{self.hostname}:{PORT}"

    @property
    def path_fault(self) -> str | None:
        """The name of what is wrong with the path, e.g. "path.option-stripped"."""
        return self.path.fault if self.path else None

    def missing_programs(self) -> tuple[tuple[str, str], ...]:
        """What isn't on this machine: the programs, each with the Debian package to install."""
        programs = self.path.programs if self.path else ()
        if self.program and self.package:
            programs = ((self.program, self.package), *programs)
        return tuple(each for each in programs if not find_program(each[0]))

    def missing_program(self) -> str | None:
        """The Debian package to install first if a program isn't on this machine."""
        return next((package for _, package in self.missing_programs()), None)


@dataclass(frozen=True)
class Setup:
    """What a lab is asked for beyond its scenario.

    `faults` are the reference server's, `impairment` is a bad network beside the client, `hop` the
    router, 1 to 3, behind which the scenario's middlebox stands (see Path.hop()),
    `rotate_every` the seconds from one key to the next (None: ROTATION_SECONDS).
    """

    faults: tuple[str, ...] = ()
    impairment: Impairment | None = None
    hop: int | None = None
    rotate_every: float | None = None


def _kernel(
    name: str, summary: str, expected: ExitCode, tcp_fastopen: int, fast_open_queue: int = 16
) -> Scenario:
    return Scenario(name, summary, expected, "kernel", tcp_fastopen, fast_open_queue)


def _nginx(name: str, summary: str, expected: ExitCode, fast_open_queue: int | None) -> Scenario:
    return Scenario(
        name, summary, expected, "nginx", CLIENT | SERVER, fast_open_queue, "nginx", "nginx-light"
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
        "nginx",
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
        "haproxy",
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

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in (*_ALL, *_PATHS)}


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


def find_program(name: str) -> str | None:
    """The program's path, looked up in PATH and then where system programs live."""
    path = os.environ.get("PATH", os.defpath)
    return shutil.which(name, path=os.pathsep.join((path, *SYSTEM_PROGRAMS)))


def _unknown(what: str, name: str, known: Iterable[str], listing: str) -> LabError:
    close = difflib.get_close_matches(name, list(known))
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return LabError(f"unknown {what} {name!r}: {hint}see `{listing}`", ExitCode.USAGE)
