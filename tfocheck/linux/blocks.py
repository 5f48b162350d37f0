"""Source ports in aligned blocks, so that a filter tells ours by a few comparisons.

Rules that hold here:

* No port is offered that the machine keeps for others, as its range and reserved ports say.
* Which ports are in use only the kernel knows: ports are offered, and taken by whoever could bind.
* A block is ours from its first port on until the last one is given back.

Source: Linux ``Documentation/networking/ip-sysctl.rst``, ip_local_port_range and
ip_local_reserved_ports.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

from tfocheck.linux.bpf import BLOCK

_SYSCTLS = Path("/proc/sys/net/ipv4")
_USUAL_RANGE = (32_768, 60_999)
_random = secrets.SystemRandom()


class Blocks:
    """The blocks that ``ports`` are in; ``active`` are the first ports of those that are ours."""

    def __init__(self, ports: range, reserved: frozenset[int] = frozenset()) -> None:
        self._ports: dict[int, list[int]] = {}
        for port in ports:
            if port not in reserved:
                self._ports.setdefault(port - port % BLOCK, []).append(port)
        self._begun: dict[int, list[int]] = {}
        """What was given back of the blocks that ports were offered from."""
        self._offered: list[int] = []
        """What is left of the latest of them."""
        self._taken: dict[int, set[int]] = {}

    @property
    def active(self) -> frozenset[int]:
        """Blocks with a port of ours in them."""
        return frozenset(self._taken)

    def offers(self) -> Iterator[int]:
        """Ports to try, each once, until all have been tried: those of the block begun first."""
        begun: set[int] = set()
        while self._offered or self._begin(begun):
            yield self._offered.pop()
        for block in self._begun.keys() - begun:
            yield from [*self._begun[block]]

    def _begin(self, already: set[int]) -> bool:
        """Begin another block than those; False when there is none."""
        for block in self._begun.keys() - self._taken.keys():
            del self._begun[block]
        fresh = list(self._ports.keys() - self._begun.keys() - already)
        if not fresh:
            return False
        block = _random.choice(fresh)
        already.add(block)
        self._begun[block] = []
        self._offered = [*self._ports[block]]
        _random.shuffle(self._offered)
        return True

    def take(self, port: int) -> bool:
        """This port is ours now; True if its block was not."""
        block = port - port % BLOCK
        is_new = block not in self._taken
        self._taken.setdefault(block, set()).add(port)
        if port in self._begun[block]:
            self._begun[block].remove(port)
        return is_new

    def give_back(self, port: int) -> None:
        """This port is no longer ours."""
        block = port - port % BLOCK
        self._taken[block].discard(port)
        self._begun[block].append(port)
        if not self._taken[block]:
            del self._taken[block]


def of_this_machine() -> Blocks:
    """The ports that this machine's programs are given when they name none."""
    first, last = _USUAL_RANGE
    reserved: set[int] = set()
    try:
        first, last = map(int, (_SYSCTLS / "ip_local_port_range").read_text().split())
        for part in (_SYSCTLS / "ip_local_reserved_ports").read_text().strip().split(","):
            if part:
                low, _, high = part.partition("-")
                reserved.update(range(int(low), int(high or low) + 1))
    except (OSError, ValueError):
        pass  # a kernel without IPv4 settings has IPv6 ports all the same
    return Blocks(range(first, last + 1), frozenset(reserved))
