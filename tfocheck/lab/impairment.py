"""How a user asks for a bad network: ``delay 50ms, jitter 20ms, loss 10%, seed 7``.

What the words mean is in ``memory.impairment``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import replace

from tfocheck.errors import ExitCode
from tfocheck.lab.errors import LabError
from tfocheck.memory.impairment import TO_CLIENT, TO_SERVER, WAYS, Impairment, Way

MAX_SECONDS = 60.0
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_NUMBER = r"(\d{1,9}(?:\.\d{1,9})?)"

_EXAMPLE = "e.g. --impair 'delay 50ms, jitter 20ms, loss 10%, seed 7'"


def parse_impairment(text: str) -> Impairment:
    """Read ``delay 50ms, jitter 20ms, loss 10%, to-client loss 5%, seed 7``.

    Raises LabError (exit code 2) with what is wrong in it.
    """
    if not text.strip():
        raise _wrong(f"it is empty, {_EXAMPLE}")
    impairment = Impairment()
    seen: set[tuple[Way, str]] = set()
    for item in text.split(","):
        words = item.split()
        ways = WAYS
        if words and words[0] in WAYS:
            first = words.pop(0)
            ways = tuple(way for way in WAYS if way == first)
        if len(words) != 2:
            raise _wrong(f"{item.strip()!r} is not a word and a value, {_EXAMPLE}")
        name, value = words
        again = {(way, name) for way in ways} & seen
        seen |= {(way, name) for way in ways}
        if again:
            raise _wrong(f"{name} is given twice")
        impairment = _with(impairment, name, value, ways)
    for weather in (impairment.to_server, impairment.to_client):
        if weather.jitter > weather.delay:
            raise _wrong("jitter is more than delay: a packet can't come before it was sent")
    return impairment


def _with(impairment: Impairment, name: str, value: str, ways: tuple[Way, ...]) -> Impairment:
    if name == "seed":
        if ways != WAYS:
            raise _wrong("one seed is for both directions")
        return replace(impairment, seed=_whole_number(value))
    if name not in _WORDS:
        known = (*_WORDS, "seed", *WAYS)
        close = difflib.get_close_matches(name, known, n=1)
        hint = f", did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
        raise _wrong(f"unknown word {name!r}{hint}")
    attribute, read = _WORDS[name]
    change = {attribute: read(name, value)}
    if TO_SERVER in ways:
        impairment = replace(impairment, to_server=replace(impairment.to_server, **change))
    if TO_CLIENT in ways:
        impairment = replace(impairment, to_client=replace(impairment.to_client, **change))
    return impairment


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
