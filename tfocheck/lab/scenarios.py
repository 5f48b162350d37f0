"""The lab's scenarios: which server, which Fast Open settings, and what a check makes of it."""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tfocheck.errors import ExitCode
from tfocheck.lab.errors import LabError
from tfocheck.lab.impairment import Impairment

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


@dataclass(frozen=True)
class Scenario:
    """One target of the lab.

    `tcp_fastopen` is the sysctl's value in the server's namespace. `fast_open_queue` is the
    listener's limit of pending Fast Open requests (socket option TCP_FASTOPEN); None leaves the
    option unset, and then Linux offers no Fast Open on that listener (haproxy and the reference
    server choose their own limits). `expected` is the exit code of a check without faults.
    """

    name: str
    summary: str
    expected: ExitCode
    server: ServerKind
    tcp_fastopen: int
    fast_open_queue: int | None = 16
    program: str | None = None
    package: str | None = None

    @property
    def hostname(self) -> str:
        """The target's name, which only exists inside the lab."""
        return f"{self.name}.lab"

    @property
    def target(self) -> str:
        """What a check inside the lab is given: host:port."""
        return f"{self.hostname}:{PORT}"

    def missing_program(self) -> str | None:
        """The Debian package to install if the server's program isn't on this machine."""
        if self.program is None or find_program(self.program):
            return None
        return self.package


@dataclass(frozen=True)
class Setup:
    """What a lab is asked for beyond its scenario: the reference server's faults, a bad network."""

    faults: tuple[str, ...] = ()
    impairment: Impairment | None = None


def _kernel(
    name: str, summary: str, expected: ExitCode, tcp_fastopen: int, fast_open_queue: int = 16
) -> Scenario:
    return Scenario(name, summary, expected, "kernel", tcp_fastopen, fast_open_queue)


def _nginx(name: str, summary: str, expected: ExitCode, fast_open_queue: int | None) -> Scenario:
    return Scenario(
        name, summary, expected, "nginx", CLIENT | SERVER, fast_open_queue, "nginx", "nginx-light"
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

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in _ALL}


def find_scenario(name: str) -> Scenario:
    """The scenario of that name; LabError (exit code 2) names the close matches otherwise."""
    if name in SCENARIOS:
        return SCENARIOS[name]
    raise _unknown("scenario", name, SCENARIOS, "tfocheck lab list")


def known_faults() -> dict[str, str]:
    """The reference server's faults: name to one-line description."""
    from tfocheck.lab.faults import FAULTS

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


def find_program(name: str) -> str | None:
    """The program's path, looked up in PATH and then where system programs live."""
    path = os.environ.get("PATH", os.defpath)
    return shutil.which(name, path=os.pathsep.join((path, *SYSTEM_PROGRAMS)))


def _unknown(what: str, name: str, known: Iterable[str], listing: str) -> LabError:
    close = difflib.get_close_matches(name, list(known))
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return LabError(f"unknown {what} {name!r}: {hint}see `{listing}`", ExitCode.USAGE)
