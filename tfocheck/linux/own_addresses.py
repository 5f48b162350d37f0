"""This machine's own addresses, as the kernel has them."""

from __future__ import annotations

import ipaddress

import ifaddr

from tfocheck.engine.ports import Interface


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
