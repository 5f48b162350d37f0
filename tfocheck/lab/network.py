"""The namespaces and links that a scenario is made of, before any of them is configured."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tfocheck.lab import namespaces, topology
from tfocheck.lab.box import LEFT, RIGHT, Box
from tfocheck.lab.namespaces import NetworkNamespace
from tfocheck.lab.scenarios import CLIENT, Scenario, Setup
from tfocheck.lab.topology import Interface, Link


@dataclass(frozen=True)
class Network:
    """A lab's nodes: the client, the server that it is to reach, and the boxes on the links."""

    client: NetworkNamespace
    server: NetworkNamespace
    links: tuple[Link, ...]
    boxes: tuple[Box, ...]


def lay_out(scenario: Scenario, setup: Setup) -> Network:
    """Create the namespaces. Raises LabError."""
    client, server = _host(CLIENT), _host(scenario.tcp_fastopen)
    near = Interface(client, "eth0", topology.CLIENT_ADDRESSES)
    far = Interface(server, "eth0", topology.SERVER_ADDRESSES)
    if setup.impairment is None:
        return Network(client, server, (Link(near, far),), ())
    box = Box(_wire(), setup.impairment)
    return Network(client, server, _through(box, near, far), (box,))


def _host(tcp_fastopen: int) -> NetworkNamespace:
    node = NetworkNamespace.create()
    topology.quieten(node)
    with node.entered():
        namespaces.set_sysctl("net/ipv4/tcp_fastopen", tcp_fastopen)
    return node


def _wire() -> NetworkNamespace:
    node = NetworkNamespace.create()
    topology.silence(node)
    return node


def _through(box: Box, near: Interface, far: Interface) -> tuple[Link, Link]:
    """The links of two interfaces that reach each other through a box."""
    return (
        Link(replace(near, whole_frames=True), Interface(box.node, LEFT, ())),
        Link(Interface(box.node, RIGHT, ()), replace(far, whole_frames=True)),
    )
