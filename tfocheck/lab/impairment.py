"""What a bad network does to packets: a specification, and the fate of each packet under it.

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

import difflib
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tfocheck.errors import ExitCode
from tfocheck.lab.errors import LabError

DIRECTIONS = ("to-server", "to-client")
MAX_SECONDS = 60.0
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_NUMBER = r"(\d{1,9}(?:\.\d{1,9})?)"
_FLOWS_REMEMBERED = 4096

_EXAMPLE = "e.g. --impair 'delay 50ms, jitter 20ms, loss 10%, seed 7'"


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

    @classmethod
    def parse(cls, text: str) -> Impairment:
        """Read ``delay 50ms, jitter 20ms, loss 10%, to-client loss 5%, seed 7``.

        Raises LabError (exit code 2) with what is wrong in it.
        """
        if not text.strip():
            raise _wrong(f"it is empty, {_EXAMPLE}")
        impairment = cls()
        seen: set[tuple[str, str]] = set()
        for item in text.split(","):
            words = item.split()
            ways: tuple[str, ...] = DIRECTIONS
            if words and words[0] in DIRECTIONS:
                ways = (words.pop(0),)
            if len(words) != 2:
                raise _wrong(f"{item.strip()!r} is not a word and a value, {_EXAMPLE}")
            name, value = words
            again = {(way, name) for way in ways} & seen
            seen |= {(way, name) for way in ways}
            if again:
                raise _wrong(f"{name} is given twice")
            impairment = impairment._with(name, value, ways)
        for weather in (impairment.to_server, impairment.to_client):
            if weather.jitter > weather.delay:
                raise _wrong("jitter is more than delay: a packet can't come before it was sent")
        return impairment

    def _with(self, name: str, value: str, ways: tuple[str, ...]) -> Impairment:
        if name == "seed":
            if ways != DIRECTIONS:
                raise _wrong("one seed is for both directions")
            return replace(self, seed=_whole_number(value))
        if name not in _WORDS:
            known = (*_WORDS, "seed", *DIRECTIONS)
            close = difflib.get_close_matches(name, known, n=1)
            hint = f", did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
            raise _wrong(f"unknown word {name!r}{hint}")
        attribute, read = _WORDS[name]
        change = {attribute: read(name, value)}
        if "to-server" in ways:
            self = replace(self, to_server=replace(self.to_server, **change))
        if "to-client" in ways:
            self = replace(self, to_client=replace(self.to_client, **change))
        return self


def _seconds(name: str, value: str) -> float:
    match = re.fullmatch(_NUMBER + "(us|ms|s)", value, re.ASCII)
    if match is None:
        raise _wrong(f"{name} {value!r} is no time, e.g. {name} 50ms (units: us, ms, s)")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > MAX_SECONDS:
        raise _wrong(f"{name} {value} is more than {MAX_SECONDS:.0f}s")
    return seconds


def _share(name: str, value: str) -> float:
    match = re.fullmatch(_NUMBER + "%", value, re.ASCII)
    if match is None or float(match[1]) > 100:
        raise _wrong(f"{name} {value!r} is no percentage from 0% to 100%, e.g. {name} 10%")
    return float(match[1]) / 100


def _whole_number(value: str) -> int:
    if not re.fullmatch(r"\d{1,18}", value, re.ASCII):
        raise _wrong(f"seed {value!r} is no whole number, e.g. seed 7")
    return int(value)


_WORDS: dict[str, tuple[str, Callable[[str, str], float]]] = {
    "delay": ("delay", _seconds),
    "jitter": ("jitter", _seconds),
    "loss": ("loss", _share),
    "syn-ack-loss": ("syn_ack_loss", _share),
    "reorder": ("reorder", _share),
    "hold": ("hold", _seconds),
    "duplicate": ("duplicate", _share),
}


def _wrong(what: str) -> LabError:
    return LabError(f"--impair: {what}", ExitCode.USAGE)


class Fates:
    """When each packet of one direction is delivered, and how often.

    `way` is one of DIRECTIONS.
    """

    def __init__(self, impairment: Impairment, way: str) -> None:
        self._weather = impairment.to_server if way == "to-server" else impairment.to_client
        self._random = random.Random(f"{impairment.seed} {way}").random
        self._last_due: dict[bytes, float] = {}

    def due(self, now: float, flow: bytes, is_syn_ack: bool) -> tuple[float, ...]:
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

    def _in_order(self, now: float, due: float, flow: bytes) -> float:
        known = self._last_due
        due = max(due, known.get(flow, 0.0))
        if len(known) >= _FLOWS_REMEMBERED and flow not in known:
            self._last_due = known = {each: last for each, last in known.items() if last > now}
        known[flow] = due
        return due
