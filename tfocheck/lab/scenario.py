"""What a scenario of the lab is, and the programs of this machine that it takes."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import Literal

from tfocheck.errors import ExitCode
from tfocheck.lab.middleboxes import Path
from tfocheck.memory.impairment import Impairment
from tfocheck.reference.variations import USUAL, Variations
from tfocheck.runner.options import CheckOptions

PORT = 8080
# In every scenario the server also listens here, the same but without Fast Open.
OFF_PORT = 8081

# Bits of net.ipv4.tcp_fastopen (Linux, Documentation/networking/ip-sysctl.rst).
CLIENT = 0x1
SERVER = 0x2
COOKIE_NOT_REQUIRED = 0x200

# An ordinary user's PATH often lacks these, where Debian keeps nginx, haproxy and nft.
SYSTEM_PROGRAMS = ("/usr/local/sbin", "/usr/sbin", "/sbin")

ServerKind = Literal["kernel", "reference", "program"]
Rotation = Literal["graceful", "hard"]

ROTATION_SECONDS = 0.6


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

    `payload` and `proxy_protocol` are what a check has to ask with (options of those names), None
    where it needs no telling. `has_off_port` is False where a program has one Fast Open setting for
    all that it listens on.

    `application` is what the lab's own server does with a connection (see `applications`), and
    `backlog` its listen()'s; `most_connections` is how many haproxy takes of an address in ten
    seconds; `rules` are loaded into the server's nftables; `variations` are what the reference
    server makes of what RFCs leave to it. `for_root` says that the program starts for root only,
    whatever an ordinary user's namespaces allow.
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
    payload: str | None = None
    proxy_protocol: str | None = None
    has_off_port: bool = True
    application: str = "http"
    backlog: int = 128
    most_connections: int | None = None
    rules: str = ""
    variations: Variations = USUAL
    for_root: bool = False

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
        if self.rules:
            programs = (("nft", "nftables"), *programs)
        if self.program and self.package:
            programs = ((self.program, self.package), *programs)
        return tuple(each for each in programs if not find_program(each[0]))

    def options(self) -> CheckOptions:
        """What a check of it is told."""
        options = CheckOptions()
        if self.has_off_port:
            options["off_port"] = OFF_PORT
        if self.payload is not None:
            options["payload"] = self.payload
        if self.proxy_protocol is not None:
            options["proxy_protocol"] = self.proxy_protocol
        return options

    def lacking(self) -> str | None:
        """What has to be there first: root, or a Debian package whose program is not."""
        if self.for_root and os.geteuid() != 0:
            return f"root, for whom alone {self.program} starts"
        packages = (package for _, package in self.missing_programs())
        return next((f"the Debian package {package}" for package in packages), None)


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


def find_program(name: str) -> str | None:
    """The program's path, looked up in PATH and then where system programs live."""
    path = os.environ.get("PATH", os.defpath)
    return shutil.which(name, path=os.pathsep.join((path, *SYSTEM_PROGRAMS)))
