"""Measures what whole checks in memory take: CPU seconds, least of some runs, and packets.

Run it by ``make bench``; nothing fails here.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "simulation"))

from guarded import pair
from whole import check

from tfocheck.runner.catalogue import load_cases

RUNS = 5
ONE_ADDRESS = ("10.0.0.1/24",)


def main() -> None:
    """Measure and print."""
    check(own=ONE_ADDRESS)  # what is loaded once is loaded then
    times = []
    for _ in range(RUNS):
        began = time.process_time()
        report = check(own=ONE_ADDRESS)
        times.append(time.process_time() - began)
    traffic = report.traffic
    print(
        f"a whole check in memory, {len(report.results)} cases, 1 ms round trip: "
        f"{min(times):.2f} s of CPU (bound 0.25), {traffic.sent} packets sent"
    )
    pairs = [(case, fault) for case in load_cases() for fault in case.faults]
    began = time.process_time()
    for case, fault in pairs:
        pair(case.id, fault, case.option)
    took = time.process_time() - began
    print(
        f"all {len(pairs)} pairs of case and fault, with all that they need: {took:.1f} s (bound 8)"
    )


if __name__ == "__main__":
    main()
