"""The slow suite: hundreds of runs on bad networks, and how many verdicts of them were false.

A good server is to have no failure and no warning in a default run, a broken one no pass of the
case that its fault concerns (that case and what it rests on are run); what could not be decided is
counted. And each box on the way is to be called by its name,
each time. Run it by ``make soak``; it takes an hour, less with fewer RUNS or more JOBS.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfocheck.runner.catalogue import load_cases

NETWORKS = {
    "10 % loss": "loss 10%",
    "5 % duplicated, 10 % reordered": "duplicate 5%, reorder 10%",
    "RTT 30 to 300 ms, jittered": "delay 83ms, jitter 67ms",
    "all together": "loss 10%, duplicate 5%, reorder 10%, delay 83ms, jitter 67ms",
}

FAULTS = [(fault, case.id) for case in load_cases() if case.option is None for fault in case.faults]
"""Each fault, and the case of a default run that it turns."""

_BEHIND_HOP_2 = "between 10.77.1.2 (hop 2) and 10.77.2.2 (hop 3)"

BOXES = {
    # Scenario → (the case that names it, where it is).
    "option-stripped": ("path.option-stripped", _BEHIND_HOP_2),
    "option-stripped-reply": ("path.option-stripped", "on the way back"),
    "option-dropped": ("path.option-dropped", _BEHIND_HOP_2),
    "syn-data-dropped": (
        "path.syn-data-dropped",
        _BEHIND_HOP_2,
    ),
    "after-open-dropped": ("path.after-open", _BEHIND_HOP_2),
    "cookie-changed": ("path.cookie-changed", _BEHIND_HOP_2),
    "ack-rewritten": ("path.sequence-rewritten", "on the way back"),
    "nat-pool": ("path.source-changes", "our address changes"),
    "synproxy": ("path.proxy", "at hop 2"),
    "transparent-proxy": ("path.proxy", "at hop 2"),
    "isn-shifted": ("path.trace", _BEHIND_HOP_2),
    "option-moved": ("path.trace", _BEHIND_HOP_2),
    "mss-clamped": ("path.trace", _BEHIND_HOP_2),
    "timestamps-removed": ("path.trace", _BEHIND_HOP_2),
    "farm-three-keys": ("farm.one-key", "of 16: servers behind this address don't share a key"),
    "farm-dnat": ("farm.one-key", "of 16: servers behind this address don't share a key"),
}


SERVERS = ("good", "broken")


@dataclass(frozen=True)
class Run:
    """One run of ``lab run``: its arguments, and what a fault or a box is to turn."""

    arguments: tuple[str, ...]
    turned: str = ""
    where: str = ""


def grade(run: Run) -> dict[str, Any]:
    """The report on the only address; raises RuntimeError when there is none."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        done = subprocess.run(
            [sys.executable, "-m", "tfocheck", "lab", "run", *run.arguments, f"--json={report}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if not report.exists():
            raise RuntimeError(f"{' '.join(run.arguments)}: exit {done.returncode}: {done.stderr}")
        [address] = json.loads(report.read_text())["addresses"]
        assert isinstance(address, dict)
        return address


def false_verdicts(run: Run, address: dict[str, Any]) -> Iterator[str]:
    """What a run says that is not so."""
    for result in address["results"]:
        named = result["case"] == run.turned
        if run.turned and named and result["verdict"] in ("pass", "info"):
            yield f"{result['case']} passes: {result['seen']}"
        if not run.turned and result["verdict"] in ("fail", "warn", "error"):
            yield f"{result['case']} {result['verdict']}: {result['seen']}"


def networks(count: int, jobs: int, servers: Sequence[str]) -> None:
    """False and open verdicts on each network, of a good server and of broken ones."""
    print(f"{'network':32} {'server':8} {'runs':>5} {'false':>6} {'open':>7} {'median s':>9}")
    for name, impairment in NETWORKS.items():
        good = [
            Run(("linux", "--impair", f"{impairment}, seed {seed}", "--", "-q"))
            for seed in range(count)
        ]
        faults = itertools.islice(itertools.cycle(FAULTS), count)
        broken = [
            Run(
                (
                    *("reference", "--fault", fault),
                    *("--impair", f"{impairment}, seed {seed}", "--", "-q", "--case", turned),
                ),
                turned,
            )
            for seed, (fault, turned) in enumerate(faults)
        ]
        for server, runs in (("good", good), ("broken", broken)):
            if server in servers:
                row(name, server, runs, jobs)


def row(name: str, server: str, runs: Sequence[Run], jobs: int) -> None:
    """Run them, and print one line, with a line for each false verdict behind it."""
    false: list[str] = []
    verdicts: collections.Counter[str] = collections.Counter()
    seconds: list[float] = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for run, address in zip(runs, pool.map(grade, runs), strict=True):
            false += false_verdicts(run, address)
            verdicts.update(result["verdict"] for result in address["results"])
            seconds.append(address["duration"])
    undecided = verdicts["inconclusive"] / sum(verdicts.values())
    print(
        f"{name:32} {server:8} {len(runs):5} {len(false):6} {undecided:7.2%}"
        f" {statistics.median(seconds):9.1f}",
        flush=True,
    )
    for each in false:
        print(f"    FALSE {each}")


def boxes(count: int, jobs: int) -> None:
    """How often each box on the way was called by its name, and found where it is."""
    print(f"\n{'box':24} {'called':26} {'runs':>5} {'right':>6}")
    for scenario, (turned, where) in BOXES.items():
        runs = [Run((scenario, "--", "-q", "--trace"), turned, where) for _ in range(count)]
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            right = sum(map(is_named, runs, pool.map(grade, runs)))
        print(f"{scenario:24} {turned:26} {count:5} {right:6}", flush=True)


def is_named(run: Run, address: dict[str, Any]) -> bool:
    """Whether this one case tells of the box, and no other blames anybody."""
    told = [
        result["case"]
        for result in address["results"]
        if result["verdict"] in ("fail", "warn", "error")
    ]
    [seen] = [each["seen"] for each in address["results"] if each["case"] == run.turned]
    return told in ([run.turned], []) and run.where in seen


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200, help="runs on each network")
    parser.add_argument("--times", type=int, default=20, help="runs with each box")
    parser.add_argument("--jobs", type=int, default=8, help="runs at the same time")
    parser.add_argument("--servers", nargs="*", default=SERVERS, choices=SERVERS)
    options = parser.parse_args()
    networks(options.runs, options.jobs, options.servers)
    boxes(options.times, options.jobs)


if __name__ == "__main__":
    main()
