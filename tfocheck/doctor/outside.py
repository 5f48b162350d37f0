"""The view from outside of this machine's own listeners: the check, run where they listen.

A listener is reached on an address of its own network namespace, so what a firewall further out
does to Fast Open does not show.
"""

from __future__ import annotations

import functools
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tfocheck.doctor import netns
from tfocheck.doctor.listener import Listener
from tfocheck.errors import CannotError
from tfocheck.judging.kind import Kind
from tfocheck.model.case import Role
from tfocheck.runner.catalogue import load_cases

_ROLES = (Role.OFFERED, Role.HONOURED, Role.FORGED)
"""Whether Fast Open is offered, works, and is not open to everybody."""

_WORKS = "a cookie comes, and opens with data; a forged one does not"
_MOST_ADDRESSES = 4
_XDG = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}


@dataclass(frozen=True)
class Outside:
    """What the outside says of a listener: ``works`` is None when it can't be told."""

    listener: Listener
    target: str
    works: bool | None
    said: str

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if self.target.startswith("[") else 4


def check(listeners: Sequence[Listener]) -> list[Outside]:
    """Check each listener on its own addresses.

    Raises CannotError without CAP_NET_RAW in the namespace of a listener.
    """
    found: list[Outside] = []
    if listeners:
        _load_scapy()
    for listener in listeners:
        try:
            seen = netns.inside(listener.view.namespace, functools.partial(_check, listener))
            # It may come from another process, where the listener was a copy.
            found += [replace(each, listener=listener) for each in seen]
        except OSError as error:
            target = str(listener.listening)
            reason = f"{listener.view.namespace}: {error.strerror or error}"
            found.append(Outside(listener, target, None, reason))
    return found


def _load_scapy() -> None:
    """Once for all the children, and so that it leaves nothing behind.

    While it is imported, Scapy makes directories and caches in the home directory (scapy/main.py,
    _probe_xdg_folder; scapy/data.py, scapy_data_cache).
    """
    before = {name: os.environ.get(name) for name in _XDG}
    os.environ.update(dict.fromkeys(_XDG, os.devnull))
    try:
        import tfocheck.wire.segment  # noqa: F401
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _check(listener: Listener) -> list[Outside]:
    import asyncio

    from tfocheck.judging import grade
    from tfocheck.linux.link import Link
    from tfocheck.runner.planning import make_plan
    from tfocheck.runner.run import run

    listening = listener.listening
    addresses = addresses_of(listener)
    if not addresses:
        return [Outside(listener, str(listening), None, "it has no address to reach it on")]
    plan = make_plan(
        [_literal(addresses[0], listening.port)],
        {
            "cases": [case.id for case in load_cases() if case.role in _ROLES],
            "addresses": addresses,
        },
    )
    try:
        link = Link.open()
        try:
            report = asyncio.run(run(plan, link))
        finally:
            link.close()
    except CannotError as error:
        return [Outside(listener, str(listening), None, str(error))]
    judgement = grade.judge_by(plan, report)
    return [
        Outside(
            listener,
            _literal(address.address, listening.port),
            _works(conclusion.kind),
            _WORKS if conclusion.kind is Kind.CONFORMS else conclusion.headline,
        )
        for address, conclusion in zip(report.addresses, judgement.conclusions, strict=True)
    ]


def addresses_of(listener: Listener) -> list[str]:
    """Addresses of this namespace that reach the listener: its own, or a few where it has all.

    Link-local ones are left out; the loopback's serve only where there are no others.
    """
    listening = listener.listening
    if not listening.is_wildcard:
        return [listening.address]
    families = {listening.family}
    if listener.options and listener.options.takes_ipv4:
        families.add(4)
    chosen: list[str] = []
    for family in sorted(families):
        ours = [
            address
            for address in _interface_addresses()
            if address.version == family and not address.is_link_local
        ]
        real = [str(address) for address in ours if not address.is_loopback]
        loopback = [_LOOPBACK[family]] if any(address.is_loopback for address in ours) else []
        chosen += real[:_MOST_ADDRESSES] or loopback
    return chosen


def _interface_addresses() -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    import ifaddr

    found = [
        # IPv6 comes as (address, flow label, scope id).
        ipaddress.ip_address(each.ip if isinstance(each.ip, str) else each.ip[0].split("%")[0])
        for adapter in ifaddr.get_adapters()
        for each in adapter.ips
    ]
    return list(dict.fromkeys(found))


def _works(kind: Kind) -> bool | None:
    if kind in (Kind.CONFORMS, Kind.FAILED, Kind.NOT_OFFERED):
        return kind is Kind.CONFORMS
    return None


def _literal(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
