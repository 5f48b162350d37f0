"""The options of a check, declared once: what the command, the library and pytest have of them.

``CheckOptions`` has the name and type that the library takes; what is annotated says how the
command writes it. ``planning`` reads them, and checks what a user may get wrong.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, TypedDict

from tfocheck.errors import UsageError
from tfocheck.model.case import Level
from tfocheck.model.payload import ProxyProtocol

MAX_ATTEMPTS = 100
MAX_TIMEOUT = 300.0
MAX_SECONDS = 86_400.0
MAX_RATE = 1_000_000.0
MAX_PORT = 65535


@dataclass(frozen=True)
class Text:
    """An option with a value; ``many`` may be given several times, of ``choices`` if any."""

    flag: str
    metavar: str | None
    help: str
    many: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Flag:
    """An option that is there or not."""

    flag: str
    help: str


@dataclass(frozen=True)
class OneOf:
    """Options that each stand for a value of a list; none of them stands for all."""

    flags: tuple[tuple[str, int, str], ...]
    """(flag, value, help)"""


@dataclass(frozen=True)
class Number:
    """A number from ``least`` to ``most``; ``above`` if the least is none of them itself."""

    flag: str
    metavar: str
    help: str
    least: float
    most: float
    above: bool = False
    whole: bool = True
    default: float | None = None

    def check(self, name: str, value: float) -> None:
        """Raises UsageError for what is out of range."""
        fits = self.least < value if self.above else self.least <= value
        if not (fits and value <= self.most):
            range_ = f"more than {self.least}" if self.above else f"from {self.least}"
            raise UsageError(f"{name} {value!r} is not {range_} to {self.most}")


@dataclass(frozen=True)
class Duration:
    """A time: seconds, or a text such as 30m."""

    flag: str
    metavar: str
    help: str


Declared = Text | Flag | OneOf | Number | Duration


class CheckOptions(TypedDict, total=False):
    """What can be asked of a check."""

    families: Annotated[
        Sequence[int],
        OneOf((("-4", 4, "Only IPv4 addresses."), ("-6", 6, "Only IPv6 addresses."))),
    ]
    addresses: Annotated[
        Sequence[str],
        Text(
            "--address",
            "ADDR",
            "Test this address instead of looking the name up; repeatable.",
            many=True,
        ),
    ]
    cases: Annotated[
        Sequence[str],
        Text("--case", "GLOB", "Only cases such as 'open.*'; repeatable.", many=True),
    ]
    excludes: Annotated[
        Sequence[str],
        Text("--exclude", "GLOB", "Without these cases; repeatable.", many=True),
    ]
    sections: Annotated[
        Sequence[str],
        Text(
            "--section",
            "NUMBER",
            "Only cases of this RFC section, e.g. 4.1.1; repeatable.",
            many=True,
        ),
    ]
    levels: Annotated[
        Sequence[Level | str],
        Text(
            "--level",
            None,
            "Only requirements of this level; repeatable.",
            many=True,
            choices=tuple(level.value for level in Level),
        ),
    ]
    case_directories: Annotated[
        Sequence[str | Path],
        Text("--cases", "DIR", "Add the case files of this folder; repeatable.", many=True),
    ]
    strict: Annotated[bool, Flag("--strict", "A warning counts as a failure.")]
    attempts: Annotated[
        int,
        Number(
            "--attempts",
            "N",
            "Attempts that must agree before an absence counts.",
            1,
            MAX_ATTEMPTS,
            default=3,
        ),
    ]
    timeout: Annotated[
        float,
        Number(
            "--timeout",
            "SECONDS",
            "Longest wait for any one answer.",
            0,
            MAX_TIMEOUT,
            above=True,
            whole=False,
            default=3.0,
        ),
    ]
    max_time: Annotated[
        float,
        Number(
            "--max-time",
            "SECONDS",
            "Longest run at one address, --intrusive and --soak apart; what is not done by then is "
            "inconclusive.",
            0,
            MAX_SECONDS,
            above=True,
            whole=False,
            default=120.0,
        ),
    ]
    rate: Annotated[
        float | None,
        Number(
            "--rate",
            "N",
            "Begin at most so many connections a second; without it a limit that is met is found.",
            0,
            MAX_RATE,
            above=True,
            whole=False,
        ),
    ]
    source: Annotated[
        str | None, Text("--source", "ADDR", "Send from this address of this machine.")
    ]
    alt_sources: Annotated[
        Sequence[str],
        Text(
            "--alt-source",
            "ADDR",
            "Another address of this machine, to compare cookies across; repeatable.",
            many=True,
        ),
    ]
    no_nat: Annotated[
        bool,
        Flag("--no-nat", "No NAT is between these addresses and the target: I know."),
    ]
    off_port: Annotated[
        int | None,
        Number(
            "--off-port",
            "PORT",
            "A port of the target where Fast Open is meant to be off: see that it is.",
            1,
            MAX_PORT,
        ),
    ]
    trace: Annotated[
        bool,
        Flag(
            "--trace",
            "Look at the route hop by hop: which router gets what, and where it is changed.",
        ),
    ]
    intrusive: Annotated[
        bool,
        Flag(
            "--intrusive",
            "Also fill the queue of pending requests, to find its limit; takes up to three "
            "minutes.",
        ),
    ]
    thorough: Annotated[bool, Flag("--thorough", "Flip every bit of the cookie, not eight.")]
    soak: Annotated[
        float | str | None,
        Duration(
            "--soak",
            "DURATION",
            "Replay a cookie for so long (90, 30m, 2h) to see when it stops working.",
        ),
    ]
    payload: Annotated[
        str | None,
        Text(
            "--payload",
            "http|tls|dns|smtp|ssh|FILE|none",
            "What to send to the application; the default goes by the port.",
        ),
    ]
    url: Annotated[
        str | None,
        Text(
            "--url",
            "URL",
            "Ask for this page: host name, path, and the port of targets without one.",
        ),
    ]
    proxy_protocol: Annotated[
        str | None,
        Text(
            "--proxy-protocol",
            None,
            "Begin each connection with haproxy's PROXY header.",
            choices=tuple(version.value for version in ProxyProtocol),
        ),
    ]
    baseline: Annotated[
        str | Path | None,
        Text("--baseline", "FILE", "Failures that this file (TOML) knows break no build."),
    ]


@cache
def declared() -> Mapping[str, Declared]:
    """The declaration of each option, by its name."""
    hints = typing.get_type_hints(CheckOptions, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}
