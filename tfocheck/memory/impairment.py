"""What a bad network does to packets: the fate of each packet under it.

Rules that hold here:

* The two directions are independent: each has a random stream of its own, from the seed and the
  direction. Every packet takes the same number of values from it, whatever becomes of the packet:
  what happens to the n-th packet does not depend on when it came.
* Delay is one way, so the round trip grows by twice the delay.
* Jitter never swaps the packets of one flow: one that would overtake waits for the one before, as
  in a router's queue. Packets swap by ``reorder``: such a packet is held back while others pass.
* A copy (``duplicate``) comes behind its original, by up to the jitter.

Sources for the words and their meaning: tc-netem(8), whose reordering hurries a packet instead.
"""

from __future__ import annotations

import random
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Literal

Way = Literal["to-server", "to-client"]

TO_SERVER: Way = "to-server"
TO_CLIENT: Way = "to-client"
WAYS: tuple[Way, ...] = (TO_SERVER, TO_CLIENT)

_FLOWS_REMEMBERED = 4096


@dataclass(frozen=True)
class Weather:
    """What befalls the packets of one direction.

    Times are in seconds, the others probabilities from 0 to 1. `syn_ack_loss` concerns TCP segments
    with SYN and ACK only, on top of `loss`; `hold` is how long a reordered packet is held back.
    """

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    syn_ack_loss: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    hold: float = 0.01


@dataclass(frozen=True)
class Impairment:
    """The weather of both directions, and the seed of what is random in it."""

    to_server: Weather = field(default_factory=Weather)
    to_client: Weather = field(default_factory=Weather)
    seed: int = 0

    def weather(self, way: Way) -> Weather:
        """The weather of one direction."""
        return self.to_server if way == TO_SERVER else self.to_client


class Fates:
    """When each packet of one direction is delivered, and how often."""

    def __init__(self, impairment: Impairment, way: Way) -> None:
        self._weather = impairment.weather(way)
        self._random = random.Random(f"{impairment.seed} {way}").random
        self._last_due: dict[Hashable, float] = {}

    def due(self, now: float, flow: Hashable, is_syn_ack: bool) -> tuple[float, ...]:
        """The times at which a packet that came `now` and its copies are delivered; () if lost.

        Times are in seconds on the clock of `now`. `flow` is equal for the packets whose order
        jitter leaves alone.
        """
        weather = self._weather
        draw = self._random
        lost, syn_ack_lost, held, copied = draw(), draw(), draw(), draw()
        deviation, behind = draw(), draw()
        if lost < weather.loss or (is_syn_ack and syn_ack_lost < weather.syn_ack_loss):
            return ()
        due = now + weather.delay + weather.jitter * (2 * deviation - 1)
        if held < weather.reorder:
            due += weather.hold
        elif weather.jitter:
            due = self._in_order(now, due, flow)
        if copied < weather.duplicate:
            return due, due + weather.jitter * behind
        return (due,)

    def _in_order(self, now: float, due: float, flow: Hashable) -> float:
        known = self._last_due
        due = max(due, known.get(flow, 0.0))
        if len(known) >= _FLOWS_REMEMBERED and flow not in known:
            self._last_due = known = {each: last for each, last in known.items() if last > now}
        known[flow] = due
        return due
