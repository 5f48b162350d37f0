"""The lab's scenarios in memory: those that need no kernel's server and no real daemon.

Where the lab has Linux behind its path, there is the reference server here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Literal

from tfocheck.memory.hosts import (
    OFF_PORT,
    PORT,
    Endpoint,
    Farm,
    Host,
    Rotating,
    TranslatedFarm,
    key,
    off_server,
    reference_host,
)
from tfocheck.memory.impairment import Impairment
from tfocheck.memory.limits import EarlyDataDropped
from tfocheck.memory.middleboxes import BOXES, SynAckLoss
from tfocheck.memory.network import ONE_WAY_SECONDS, Network
from tfocheck.memory.path import Box, Path, routers, with_box
from tfocheck.reference.listener import ReferenceServer

DEFAULT_HOP = 2
FARM_SIZE = 3

_ON_THE_WAY = {**BOXES, "early-data-dropped": EarlyDataDropped}

_Faults = tuple[str, ...]


def build(
    name: str,
    *,
    faults: Iterable[str] = (),
    hop: int = DEFAULT_HOP,
    impairment: Impairment | None = None,
    seed: int | None = None,
    delay: float = ONE_WAY_SECONDS,
) -> Network:
    """The scenario of that name. KeyError for one that is not in ``SCENARIOS``.

    ``faults`` are those of the server's (or servers'), ``hop`` the router, 1 to 4, that the box is
    on, ``delay`` the seconds one way. With ``seed`` the servers' ISNs and keys are always the same.
    """
    chosen = tuple(faults)
    rng = None if seed is None else random.Random(seed)
    endpoint = _ENDPOINTS.get(name, _host)(chosen, rng)
    return Network(endpoint, _path(name, hop, impairment), impairment, delay=delay)


def _path(name: str, hop: int, impairment: Impairment | None) -> Path:
    if name in _NEIGHBOURS:
        return Path()
    if name in _ON_THE_WAY:
        return with_box(_box(name, impairment), hop)
    if name not in SCENARIOS:
        raise KeyError(name)
    return Path(routers())


def _box(name: str, impairment: Impairment | None) -> Box:
    # As in the lab: the loss has the seed of the impairment.
    if name == "synack-loss" and impairment is not None:
        return SynAckLoss(impairment.seed)
    return _ON_THE_WAY[name]()


def _key(rng: random.Random | None) -> bytes | None:
    return None if rng is None else rng.randbytes(16)


def _host(faults: _Faults, rng: random.Random | None) -> Endpoint:
    return reference_host(faults, cookie_key=_key(rng), rng=rng)


def _farm(keys: int, kind: type[Farm] | type[TranslatedFarm]) -> _Maker:
    def make(faults: _Faults, rng: random.Random | None) -> Endpoint:
        hosts = [
            reference_host(faults, cookie_key=key(number % keys), rng=rng)
            for number in range(FARM_SIZE)
        ]
        return kind(hosts)

    return make


def _rotating(kind: Literal["graceful", "hard"]) -> _Maker:
    def make(faults: _Faults, rng: random.Random | None) -> Endpoint:
        server = ReferenceServer(PORT, faults, cookie_key=key(0), rng=rng)
        return Host({PORT: Rotating(server, kind), OFF_PORT: off_server(faults, rng)})

    return make


_Maker = Callable[[_Faults, random.Random | None], Endpoint]

_ENDPOINTS: dict[str, _Maker] = {
    "farm-one-key": _farm(1, Farm),
    "farm-three-keys": _farm(FARM_SIZE, Farm),
    "farm-dnat": _farm(1, TranslatedFarm),
    "key-rotation": _rotating("graceful"),
    "key-change": _rotating("hard"),
}
_NEIGHBOURS = ("reference", "key-rotation", "key-change")
_FARMS = ("farm-one-key", "farm-three-keys", "farm-dnat")

SCENARIOS = (*_NEIGHBOURS, "routed", *_ON_THE_WAY, *_FARMS)
"""The names that ``build`` knows."""
