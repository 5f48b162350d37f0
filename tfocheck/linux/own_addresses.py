"""This machine's own addresses: which others could speak to a target besides the usual one.

A cookie belongs to an address, so judging it takes several; behind a NAT they may all look alike.
"""

from __future__ import annotations

import ipaddress
from functools import cache

import ifaddr

MOST_ALTERNATIVES = 3
"""Further addresses that are used without being named."""

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@cache
def own_interfaces() -> tuple[tuple[str, Interface], ...]:
    """(interface name, address with its prefix) of every address of this machine."""
    return tuple(
        (adapter.name, ipaddress.ip_interface(f"{_literal(found)}/{found.network_prefix}"))
        for adapter in ifaddr.get_adapters()
        for found in adapter.ips
    )


def _literal(found: ifaddr.IP) -> str:
    # IPv6 comes as (address, flow label, scope id).
    return found.ip if isinstance(found.ip, str) else found.ip[0]


def is_on_link(source: str, target: str) -> bool:
    """True if the target is in the network of our own address: no router, so no NAT, between."""
    there = ipaddress.ip_address(target)
    return any(
        str(ours.ip) == source and there in ours.network and not there.is_loopback
        for _, ours in own_interfaces()
    )


def further_addresses(source: str, target: str) -> list[str]:
    """Our other addresses on the interface of ``source`` that can't share a NAT with it.

    Private ones may, unless the target is on the link; link-local ones are of no use beyond it.
    """
    usual, there = ipaddress.ip_address(source), ipaddress.ip_address(target)
    on_link = is_on_link(source, target)
    names = {name for name, ours in own_interfaces() if ours.ip == usual}
    return [
        str(ours.ip)
        for name, ours in own_interfaces()
        if name in names
        and ours.ip != usual
        and ours.version == there.version
        and not ours.ip.is_link_local
        and not ours.ip.is_loopback
        and (there in ours.network if on_link else ours.ip.is_global)
    ][:MOST_ALTERNATIVES]
