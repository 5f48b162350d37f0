"""Which of our own addresses could speak to a target besides the usual one.

A cookie belongs to an address, so judging it takes several; behind a NAT they may all look alike.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from tfocheck.engine.ports import Interface

MOST_ALTERNATIVES = 3
"""Further addresses that are used without being named."""

Own = Sequence[tuple[str, Interface]]
"""Our addresses, as ``Wire.own_addresses`` gives them."""


def is_on_link(own: Own, source: str, target: str) -> bool:
    """True if the target is in the network of our own address: no router, so no NAT, between."""
    there = ipaddress.ip_address(target)
    return any(
        str(ours.ip) == source and there in ours.network and not there.is_loopback
        for _, ours in own
    )


def further_addresses(own: Own, source: str, target: str) -> list[str]:
    """Our other addresses on the interface of ``source`` that can't share a NAT with it.

    Private ones may, unless the target is on the link; link-local ones are of no use beyond it.
    """
    usual, there = ipaddress.ip_address(source), ipaddress.ip_address(target)
    on_link = is_on_link(own, source, target)
    names = {name for name, ours in own if ours.ip == usual}
    return [
        str(ours.ip)
        for name, ours in own
        if name in names
        and ours.ip != usual
        and ours.version == there.version
        and not ours.ip.is_link_local
        and not ours.ip.is_loopback
        and (there in ours.network if on_link else ours.ip.is_global)
    ][:MOST_ALTERNATIVES]


def alternatives(own: Own, asked: Sequence[str], source: str, target: str) -> list[str]:
    """Our addresses to compare cookies across, besides the usual one.

    Those of the target's family that the user named; without any, further addresses of the
    interface that the target is reached by, unless they could share a NAT with the usual one: that
    is so where private addresses reach a target that is none.
    """
    named = [each for each in asked if (":" in each) == (":" in target)]
    found = named or further_addresses(own, source, target)
    return [each for each in found if each != source]
