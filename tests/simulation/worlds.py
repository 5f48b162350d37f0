"""Worlds: a server, its application, its listener and a network, drawn from a seed, and checked.

Everything that is left to chance comes from the seed, but for the client's own numbers (ISNs,
forged cookies), on which no verdict may depend. ``oracle`` says what is true of a world.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal

from tfocheck.cli.check import prepare
from tfocheck.memory import limits
from tfocheck.memory.clock import VirtualClock
from tfocheck.memory.hosts import OFF_PORT, PORT, reference_host
from tfocheck.memory.impairment import Impairment, Weather
from tfocheck.memory.middleboxes import BOXES
from tfocheck.memory.network import Network
from tfocheck.memory.path import Box, Path, routers
from tfocheck.memory.wire import MemoryWire
from tfocheck.model.plan import Plan
from tfocheck.model.report import AddressReport
from tfocheck.model.target import Address
from tfocheck.reference.applications import APPLICATIONS
from tfocheck.reference.faults import FAULTS
from tfocheck.reference.listener import PENDING_LIMIT
from tfocheck.reference.variations import USUAL, SynCookies, Variations
from tfocheck.runner.address import check_address
from tfocheck.runner.catalogue import load_cases

SERVER = {4: "10.77.3.2", 6: "fd77:3::2"}
OTHER = {4: "10.77.0.3", 6: "fd77::3"}
OWN = ("10.77.0.1/24", f"{OTHER[4]}/24", "fd77::1/64", f"{OTHER[6]}/64")
CLEAR = Weather()
ROUTER = ("10.77.2.2", "fd77:2::2")

HARMLESS_BOXES = ("isn-shifted", "option-moved", "mss-clamped", "timestamps-removed", "synack-loss")
"""The lab's boxes that are no fault of the path's."""

NETWORKS: dict[str, Callable[[random.Random], Callable[[], Box]]] = {
    "syn-rate": lambda rng: functools.partial(
        limits.SynRate, rng.choice((15, 20, 50, 100)), rng.choice((5, 20))
    ),
    "ban": lambda rng: functools.partial(limits.Ban, rng.choice((30, 100, 200))),
    "connection-limit": lambda rng: functools.partial(
        limits.ConnectionLimit, rng.choice((10, 20, 50))
    ),
    "stray-reset": lambda rng: limits.StrayReset,
    "early-data-dropped": lambda rng: limits.EarlyDataDropped,
    "mtu-silent": lambda rng: functools.partial(
        limits.Mtu, rng.choice((1400, 1280, 800)), tells=False, router=ROUTER
    ),
    "mtu": lambda rng: functools.partial(
        limits.Mtu, rng.choice((1400, 1280, 800)), tells=True, router=ROUTER
    ),
    **{name: functools.partial(lambda made, rng: made, made) for name, made in BOXES.items()},
}
"""Name → what makes a box, once its numbers are drawn."""

_INTRUSIVE_FAULTS = ("no-limit", "refuses-when-full", "forgets-resets")
_NEEDS_OPTION = dict.fromkeys(_INTRUSIVE_FAULTS, "--intrusive") | {
    "answers-when-off": f"--off-port={OFF_PORT}",
    # Addresses that share a NAT rightly share a cookie: somebody has to say that these do not.
    "constant-cookie": "--no-nat",
}
_BEFORE_SYN_COOKIES = ("resets-syn", "drops-unknown-option", "drops-crowded-syn")
"""What a server does to SYNs before it looks whether its backlog is full."""

_SHOWN_EARLY = (
    *("answers-rejected-data", "holds-data", "floods", "ignores-window"),
    *("accept-without-option", "loses-early-data"),
)
"""What only shows in what a server sends before the client's ACK."""

_UNDONE_BY = {
    "needs-alignment": ("option-moved",),
    "drops-crowded-syn": ("option-moved",),
    "reads-past-eol": ("option-moved", "mss-clamped", "timestamps-removed"),
}
"""Boxes that write options anew: at even places, without padding, nor what is behind EOL."""

_COOKIE_SIZE_FAULTS = ("odd-cookie", "short-cookie", "long-cookie")


@dataclass(frozen=True)
class World:
    """All that is drawn; ``seed`` is also where the world's own chance comes from.

    ``boxes`` are names of ``NETWORKS``, in the order of the way to the server; ``backlog`` is None
    for any number; ``delay`` is one way, in seconds; ``loses`` and the like are of both ways.
    """

    seed: int
    variations: Variations = USUAL
    fault: str | None = None
    application: str = "answers"
    backlog: int | None = None
    pending_limit: int = PENDING_LIMIT
    delay: float = 0.0005
    weather: Weather = CLEAR
    boxes: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    has_other_source: bool = False
    family: Literal[4, 6] = 4

    def __str__(self) -> str:
        usual = World(self.seed)
        different = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if getattr(self, each.name) != getattr(usual, each.name)
        }
        if "variations" in different:
            different["variations"] = _differences(self.variations, USUAL)
        if "weather" in different:
            different["weather"] = _differences(self.weather, CLEAR)
        return ", ".join(f"{name} {value}" for name, value in different.items()) or "nothing else"


def _differences(one: Variations | Weather, usual: Variations | Weather) -> str:
    names = (each.name for each in fields(one))
    changed = (name for name in names if getattr(one, name) != getattr(usual, name))
    return "(" + ", ".join(f"{name}={getattr(one, name)}" for name in changed) + ")"


# --- drawing --------------------------------------------------------------------------------------


def draw(seed: int) -> World:
    """The world of a seed."""
    rng = random.Random(f"world {seed}")
    world = World(
        seed,
        variations=_variations(rng),
        application=rng.choice(sorted(APPLICATIONS)) if rng.random() < 0.4 else "answers",
        backlog=rng.choice((0, 1, 2, 16)) if rng.random() < 0.2 else None,
        pending_limit=rng.choice((1, 2, 4, 16)) if rng.random() < 0.2 else PENDING_LIMIT,
        delay=rng.choice((0.0005, 0.0005, 0.005, 0.02, 0.05, 0.15)),
        weather=_weather(rng) if rng.random() < 0.4 else CLEAR,
        boxes=(boxes := _boxes(rng)),
        options=_options(rng, boxes),
        has_other_source=rng.random() < 0.5,
    )
    world = _with_fault(world, rng)
    return replace(world, family=6) if rng.random() < 0.25 else world


def _variations(rng: random.Random) -> Variations:
    def seldom(chance: float = 0.15) -> bool:
        return rng.random() < chance

    cookie_bytes = rng.choice(range(4, 17, 2)) if seldom(0.5) else USUAL.cookie_bytes
    return Variations(
        cookie_bytes=cookie_bytes,
        fresh_cookies=seldom() and cookie_bytes >= 8,
        refreshes_cookies=seldom(),
        offers_on_fallback=not seldom(),
        old_kind_only=seldom(0.04),
        keeps_plain_data=seldom(),
        answers_early=not seldom(0.08),
        initial_segments=rng.choice((2, 4, 10)) if seldom(0.3) else None,
        delays_acks=seldom(),
        timestamps=not seldom(),
        window_scale=not seldom(),
        sack_permitted=seldom(0.3),
        syn_cookies=rng.choice((*[SynCookies.WHEN_FULL] * 8, SynCookies.NEVER, SynCookies.ALWAYS)),
    )


def _weather(rng: random.Random) -> Weather:
    jitter = rng.choice((0.0, 0.0, 0.005, 0.02, 0.07))
    return Weather(
        delay=jitter + rng.choice((0.0, 0.01)),
        jitter=jitter,
        loss=rng.choice((0.0, 0.0, 0.02, 0.05, 0.1)),
        reorder=rng.choice((0.0, 0.0, 0.1)),
        duplicate=rng.choice((0.0, 0.0, 0.05)),
    )


def _boxes(rng: random.Random) -> tuple[str, ...]:
    names = sorted(NETWORKS)
    if rng.random() < 0.6:
        return ()
    return tuple(rng.sample(names, 2 if rng.random() < 0.1 else 1))


def _options(rng: random.Random, boxes: tuple[str, ...]) -> tuple[str, ...]:
    possible = ("--thorough", "--trace", "--no-nat", f"--off-port={OFF_PORT}", "--attempts=5")
    chosen = (each for each in possible if rng.random() < 0.1)
    # Nobody vouches that there is no NAT where there is one.
    return tuple(each for each in chosen if each != "--no-nat" or "nat-pool" not in boxes)


def _with_fault(world: World, rng: random.Random) -> World:
    """A fault in every second world, with what it takes to show it."""
    wanted, fault = rng.random() < 0.5, rng.choice(sorted(FAULTS))
    with_intrusive = rng.random() < 0.3
    if fault in _INTRUSIVE_FAULTS and not with_intrusive:
        return world
    if not wanted or not _is_visible(fault, world):
        return world
    needed = _NEEDS_OPTION.get(fault)
    options = world.options
    if needed is not None and needed not in options:
        options = (*options, needed)
    return replace(
        world,
        fault=fault,
        options=options,
        variations=_fitting(world, fault),
        # One address proves nothing of others.
        has_other_source=world.has_other_source or fault in ("constant-cookie", "ignores-source"),
    )


def _is_visible(fault: str, world: World) -> bool:
    """Whether nothing else makes the server's behaviour right again, or hides it for good."""
    variations = world.variations
    hidden = any(box not in HARMLESS_BOXES and box in BOXES for box in world.boxes)
    if variations.syn_cookies is SynCookies.ALWAYS or world.backlog == 0:
        return fault in _BEFORE_SYN_COOKIES and not hidden
    if set(_UNDONE_BY.get(fault, ())) & set(world.boxes):
        return False
    if fault in _SHOWN_EARLY and "early-data-dropped" in world.boxes:
        return False
    if fault == "holds-data" and world.application == "banner-first":
        return False  # what comes early needs no data
    if fault == "answers-rejected-data" and world.application == "mute":
        return False
    return not hidden and not (fault == "answers-old-kind" and variations.old_kind_only)


def _fitting(world: World, fault: str) -> Variations:
    """The variations without those that leave nothing of the fault."""
    kept = world.variations
    # Cookies of which none comes twice, nor opens from another port, are a pool of addresses', too.
    if fault in (*_COOKIE_SIZE_FAULTS, "constant-cookie", "cookie-is-address", "binds-port"):
        kept = replace(kept, fresh_cookies=False)
    if fault in ("dies-on-length", "ignores-tail") and kept.cookie_bytes == 16:
        kept = replace(kept, cookie_bytes=14)
    if fault == "bad-refresh":
        kept = replace(kept, refreshes_cookies=False)
    if fault == "wrong-tsecr":
        kept = replace(kept, timestamps=True)
    # Early answers show many faults; where the data of any SYN is acknowledged nothing else does.
    kept = replace(kept, answers_early=True)
    if "early-data-dropped" in world.boxes:
        kept = replace(kept, keeps_plain_data=False)
    if fault == "ignores-empty-option":
        kept = replace(kept, offers_on_fallback=True)
    return kept


# --- running --------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _plan(target: str, options: tuple[str, ...]) -> Plan:
    return prepare([target, "--payload", "http", *options]).plan


def run(world: World) -> AddressReport:
    """What a check finds in the world."""
    rng = random.Random(f"run {world.seed}")
    host = reference_host(
        [world.fault] if world.fault else [],
        cookie_key=rng.randbytes(16),
        rng=rng,
        pending_limit=world.pending_limit,
        variations=world.variations,
        application=APPLICATIONS[world.application](rng),
        backlog=world.backlog,
    )
    hops = list(routers())
    # Number by number from the server's side, where the limits of hosts are.
    for place, name in enumerate(reversed(world.boxes)):
        hops[-2 - place] = replace(hops[-2 - place], box=NETWORKS[name](rng)())
    impairment = Impairment(world.weather, world.weather, seed=world.seed)
    network = Network(host, Path(hops), impairment, delay=world.delay)
    server = SERVER[world.family]
    plan = _plan(f"[{server}]:{PORT}" if world.family == 6 else f"{server}:{PORT}", world.options)
    if world.has_other_source:
        # The option asks this machine's kernel whether the address is its own.
        plan = replace(plan, alt_sources=(OTHER[world.family],))
    clock = VirtualClock()
    wire = MemoryWire(network, clock, own=OWN)
    return clock.run(check_address(plan, Address(world.family, server, 0, PORT), wire))


def cases_of(fault: str) -> tuple[str, ...]:
    """The cases that say of themselves that this fault turns them."""
    return _BY_FAULT.get(fault, ())


_BY_FAULT: dict[str, tuple[str, ...]] = {}
for _case in load_cases():
    for _fault in _case.faults:
        _BY_FAULT[_fault] = (*_BY_FAULT.get(_fault, ()), _case.id)
