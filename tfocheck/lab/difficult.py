"""Scenarios with ordinary servers and networks that are hard to judge: no fault of their Fast Open.

What `expected` says is the truth of each, not what a check makes of it with luck.
"""

from __future__ import annotations

from typing import Any

from tfocheck.errors import ExitCode
from tfocheck.lab import middleboxes
from tfocheck.lab.scenario import CLIENT, PORT, SERVER, Scenario
from tfocheck.reference.variations import Variations

MOST_CONNECTIONS = 20

_NEW = f"tcp dport {PORT} tcp flags & (syn | ack) == syn"


def _linux(name: str, summary: str, expected: ExitCode = ExitCode.CONFORMS, **how: Any) -> Scenario:
    queue = 256
    return Scenario(name, summary, expected, "kernel", CLIENT | SERVER, queue, **how)


def _haproxy(
    name: str, summary: str, expected: ExitCode = ExitCode.CONFORMS, **how: Any
) -> Scenario:
    queue, program = None, ("haproxy", "haproxy")
    return Scenario(name, summary, expected, "program", CLIENT | SERVER, queue, *program, **how)


def _reference(name: str, summary: str, variations: Variations) -> Scenario:
    conforms = ExitCode.CONFORMS
    return Scenario(name, summary, conforms, "reference", 0, None, variations=variations)


def _filter(*rules: str, sets: str = "") -> str:
    """A ruleset for what the server takes in, but for what it tells itself."""
    lines = "\n".join(f"    {rule}" for rule in ("iif lo accept", *rules))
    return (
        f"table inet filter {{\n{sets}  chain input {{\n"
        f"    type filter hook input priority filter\n{lines}\n  }}\n}}\n"
    )


def _banning() -> str:
    rules, sets = [], ""
    for family, kind in (("ip", "ipv4_addr"), ("ip6", "ipv6_addr")):
        sets += f"  set {family}_seen {{ type {kind}; flags dynamic; timeout 60s; }}\n"
        sets += f"  set {family}_banned {{ type {kind}; flags dynamic; timeout 60s; }}\n"
        too_many = f"{family} saddr limit rate over 60/minute burst 30 packets"
        rules.append(f"{family} saddr @{family}_banned drop")
        rules.append(
            f"{_NEW} update @{family}_seen {{ {too_many} }} "
            f"add @{family}_banned {{ {family} saddr }} drop"
        )
    return _filter(*rules, sets=sets)


DIFFICULT = (
    _linux("backlog-0", "Linux that listens with a backlog of 0", backlog=0),
    _linux(
        "rate-limited",
        "Linux that drops SYNs above 15 a second, after the first 5",
        rules=_filter(f"{_NEW} limit rate over 15/second burst 5 packets drop"),
    ),
    _linux(
        "banned",
        "Linux that bans for 60 s who sends 30 SYNs and more than one a second",
        ExitCode.UNREACHABLE,
        rules=_banning(),
    ),
    _haproxy(
        "connection-cap",
        "haproxy that takes 20 connections in 10 s of an address",
        most_connections=MOST_CONNECTIONS,
    ),
    _linux("closes-at-once", "Linux, and an application that only closes", application="closes"),
    _linux("resets-at-once", "Linux, and an application that only resets", application="resets"),
    _linux("slow-application", "Linux, and an application that takes 3 s", application="slow"),
    _linux(
        "jittering-application",
        "Linux, and an application that takes 0 to 300 ms",
        application="jittering",
    ),
    _linux(
        "errors-5-percent",
        "Linux, and an application that fails once in twenty times",
        application="failing",
    ),
    _haproxy("proxy-protocol", "haproxy that wants a PROXY header", proxy_protocol="v1"),
    Scenario(
        "early-data-dropped",
        "a router drops what the server sends before the client's ACK has passed",
        ExitCode.UNREACHABLE,
        "kernel",
        CLIENT | SERVER,
        path=middleboxes.EARLY_DATA_DROPPED,
    ),
    _reference(
        "stack-acks-plain-data",
        "a stack that acknowledges data on any SYN",
        Variations(keeps_plain_data=True),
    ),
    _reference("short-cookie", "a stack whose cookies have 4 bytes", Variations(cookie_bytes=4)),
)
