"""What whole checks in memory found when they were last looked at: the guard of every later change.

``python tests/simulation/guarded.py`` writes it anew into guard.json; look at what changed, and say
why in the commit.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from whole import OFF_PORT, check

from tfocheck.case import Option
from tfocheck.memory.impairment import Impairment, Weather
from tfocheck.memory.scenarios import SCENARIOS
from tfocheck.model.report import AddressReport
from tfocheck.runner.catalogue import load_cases

WEATHER = {
    "loss": Weather(loss=0.1, delay=0.01),
    "duplication and reordering": Weather(duplicate=0.05, reorder=0.1, delay=0.01),
    "jitter": Weather(delay=0.08, jitter=0.07),
    "a long way": Weather(delay=0.15),
}
GUARD = Path(__file__).with_name("guard.json")
EVERYTHING = ("--intrusive", "--thorough", "--trace", f"--off-port={OFF_PORT}", "--no-nat")
NEEDED = {
    Option.INTRUSIVE: ("--intrusive",),
    Option.OFF_PORT: (f"--off-port={OFF_PORT}",),
    Option.SOAK: ("--soak=5",),
    Option.TRACE: ("--trace",),
}

_BY_CHANCE = re.compile(r"\b\d{7,}\b")
"""Numbers that are drawn: sequence numbers, timestamps."""

Found = dict[str, list[object]]
"""Case id → verdict, what was seen, number of packets in its evidence."""


def found(report: AddressReport) -> Found:
    """What is compared: ids, verdicts, ``seen`` and packets."""
    return {
        result.case.id: [
            result.verdict.value,
            _BY_CHANCE.sub("N", result.seen),
            sum(len(flow.packets) for flow in result.flows),
        ]
        for result in report.results
    }


def pair(case_id: str, fault: str, option: Option | None) -> AddressReport:
    """One case, and what it rests on, at a server with one of the case's faults."""
    needed = NEEDED[option] if option is not None else ()
    return check(["--case", case_id, "--thorough", *needed], faults=[fault])


def runs() -> dict[str, Callable[[], AddressReport]]:
    """Name → a run that is guarded."""
    named: dict[str, Callable[[], AddressReport]] = {
        "default": check,
        "everything": lambda: check(EVERYTHING),
        "soak": lambda: check(["--soak=5", "--case=cookie.lifetime"]),
        "one address": lambda: check(own=("10.0.0.1/24",)),
        "alternative sources": lambda: check(
            ["--alt-source=127.0.0.1"], own=("10.0.0.1/24", "127.0.0.1/8")
        ),
    }
    for scenario in SCENARIOS:
        named[scenario] = lambda s=scenario: check(["--trace"], scenario=s)  # type: ignore[misc]
    for name, weather in WEATHER.items():
        named[name] = lambda w=weather: check(impairment=Impairment(w, w, seed=3))  # type: ignore[misc]
    for case in load_cases():
        for fault in case.faults:
            named[f"{case.id} with {fault}"] = lambda c=case, f=fault: pair(c.id, f, c.option)  # type: ignore[misc]
    return named


def main() -> int:
    """Write the guard anew."""
    results = {name: found(run()) for name, run in runs().items()}
    GUARD.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
