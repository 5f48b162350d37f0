"""The namespaces and links that a scenario is made of, before any of them is configured.

Neighbours: client - server, 10.77.0.0/24 and fd77::/64. Or with four routers between them:

    client .1 - 10.77.0.0/24 - .254 router1 .1 - 10.77.1.0/24 - .2 router2 .1 - 10.77.2.0/24 -
    .2 router3 .1 - 10.77.3.0/24 - .2 router4 .1 - 10.77.4.0/24 - .2 server

and so with fd77::/64 (there router 1 is fd77::fe), fd77:1::/64 and so on. The servers of a farm
have a link each, 10.77.4.0/24 to 10.77.6.0/24. Default routes lead to the client, so that what a
NAT on the way makes of its address comes back as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from tfocheck.lab import topology
from tfocheck.lab.box import LEFT, RIGHT, Box
from tfocheck.lab.impairment import parse_impairment
from tfocheck.lab.middleboxes import FARM, FARM_SERVERS, ROUTERS, Path
from tfocheck.lab.rewriting import REWRITES
from tfocheck.lab.scenario import CLIENT, Scenario, Setup
from tfocheck.lab.sysctls import has_sysctl, set_sysctl
from tfocheck.lab.topology import Interface, Link, Route
from tfocheck.linux.namespaces import NetworkNamespace

Addresses = tuple[IPv4Interface | IPv6Interface, ...]

_ANYWHERE = ("0.0.0.0/0", "::/0")
_CLIENT_SIDE = ("10.77.0.0/24", "fd77::/64")
_SERVER_SIDE = ("10.77.0.0/16", "fd77::/16")
_FARM_ADDRESSES = (ip_interface(FARM[0]), ip_interface(FARM[1]))

_FIRST_CLIENT_ADDRESSES = tuple(
    next(each for each in topology.CLIENT_ADDRESSES if each.version == version)
    for version in (4, 6)
)

# Host numbers: of router 1 on the client's link, of both ends on the others.
_GATEWAY, _NEAR, _FAR = 254, 1, 2

_ROUTER_SYSCTLS = {
    "net/ipv4/ip_forward": 1,
    "net/ipv6/conf/all/forwarding": 1,
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    # Choose among the servers of a farm by ports, too.
    "net/ipv4/fib_multipath_hash_policy": 1,
    "net/ipv6/fib_multipath_hash_policy": 1,
    # No limit for ICMP errors: a trace would have to wait for them.
    "net/ipv4/icmp_ratemask": 0,
    "net/ipv6/icmp/ratelimit": 0,
    # Older kernels have these for the whole machine only.
    "net/ipv4/icmp_msgs_per_sec": 1_000_000,
    "net/ipv4/icmp_msgs_burst": 1_000_000,
}


@dataclass(frozen=True)
class Network:
    """A lab's nodes and how they are joined.

    `addresses` are those that the scenario's name stands for. `routers` are in the order of the
    way, and so are `router_addresses`: those that face the client.
    """

    client: NetworkNamespace
    servers: tuple[NetworkNamespace, ...]
    addresses: Addresses
    links: tuple[Link, ...]
    boxes: tuple[Box, ...] = ()
    routers: tuple[NetworkNamespace, ...] = ()
    router_addresses: tuple[Addresses, ...] = ()
    routes: tuple[Route, ...] = ()

    def hosts(self, name: str) -> str:
        """The text of the lab's /etc/hosts, where the target has this name."""
        lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
        lines += [f"{address.ip} {name}" for address in topology.usable(self.addresses)]
        for hop, addresses in enumerate(self.router_addresses, start=1):
            lines += [f"{address.ip} router{hop}.lab" for address in topology.usable(addresses)]
        return "\n".join(lines) + "\n"


def lay_out(scenario: Scenario, setup: Setup) -> Network:
    """Create the namespaces. Raises LabError."""
    client = _host(CLIENT)
    if scenario.path is not None:
        return _Way(client, scenario, scenario.path, setup).lay_out()
    server = _host(scenario.tcp_fastopen, *scenario.keys[:1])
    near = Interface(client, "eth0", topology.CLIENT_ADDRESSES)
    far = Interface(server, "eth0", topology.SERVER_ADDRESSES)
    if setup.impairment is None:
        return Network(client, (server,), topology.SERVER_ADDRESSES, (Link(near, far),))
    box = Box(_wire(), setup.impairment)
    return Network(client, (server,), topology.SERVER_ADDRESSES, _through(box, near, far), (box,))


class _Way:
    """Four routers in a row, and behind the last one the server, or the servers of a farm."""

    def __init__(
        self, client: NetworkNamespace, scenario: Scenario, path: Path, setup: Setup
    ) -> None:
        self._client = client
        self._scenario = scenario
        self._path = path
        self._setup = setup
        self._routers = tuple(_router() for _ in ROUTERS)
        self._links: list[Link] = []
        self._boxes: list[Box] = []
        self._routes: list[Route] = []

    def lay_out(self) -> Network:
        """Join everything, from the client's end on."""
        facing_client = [_on_link(0, _GATEWAY), *(_on_link(hop, _FAR) for hop in ROUTERS[:-1])]
        self._cable(
            0,
            Interface(self._client, "eth0", topology.CLIENT_ADDRESSES),
            Interface(self._routers[0], "eth0", facing_client[0]),
        )
        self._routes += [
            Route(self._client, anywhere, (str(gateway.ip),), str(source.ip))
            for anywhere, gateway, source in zip(
                _ANYWHERE, facing_client[0], _FIRST_CLIENT_ADDRESSES, strict=True
            )
        ]
        for hop, router, following in zip(ROUTERS, self._routers, self._routers[1:], strict=False):
            near, far = _on_link(hop, _NEAR), facing_client[hop]
            self._cable(hop, Interface(router, "eth1", near), Interface(following, "eth0", far))
            self._route(router, _SERVER_SIDE, far)
            self._route(following, _CLIENT_SIDE, near)
            self._route(following, _ANYWHERE, near)
        servers = self._add_servers(self._routers[-1])
        return Network(
            self._client,
            servers,
            _FARM_ADDRESSES if self._path.farm else _on_link(ROUTERS[-1], _FAR),
            tuple(self._links),
            tuple(self._boxes),
            self._routers,
            tuple(facing_client),
            tuple(self._routes),
        )

    def _add_servers(self, router: NetworkNamespace) -> tuple[NetworkNamespace, ...]:
        servers, gateways = [], []
        keys = self._scenario.keys
        shared = _FARM_ADDRESSES if self._path.farm == "routed" else ()
        for number in range(len(FARM_SERVERS) if self._path.farm else 1):
            server = _host(self._scenario.tcp_fastopen, *keys[number % max(1, len(keys)) :][:1])
            link = ROUTERS[-1] + number
            near, far = _on_link(link, _NEAR), _on_link(link, _FAR)
            self._cable(
                link,
                Interface(router, f"eth{1 + number}", near),
                Interface(server, "eth0", (*far, *shared)),
            )
            self._route(server, _ANYWHERE, near)
            servers.append(server)
            gateways.append(far)
        if shared:
            self._route(router, FARM, *gateways)
        return tuple(servers)

    def _cable(self, link: int, near: Interface, far: Interface) -> None:
        """Join two nodes by the link of that number, 0 being the client's."""
        near, far = replace(near, whole_frames=True), replace(far, whole_frames=True)
        box = self._box(link)
        if box is None:
            self._links.append(Link(near, far))
        else:
            self._boxes.append(box)
            self._links += _through(box, near, far)

    def _box(self, link: int) -> Box | None:
        if link == 0 and self._setup.impairment:
            return Box(_wire(), self._setup.impairment)
        if link != self._path.hop(self._setup.hop):
            return None
        if self._path.rewrite:
            return Box(_wire(), rewrite=REWRITES[self._path.rewrite]())
        if self._path.impair:
            seed = self._setup.impairment.seed if self._setup.impairment else 0
            return Box(_wire(), replace(parse_impairment(self._path.impair), seed=seed))
        return None

    def _route(
        self, node: NetworkNamespace, destination: tuple[str, str], *gateways: Addresses
    ) -> None:
        for number, network in enumerate(destination):
            hops = tuple(gateway[number] for gateway in gateways)
            self._routes.append(Route(node, network, tuple(str(hop.ip) for hop in hops)))


def _on_link(link: int, host: int) -> Addresses:
    """The addresses of a host on the link of that number, one of each family."""
    return ip_interface(f"10.77.{link}.{host}/24"), ip_interface(f"fd77:{link:x}::{host:x}/64")


def _host(tcp_fastopen: int, key: str | None = None) -> NetworkNamespace:
    node = NetworkNamespace.create()
    topology.quieten(node)
    with node.entered():
        set_sysctl("net/ipv4/tcp_fastopen", tcp_fastopen)
        if key is not None:
            set_sysctl("net/ipv4/tcp_fastopen_key", key)
    return node


def _router() -> NetworkNamespace:
    node = NetworkNamespace.create()
    topology.quieten(node)
    with node.entered():
        for name, value in _ROUTER_SYSCTLS.items():
            if has_sysctl(name):
                set_sysctl(name, value)
    return node


def _wire() -> NetworkNamespace:
    node = NetworkNamespace.create()
    topology.silence(node)
    return node


def _through(box: Box, near: Interface, far: Interface) -> tuple[Link, ...]:
    """The links of two interfaces that reach each other through a box."""
    return (
        Link(replace(near, whole_frames=True), Interface(box.node, LEFT, ())),
        Link(Interface(box.node, RIGHT, ()), replace(far, whole_frames=True)),
    )
