"""The one entry to a check in memory: options and network in, the report on an address out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tfocheck.cli.check import prepare
from tfocheck.memory import scenarios
from tfocheck.memory.clock import VirtualClock
from tfocheck.memory.hosts import OFF_PORT, PORT, Endpoint
from tfocheck.memory.impairment import Impairment
from tfocheck.memory.network import Network
from tfocheck.memory.wire import MemoryWire
from tfocheck.model.report import AddressReport
from tfocheck.model.target import Address
from tfocheck.runner.address import check_address

__all__ = ["OFF_PORT", "PORT", "SERVER", "check", "check_network"]

SERVER = "10.0.0.2"
BEHIND_ROUTERS = "10.77.3.2"
ON_LINK = ("reference", "key-rotation", "key-change")
SEED = 7
OWN = ("10.0.0.1/24", "10.0.0.3/24")


def check(
    options: Sequence[str] = (),
    *,
    scenario: str = "reference",
    faults: Iterable[str] = (),
    impairment: Impairment | None = None,
    delay: float = 0.0005,
    own: Iterable[str] = OWN,
    endpoint: Endpoint | None = None,
) -> AddressReport:
    """What a check with these options finds in a scenario in memory.

    ``endpoint`` is on the link instead of what the scenario has.
    """
    if endpoint is None:
        network = scenarios.build(
            scenario, faults=faults, impairment=impairment, seed=SEED, delay=delay
        )
    else:
        network = Network(endpoint, None, impairment, delay=delay)
    server = SERVER if scenario in ON_LINK else BEHIND_ROUTERS
    return check_network(network, options, own=own, server=server)


def check_network(
    network: Network,
    options: Sequence[str] = (),
    *,
    own: Iterable[str] = OWN,
    server: str = SERVER,
) -> AddressReport:
    """The same at the other end of a network."""
    family = 6 if ":" in server else 4
    target = f"[{server}]:{PORT}" if family == 6 else f"{server}:{PORT}"
    plan = prepare([target, "--payload", "http", *options]).plan
    clock = VirtualClock()
    wire = MemoryWire(network, clock, own=own)
    return clock.run(check_address(plan, Address(family, server, 0, PORT), wire))
