"""``--watch``: the counters as they move, until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tfocheck.doctor import counters, netns
from tfocheck.doctor.netns import Namespace
from tfocheck.model import escape

Counted = dict[str, int]


def watch(
    namespaces: Sequence[Namespace],
    interval: float,
    times: int | None,
    show: Callable[[str], None],
) -> None:
    """Show what is there, then every ``interval`` seconds a line for each counter that moved.

    Ends after so many ``times``, or with KeyboardInterrupt.
    """
    before: dict[Namespace, Counted] = {}
    for namespace in namespaces:
        before[namespace] = netns.count(namespace) or {}
        place = escape.text(str(namespace))
        for name, value in before[namespace].items():
            show(f"{place}: {name} {value}, {counters.MEANINGS[name]}\n")
    turn = 0
    while times is None or turn < times:
        time.sleep(interval)
        turn += 1
        for namespace in namespaces:
            now = netns.count(namespace) or {}
            show("".join(_moved(namespace, before[namespace], now)))
            before[namespace] = now


def _moved(namespace: Namespace, before: Counted, now: Counted) -> list[str]:
    at = time.strftime("%H:%M:%S")
    place = escape.text(str(namespace))
    return [
        f"{at}  {place}: {name} +{value - before.get(name, 0)} ({value})\n"
        for name, value in now.items()
        if value != before.get(name, 0)
    ]
