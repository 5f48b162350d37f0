"""The one entry to a check in memory: options, target and wire in, the report on an address out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tfocheck.cli import main as cli
from tfocheck.engine.lane import Lane
from tfocheck.memory.clock import VirtualClock
from tfocheck.memory.wire import Cable, Endpoint, MemoryWire, Way
from tfocheck.model.report import AddressReport
from tfocheck.model.target import Address
from tfocheck.reference.listener import ReferenceServer
from tfocheck.runner.run import _check
from tfocheck.server.session import Siblings

PORT = 8080
OFF_PORT = 8081
SERVER = "10.0.0.2"
DELAY = 0.0006
"""Seconds, each way."""

OWN = ("10.0.0.1/24", "10.0.0.3/24", "10.0.0.4/24")


def check(
    options: Sequence[str] = (),
    *,
    faults: Iterable[str] = (),
    endpoints: Mapping[int, Endpoint] | None = None,
    way: Way | None = None,
    own: Iterable[str] = OWN,
) -> AddressReport:
    """What a check with these options finds; without endpoints at the reference server."""
    names = tuple(faults)
    if endpoints is None:
        endpoints = {
            PORT: ReferenceServer(PORT, names),
            OFF_PORT: ReferenceServer(OFF_PORT, names, fast_open=False),
        }
    [target], settings, _, _ = cli.prepare([f"{SERVER}:{PORT}", "--payload", "http", *options])
    clock = VirtualClock()
    wire = MemoryWire(endpoints, clock, way=way or Cable(DELAY), own=own)
    address = Address(4, SERVER, 0, PORT)

    async def run() -> AddressReport:
        return await _check(target, address, settings, wire, Lane(clock), Siblings(), None)

    return clock.run(run())
