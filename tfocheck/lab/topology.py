"""The lab's network: nodes (network namespaces), the links between them, their addresses.

IPv6 addresses are usable at once: duplicate address detection would take a second, and nobody else
is on these links. Where the machine has no IPv6 the lab has IPv4 only.

pyroute2 is slow to import and runs an event loop, so configure() belongs in a process of its own.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, IPv6Network, ip_interface, ip_network
from typing import Any

from tfocheck.lab.errors import LabError
from tfocheck.lab.sysctls import set_sysctl
from tfocheck.linux.namespaces import NetworkNamespace

# The client sends from the first one of each family unless told otherwise. The second ones are for
# asking whether a cookie is bound to the address that it was issued to.
CLIENT_ADDRESSES = (
    ip_interface("10.77.0.1/24"),
    ip_interface("10.77.0.3/24"),
    ip_interface("fd77::1/64"),
    ip_interface("fd77::3/64"),
)
SERVER_ADDRESSES = (ip_interface("10.77.0.2/24"), ip_interface("fd77::2/64"))

_IFA_F_NODAD = 0x02
# IP6_RT_PRIO_ADDRCONF: of the route that the kernel makes for an address's network.
_PREFIX_ROUTE_METRIC = 256
_SIOCETHTOOL = 0x8946
_ETHTOOL_GLINK = 0x0000000A
_ETHTOOL_STXCSUM = 0x00000017


@dataclass(frozen=True)
class Interface:
    """One end of a link: where it is, its name there and its addresses.

    Of several addresses in one network the first is the source that the kernel chooses.
    `whole_frames`: what leaves it has its checksums and is cut to the MTU, as on a real wire, where
    veth would leave both to a receiver that never needs them.
    """

    node: NetworkNamespace
    name: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    whole_frames: bool = False


@dataclass(frozen=True)
class Link:
    """A veth pair between two nodes."""

    left: Interface
    right: Interface


@dataclass(frozen=True)
class Route:
    """The way from a node to a network; of several gateways a flow's addresses and ports choose.

    `source` is the address that the kernel then sends from, if the node has several.
    """

    node: NetworkNamespace
    destination: str
    gateways: tuple[str, ...]
    source: str | None = None

    @property
    def version(self) -> int:
        """4 or 6."""
        return ip_network(self.destination).version


def has_ipv6() -> bool:
    """Whether this machine's kernel does IPv6 (it may be switched off at boot)."""
    return os.path.isdir("/proc/sys/net/ipv6")


def usable(
    addresses: tuple[IPv4Interface | IPv6Interface, ...],
) -> tuple[IPv4Interface | IPv6Interface, ...]:
    """Those of the addresses that this machine's kernel can have."""
    return tuple(address for address in addresses if address.version == 4 or has_ipv6())


def quieten(node: NetworkNamespace) -> None:
    """Before any link is in it: have a node speak IPv6 at once and not look for routers."""
    if not has_ipv6():
        return
    with node.entered():
        for settings in ("all", "default"):
            for name in ("disable_ipv6", "accept_dad", "accept_ra", "router_solicitations"):
                set_sysctl(f"net/ipv6/conf/{settings}/{name}", 0)


def silence(node: NetworkNamespace) -> None:
    """Before any link is in it: have a node say nothing of its own, as a wire."""
    if not has_ipv6():
        return
    with node.entered():
        for settings in ("all", "default"):
            set_sysctl(f"net/ipv6/conf/{settings}/disable_ipv6", 1)


def configure(links: Iterable[Link], routes: Iterable[Route] = ()) -> None:
    """Create the links, give them their addresses, set everything up (loopbacks too), add routes.

    Moves the calling process between namespaces. Raises LabError.
    """
    from pyroute2.iproute.linux import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        for link in links:
            link.left.node.enter()
            with IPRoute() as netlink:
                netlink.link(
                    "add",
                    ifname=link.left.name,
                    kind="veth",
                    peer={"ifname": link.right.name, "net_ns_fd": link.right.node.descriptor},
                )
        interfaces = [end for link in links for end in (link.left, link.right)]
        for interface in interfaces:
            interface.node.enter()
            with IPRoute() as netlink:
                _set_up(netlink, "lo", ())
                _set_up(netlink, interface.name, usable(interface.addresses))
        for interface in interfaces:
            interface.node.enter()
            _settle_carrier(interface.name)
            if interface.whole_frames:
                _send_whole_frames(interface.name)
        for route in routes:
            if route.version == 4 or has_ipv6():
                route.node.enter()
                with IPRoute() as netlink:
                    _add_route(netlink, route)
    except NetlinkError as error:
        raise LabError(f"can't set up the lab's network ({error}): it needs veth") from error


def _set_up(netlink: Any, name: str, addresses: tuple[IPv4Interface | IPv6Interface, ...]) -> None:
    [index] = netlink.link_lookup(ifname=name)
    for address in addresses:
        netlink.addr(
            "add",
            index=index,
            address=str(address.ip),
            prefixlen=address.network.prefixlen,
            flags=_IFA_F_NODAD if address.version == 6 else 0,
        )
    netlink.link("set", index=index, state="up")
    _prefer_first(netlink, index, addresses)


def _add_route(netlink: Any, route: Route) -> None:
    family = socket.AF_INET if route.version == 4 else socket.AF_INET6
    gateways: list[dict[str, Any]] = [{"gateway": gateway} for gateway in route.gateways]
    way: dict[str, Any] = gateways[0] if len(gateways) == 1 else {"multipath": gateways}
    if route.source:
        way["prefsrc"] = route.source
    netlink.route("add", family=family, dst=route.destination, **way)


def _prefer_first(
    netlink: Any, index: int, addresses: tuple[IPv4Interface | IPv6Interface, ...]
) -> None:
    """Have the kernel send from the first IPv6 address of each network.

    With IPv4 it does so by itself (a second address is a "secondary" one); among equal IPv6
    addresses it happens to take the newest. Deprecating the others would say so too, but to whoever
    looks for usable addresses as well.
    """
    networks: dict[IPv6Network, IPv6Interface] = {}
    for address in addresses:
        if isinstance(address, IPv6Interface):
            networks.setdefault(address.network, address)
    for network, first in networks.items():
        netlink.route(
            "replace",
            family=socket.AF_INET6,
            dst=str(network),
            oif=index,
            prefsrc=str(first.ip),
            priority=_PREFIX_ROUTE_METRIC,
        )


def _settle_carrier(name: str) -> None:
    """Have the kernel act at once on a link that has come up.

    It may let up to a second pass first (net/core/link_watch.c), during which the interface joins
    no multicast group and so answers no neighbour solicitation. Asking for the link's state by
    ethtool makes it catch up (ethtool_op_get_link).
    """
    # Without it the lab works too, after a second.
    with contextlib.suppress(OSError):
        _ethtool(name, _ETHTOOL_GLINK, 0)


def _send_whole_frames(name: str) -> None:
    # Without checksum offload the kernel does without segmentation offload as well.
    try:
        _ethtool(name, _ETHTOOL_STXCSUM, 0)
    except OSError as error:
        raise LabError(
            f"can't switch off the checksum offload of the lab's links ({error.strerror})"
        ) from error


def _ethtool(name: str, command: int, value: int) -> None:
    """The ioctl on an interface of the current namespace (linux/ethtool.h: ethtool_value)."""
    argument = array.array("I", [command, value])
    address, _ = argument.buffer_info()
    request = struct.pack("16sP16x", name.encode(), address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
