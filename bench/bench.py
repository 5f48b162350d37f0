"""Measures what tfocheck promises of its speed and thrift: whole processes, medians of runs.

Every figure is printed with the bound it is held against; nothing fails here, timing claims don't
belong into tests. Run it by ``make bench``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 5
ROUND_TRIPS = (0.02, 0.1, 0.3)
LONGEST_OBSERVATION = 1.0
"""Seconds: the server's SYN-ACK timer, which two cases wait for."""

EVERYTHING = "delay 50ms, jitter 20ms, loss 10%, reorder 5%, duplicate 5%, seed 7"


def measure(arguments: list[str]) -> tuple[float, float, bytes]:
    """Wall time in seconds, peak memory in MB (largest single process), and what was printed."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tfocheck", *arguments],
            stdout=output,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        return wall, usage.ru_maxrss / 1024, output.read()


def row(name: str, figures: list[float], unit: str, bound: str) -> None:
    """One line: minimum, median and maximum beside the bound."""
    middle = statistics.median(figures)
    print(f"{name:44} {min(figures):8.2f} {middle:8.2f} {max(figures):8.2f} {unit:5} {bound}")


def main() -> None:
    """Measure and print."""
    print(f"{'figure':44} {'min':>8} {'median':>8} {'max':>8} unit  bound for the median")
    row("tfocheck --help", [measure(["--help"])[0] for _ in range(RUNS)], "s", "0.30")
    started, walls, durations, memory, packets = [], [], [], [], []
    for _ in range(RUNS):
        started.append(measure(["lab", "exec", "linux", "--", "true"])[0])
        with tempfile.TemporaryDirectory() as folder:
            report_file = Path(folder) / "report.json"
            wall, peak, _ = measure(["lab", "run", "linux", "--", "--json", str(report_file)])
            report = json.loads(report_file.read_text())
        walls.append(wall)
        memory.append(peak)
        durations.append(report["duration"])
        packets.append(report["addresses"][0]["traffic"]["sent"])
    row("building and removing lab linux", started, "s", "-")
    row("lab run linux, whole process", walls, "s", "-")
    bound = 1.5 * LONGEST_OBSERVATION
    row("  of it the check itself", durations, "s", f"{bound:.2f}")
    row("  peak memory of a process", memory, "MB", "120")
    row("  packets sent", packets, "", "600")
    for round_trip in ROUND_TRIPS:
        took = slow_checks(round_trip)
        floor = LONGEST_OBSERVATION + 12 * round_trip
        row(f"check at {round_trip * 1000:.0f} ms round trip", took, "s", f"{1.5 * floor:.2f}")
        row("  as a ratio to its floor", [each / floor for each in took], "", "1.50")
    row("building and removing four routers", routed_labs(), "s", "-")
    row("impairment box that only carries", box_rates("seed 1"), "/s", "20000 at least")
    row("impairment box that does everything", box_rates(EVERYTHING), "/s", "20000 at least")


def slow_checks(round_trip: float) -> list[float]:
    """Seconds of a default check on a path with this round trip, in seconds; no start-up."""
    took = []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as folder:
            report_file = Path(folder) / "report.json"
            impairment = f"delay {round_trip * 500:g}ms"
            arguments = ["lab", "run", "linux", "--impair", impairment, "--"]
            measure([*arguments, "--json", str(report_file)])
            took.append(json.loads(report_file.read_text())["duration"])
    return took


def routed_labs() -> list[float]:
    """Seconds for a lab with four routers between client and server."""
    return [measure(["lab", "exec", "routed", "--", "true"])[0] for _ in range(RUNS)]


def box_rates(impairment: str) -> list[float]:
    """Packets of full size per second that the impairment box carries, what it loses left out."""
    flood = [sys.executable, str(Path(__file__).with_name("flood.py"))]
    arguments = ["lab", "exec", "linux", "--impair", impairment, "--", *flood]
    return [float(measure(arguments)[2]) for _ in range(RUNS)]


if __name__ == "__main__":
    main()
